"""Streams whose times are made up: what counts is when a frame comes."""

from __future__ import annotations

from dataclasses import replace

from stylecam.frames import Frame
from stylecam.sources.base import Source


class ArrivingSource(Source):
    """Read `source` as it comes, each frame at the time of its arrival; closes it with itself.

    For JPEGs over HTTP, as IP cameras and telephones send them: they carry no times and say no rate,
    and FFmpeg makes up 25 a second. Timestamps count from the first frame read.
    """

    is_live = True
    fps = None

    def __init__(self, source: Source) -> None:
        self.size_wh = source.size_wh
        self._source = source
        self._first_s: float | None = None

    def read(self) -> Frame | None:
        """Wait for the next frame."""
        frame = self._source.read()
        if frame is None:
            return None
        if self._first_s is None:
            self._first_s = frame.captured_s
        return replace(frame, timestamp_s=frame.captured_s - self._first_s)

    def close(self) -> None:
        """Close the connection."""
        self._source.close()
