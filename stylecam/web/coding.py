"""Pictures as bytes for a browser: JPEG, and a PNG mask beside it where there is alpha."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import cv2
import numpy as np

from stylecam.frames import SMALLEST_SIDE, Frame, Pixels, resize, size_of

LARGEST_WH = (3840, 2160)
"""No client is sent more than that, whatever it asks for."""

_QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 85)
_QUICK = (cv2.IMWRITE_PNG_COMPRESSION, 1)


@dataclass(frozen=True)
class View:
    """The size at which a client shows pictures; larger ones are scaled down to it, never up.

    Scaled keeping their shape so that they lie within `box_wh`, or with `cover` so that they fill it.
    """

    box_wh: tuple[int, int] = LARGEST_WH
    cover: bool = False

    def size_for(self, size_wh: tuple[int, int]) -> tuple[int, int]:
        """Return the size in which a picture of `size_wh` is sent."""
        across, down = (box / side for box, side in zip(self.box_wh, size_wh, strict=True))
        scale = min(1.0, max(across, down) if self.cover else min(across, down))
        width, height = (max(1, round(side * scale)) for side in size_wh)
        return width, height


def parse_size(text: str) -> tuple[int, int]:
    """Return (width, height) of "640x480", clipped to what is sent at all. Raises ValueError."""
    width, _, height = text.lower().partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise ValueError(f"size {text[:20]!r} is not of the form 640x480")
    if len(width) + len(height) > 12:
        raise ValueError(f"size {text[:20]!r} is out of range")
    wanted = zip((int(width), int(height)), LARGEST_WH, strict=True)
    across, down = (min(max(side, SMALLEST_SIDE), largest) for side, largest in wanted)
    return across, down


def to_jpeg(bgr: Pixels, view: View | None = None) -> bytes:
    """Return a BGR picture (H, W, 3) as JPEG, scaled down to `view`."""
    shown = resize(bgr, (view or View()).size_for(size_of(bgr)))
    return _encode(".jpg", shown, _QUALITY)


def to_message(number: int, frame: Frame, view: View) -> bytes:
    """Return one frame for the WebSocket: its number and the JPEG's length, big-endian, then the JPEG.

    What follows the JPEG, where the frame has alpha, is a PNG of the same size whose alpha channel is
    the frame's. JPEG beside a mask of few levels is quicker to make and shorter than WebP or PNG of
    the whole, and the browser puts them together while drawing.
    """
    jpeg = to_jpeg(frame.bgr, view)
    mask = b"" if frame.alpha is None else _to_mask(frame.alpha, view)
    return struct.pack(">II", number & 0xFFFFFFFF, len(jpeg)) + jpeg + mask


def _to_mask(alpha: Pixels, view: View) -> bytes:
    shown = resize(alpha[..., None], view.size_for((alpha.shape[1], alpha.shape[0])))
    bgra = np.zeros((*shown.shape[:2], 4), np.uint8)
    bgra[..., 3] = shown.reshape(shown.shape[:2])
    return _encode(".png", bgra, _QUICK)


def _encode(suffix: str, picture: Pixels, options: tuple[int, int]) -> bytes:
    _, coded = cv2.imencode(suffix, picture, options)
    return coded.tobytes()
