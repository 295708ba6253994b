"""What becomes of a painted frame before it is shown: strength, colours kept, a mask, the split view."""

from __future__ import annotations

import cv2
import numpy as np

from stylecam.controls import Settings
from stylecam.frames import Pixels


def compose(original: Pixels, painted: Pixels, settings: Settings, mask: Pixels | None = None) -> Pixels:
    """Return the frame to show; all are (H, W, 3) uint8 BGR of one size, `mask` is (H, W) uint8.

    Where `mask` is 255 the painting shows, where it is 0 the original.
    """
    shown = painted
    if settings.color:
        shown = keep_color(original, shown)
    if settings.strength < 1:
        shown = blend(original, shown, settings.strength)
    if mask is not None:
        share = mask.astype(np.float32) * np.float32(1 / 255)
        shown = np.asarray(cv2.blendLinear(shown, original, share, 1 - share), np.uint8)
    if settings.split:
        shown = split(original, shown)
    return shown


def blend(first: Pixels, second: Pixels, share: float) -> Pixels:
    """Return a mixture of two frames, `share` 0..1 of it the second."""
    return np.asarray(cv2.addWeighted(second, share, first, 1 - share, 0), np.uint8)


def keep_color(original: Pixels, painted: Pixels) -> Pixels:
    """Return the painting's luminance in the original's colours (Gatys et al. 2017, sec. 5, in YCbCr)."""
    colours = cv2.cvtColor(original, cv2.COLOR_BGR2YCrCb)
    cv2.insertChannel(cv2.cvtColor(painted, cv2.COLOR_BGR2GRAY), colours, 0)
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_YCrCb2BGR), np.uint8)


def split(original: Pixels, painted: Pixels) -> Pixels:
    """Return the original in the left half, the painting in the right one, a line between."""
    middle = painted.shape[1] // 2
    both = painted.copy()
    both[:, :middle] = original[:, :middle]
    both[:, max(0, middle - 1) : middle + 1] = 255
    return both
