"""The camera: held by a hand, with a lens that is not perfect and a film that has grain."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from demo_clip.canvas import HEIGHT, PAD_X, PAD_Y, TAU, WIDTH, Array, Bytes, H, W, blur, f32, grid


def hand(phase: float) -> tuple[float, float, float]:
    """Sway of a camera held by hand: right, down (pixels) and turn (degrees)."""

    def wander(seed: int, sizes: Sequence[float]) -> float:
        rng = np.random.default_rng(seed)
        return sum(a * math.sin(TAU * ((n + 1) * phase + rng.random())) for n, a in enumerate(sizes))

    sizes = (1.0, 0.75, 0.45, 0.25, 0.16, 0.10, 0.08)
    return 5.5 * wander(1, sizes), 3.6 * wander(2, sizes), 0.16 * wander(3, sizes)


def through_lens(picture: Array, phase: float) -> Array:
    """Sway, crop, bloom and fall-off of the lens, still in linear light."""
    dx, dy, turn = hand(phase)
    matrix = cv2.getRotationMatrix2D((W / 2, H / 2), turn, 1.006)
    matrix[0, 2] += dx - PAD_X
    matrix[1, 2] += dy - PAD_Y
    view = f32(
        cv2.warpAffine(
            picture, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    )
    small = f32(cv2.resize(view, (WIDTH // 4, HEIGHT // 4), interpolation=cv2.INTER_AREA))
    bright = np.clip(small - 0.75, 0, 6)
    bloom = 0.16 * blur(bright, 3) + 0.10 * blur(bright, 14) + 0.05 * blur(small, 40)
    view = view + f32(cv2.resize(f32(bloom), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR))
    x, y = grid(HEIGHT, WIDTH)
    radius = ((x - WIDTH / 2) / WIDTH) ** 2 + ((y - HEIGHT / 2) / HEIGHT) ** 2
    return f32(view * (1.06 - 0.62 * radius)[..., None])


def develop(light: Array, rng: np.random.Generator, grain: float) -> Bytes:
    """Film curve and grain: linear light to display RGB."""
    toned = 1 - np.exp(-1.28 * np.maximum(light, 0))
    curve = np.power(toned, 1 / 2.2)
    curve = curve + 0.20 * (curve - 0.5) * (1 - np.abs(2 * curve - 1))
    grey = curve.mean(2, keepdims=True)
    curve = grey + (curve - grey) * 1.02
    noise = f32(rng.standard_normal((HEIGHT, WIDTH)))
    noise = blur(noise, 0.7) * 2.2
    picture = curve * 255 + noise[..., None] * grain * (1.15 - grey)
    return np.asarray(np.clip(np.rint(picture), 0, 255), dtype=np.uint8)
