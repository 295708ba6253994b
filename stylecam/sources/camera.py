"""Webcams."""

from __future__ import annotations

import time

import cv2

from stylecam.errors import SourceLostError, SourceOpenError
from stylecam.frames import Frame, size_of
from stylecam.sources.base import Source
from stylecam.sources.capture import Capture

_PROBED = 4
"""How many indices are tried when looking for cameras; each miss on Windows costs a moment."""


class CameraSource(Source):
    """Camera number `index`, at `size_wh` where it can (look at its own `size_wh` for what it gave).

    Timestamps count from the first frame read. Raises SourceOpenError, naming the cameras there are.
    """

    is_live = True

    def __init__(self, index: int, size_wh: tuple[int, int] | None = None) -> None:
        self._index = index
        self._capture = Capture(index, cv2.CAP_ANY)
        if not self._capture.is_open:
            raise SourceOpenError(f"camera {index} could not be opened", _camera_hint(index))
        # A deep buffer would hand us frames that are already old.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if size_wh is not None:
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, size_wh[0])
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size_wh[1])
        first = self._capture.read()
        if first is None:
            self._capture.close()
            raise SourceOpenError(
                f"camera {index} opened but gives no picture",
                "close other programs that use it, and check its privacy switch",
            )
        # What really comes, whatever the driver answers when asked.
        self.size_wh = size_of(first[0])
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or None
        self._first_s: float | None = None

    def read(self) -> Frame | None:
        """Wait for the camera's next frame; its time is when it arrived. Raises SourceLostError."""
        taken = self._capture.read()
        now_s = time.perf_counter()
        if taken is None:
            raise SourceLostError(
                f"camera {self._index} stopped giving pictures", "check its plug, then start again"
            )
        if self._first_s is None:
            self._first_s = now_s
        return Frame(taken[0], now_s - self._first_s, now_s)

    def close(self) -> None:
        """Free the camera for other programs."""
        self._capture.close()


def find_cameras() -> list[int]:
    """Return the indices of cameras that open, trying the first few quietly."""
    found = []
    for index in range(_PROBED):
        capture = Capture(index, cv2.CAP_ANY)
        if capture.is_open:
            found.append(index)
        capture.close()
    return found


def _camera_hint(index: int) -> str:
    found = [str(other) for other in find_cameras() if other != index]
    if not found:
        return 'no camera was found; "demo" or the path of a film can be the source instead'
    return f'found camera{"s" if len(found) > 1 else ""} {", ".join(found)}; see "stylecam doctor"'
