"""Frame geometry: what a frame is, which sizes are allowed, and how to resize one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from stylecam.errors import StylecamError

Pixels: TypeAlias = NDArray[np.uint8]
"""uint8; (H, W, 3) for a picture or (N, H, W, 3) for a batch; BGR, 0..255."""

SMALLEST_SIDE = 16
"""The deepest convolutions see a quarter of the frame; below 4x4 they have nothing to reflect."""

LARGEST_SIDE = 8192


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a film or camera, with its two times.

    `bgr` is (H, W, 3) uint8. `timestamp_s` is its place in the film, counted from the film's
    (or camera's) first frame. `captured_s` is the `time.perf_counter()` at which the source
    handed it over, or at which it fell due if it was read later; latency starts there. `alpha`,
    (H, W) uint8, says how opaque each pixel is; None is opaque everywhere.
    """

    bgr: Pixels
    timestamp_s: float
    captured_s: float
    alpha: Pixels | None = None


def check_size(size_wh: tuple[int, int], what: str = "size") -> tuple[int, int]:
    """Return `size_wh` in pixels unchanged, or raise StylecamError where no net can take it."""
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in size_wh):
        raise StylecamError(
            f"{what} {size_wh[0]}x{size_wh[1]} is out of range",
            f"width and height must lie between {SMALLEST_SIDE} and {LARGEST_SIDE} pixels",
        )
    return size_wh


def size_of(bgr: Pixels) -> tuple[int, int]:
    """Return (width, height) in pixels of a picture or of each picture in a batch."""
    return int(bgr.shape[-2]), int(bgr.shape[-3])


def resize(bgr: Pixels, size_wh: tuple[int, int]) -> Pixels:
    """Scale a picture to exactly `size_wh`; the same array where it already has that size.

    Cubic on the way up. On the way down area averaging (no aliasing, hence less flicker); down to half the
    size linear, which flickers no more (warp ratios 0.276 and 0.277) and takes a quarter of the time.
    """
    if size_of(bgr) == size_wh:
        return bgr
    across, down = (new / old for new, old in zip(size_wh, size_of(bgr), strict=True))
    interpolation = cv2.INTER_CUBIC
    if across * down < 1:
        interpolation = cv2.INTER_LINEAR if min(across, down) >= 0.5 else cv2.INTER_AREA
    return np.asarray(cv2.resize(bgr, size_wh, interpolation=interpolation), np.uint8)


def fit_long_side(size_wh: tuple[int, int], long_side: int) -> tuple[int, int]:
    """Return `size_wh` scaled so that its longer side is `long_side`, at least 1 px each."""
    scale = long_side / max(size_wh)
    width, height = (max(1, round(side * scale)) for side in size_wh)
    return width, height
