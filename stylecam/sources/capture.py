"""OpenCV's VideoCapture, quiet and safe to close while another thread reads."""

from __future__ import annotations

import os
from threading import Lock

# FFmpeg inside OpenCV writes to stderr by itself ("moov atom not found"); it reads this variable
# at its first use. -8 is AV_LOG_QUIET. What went wrong is said by our own errors.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

from stylecam.frames import Pixels

if "OPENCV_LOG_LEVEL" not in os.environ:  # and OpenCV itself writes of every device and stream it loses
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_CLOSE_S = 0.5


class Capture:
    """One opened cv2.VideoCapture; `is_open` tells whether it really is.

    FFmpeg gives up after `patience_s` without an answer, and without the next picture; half a minute
    each by default.
    """

    def __init__(self, name: str | int, api: int, patience_s: tuple[float, float] | None = None) -> None:
        options: list[int] = []
        if patience_s is not None:
            options += [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(patience_s[0] * 1000)]
            options += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(patience_s[1] * 1000)]
        self._capture = cv2.VideoCapture(name, api, options)
        self._lock = Lock()
        self._closed = False
        self.is_open = self._capture.isOpened()

    def get(self, property_id: int) -> float:
        """Return one of OpenCV's CAP_PROP_ values, 0.0 where the backend does not know it."""
        return float(self._capture.get(property_id))

    def set(self, property_id: int, value: float) -> None:
        """Ask for a value; backends ignore what they cannot do, so look with `get`."""
        self._capture.set(property_id, value)

    @property
    def size_wh(self) -> tuple[int, int]:
        """Frame size in pixels, after any rotation that OpenCV applies."""
        return int(self.get(cv2.CAP_PROP_FRAME_WIDTH)), int(self.get(cv2.CAP_PROP_FRAME_HEIGHT))

    def read(self) -> tuple[Pixels, float] | None:
        """Return the next picture, BGR, and its position in seconds; None when there is none."""
        with self._lock:
            if self._closed:
                return None
            ok, bgr = self._capture.read()
            if not ok:
                return None
            return np.asarray(bgr, np.uint8), self.get(cv2.CAP_PROP_POS_MSEC) / 1000

    def close(self) -> None:
        """Release the device, waiting a moment for a read under way in another thread.

        Releasing under a read crashes the process; a read that hangs is left to the system.
        """
        self._closed = True
        if self._lock.acquire(timeout=_CLOSE_S):
            self._capture.release()
            self._lock.release()
