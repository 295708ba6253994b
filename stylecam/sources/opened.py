"""Opening a film: a file, a pattern of pictures, a URL or stdin."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from io import BufferedReader
from itertools import pairwise
from pathlib import Path
from typing import cast

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
from av.container import InputContainer

from stylecam.errors import SourceOpenError
from stylecam.filenames import ffmpeg_name, is_numbered, numbering_of
from stylecam.sources.film import check_file, is_url, unopened

STDIN = "-"

_LARGEST_FPS = 480
"""Containers without a rate answer with their time base (90000 for MPEG-TS)."""

_PICTURES_RATE = Fraction(25)
_Y4M = b"YUV4MPEG2"


@dataclass
class Opened:
    """An open film and the track in it that is painted; `again` opens the same from its beginning."""

    film: InputContainer
    video: av.VideoStream
    path: Path | None
    reopen: Callable[[], Opened]
    notes: list[str] = field(default_factory=list)
    spooled: tempfile.TemporaryDirectory[str] | None = None

    @property
    def rate(self) -> Fraction | None:
        """The nominal frames per second, None where none is known."""
        rate = self.video.average_rate or self.video.guessed_rate
        return Fraction(rate) if rate and 0 < rate <= _LARGEST_FPS else None

    @property
    def zero_s(self) -> Fraction | None:
        """The stream's time of the film's first frame, None where only decoding tells."""
        if self.video.start_time is None or self.video.time_base is None:
            return None
        return Fraction(self.video.start_time * self.video.time_base)

    @property
    def lasts_s(self) -> float | None:
        """How long the pictures go on, by the container's word."""
        if self.video.duration and self.video.time_base:
            return float(self.video.duration * self.video.time_base)
        if stated := _seconds_of(self.video.metadata.get("DURATION", "")):
            return stated - float(self.zero_s or 0)  # Matroska: the time at which the track ends
        return None if self.film.duration is None else self.film.duration / av.time_base

    def again(self) -> Opened:
        """Close this one and open the same film from its beginning."""
        self.film.close()
        opened = self.reopen()
        opened.notes, opened.spooled = self.notes, self.spooled
        return opened

    def close(self) -> None:
        """Close the film, and forget what was kept of stdin."""
        self.film.close()
        if self.spooled is not None:
            self.spooled.cleanup()


def open_film(name: str, fps: Fraction | None) -> Opened:
    """Open what `name` stands for. Raises SourceOpenError."""
    if name == STDIN:
        return _open_stdin()
    if is_url(name):
        return _open(name, name, None)
    path = Path(name)
    if is_numbered(name) and not path.is_file():
        return _open_pictures(name, fps)
    check_file(path)
    return _open_file(path)


def _open_file(path: Path) -> Opened:
    # Only pictures heed this: one called %06d.png is that one alone.
    return _open(str(path), ffmpeg_name(path), path, pattern_type="none")


def _open(name: str, address: str, path: Path | None, kind: str | None = None, **options: str) -> Opened:
    """Open what FFmpeg finds at `address` and people call `name`."""
    try:
        film = av.open(address, format=kind, options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as exc:
        raise unopened(name, path) from exc
    return _with_pictures(film, name, path, lambda: _open(name, address, path, kind, **options))


def _with_pictures(
    film: InputContainer, name: str, path: Path | None, reopen: Callable[[], Opened]
) -> Opened:
    covers = av.stream.Disposition.attached_pic
    videos = [video for video in film.streams.video if not video.disposition & covers]
    if not videos or videos[0].codec_context is None:
        film.close()
        raise unopened(name, path)
    opened = Opened(film, videos[0], path, reopen)
    if len(videos) > 1:
        opened.notes.append(f"only the first of {len(videos)} picture tracks is painted")
    return opened


def _open_pictures(name: str, fps: Fraction | None) -> Opened:
    pictures = numbering_of(Path(name))
    numbers = pictures.numbers() if pictures else []
    if pictures is None or not numbers:
        raise SourceOpenError(
            f'no picture is called "{name}"', "%06d stands for the one number, with six digits: 000001"
        )
    rate = fps or _PICTURES_RATE
    opened = _open(
        name, pictures.ffmpeg_name, None, "image2", pattern_type="sequence",
        framerate=f"{rate.numerator}/{rate.denominator}", start_number=str(numbers[0]),
    )  # fmt: skip
    if fps is None:
        opened.notes.append(f"pictures taken at {rate} fps; --fps says otherwise")
    gap = next((n + 1 for n, after in pairwise(numbers) if after != n + 1), None)
    if gap is not None:
        opened.notes.append(f"picture number {gap} is missing; those after it are left out")
    return opened


def _open_stdin() -> Opened:
    """Read y4m as it comes; keep anything else in a temporary file, to copy its sound from later."""
    stdin = cast(BufferedReader, sys.stdin.buffer)
    if stdin.peek(len(_Y4M))[: len(_Y4M)] == _Y4M:
        film = av.open(stdin, "r", format="yuv4mpegpipe")
        return _with_pictures(film, "stdin", None, _open_stdin)
    folder = tempfile.TemporaryDirectory(prefix="stylecam-")
    try:
        path = Path(folder.name) / "stdin"
        with path.open("wb") as file:
            shutil.copyfileobj(stdin, file)
        if not path.stat().st_size:
            raise SourceOpenError("nothing came from stdin", "pipe a film into this command")
        try:
            opened = _open_file(path)
        except SourceOpenError as exc:  # names the temporary file
            raise SourceOpenError("what came from stdin is no film", "pipe a whole film in") from exc
    except BaseException:
        folder.cleanup()
        raise
    opened.spooled = folder
    return opened


def _seconds_of(clock: str) -> float | None:
    """Return the seconds of "00:01:02.345", which Matroska's writers leave behind; None for anything else."""
    match = re.fullmatch(r"(\d+):(\d+):([\d.]+)", clock)
    return None if match is None else int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
