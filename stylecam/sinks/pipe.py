"""A film as y4m into a pipe, for another program to read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av

from stylecam.errors import SinkWriteError
from stylecam.frames import Frame
from stylecam.sinks.base import Sink
from stylecam.sinks.codecs import Encoding
from stylecam.sinks.encoder import Encoder


class PipeSink(Sink):
    """Write uncompressed 4:4:4 frames to `stream` at the constant rate `fps`; it stays the caller's.

    y4m has no times: the source must come at that rate. When the reader goes away, `wants_quit`
    turns True, as pipes are meant to end.
    """

    def __init__(self, stream: BinaryIO, *, fps: float | None) -> None:
        self.frames = 0
        self._stream = stream
        self._gone = self._closed = False
        self._encoder = Encoder(stream, ".y4m", fps=fps, encoding=Encoding())

    @property
    def notes(self) -> list[str]:
        """What could not be kept, a line each."""
        return [*self._encoder.notes, "y4m holds pictures alone: no sound, subtitles or chapters"]

    def write(self, frame: Frame) -> None:
        """Write a frame. Raises SinkWriteError."""
        if not self._gone:
            self._guard(lambda: self._encoder.encode(frame))
            self.frames += not self._gone

    @property
    def wants_quit(self) -> bool:
        """True once the reader has closed its end."""
        return self._gone

    def close(self) -> None:
        """Write the last frame. Raises SinkWriteError."""
        if self._closed:
            return
        self._closed = True
        if self._gone:
            self._encoder.abandon()
        else:
            self._guard(self._encoder.close)
            self._guard(self._stream.flush)

    def discard(self) -> None:
        """Stop where it is."""
        self._closed = True
        with suppress(OSError, av.FFmpegError):
            self._encoder.abandon()

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BrokenPipeError:
            self._gone = True
        except (av.FFmpegError, OSError) as exc:
            raise SinkWriteError(f"stdout could not be written: {exc}", "look at what reads it") from exc
