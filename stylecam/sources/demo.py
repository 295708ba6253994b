"""The clip that comes with the program, for a machine without a camera and for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stylecam.frames import Frame, check_size, resize
from stylecam.sources.base import Source
from stylecam.sources.film import FileSource

CLIP = Path(__file__).parent.parent / "assets" / "demo.mp4"


class DemoSource(Source):
    """Play the shipped clip, for ever unless `loop` is False, at `size_wh` or its own size.

    Not live by itself; a PacedSource around it is. Timestamps keep rising from round to round.
    """

    is_live = False

    def __init__(
        self, size_wh: tuple[int, int] | None = None, loop: bool = True, clip: Path | None = None
    ) -> None:
        self._clip = clip or CLIP
        self._film = FileSource(self._clip)
        self.size_wh = check_size(size_wh) if size_wh else self._film.size_wh
        self.fps = self._film.fps
        self._loop = loop
        self._closed = False
        self._offset_s = self._next_s = 0.0

    def read(self) -> Frame | None:
        """Return the next frame, beginning anew after the last."""
        frame = self._film.read()
        if frame is None and self._loop and self._next_s > self._offset_s and not self._closed:
            self._rewind()
            frame = self._film.read()
        if frame is None:
            return None
        timestamp_s = self._offset_s + frame.timestamp_s
        self._next_s = timestamp_s + self._film.step_s
        return replace(frame, bgr=resize(frame.bgr, self.size_wh), timestamp_s=timestamp_s)

    def close(self) -> None:
        """Close the clip."""
        self._closed = True
        self._film.close()

    def _rewind(self) -> None:
        # Opened afresh: seeking to frame 0 is not exact in every build of FFmpeg.
        self._film.close()
        self._film = FileSource(self._clip)
        self._offset_s = self._next_s
        if self._closed:  # closed by another thread in the meantime
            self._film.close()
