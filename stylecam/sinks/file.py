"""A film on disk."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from queue import Full, Queue
from threading import Thread

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av

from stylecam.errors import SinkOpenError, SinkWriteError
from stylecam.frames import Frame
from stylecam.sinks.base import Sink
from stylecam.sinks.codecs import AUTO, CONTAINERS, Encoding
from stylecam.sinks.encoder import Encoder
from stylecam.sinks.tracks import Tracks
from stylecam.wholefile import part_path

_DEPTH = 4
"""Frames that may wait for the encoder: enough to smooth out key frames, 100 MB at 4K."""

_SLICE_S = 0.2
_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


class FileSink(Sink):
    """Write a film with every frame at its own time, and all other tracks of `source_path` beside it.

    `fps` is the nominal rate (the frames' timestamps count), `time_base` the source's tick. Frames
    that begin after the source's first one come with `start_s` > 0: the sound is cut where they
    begin. `end_s` is where they are meant to end, for the chapters. `notes` says what could not be
    kept. The codec's choice and options are those of `Encoding`. Encodes in a thread of its own; what
    fails there is raised by the next `write` or `close`. The film grows under a hidden name beside
    `path` and gets its own at `close`; without a frame there is no file. Raises SinkOpenError.
    """

    def __init__(
        self,
        path: Path,
        *,
        fps: float | None,
        source_path: Path | None = None,
        codec: str = AUTO,
        crf: int | None = None,
        preset: str | None = None,
        bitrate: int | None = None,
        time_base: Fraction | None = None,
        start_s: float = 0.0,
        end_s: float | None = None,
    ) -> None:
        suffix = check_film_path(path)
        self.path = path
        self.frames = 0
        self._tracks = None if source_path is None else Tracks(source_path)
        self._part = part_path(path)
        try:
            # FFmpeg opens its file at the first packet; this tells now whether it will be able to.
            self._part.open("xb").close()
            self._encoder = Encoder(
                self._part, suffix, fps=fps, encoding=Encoding(codec, crf, preset, bitrate),
                tracks=self._tracks, time_base=time_base, start_s=start_s, end_s=end_s,
            )  # fmt: skip
        except BaseException as exc:
            self._remove()
            if isinstance(exc, (av.FFmpegError, OSError)):
                raise unwritable(path, exc) from exc
            raise
        self._queue: Queue[Frame | None] = Queue(_DEPTH)
        self._error: BaseException | None = None
        self._discarded = self._closed = False
        self._thread = Thread(target=self._run, name="stylecam-encoder", daemon=True)
        self._thread.start()

    @property
    def notes(self) -> list[str]:
        """What could not be kept, and what was chosen, a line each."""
        return self._encoder.notes

    def write(self, frame: Frame) -> None:
        """Queue a frame, waiting while the encoder is behind. Raises SinkWriteError."""
        if self._closed:
            raise SinkWriteError(f'film "{self.path}" is closed already', "open another one")
        self._put(frame)

    def close(self) -> None:
        """Finish the film and give it its name. Raises SinkWriteError, and then leaves nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self._put(None)
            self._join()
            self._raise_error()
            if self.frames:
                os.replace(self._part, self.path)
        except OSError as exc:
            raise self._refused(exc) from exc
        finally:  # after a second Ctrl-C too
            self._let_go()

    def discard(self) -> None:
        """Stop at once and remove what was written."""
        if not self._closed:
            self._closed = True
            self._let_go()

    def _run(self) -> None:
        try:
            while (frame := self._queue.get()) is not None and not self._discarded:
                self._encoder.encode(frame)
                self.frames += 1
            if not self._discarded:
                self._encoder.close()
        except BaseException as exc:  # raised again by write or close: nobody looks at a thread
            self._error = exc

    def _put(self, frame: Frame | None) -> None:
        while True:
            self._raise_error()
            try:
                return self._queue.put(frame, timeout=_SLICE_S)
            except Full:
                continue

    def _join(self) -> None:
        while self._thread.is_alive():  # in slices: on Windows a plain join does not let Ctrl-C through
            self._thread.join(_SLICE_S)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._refused(self._error) from self._error

    def _refused(self, cause: BaseException) -> SinkWriteError:
        return SinkWriteError(
            f'film "{self.path}" could not be written: {cause_of(cause)}', "check the space left on its disk"
        )

    def _let_go(self) -> None:
        self._discarded = True
        with suppress(Full):  # a full queue wakes the thread by itself
            self._queue.put_nowait(None)
        self._join()
        self._encoder.abandon()
        self._remove()

    def _remove(self) -> None:
        if self._tracks is not None:
            self._tracks.close()
        self._part.unlink(missing_ok=True)


def check_film_path(path: Path) -> str:
    """Return the suffix that says which container, or raise SinkOpenError before any work is done."""
    if path.suffix.lower() not in CONTAINERS:
        raise SinkOpenError(
            f'film "{path}" cannot be written: the container "{path.suffix}" is not known',
            f"use a name ending in {', '.join(CONTAINERS)}",
        )
    if path.is_dir():
        raise SinkOpenError(f'film "{path}" is a folder', "give the name of a file")
    if not path.parent.is_dir():
        raise SinkOpenError(
            f'film "{path}" cannot be written: folder "{path.parent}" does not exist',
            "make the folder first",
        )
    return path.suffix.lower()


def unwritable(path: Path, exc: BaseException) -> SinkOpenError:
    """Return what to raise for a film that cannot be begun."""
    return SinkOpenError(f'film "{path}" cannot be written: {cause_of(exc)}', "choose another folder")


def cause_of(exc: BaseException) -> str:
    """Return the system's words alone: FFmpeg adds a number and the hidden name."""
    return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__


def room_for(exc: BaseException) -> str:
    """Return what to do about a film that could not be written to its end."""
    if getattr(exc, "errno", None) in _NO_ROOM:
        return "make room on its disk"
    return "look at the disk it goes to, and whether its source plays to the end"
