"""The camera of whoever opens the page: frames that a browser sends."""

from __future__ import annotations

import time
from threading import Condition

import cv2
import numpy as np

from stylecam.errors import SourceError
from stylecam.frames import Frame, Pixels, check_size, resize, size_of
from stylecam.sources.base import Source

_MOST_BYTES = 2 * 1024 * 1024
_MOST_PIXELS = 1920 * 1920
_MOST_SCANS = 16
"""A camera's JPEG has one; thousands of them would keep the decoder busy for minutes."""

_SLICE_S = 0.2


class BrowserSource(Source):
    """Give the newest picture that a page has sent, cropped and scaled to `size_wh`.

    A page that sends faster than the net takes loses frames. Without a page `read` waits. Raises
    StylecamError where `size_wh` is out of range.
    """

    is_live = True
    fps = None

    def __init__(self, size_wh: tuple[int, int] = (640, 480)) -> None:
        self.size_wh = check_size(size_wh)
        self._sent = Condition()
        self._newest: tuple[bytes, float] | None = None
        self._first_s: float | None = None
        self._closed = False

    def feed(self, jpeg: bytes) -> None:
        """Take a JPEG as the newest picture, from any thread; it is decoded when it is read.

        Raises SourceError for what is no JPEG or too large, of which nothing is kept.
        """
        now_s = time.perf_counter()
        _check_jpeg(jpeg)
        with self._sent:
            self._newest = jpeg, now_s
            self._sent.notify_all()

    def read(self) -> Frame | None:
        """Wait for a newer picture and decode it; damaged ones are passed over. None once closed."""
        while (taken := self._take()) is not None:
            jpeg, captured_s = taken
            bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            if bgr is None or bgr.size > 3 * _MOST_PIXELS:
                continue
            if self._first_s is None:
                self._first_s = captured_s
            return Frame(
                _cover(np.asarray(bgr, np.uint8), self.size_wh), captured_s - self._first_s, captured_s
            )
        return None

    def close(self) -> None:
        """End a wait under way and refuse nothing more; what is fed from now on is not read."""
        with self._sent:
            self._closed = True
            self._sent.notify_all()

    def _take(self) -> tuple[bytes, float] | None:
        with self._sent:
            while self._newest is None and not self._closed:
                self._sent.wait(_SLICE_S)  # in slices: on Windows an endless wait keeps Ctrl-C out
            taken, self._newest = self._newest, None
            return None if self._closed else taken


def jpeg_size(jpeg: bytes) -> tuple[int, int] | None:
    """Return (width, height) in pixels as a JPEG's header tells, None where there is no such header.

    Looks at the marker segments before the first scan (ITU-T T.81, annex B); decodes nothing.
    """
    place = 2
    if jpeg[:2] != b"\xff\xd8":
        return None
    while place + 9 <= len(jpeg) and jpeg[place] == 0xFF:
        marker, length = jpeg[place + 1], int.from_bytes(jpeg[place + 2 : place + 4])
        if marker in (0xC0, 0xC1, 0xC2):  # baseline, extended and progressive; browsers write no other
            return int.from_bytes(jpeg[place + 7 : place + 9]), int.from_bytes(jpeg[place + 5 : place + 7])
        if not 0xC4 <= marker <= 0xFE or 0xD0 <= marker <= 0xDA or length < 2:
            return None
        place += 2 + length
    return None


def _check_jpeg(jpeg: bytes) -> None:
    if len(jpeg) > _MOST_BYTES:
        raise SourceError(
            f"a picture of {len(jpeg)} bytes is too large", f"send JPEGs of at most {_MOST_BYTES} bytes"
        )
    size_wh = jpeg_size(jpeg)
    if size_wh is None or 0 in size_wh or jpeg.count(b"\xff\xda") not in range(1, _MOST_SCANS):
        raise SourceError("what the page sent is no JPEG", "send what canvas.toBlob gives")
    if size_wh[0] * size_wh[1] > _MOST_PIXELS:
        raise SourceError(
            f"a picture of {size_wh[0]}x{size_wh[1]} is too large", f"send at most {_MOST_PIXELS} pixels"
        )


def _cover(bgr: Pixels, size_wh: tuple[int, int]) -> Pixels:
    """Scale a picture so that it fills `size_wh` and cut off evenly what stands out."""
    width, height = size_of(bgr)
    scale = max(size_wh[0] / width, size_wh[1] / height)
    inner = min(width, round(size_wh[0] / scale)), min(height, round(size_wh[1] / scale))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    return resize(bgr[top : top + inner[1], left : left + inner[0]], size_wh)
