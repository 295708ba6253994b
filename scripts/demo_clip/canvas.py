"""What everything of the demo clip is drawn on: sizes, places, arithmetic on pictures, noise, layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Colour = tuple[float, float, float]

WIDTH, HEIGHT, FPS, SECONDS = 1280, 720, 30, 8
FRAMES = FPS * SECONDS
PAD_X, PAD_Y = 32, 18
W, H = WIDTH + 2 * PAD_X, HEIGHT + 2 * PAD_Y
TAU = 2 * math.pi

HORIZON = 400.0  # canvas row at infinity
FOCAL = 1450.0  # pixels
EYE = 6.0  # metres above the lake
FAR_WATER = 412  # row of the far shore
NEAR_WATER = 472  # row of the waterline of the headland
BOAT_WATER = 552
WATER_TOP, WATER_BOTTOM = 404, 668
SUN = (860.0, 268.0)
HEADLAND_DISTANCE = FOCAL * EYE / (NEAR_WATER - HORIZON)


def f32(values: object) -> Array:
    """Return anything array-like as float32."""
    return np.asarray(values, dtype=np.float32)


def smoothstep(low: float, high: float, values: Array) -> Array:
    """Hermite step from 0 at `low` to 1 at `high`."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return f32(t * t * (3 - 2 * t))


def blur(image: Array, sigma_x: float, sigma_y: float | None = None) -> Array:
    """Gaussian blur."""
    return f32(cv2.GaussianBlur(image, (0, 0), sigma_x, sigmaY=sigma_x if sigma_y is None else sigma_y))


def sample(image: Array, x: object, y: object, wrap: bool = False) -> Array:
    """Bilinear look-up at (x, y), outside the picture repeated or held at the border."""
    border = cv2.BORDER_WRAP if wrap else cv2.BORDER_REPLICATE
    return f32(cv2.remap(image, f32(x), f32(y), cv2.INTER_LINEAR, borderMode=border))


def linear(colour: Sequence[float]) -> Array:
    """0..255 display colour to linear light."""
    return f32((f32(colour) / 255) ** 2.2)


def grid(height: int, width: int) -> tuple[Array, Array]:
    """Pixel coordinates (x, y) of a picture."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return f32(x), f32(y)


def over(base: Array, layer: Array) -> None:
    """Lay a premultiplied RGBA layer over an RGB picture, in place."""
    base *= 1 - layer[..., 3:]
    base += layer[..., :3]


def band_noise(rng: np.random.Generator, size: int, cells: float) -> Array:
    """Tileable smooth noise, unit variance, with features of about size/cells pixels."""
    k = np.fft.fftfreq(size) * size
    radius = np.hypot(k[:, None], k[None, : size // 2 + 1])
    spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
    spectrum *= np.exp(-((radius / cells) ** 2)) * (radius > 0)
    field = np.fft.irfft2(spectrum, s=(size, size))
    return f32(field / field.std())


def fbm(rng: np.random.Generator, size: int, cells: float, octaves: int, ridged: bool = False) -> Array:
    """Tileable fractal noise, zero mean and unit variance."""
    total = np.zeros((size, size), np.float32)
    gain = 1.0
    for octave in range(octaves):
        layer = band_noise(rng, size, cells * 2**octave)
        total += gain * (0.8 - np.abs(layer) if ridged else layer)
        gain *= 0.5
    total -= total.mean()
    return f32(total / total.std())


class Sheet:
    """A transparent sheet to draw on with OpenCV at several times the size."""

    def __init__(self, width: int, height: int, scale: int = 2) -> None:
        self.width, self.height, self.scale = width, height, scale
        self.pixels: Bytes = np.zeros((height * scale, width * scale, 4), np.uint8)

    def _fixed(self, points: object) -> NDArray[np.int32]:
        return np.rint(np.asarray(points, dtype=np.float64) * (self.scale * 8)).astype(np.int32)

    def polygon(self, points: object, colour: Sequence[float], alpha: float = 255) -> None:
        """Fill a polygon given in canvas pixels."""
        paint = (*[float(np.clip(c, 0, 255)) for c in colour], alpha)
        cv2.fillPoly(self.pixels, [self._fixed(points)], paint, cv2.LINE_AA, 3)

    def limb(self, a: Sequence[float], b: Sequence[float], wide: float, thin: float, colour: Colour) -> None:
        """A tapered stroke with round ends, `wide` and `thin` being the two radii."""
        (ax, ay), (bx, by) = a, b
        length = math.hypot(bx - ax, by - ay) or 1e-6
        nx, ny = (ay - by) / length, (bx - ax) / length
        self.polygon(
            [
                (ax + nx * wide, ay + ny * wide),
                (bx + nx * thin, by + ny * thin),
                (bx - nx * thin, by - ny * thin),
                (ax - nx * wide, ay - ny * wide),
            ],
            colour,
        )
        self.ellipse(a, wide, wide, colour)
        self.ellipse(b, thin, thin, colour)

    def ellipse(
        self, centre: Sequence[float], rx: float, ry: float, colour: Sequence[float], turn: float = 0
    ) -> None:
        """Fill an ellipse turned by `turn` radians."""
        angle = np.linspace(0, TAU, 24, endpoint=False)
        x, y = rx * np.cos(angle), ry * np.sin(angle)
        c, s = math.cos(turn), math.sin(turn)
        self.polygon(np.stack([centre[0] + c * x - s * y, centre[1] + s * x + c * y], 1), colour)

    def layer(self) -> Array:
        """The sheet as a premultiplied layer in linear light, at canvas size."""
        small = f32(cv2.resize(self.pixels, (self.width, self.height), interpolation=cv2.INTER_AREA)) / 255
        alpha = small[..., 3:]
        straight = np.clip(small[..., :3] / np.maximum(alpha, 1e-3), 0, 1)
        return f32(np.concatenate([straight**2.2 * alpha, alpha], 2))


def shade(layer: Array, amount: Array) -> Array:
    """Multiply the colour of a layer by a texture."""
    result = layer.copy()
    result[..., :3] *= amount[..., None]
    return result
