"""Where a stylized film goes, by its name: a film, numbered pictures, or stdout."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

from stylecam.errors import SinkOpenError
from stylecam.filenames import is_numbered
from stylecam.sinks.codecs import CONTAINERS, Encoding
from stylecam.sinks.file import FileSink
from stylecam.sinks.numbered import DEFAULT_NAME, NumberedSink
from stylecam.sinks.pipe import PipeSink

STDOUT = "-"


class Origin(Protocol):
    """What a target asks of its source; FilmSource has it."""

    fps: float | None

    @property
    def path(self) -> Path | None:
        """The file to copy sound from."""

    @property
    def time_base(self) -> Fraction:
        """The tick of its times, in seconds."""


def has_one_rate(target: str) -> bool:
    """Tell whether frames go out without times, so that the source has to come at a constant rate."""
    return target == STDOUT or target.lower().endswith(".y4m")


def highest_rate(target: str) -> Fraction | None:
    """Return the most frames per second that players show, None for no limit: 10 ms in a GIF become 100."""
    return Fraction(50) if target.lower().endswith(".gif") else None


def kind_of_target(target: str) -> Literal["stdout", "pictures", "film"]:
    """Tell what a name stands for: "-", a folder or pattern of pictures, or a film."""
    if target == STDOUT:
        return "stdout"
    pictures = is_numbered(target) and Path(target).suffix.lower() not in CONTAINERS
    return "pictures" if pictures or _is_folder(target) else "film"


def numbered_path(target: str) -> Path:
    """Return the pattern of pictures that a folder's name or a pattern stands for."""
    return Path(target) / DEFAULT_NAME if _is_folder(target) else Path(target)


def check_no_codec(target: str, encoding: Encoding) -> None:
    """Raise SinkOpenError where something is asked of an encoder that is not there."""
    if encoding != Encoding():
        raise SinkOpenError(
            f'"{target}" has no codec to choose', "leave --codec, --crf, --preset and --bitrate out"
        )


def open_stdout(fps: float | None) -> PipeSink:
    """Open stdout for frames that come at a constant rate."""
    return PipeSink(sys.stdout.buffer, fps=fps)


def _is_folder(target: str) -> bool:
    return target.endswith(("/", "\\")) or (Path(target).is_dir() and not Path(target).suffix)


def open_target(
    target: str,
    source: Origin,
    encoding: Encoding,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> FileSink | NumberedSink | PipeSink:
    """Open "-" (y4m to stdout), "out/%06d.png" or a folder (its name ends in /, or it exists), or a film.

    `start_s` and `end_s` are the part of `source` that comes. Raises SinkOpenError.
    """
    kind = kind_of_target(target)
    if kind != "film":
        check_no_codec(target, encoding)
        return open_stdout(source.fps) if kind == "stdout" else NumberedSink(numbered_path(target))
    return FileSink(
        Path(target), fps=source.fps, source_path=source.path, codec=encoding.codec, crf=encoding.crf,
        preset=encoding.preset, bitrate=encoding.bitrate, time_base=source.time_base,
        start_s=start_s, end_s=end_s,
    )  # fmt: skip
