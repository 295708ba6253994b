"""Draw the built-in demo clip: a lake at dusk, eight seconds that loop without a seam.

Everything is procedural: a ray-cast heightfield for the mountains, an ocean spectrum with whole
periods for the lake, drawn and wind-warped foliage, a walker with a dog, and a camera held by hand.
All motion is made of whole cycles of the clip, or is hidden when the clip starts again.

    python scripts/draw_demo.py                 # writes stylecam/assets/demo.mp4
    python scripts/draw_demo.py --stills out 0 60 120
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import cv2  # before av: both carry FFmpeg, and this order is the one that loads cleanly
import numpy as np
from numpy.typing import NDArray

import av  # isort: skip

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
DEFAULT_OUT = Path(__file__).resolve().parents[1] / "stylecam" / "assets" / "demo.mp4"


# ---------------------------------------------------------------- arithmetic on pictures


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


# ---------------------------------------------------------------- noise


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


# ---------------------------------------------------------------- painting layers


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


# ---------------------------------------------------------------- sky


class Sky:
    """A dusk gradient with a low sun and a deck of clouds that drifts."""

    ROWS = FAR_WATER + 8

    def __init__(self, rng: np.random.Generator) -> None:
        x, y = grid(self.ROWS, W)
        self.base, self.glow = self._gradient(x, y)
        depth = 9000 / (HORIZON + 38 - np.minimum(y, HORIZON))
        self.u = f32((x - SUN[0]) * depth * 0.0105 + 300)
        self.v = f32(depth * 9.5)
        self.tile = self._clouds(rng)
        self.fade = smoothstep(HORIZON - 18, HORIZON - 150, y)
        near_sun = np.exp(-np.hypot((x - SUN[0]) / 1.5, y - SUN[1]) / 230)[..., None]
        height = np.clip((HORIZON - y) / HORIZON, 0, 1)[..., None]
        self.lit = f32(linear((255, 178, 120)) * (0.85 - 0.35 * height) + near_sun * f32((1.9, 0.95, 0.38)))
        self.dark = f32(
            linear((128, 112, 140)) * (1 - height)
            + linear((84, 96, 132)) * height
            + near_sun * f32((0.42, 0.16, 0.05))
        )

    @staticmethod
    def _gradient(x: Array, y: Array) -> tuple[Array, Array]:
        stops = [0.0, 0.10, 0.28, 0.55, 1.0]
        colours = np.stack(
            [
                linear(c)
                for c in ((255, 190, 122), (250, 186, 134), (214, 176, 170), (132, 152, 190), (62, 92, 150))
            ]
        )
        height = np.clip((HORIZON - y) / HORIZON, 0, 1)
        base = np.stack([np.interp(height, stops, colours[:, c]) for c in range(3)], 2)
        r = np.hypot(x - SUN[0], y - SUN[1])
        wide = np.hypot((x - SUN[0]) / 1.6, y - SUN[1])
        glow = (
            np.exp(-wide / 260)[..., None] * f32((0.62, 0.30, 0.09))
            + np.exp(-r / 62)[..., None] * f32((1.3, 0.70, 0.27))
            + np.exp(-r / 24)[..., None] * f32((4.5, 2.6, 1.1))
            + smoothstep(25, 12, f32(r))[..., None] * f32((16, 11, 5.4))
        )
        return f32(base), f32(glow)

    @staticmethod
    def _clouds(rng: np.random.Generator) -> Array:
        """Density and light of the cloud deck, as a tile seen from below."""
        noise = fbm(rng, 1024, 5, 8) + 0.5 * fbm(rng, 1024, 12, 6, ridged=True)
        density = smoothstep(0.0, 1.6, noise)
        behind = blur(np.roll(density, -16, axis=0), 9)
        light = np.clip(1.05 - 1.25 * behind - 0.25 * density, 0, 1)
        return f32(np.stack([density, light], 2))

    def _advected(self, drift: float) -> Array:
        return sample(self.tile, self.u - drift, self.v + 0.35 * drift, wrap=True)

    def frame(self, phase: float) -> Array:
        """The sky at a phase of 0..1 of the loop, two drifting decks faded into each other."""
        deck = (1 - phase) * self._advected(14 * phase) + phase * self._advected(14 * (phase - 1))
        cover = (deck[..., 0] * self.fade)[..., None]
        light = deck[..., 1:]
        cloud = self.dark + (self.lit - self.dark) * light
        through = 1 - cover * 0.88
        return f32((self.base + self.glow) * through + cloud * cover * 0.88)


# ---------------------------------------------------------------- mountains


class Terrain:
    """A valley of eroded slopes, ray-cast column by column and seen through haze."""

    LIGHT = f32((0.80, 0.42, 0.36)) / np.float32(np.linalg.norm((0.80, 0.42, 0.36)))

    def __init__(self, rng: np.random.Generator) -> None:
        self.rough = fbm(rng, 1024, 5, 8, ridged=True)
        self.detail = fbm(rng, 1024, 40, 5)
        self.soft = fbm(rng, 1024, 4, 5)
        self.axis = (SUN[0] - W / 2 + 20) / FOCAL

    def height(self, x: Array, z: Array) -> Array:
        """Metres above the lake."""
        ridge = sample(self.rough, x * 0.11 + 211, z * 0.11 + 87, wrap=True)
        fine = sample(self.detail, x * 0.35, z * 0.35, wrap=True)
        crowns = sample(self.detail, x * 1.7 + z * 0.5, z * 1.7 - x * 0.4, wrap=True)
        rolling = sample(self.soft, x * 0.16 + 30, z * 0.16 + 10, wrap=True)
        off_axis = np.abs(x - z * self.axis + 160 * np.sin(z / 900))
        walls = smoothstep(0, 3300, f32(off_axis)) ** np.float32(0.9)
        grown = smoothstep(650, 3200, z)
        ridge = f32(0.8 * rolling + (ridge - 0.8 * rolling) * smoothstep(1700, 3600, z))
        shore = smoothstep(700, 1500, f32(z + 130 * fine + 0.12 * off_axis))
        peak = 40 + 1150 * walls * (0.25 + 0.75 * grown) + 170 * smoothstep(4000, 9000, z)
        return f32(
            peak * np.clip(0.62 + 0.27 * ridge, 0.03, 2) * shore
            + 5 * fine * shore
            + 4.5 * crowns * shore
            - 9
            + 6 * shore
        )

    def _cast(self) -> tuple[Array, NDArray[np.bool_], int]:
        """Depth of the first hit in every pixel above the far shore."""
        rows = FAR_WATER + 8
        steps = f32(np.geomspace(700, 12000, 900))
        columns = (f32(np.arange(W)) - W / 2) / FOCAL
        x, z = f32(columns[None] * steps[:, None]), f32(np.broadcast_to(steps[:, None], (900, W)))
        ground = self.height(x, z)
        skyline = HORIZON + FOCAL * (EYE - ground) / z
        skyline = np.where(ground <= 0, 1e4, skyline)
        edge = np.minimum.accumulate(skyline, axis=0)
        depth = np.full((rows, W), 0, np.float32)
        pixel = np.arange(rows)
        for column in range(W):
            falling = -edge[:, column]
            first = np.searchsorted(falling, -pixel, side="left")
            hit = first < len(steps)
            index = np.minimum(first, len(steps) - 1)
            before = np.maximum(index - 1, 0)
            a, b = edge[before, column], edge[index, column]
            part = np.clip((a - pixel) / np.maximum(a - b, 1e-3), 0, 1)
            part = np.where(a > 5000, 1, part)
            depth[:, column] = np.where(hit, steps[before] + part * (steps[index] - steps[before]), 0)
        return depth, depth > 0, rows

    def _shadow(self, x: Array, z: Array, ground: Array) -> Array:
        light = np.ones_like(x)
        for step in np.geomspace(30, 1400, 16):
            rise = self.height(f32(x + self.LIGHT[0] * step), f32(z + self.LIGHT[2] * step))
            blocked = rise - (ground + self.LIGHT[1] * step * 0.8 + 8)
            light = np.minimum(light, 1 - smoothstep(0, 50, f32(blocked)))
        return f32(light)

    def layer(self, haze: Array) -> Array:
        """The lit mountains as a premultiplied layer; `haze` is the sky colour behind them."""
        depth, hit, rows = self._cast()
        px, _ = grid(rows, W)
        z = np.maximum(depth, 700)
        x = f32((px - W / 2) / FOCAL * z)
        ground = self.height(x, z)
        step = f32(np.maximum(6, z / 260))
        dx = (self.height(x + step, z) - self.height(x - step, z)) / (2 * step)
        dz = (self.height(x, z + step) - self.height(x, z - step)) / (2 * step)
        length = np.sqrt(dx * dx + dz * dz + 1)
        facing = np.clip((-dx * self.LIGHT[0] + self.LIGHT[1] - dz * self.LIGHT[2]) / length, 0, 1)
        facing *= self._shadow(x, z, ground)
        slope = f32(1 - 1 / length)
        wood = smoothstep(-1.3, 0.1, sample(self.detail, x * 0.13 + 90, z * 0.13 + 40, wrap=True))
        grain = sample(self.detail, x * 1.3, z * 1.3, wrap=True)
        rock = smoothstep(0.10, 0.26, slope) * smoothstep(240, 560, ground)
        meadow, forest = linear((112, 100, 66)), linear((42, 52, 42))
        albedo = meadow + (forest - meadow) * wood[..., None]
        albedo = albedo + (linear((150, 138, 136)) - albedo) * rock[..., None]
        albedo = albedo * np.clip(1 + 0.26 * grain, 0.4, 1.8)[..., None]
        light = facing[..., None] * f32((2.9, 1.55, 0.72)) + f32((0.40, 0.48, 0.72)) * (
            0.6 + 0.4 / length[..., None]
        )
        colour = albedo * light
        low = 0.30 * np.exp(-np.maximum(ground, 0) / 120)
        thick = np.clip(1 - np.exp(-z / 6200) + low * smoothstep(900, 4000, z), 0, 0.93)[..., None]
        colour = colour * (1 - thick) + haze[:rows] * thick
        alpha = blur(f32(hit), 0.55)[..., None]
        return f32(np.concatenate([blur(f32(colour * hit[..., None]), 0.45), alpha], 2))


# ---------------------------------------------------------------- lake


class Lake:
    """Waves from an ocean spectrum whose frequencies are whole cycles of the clip."""

    SIZE, PATCH = 256, 26.0

    def __init__(self, rng: np.random.Generator) -> None:
        k = TAU * np.fft.fftfreq(self.SIZE, self.PATCH / self.SIZE)
        self.kx, self.kz = np.meshgrid(k, k)
        radius = np.hypot(self.kx, self.kz)
        safe = np.maximum(radius, 1e-6)
        wind = np.abs(self.kx * 0.45 + self.kz * 0.89) / safe
        power = np.exp(-((1.1 / safe) ** 2)) * safe**-3.6 * (0.25 + wind**2) * np.exp(-((safe / 22) ** 2))
        power[0, 0] = 0
        noise = rng.standard_normal((2, self.SIZE, self.SIZE))
        self.amplitude = np.sqrt(power) * (noise[0] + 1j * noise[1])
        omega = np.sqrt(9.81 * safe) * 0.8
        self.omega = np.maximum(1, np.rint(omega * SECONDS / TAU))
        slope = np.fft.ifft2(1j * self.kz * self.amplitude).real
        self.amplitude /= slope.std()
        x, y = grid(WATER_BOTTOM - WATER_TOP, W)
        self.row = f32(y + WATER_TOP)
        self.column = x
        self.distance = f32(FOCAL * EYE / np.maximum(self.row - HORIZON, 2.5))
        self.map_x = f32((x - W / 2) / FOCAL * self.distance * self.SIZE / self.PATCH)
        self.map_z = f32(self.distance * self.SIZE / self.PATCH)
        gust = fbm(rng, 512, 4, 5)
        calm = sample(gust, self.map_x * 0.045, self.map_z * 0.05, wrap=True)
        rows_metres = self.distance**2 / (FOCAL * EYE)
        resolved = 1 / (1 + (rows_metres / 0.9) ** 1.2)
        self.slope = f32(0.027 * np.clip(1 + 0.45 * calm, 0.25, 2) * (0.20 + 0.80 * resolved))
        self.grazing = f32(EYE / np.hypot(self.distance, EYE))

    def slopes(self, phase: float) -> tuple[Array, Array]:
        """Slopes of the surface across and along the view, for every pixel of the lake."""
        turned = self.amplitude * np.exp(-1j * TAU * self.omega * phase)
        across = f32(np.fft.ifft2(1j * self.kx * turned).real)
        along = f32(np.fft.ifft2(1j * self.kz * turned).real)
        both = np.stack([across, along], 2)
        near = sample(both, self.map_x, self.map_z, wrap=True)
        swell = sample(both, self.map_x * 0.23 + 31, self.map_z * 0.23, wrap=True)
        mixed = 0.72 * near + 0.6 * swell
        return f32(mixed[..., 0] * self.slope), f32(mixed[..., 1] * self.slope)

    def frame(self, scene: Array, mirrored: Sequence[tuple[Array, int, float]], phase: float) -> Array:
        """The lake reflecting `scene` and the layers (layer, waterline, distance) standing in it."""
        across, along = self.slopes(phase)
        lift = 2 * FOCAL * along
        shift = 2 * FOCAL * across * (self.grazing + 0.05)
        source = np.clip(2 * FAR_WATER - self.row - 4 - np.abs(lift) * 0.35 - lift, 0, FAR_WATER - 4)
        colour = sample(scene, self.column + shift, source)
        tall = sample(self.tall(scene), self.column + shift, source)
        far = smoothstep(60, 400, self.distance)[..., None]
        colour = colour + (tall - colour) * (0.35 + 0.5 * far)
        for layer, waterline, distance in mirrored:
            part = np.clip(1 - self.distance / distance, 0, 1)
            row = 2 * waterline - self.row - lift * part
            seen = sample(layer, self.column + shift * part, np.minimum(row, waterline - 1))
            seen = seen * (self.row >= waterline - 1)[..., None]
            colour = colour * (1 - seen[..., 3:]) + seen[..., :3]
        cosine = np.clip(self.grazing + 0.9 * along, 0.01, 1)
        fresnel = (0.03 + 0.97 * (1 - cosine) ** 4)[..., None]
        deep = (
            f32((0.012, 0.040, 0.052)) + f32((0.020, 0.022, 0.016)) * np.clip(along / 0.03, -1, 2)[..., None]
        )
        return f32(colour * fresnel * 0.93 + np.maximum(deep, 0) * (1 - fresnel))

    @staticmethod
    def tall(scene: Array) -> Array:
        """The scene smeared upwards, as by waves too small to see."""
        small = cv2.resize(np.minimum(scene, 9), (W // 2, scene.shape[0] // 4), interpolation=cv2.INTER_AREA)
        soft = blur(f32(small), 1.2, 6)
        return f32(cv2.resize(soft, (W, scene.shape[0]), interpolation=cv2.INTER_LINEAR))


# ---------------------------------------------------------------- plants


def conifer(
    sheet: Sheet, rng: np.random.Generator, x: float, base: float, tall: float, tone: Colour, lit: float
) -> None:
    """A spruce, drooping twigs from the top down; `lit` is the side of the sun, -1 or 1."""
    sheet.limb((x, base), (x, base - tall * 0.9), max(tall * 0.018, 0.5), 0.3, (46, 36, 34))
    count = int(34 + tall * 2.0)
    for level in np.sort(rng.random(count) ** 0.8):
        y = base - tall * (1 - level * 0.9)
        whorl = 0.55 + 0.45 * ((level * (6 + tall / 12) + x * 0.37) % 1)
        reach = tall * (0.015 + 0.21 * level) * whorl * rng.uniform(0.5, 1.25)
        for side in (-1, 1):
            light = 1.0 + (0.65 if side == lit else -0.2) * rng.uniform(0.2, 1) + rng.normal(0, 0.24)
            colour = [c * light * (1 + (0.25 if i == 0 and side == lit else 0)) for i, c in enumerate(tone)]
            tip = (x + side * reach * rng.uniform(0.6, 1.1), y + reach * rng.uniform(0.1, 0.55))
            sheet.polygon([(x, y - reach * 0.1), tip, (x + side * reach * 0.3, y + reach * 0.42)], colour)


@dataclass(frozen=True)
class Leaves:
    """Where leaves sit and which tuft they belong to."""

    place: NDArray[np.float64]
    tuft: NDArray[np.float64]


def scatter(rng: np.random.Generator, tips: NDArray[np.float64], per_tip: int, spread: float) -> Leaves:
    """Leaves around twig tips."""
    tuft = np.repeat(tips, per_tip, axis=0)
    offset = rng.normal(0, spread, tuft.shape) * (1.0, 0.72)
    return Leaves(tuft + offset, tuft)


def draw_leaves(
    sheet: Sheet,
    rng: np.random.Generator,
    leaves: Leaves,
    size: float,
    dark: Colour,
    bright: Colour,
    spread: float,
) -> None:
    """Draw leaves from the shadow to the light, gilded on the side of the sun."""
    away = leaves.place - leaves.tuft
    to_sun = np.array(SUN) - leaves.tuft
    to_sun /= np.linalg.norm(to_sun, axis=1, keepdims=True)
    facing = (away * to_sun).sum(1) / spread * 0.55 - away[:, 1] / spread * 0.35
    outward = ((leaves.tuft - leaves.tuft.mean(0)) / leaves.tuft.std(0) * to_sun).sum(1)
    _, tuft = np.unique(leaves.tuft, axis=0, return_inverse=True)
    mood = rng.normal(0, 0.10, int(tuft.max()) + 1)[tuft]
    light = 0.24 + 0.22 * facing + 0.09 * outward + mood + rng.normal(0, 0.11, len(away))
    light = np.clip(light, 0, 1.1)
    for index in np.argsort(light + rng.normal(0, 0.22, len(away))):
        x, y = leaves.place[index]
        a = rng.uniform(0, TAU)
        r = size * rng.uniform(0.6, 1.25)
        c, s = math.cos(a) * r, math.sin(a) * r
        mix = float(light[index]) ** 1.4
        colour = [d + (b - d) * mix for d, b in zip(dark, bright, strict=True)]
        sheet.polygon(
            [(x - c, y - s), (x + s * 0.45, y - c * 0.45), (x + c, y + s), (x - s * 0.45, y + c * 0.45)],
            colour,
        )


def branches(
    sheet: Sheet,
    rng: np.random.Generator,
    start: tuple[float, float],
    angle: float,
    length: float,
    width: float,
    depth: int,
) -> list[tuple[float, float]]:
    """Draw a branch and what grows from it; return the tips."""
    bend = rng.normal(0, 0.12)
    middle = (start[0] + math.cos(angle) * length * 0.5, start[1] - math.sin(angle) * length * 0.5)
    end = (
        middle[0] + math.cos(angle + bend) * length * 0.5,
        middle[1] - math.sin(angle + bend) * length * 0.5,
    )
    bark = (44.0 + depth * 3, 34.0 + depth * 2, 32.0)
    sheet.limb(start, middle, width, width * 0.86, bark)
    sheet.limb(middle, end, width * 0.86, width * 0.7, bark)
    for edge in (0.35, 0.6):  # light that catches the right of the bark
        sheet.limb(
            (start[0] + width * edge, start[1]),
            (middle[0] + width * edge * 0.86, middle[1]),
            width * 0.22,
            width * 0.16,
            (96, 66, 46) if edge > 0.5 else (68, 50, 42),
        )
    if depth == 0:
        return [end]
    tips = [end] if depth < 3 else []
    for turn in (rng.uniform(0.2, 0.6), -rng.uniform(0.2, 0.6), rng.normal(0, 0.25)):
        if turn == 0 or rng.random() < 0.12:
            continue
        shrink = rng.uniform(0.66, 0.84)
        tips += branches(sheet, rng, end, angle + turn, length * shrink, width * 0.62, depth - 1)
    return tips


class Foliage:
    """A drawn plant that the wind moves: slow boughs, and leaves that tremble."""

    def __init__(self, layer: Array, top: int, left: int, root: float, sway: float, seed: int) -> None:
        self.layer, self.top, self.left = layer, top, left
        self.height, self.width = layer.shape[:2]
        rng = np.random.default_rng(seed)
        x, y = grid(self.height // 8 + 1, self.width // 8 + 1)
        self.free = f32(np.clip((root - top - y * 8) / 400, 0, 1) ** 0.8)
        self.slow = self._waves(rng, x * 8, y * 8, 4, (60, 400), (2, 5))
        self.fast = self._waves(rng, x * 8, y * 8, 8, (22, 70), (6, 13))
        self.sway = sway
        self.grid = grid(self.height, self.width)

    @staticmethod
    def _waves(
        rng: np.random.Generator,
        x: Array,
        y: Array,
        count: int,
        spans: tuple[int, int],
        cycles: tuple[int, int],
    ) -> list[tuple[Array, int]]:
        waves = []
        for _ in range(count):
            angle, span = rng.uniform(0, TAU), rng.uniform(*spans)
            crest = TAU / span * (x * math.cos(angle) + y * math.sin(angle)) + rng.uniform(0, TAU)
            waves.append((f32(crest), int(rng.integers(cycles[0], cycles[1] + 1))))
        return waves

    def frame(self, phase: float, shift: tuple[float, float]) -> Array:
        """The plant at a phase of the loop, moved by the parallax `shift`."""

        def push(waves: list[tuple[Array, int]], turn: float) -> Array:
            return f32(sum(np.sin(crest + turn - TAU * n * phase) for crest, n in waves))

        dx = self.sway * self.free * push(self.slow, 0) + 0.55 * self.free * push(self.fast, 0)
        dy = 0.4 * self.sway * self.free * push(self.slow, 1.3) + 0.45 * self.free * push(self.fast, 1.9)
        big = cv2.resize(np.stack([dx, dy], 2), (self.width, self.height), interpolation=cv2.INTER_CUBIC)
        x = self.grid[0] + big[..., 0] - shift[0]
        y = self.grid[1] + big[..., 1] - shift[1]
        return sample(self.layer, f32(x), f32(y))


def oak(rng: np.random.Generator) -> Array:
    """The tree that frames the view on the left."""
    wood, crown = Sheet(620, H), Sheet(620, H)
    tips = branches(wood, rng, (84, 700), 1.50, 200, 23, 6)
    tips += branches(wood, rng, (98, 512), 0.75, 110, 10, 5)
    points = np.array(tips)
    leaves = scatter(rng, points, max(8, 34000 // len(points)), 25)
    draw_leaves(crown, rng, leaves, 3.7, (17, 23, 17), (176, 142, 56), 25)
    bark = blur(f32(rng.standard_normal((H, 620))), 1.3, 5)
    trunk = shade(wood.layer(), f32(np.clip(0.75 + 0.38 * bark / bark.std(), 0.15, 1.8)))
    green = crown.layer()
    return f32(green + trunk * (1 - green[..., 3:]))


def shrub(rng: np.random.Generator, width: int, height: int, top: NDArray[np.float64], count: int) -> Array:
    """A bush filling the sheet below the outline `top` (x, y points)."""
    sheet = Sheet(width, height)
    x = rng.uniform(top[0, 0], top[-1, 0], count)
    crown = np.interp(x, top[:, 0], top[:, 1])
    y = crown + (height + 10 - crown) * rng.random(count) ** 1.2
    for cx, cy in zip(x, y, strict=True):
        sheet.limb((cx, cy), (cx + rng.normal(0, 12), height), 0.9, 1.6, (38, 32, 28))
    leaves = scatter(rng, np.stack([x, y], 1), 100, 17)
    draw_leaves(sheet, rng, leaves, 4.0, (13, 18, 14), (118, 98, 46), 17)
    return blur(sheet.layer(), 1.0)


# ---------------------------------------------------------------- headland with the house


def plank_texture(rng: np.random.Generator) -> Array:
    """Streaky noise that turns flat walls into weathered wood, canvas sized."""
    streak = blur(f32(rng.standard_normal((H, W))), 7, 0.6)
    mottled = np.tile(fbm(rng, 512, 14, 5), (2, 3))[:H, :W]
    return f32(np.clip(1 + 0.20 * streak / streak.std() + 0.16 * mottled, 0.35, 1.8))


def draw_house(sheet: Sheet, rng: np.random.Generator, x: float, y: float) -> list[NDArray[np.float64]]:
    """A log house seen from a corner; returns the outlines of its lit windows."""
    gable, ridge, deep, eave = 62.0, 104.0, 92.0, 60.0
    # the gable wall, turned a little to the sun on the left
    sheet.polygon(
        [(x, y), (x, y - eave), (x + gable / 2, y - ridge), (x + gable, y - eave + 3), (x + gable, y + 4)],
        (126, 84, 60),
    )
    sheet.polygon(
        [
            (x + gable, y + 4),
            (x + gable, y - eave + 3),
            (x + gable + deep, y - eave + 8),
            (x + gable + deep, y),
        ],
        (70, 52, 50),
    )
    for row in np.arange(4, ridge, 4.5):
        inset = max(0.0, (row - eave) / (ridge - eave)) * gable / 2
        sheet.limb((x + inset, y - row), (x + gable - inset, y - row + 2), 0.4, 0.4, (84, 56, 44))
        if row < eave - 4:
            sheet.limb((x + gable, y - row + 3), (x + gable + deep, y - row + 1), 0.4, 0.4, (52, 40, 40))
    _roof(sheet, rng, x, y, (gable, ridge, deep, eave))
    windows = [
        np.array([(x + 12, y - 50), (x + 26, y - 50), (x + 26, y - 30), (x + 12, y - 30)]),
        np.array([(x + 24, y - 80), (x + 38, y - 80), (x + 38, y - 64), (x + 24, y - 64)]),
        np.array([(x + 74, y - 44), (x + 90, y - 43), (x + 90, y - 25), (x + 74, y - 24)]),
        np.array([(x + 108, y - 43), (x + 124, y - 42), (x + 124, y - 24), (x + 108, y - 25)]),
    ]
    sheet.polygon([(x + 38, y + 2), (x + 38, y - 34), (x + 52, y - 34), (x + 52, y + 3)], (58, 38, 32))
    for outline in windows:
        sheet.polygon((outline - outline.mean(0)) * 1.22 + outline.mean(0), (60, 44, 38))
        sheet.polygon(outline, (255, 190, 96))
        centre = outline.mean(0)
        sheet.limb((centre[0], outline[0, 1]), (centre[0], outline[2, 1]), 0.7, 0.7, (84, 54, 36))
        sheet.limb((outline[0, 0], centre[1]), (outline[1, 0], centre[1]), 0.7, 0.7, (84, 54, 36))
    return windows


def _roof(
    sheet: Sheet, rng: np.random.Generator, x: float, y: float, size: tuple[float, float, float, float]
) -> None:
    gable, ridge, deep, eave = size
    apex, back = (x + gable / 2, y - ridge - 4), (x + gable / 2 + deep, y - ridge + 4)
    low, low_back = (x + gable + 7, y - eave + 9), (x + gable + deep + 8, y - eave + 13)
    sheet.polygon(
        [
            (back[0] - 26, back[1] - 22),
            (back[0] - 14, back[1] - 22),
            (back[0] - 14, back[1] + 14),
            (back[0] - 26, back[1] + 10),
        ],
        (96, 74, 70),
    )
    sheet.polygon([apex, back, low_back, low], (84, 66, 70))
    drop = np.array((0.0, 2.2))
    for row in np.linspace(0.06, 0.96, 13):
        a = np.array(apex) + (np.array(low) - apex) * row
        b = np.array(back) + (np.array(low_back) - back) * row
        for part in np.linspace(0, 0.97, 26):
            tone = rng.uniform(-14, 16) + 16 * (1 - row)
            p, q = a + (b - a) * part, a + (b - a) * (part + 0.034)
            sheet.polygon([p, q, q + drop, p + drop], (88 + tone, 70 + tone * 0.8, 70 + tone * 0.8))
    sheet.limb(apex, (x - 6, y - eave + 7), 2.0, 2.0, (120, 84, 62))
    sheet.limb(apex, low, 2.0, 2.0, (66, 48, 44))


@dataclass
class Headland:
    """The wooded point on the right, with its house: a layer, the light of the windows, the chimney."""

    layer: Array
    light: Array
    chimney: tuple[float, float]


def headland(rng: np.random.Generator) -> Headland:
    """Draw the point of land, its spruces and the house."""
    rows = NEAR_WATER + 8
    sheet = Sheet(W, rows)
    x = np.arange(770, W + 12, 6, dtype=np.float64)
    rise = 38 * np.clip((x - 775) / 330, 0, 1) ** 0.7
    bumps = np.convolve(rng.normal(0, 3.2, len(x) + 8), np.ones(9) / 9, "valid")
    top = NEAR_WATER - rise - bumps * np.clip(rise / 8, 0, 1)
    for _ in range(46):  # the wood behind
        tx = rng.uniform(940, W + 20)
        tall = rng.uniform(80, 150) * np.clip((tx - 860) / 260, 0.4, 1.15)
        conifer(sheet, rng, tx, np.interp(tx, x, top) + 2, tall, (30, 38, 40), -1)
    sheet.polygon(
        np.concatenate([np.stack([x, top], 1), [(W + 12, NEAR_WATER), (770, NEAR_WATER)]]), (74, 74, 46)
    )
    for _ in range(2600):  # rough grass
        gx = rng.uniform(778, W)
        ground = np.interp(gx, x, top)
        gy = rng.uniform(ground - 1, NEAR_WATER)
        near = (gy - ground) / 40
        tone = float(rng.uniform(0.55, 1.2) * (1.15 - 0.5 * near))
        sheet.limb(
            (gx, gy),
            (gx + rng.normal(0, 1), gy - rng.uniform(1.5, 4.5)),
            0.7,
            0.3,
            (84 * tone, 78 * tone, 45 * tone),
        )
    windows = draw_house(sheet, rng, 1000, 440)
    for spot, tall in (
        (900, 62),
        (925, 84),
        (948, 58),
        (1196, 150),
        (1232, 172),
        (1270, 140),
        (1310, 180),
        (1180, 80),
    ):
        conifer(sheet, rng, spot, float(np.interp(spot, x, top)) + rng.uniform(5, 14), tall, (24, 33, 30), -1)
    for _ in range(130):  # stones and shadow of the shore
        sx = 775 + (W - 775) * float(rng.random())
        tone = rng.uniform(0.45, 1)
        sheet.ellipse(
            (sx, NEAR_WATER - rng.uniform(0, 3)),
            rng.uniform(2, 8),
            rng.uniform(1, 3),
            (112 * tone, 98 * tone, 88 * tone),
        )
    wood = plank_texture(rng)[:rows]
    column, row = grid(rows, W)
    house = smoothstep(30, 26, f32(np.abs(column - 1078) / 3.2)) * smoothstep(316, 326, row) * (row < 446)
    layer = shade(sheet.layer(), f32(1 + (wood - 1) * house))
    haze = linear((226, 168, 132)) * 0.9
    near_sun = np.exp(-np.abs(grid(rows, W)[0] - SUN[0]) / 240)
    thick = (0.07 + 0.16 * near_sun)[..., None]
    layer[..., :3] = layer[..., :3] * (1 - thick) + haze * thick * layer[..., 3:]
    return Headland(layer, _window_light(windows, rows), (1000 + 31 + 92 - 20, 440 - 104 - 18))


def _window_light(windows: list[NDArray[np.float64]], rows: int) -> Array:
    mask = Sheet(W, rows)
    for outline in windows:
        centre = outline.mean(0)
        mask.polygon(outline, (255, 255, 255))
        mask.limb((centre[0], outline[0, 1]), (centre[0], outline[2, 1]), 0.6, 0.6, (0, 0, 0))
        mask.limb((outline[0, 0], centre[1]), (outline[1, 0], centre[1]), 0.6, 0.6, (0, 0, 0))
    lit = mask.layer()[..., :3]
    return f32((lit * 1.3 + blur(lit, 5) * 0.9 + blur(lit, 22) * 0.8) * f32((1.5, 0.72, 0.22)))


class Smoke:
    """A thin plume over the chimney."""

    WIDTH, HEIGHT = 190, 230

    def __init__(self, rng: np.random.Generator, chimney: tuple[float, float]) -> None:
        self.left, self.top = int(chimney[0]) - 50, int(chimney[1]) - self.HEIGHT
        self.tile = fbm(rng, 256, 5, 5)
        self.x, self.y = grid(self.HEIGHT, self.WIDTH)
        self.rise = (self.HEIGHT - self.y) / self.HEIGHT

    def frame(self, phase: float) -> Array:
        """The plume at a phase of the loop."""
        wobble = sample(self.tile, self.x * 0.3 + 40, self.y * 0.8 + 256 * phase, wrap=True)
        centre = 50 + 70 * self.rise**1.5 + 9 * self.rise * wobble
        width = 3 + 24 * self.rise
        body = np.exp(-(((self.x - centre) / width) ** 2))
        puff = sample(self.tile, self.x * 1.1, self.y + 256 * phase, wrap=True)
        alpha = body * np.clip(0.62 + 0.38 * puff, 0, 1) * np.clip(1 - self.rise, 0, 1) ** 1.1 * 0.72
        alpha *= smoothstep(0, 0.05, f32(self.rise))
        return f32(np.concatenate([linear((158, 138, 146)) * alpha[..., None], alpha[..., None]], 2))


# ---------------------------------------------------------------- the near shore


@dataclass
class Meadow:
    """Grass as a layer, and how far each of its pixels bends."""

    layer: Array
    bend: Array
    top: int

    def frame(self, phase: float, shift: tuple[float, float]) -> Array:
        """The grass under gusts that run across it."""
        x, y = grid(*self.bend.shape)
        gust = (
            np.sin(x / 150 - TAU * 3 * phase)
            + 0.6 * np.sin(x / 61 + y / 40 - TAU * 5 * phase + 1)
            + 0.35 * np.sin(x / 17 + y / 23 - TAU * 9 * phase + 2)
        )
        return sample(self.layer, f32(x + self.bend * gust - shift[0]), f32(y - shift[1]))


def blade(
    sheet: Sheet,
    bend: Sheet,
    root: tuple[float, float],
    tall: float,
    lean: float,
    wide: float,
    colour: Sequence[float],
) -> None:
    """One blade of grass in four tapered pieces, lighter to the tip, and its bending."""
    s = np.linspace(0, 1, 5)
    x = root[0] + lean * s**2
    y = root[1] - tall * s
    half = wide * (1 - s) ** 0.7 / 2 + 0.15
    for i in range(4):
        quad = [
            (x[i] - half[i], y[i]),
            (x[i + 1] - half[i + 1], y[i + 1]),
            (x[i + 1] + half[i + 1], y[i + 1]),
            (x[i] + half[i], y[i]),
        ]
        light = 0.42 + 0.24 * i
        sheet.polygon(quad, [c * light for c in colour])
        amount = min(255.0, tall * ((i + 0.6) / 4) ** 2 * 1.6)
        bend.polygon(quad, (amount, amount, amount))


def bank_line(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Upper edge of the near shore."""
    waves = 7 * np.sin(x / 190 + 0.6) + 4 * np.sin(x / 67)
    return np.asarray(636 + waves + 20 * np.clip((x - 900) / 500, -0.4, 1), dtype=np.float64)


def path_line(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Middle of the path the walker follows."""
    return np.asarray(bank_line(x) + 32 - 4 * np.sin(x / 67), dtype=np.float64)


GRASS: tuple[Colour, ...] = ((150, 142, 62), (118, 124, 56), (172, 148, 72), (96, 112, 58), (136, 116, 64))
FLOWERS: tuple[Colour, ...] = ((196, 110, 168), (232, 198, 88), (226, 214, 214), (150, 110, 190))


def _dimmed(rng: np.random.Generator, colour: Colour, low: float, high: float) -> list[float]:
    tone = rng.uniform(low, high)
    return [c * tone for c in colour]


def ground(rng: np.random.Generator, top: int) -> Array:
    """Earth, path and cast light of the near shore, without the standing grass."""
    rows = H - top
    x, y = grid(rows, W)
    depth = f32(y + top - 560)
    noise = np.tile(fbm(rng, 512, 10, 6), (1, 1))
    near = sample(noise, f32((x - W / 2) * 190 / depth), f32(42000 / depth), wrap=True)
    column = np.arange(W, dtype=np.float64)
    edge, path = bank_line(column), path_line(column)
    cover = smoothstep(-1.2, 1.2, f32(y + top - edge[None] - 0.8 * near))
    trodden = np.exp(-(((y + top - path[None] - 1.6 * near) / 9) ** 4))[..., None]
    earth = linear((62, 58, 36)) * (1 - trodden) + linear((132, 100, 80)) * trodden
    colour = earth * np.clip(1 + 0.22 * near, 0.4, 1.7)[..., None]
    colour = colour * (1.15 - 0.5 * y / rows)[..., None]
    return f32(np.concatenate([colour * cover[..., None], cover[..., None]], 2))


def shore_grass(rng: np.random.Generator, top: int) -> Meadow:
    """The bank with its short grass, behind and around the path."""
    base = ground(rng, top)
    sheet, bend = Sheet(W, H - top), Sheet(W, H - top, 1)
    count = 7200
    xs = rng.uniform(-10, W + 10, count)
    depth = np.sort(rng.random(count) ** 1.1)
    for x, s in zip(xs, depth, strict=True):
        edge = float(bank_line(np.array(x)))
        y = edge + s * (H - edge + 10)
        if abs(y - float(path_line(np.array(x))) - rng.normal(0, 2)) < 8 and rng.random() < 0.96:
            continue
        tone = rng.uniform(0.42, 1.0) * (1.0 - 0.35 * s)
        colour = [c * tone for c in GRASS[rng.integers(len(GRASS))]]
        tall = (7 + 30 * s) * rng.uniform(0.6, 1.5) * (0.6 if 0.12 < s < 0.3 else 1)
        blade(sheet, bend, (x, y - top), tall, rng.normal(2, 0.3 * tall), 1.3 + 2.2 * s, colour)
    drawn = sheet.layer()
    layer = drawn + base * (1 - drawn[..., 3:])
    return Meadow(f32(layer), blur(bend.layer()[..., 0] ** np.float32(1 / 2.2) * 255 * 0.075, 1.2), top)


def front_grass(rng: np.random.Generator, top: int) -> Meadow:
    """Tall blades and flowers close to the camera, a little out of focus."""
    sheet, bend = Sheet(W, H - top), Sheet(W, H - top, 1)
    for _ in range(1500):
        x = rng.uniform(-20, W + 20)
        clump = 0.5 + 0.5 * math.sin(x / 83 + 1) * math.sin(x / 197)
        tall = rng.uniform(24, 60) + 66 * clump * rng.random()
        tone = rng.uniform(0.22, 0.80)
        colour = [c * tone for c in GRASS[rng.integers(len(GRASS))]]
        lean = rng.normal(4, 0.26 * tall)
        root = (x, H - top + rng.uniform(0, 26))
        blade(sheet, bend, root, tall, lean, rng.uniform(2.2, 4.6), colour)
        if rng.random() < 0.03:
            head = (x + lean, root[1] - tall)
            flower = FLOWERS[rng.integers(len(FLOWERS))]
            for _ in range(9):
                spot = (head[0] + rng.normal(0, 2.6), head[1] + rng.normal(0, 3.2))
                sheet.ellipse(spot, 2.3, 1.7, _dimmed(rng, flower, 0.45, 0.85), rng.uniform(0, 3))
                bend.ellipse(spot, 3, 3, (tall * 1.4,) * 3)
    return Meadow(
        blur(sheet.layer(), 1.5), blur(bend.layer()[..., 0] ** np.float32(1 / 2.2) * 255 * 0.075, 2.0), top
    )


# ---------------------------------------------------------------- who moves


def reach(
    root: tuple[float, float], foot: tuple[float, float], upper: float, lower: float, bend: float
) -> tuple[float, float]:
    """The joint between two bones from `root` to `foot`, bent to the side of `bend`."""
    dx, dy = foot[0] - root[0], foot[1] - root[1]
    span = min(math.hypot(dx, dy), (upper + lower) * 0.999)
    along = (upper**2 - lower**2 + span**2) / (2 * span)
    side = math.sqrt(max(upper**2 - along**2, 0)) * bend
    ux, uy = dx / span, dy / span
    return root[0] + ux * along + uy * side, root[1] + uy * along - ux * side


def footfall(cycle: float, stride: float, lift: float, stance: float) -> tuple[float, float]:
    """Place of a foot against the hip over one cycle: planted while it stands, lifted as it swings."""
    cycle %= 1
    half = stride * stance / 2
    if cycle < stance:
        return half - stride * cycle, 0.0
    part = (cycle - stance) / (1 - stance)
    ease = part * part * (3 - 2 * part)
    return -half + 2 * half * ease, -lift * math.sin(math.pi * part)


class Walkers:
    """A woman and her dog, walking along the path from behind one bush to behind another."""

    WIDTH, HEIGHT = 300, 190
    FROM, TO = -12.0, 1304.0
    STRIDE = 134.0

    def frame(self, phase: float) -> tuple[Array, int, int]:
        """The pair as a layer, with its left and top on the canvas."""
        x = self.FROM + (self.TO - self.FROM) * phase
        y = float(path_line(np.array(x))) + 4
        left, top = math.floor(x) - 110, math.floor(y) - 178
        sheet = Sheet(self.WIDTH, self.HEIGHT, 4)
        walked = x - self.FROM
        at = (x - left, y - top)
        dog_x = x + 100
        dog = (dog_x - left, float(path_line(np.array(dog_x))) + 5 - top)
        hand = self._woman(sheet, at, walked / self.STRIDE)
        self._dog(sheet, dog, walked / 74, hand)
        return self._lit(sheet.layer(), (SUN[0] - x, SUN[1] - y + 90)), left, top

    @staticmethod
    def _lit(layer: Array, to_sun: tuple[float, float]) -> Array:
        """Give the flat figure roundness and a rim of evening light."""
        alpha = layer[..., 3]
        length = math.hypot(*to_sun)
        ux, uy = to_sun[0] / length, to_sun[1] / length
        soft = blur(alpha, 3.2)
        gy, gx = np.gradient(soft)
        edge = np.clip(-(gx * ux + gy * uy) * 7, -0.4, 1)
        rim_y, rim_x = np.gradient(blur(alpha, 1.1))
        rim = np.clip(-(rim_x * ux + rim_y * uy) * 3.2, 0, 1) ** 1.4
        cloth = np.random.default_rng(3).standard_normal(alpha.shape)
        weave = 1 + 0.16 * np.clip(blur(f32(cloth), 1.6, 2.6) * 7, -2, 2)
        colour = layer[..., :3] * ((0.36 + 0.62 * edge) * weave)[..., None]
        colour += (rim * alpha)[..., None] * f32((0.95, 0.50, 0.20)) * 0.75
        return blur(f32(np.concatenate([colour, alpha[..., None]], 2)), 0.55)

    def _woman(self, sheet: Sheet, at: tuple[float, float], cycle: float) -> tuple[float, float]:
        x, y = at
        bob = 2.0 * math.cos(2 * TAU * cycle)
        hip = (x, y - 79 + bob)
        neck = (x + 6, y - 133 + bob)
        swing = math.sin(TAU * cycle)
        skin, coat, trousers, boot = (196, 142, 116), (116, 54, 47), (54, 56, 68), (48, 34, 30)
        self._arm(sheet, neck, -0.5 * swing, (118, 42, 38), skin)
        for offset, dim in ((0.5, 0.72), (0.0, 1.0)):
            fx, fy = footfall(cycle + offset, self.STRIDE, 13, 0.6)
            ankle = (x + fx * 0.82, y - 6 + fy)
            knee = reach(hip, ankle, 39, 38, -1)
            tone = (trousers[0] * dim, trousers[1] * dim, trousers[2] * dim)
            sheet.limb(hip, knee, 10, 7, tone)
            sheet.limb(knee, ankle, 7, 4.6, tone)
            sheet.limb(ankle, (ankle[0] + 11, ankle[1] + 3.5), 5, 3, boot)
        flare = 4 * swing
        sheet.polygon(
            [
                (neck[0] - 11, neck[1] + 3),
                (neck[0] + 10, neck[1] + 3),
                (neck[0] + 12, neck[1] + 26),
                (hip[0] + 16 + flare, hip[1] + 17),
                (hip[0] - 15 + flare, hip[1] + 18),
                (neck[0] - 15, neck[1] + 28),
            ],
            coat,
        )
        sheet.limb((neck[0] - 6, neck[1] + 5), (neck[0] + 5, neck[1] + 5), 7.5, 7.5, coat)
        sheet.limb((neck[0] - 1, neck[1] + 30), (hip[0] + 4 + flare, hip[1] + 14), 0.7, 0.7, (110, 38, 34))
        self._head(sheet, neck, swing, skin)
        return self._arm(sheet, neck, 0.30 + 0.22 * swing, (166, 62, 52), skin)

    @staticmethod
    def _head(sheet: Sheet, neck: tuple[float, float], swing: float, skin: Colour) -> None:
        x, y = neck
        hair, scarf = (86, 54, 36), (210, 168, 84)
        sheet.limb((x - 3, y), (x - 24, y + 14 + 3 * swing), 4.5, 2.5, scarf)
        sheet.limb((x, y + 2), (x + 3, y - 9), 5, 5, skin)
        sheet.ellipse((x + 4, y - 17), 9.5, 12, skin, 0.1)
        sheet.polygon([(x + 12, y - 19), (x + 16.5, y - 14.5), (x + 12, y - 12)], skin)
        sheet.ellipse((x + 0.5, y - 21), 11.5, 10.5, hair)
        sheet.limb((x - 6, y - 17), (x - 12 - swing, y - 1), 6, 3, hair)
        sheet.limb((x - 6, y + 1), (x + 8, y + 1), 5.5, 5, scarf)

    @staticmethod
    def _arm(
        sheet: Sheet, neck: tuple[float, float], turn: float, sleeve: Colour, skin: Colour
    ) -> tuple[float, float]:
        shoulder = (neck[0] - 1, neck[1] + 8)
        elbow = (shoulder[0] + 27 * math.sin(turn), shoulder[1] + 27 * math.cos(turn))
        fore = turn + 0.45
        wrist = (elbow[0] + 25 * math.sin(fore), elbow[1] + 25 * math.cos(fore))
        sheet.limb(elbow, wrist, 5, 4, sleeve)
        sheet.limb(shoulder, elbow, 7, 5.4, sleeve)
        sheet.ellipse((wrist[0] + 1, wrist[1] + 3), 4, 4.6, skin)
        return wrist

    @staticmethod
    def _dog(sheet: Sheet, at: tuple[float, float], cycle: float, hand: tuple[float, float]) -> None:
        x, y = at
        fur, dim, pale = (124, 86, 56), (80, 55, 38), (172, 140, 106)
        bob = 1.2 * math.cos(2 * TAU * cycle)
        haunch, breast = (x - 24, y - 36 + bob), (x + 20, y - 37 - bob)
        legs = ((haunch, 0.5, dim, -1), (breast, 0.0, dim, 1), (haunch, 0.0, fur, -1), (breast, 0.5, fur, 1))
        wag = 7 * math.sin(TAU * cycle * 2)
        sheet.limb((x - 29, y - 41), (x - 44, y - 54 + wag * 0.4), 3.6, 2.6, fur)
        sheet.limb((x - 44, y - 54 + wag * 0.4), (x - 52, y - 66 + wag), 2.8, 1.6, pale)
        for hip, offset, tone, bend in legs:
            fx, fy = footfall(cycle + offset, 74, 8, 0.5)
            paw = (hip[0] + fx * 0.62, y - 2 + fy)
            knee = reach(hip, paw, 18, 18.5, bend)
            sheet.limb(hip, knee, 7, 3.6, tone)
            sheet.limb(knee, paw, 3.4, 2.3, tone)
            sheet.ellipse((paw[0] + 2, paw[1]), 4.2, 2.4, tone)
        sheet.limb(haunch, breast, 10.5, 12.5, fur)
        sheet.limb((x + 12, y - 31), (x + 24, y - 34), 9, 8, pale)
        sheet.limb(breast, (x + 36, y - 56 - bob), 9, 7, fur)
        sheet.ellipse((x + 39, y - 59 - bob), 9.5, 7.8, fur, 0.1)
        sheet.limb((x + 44, y - 57 - bob), (x + 55, y - 54 - bob), 5, 3, pale)
        sheet.ellipse((x + 57, y - 55 - bob), 2, 1.8, (30, 24, 24))
        sheet.limb((x + 34, y - 64 - bob), (x + 29, y - 53 - bob), 4, 3, dim)
        neck = (x + 30, y - 47 - bob)
        t = np.linspace(0, 1, 10)
        slack = 14 * t * (1 - t) * 2
        lead = np.stack([hand[0] + (neck[0] - hand[0]) * t, hand[1] + (neck[1] - hand[1]) * t + slack], 1)
        for a, b in pairwise(lead):
            sheet.limb((a[0], a[1]), (b[0], b[1]), 0.7, 0.7, (52, 34, 30))


def cast_shadow(figure: Array, left: int, feet: float) -> tuple[Array, int]:
    """The shadow of a figure towards the camera, as an alpha picture of the same width and its left."""
    lean = (left + 110 - SUN[0]) / 520
    height = figure.shape[0]
    matrix = f32([[1, -lean * 0.9, lean * 0.9 * feet + 150], [0, -0.42, feet * 1.42]])
    wide = figure.shape[1] + 300
    flat = cv2.warpAffine(figure[..., 3], matrix, (wide, height + 60), flags=cv2.INTER_LINEAR)
    return blur(f32(flat), 3.0, 1.6), left - 150


def birds(phase: float) -> Array:
    """A few gulls that cross the sky while the clip lasts."""
    sheet = Sheet(W, 300)
    rng = np.random.default_rng(5)
    for index in range(7):
        offset, height, pace = rng.uniform(-150, 120), rng.uniform(70, 175), rng.uniform(0.96, 1.1)
        size = rng.uniform(6, 11)
        x = -180 + offset + (W + 360) * phase * pace
        y = height - 40 * phase + 8 * math.sin(TAU * (2 * phase + index / 7))
        flap = math.sin(TAU * ((14 + index % 4) * phase + index * 0.37))
        for side in (-1, 1):
            mid = (x + side * size * 0.55, y - size * (0.28 + 0.25 * flap))
            tip = (x + side * size * 1.15, y - size * (0.05 + 0.55 * flap))
            sheet.polygon([(x - 1.2, y), mid, (x + 1.8, y + 1.2)], (58, 54, 66))
            sheet.polygon([mid, tip, (mid[0] - side * 1.5, mid[1] + size * 0.24)], (58, 54, 66))
        sheet.limb(
            (x - size * 0.35, y + 0.8), (x + size * 0.45, y + 0.4), size * 0.08, size * 0.13, (62, 56, 64)
        )
    return sheet.layer()


class Boat:
    """A rowing boat moored to a post, rocked by the water."""

    LEFT, TOP, WIDTH, HEIGHT = 420, 470, 240, 100

    def __init__(self, rng: np.random.Generator) -> None:
        sheet = Sheet(self.WIDTH, self.HEIGHT, 3)
        base = BOAT_WATER - self.TOP
        t = np.linspace(0, 1, 24)
        x = 56 + 128 * t
        rail = base - 21 - 15 * np.abs(t - 0.46) ** 2 * 4 + 2
        far = rail + 2 - 9 * np.sin(math.pi * t) ** 0.6
        keel_x = 62 + 112 * t
        keel = np.full_like(t, base + 1.5)
        inner = np.concatenate([np.stack([x, rail], 1), np.stack([x, far], 1)[::-1]])
        sheet.polygon(inner, (74, 52, 42))
        for part in (0.3, 0.52, 0.74):
            i = int(part * 23)
            sheet.limb((x[i], far[i] + 3), (x[i] + 3, rail[i] + 1), 2.0, 2.4, (148, 108, 78))
        for strake, tone in ((0.0, 1.0), (0.3, 0.82), (0.58, 0.66), (0.8, 0.5)):
            sx = x + (keel_x - x) * strake
            sy = rail + (keel - rail) * strake
            hull = np.concatenate([np.stack([sx, sy], 1), np.stack([keel_x, keel], 1)[::-1]])
            sheet.polygon(hull, (74 * tone, 82 * tone, 80 * tone))
        for curve, wide, tone in ((rail, 1.5, 1.0), (far, 1.0, 0.75)):
            for i in range(23):
                sheet.limb(
                    (x[i], curve[i]),
                    (x[i + 1], curve[i + 1]),
                    wide,
                    wide,
                    (168 * tone, 124 * tone, 86 * tone),
                )
        sheet.limb((92, base - 20), (38, base - 2), 1.1, 1.1, (150, 112, 80))
        sheet.limb((44, base - 4), (30, base + 2), 2.6, 2.8, (150, 112, 80))
        texture = plank_texture(rng)[: self.HEIGHT, : self.WIDTH]
        self.layer = shade(sheet.layer(), texture)
        post = Sheet(self.WIDTH, self.HEIGHT, 3)
        post.limb((206, base + 3), (208, base - 36), 3.6, 3.2, (70, 54, 46))
        post.limb((204.6, base + 3), (206.6, base - 36), 0.9, 0.9, (142, 100, 70))
        post.limb((184, base - 30), (196, base - 23), 0.6, 0.6, (84, 66, 54))
        post.limb((196, base - 23), (207, base - 27), 0.6, 0.6, (84, 66, 54))
        self.post = post.layer()

    def frame(self, phase: float) -> Array:
        """The boat at a phase of the loop, on a whole canvas down to its waterline."""
        angle = 1.3 * math.sin(TAU * 3 * phase) + 0.5 * math.sin(TAU * 5 * phase + 1)
        matrix = cv2.getRotationMatrix2D((120, BOAT_WATER - self.TOP), angle, 1)
        matrix[0, 2] += 3.0 * math.sin(TAU * phase)
        matrix[1, 2] += 1.3 * math.sin(TAU * 3 * phase + 1.1)
        boat = f32(cv2.warpAffine(self.layer, matrix, (self.WIDTH, self.HEIGHT), flags=cv2.INTER_LINEAR))
        both = self.post + boat * (1 - self.post[..., 3:])
        both[BOAT_WATER - self.TOP + 1 :] = 0
        canvas = np.zeros((BOAT_WATER + 1, W, 4), np.float32)
        canvas[self.TOP :, self.LEFT : self.LEFT + self.WIDTH] = both[: BOAT_WATER + 1 - self.TOP]
        return canvas


# ---------------------------------------------------------------- camera


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


# ---------------------------------------------------------------- the whole scene


class Scene:
    """Everything that is drawn once, and the frames made from it."""

    BANK_TOP, FRONT_TOP = 600, 580

    def __init__(self, seed: int = 11) -> None:
        def rng(number: int) -> np.random.Generator:
            return np.random.default_rng((seed, number))

        self.sky = Sky(rng(0))
        haze = self.sky.base * 0.86 + blur(np.minimum(self.sky.glow, 1.2), 30)
        self.terrain = self._with_far_trees(Terrain(rng(1)).layer(haze), rng(2))
        self.lake = Lake(rng(3))
        self.headland = headland(rng(4))
        self.smoke = Smoke(rng(5), self.headland.chimney)
        self.boat = Boat(rng(6))
        self.bank = shore_grass(rng(7), self.BANK_TOP)
        self.front = front_grass(rng(8), self.FRONT_TOP)
        self.walkers = Walkers()
        self.oak = Foliage(oak(rng(9)), 0, 0, 700, 1.5, 1)
        left = np.array([(-20, 80), (40, 30), (90, 60), (150, 70), (215, 150), (240, 220)], np.float64)
        right = np.array([(20, 220), (60, 120), (110, 70), (170, 90), (220, 30), (280, 10)], np.float64)
        self.bushes = (
            Foliage(shrub(rng(10), 270, 240, left, 130), H - 240, 0, H, 2.2, 2),
            Foliage(shrub(rng(12), 280, 260, right, 150), H - 260, W - 280, H, 2.2, 3),
        )

    @staticmethod
    def _with_far_trees(layer: Array, rng: np.random.Generator) -> Array:
        sheet = Sheet(W, layer.shape[0], 3)
        for x in np.sort(rng.uniform(0, W, 420)):
            dense = 0.5 + 0.5 * math.sin(x / 57) * math.sin(x / 23 + 2)
            tall = rng.uniform(3, 7) + 8 * dense * rng.random()
            conifer(sheet, rng, float(x), FAR_WATER - 1.5 + rng.normal(0, 0.7), tall, (66, 70, 62), 1)
        trees = sheet.layer()
        thick = 0.24 + 0.2 * np.exp(-np.abs(grid(layer.shape[0], W)[0] - SUN[0]) / 200)[..., None]
        trees[..., :3] = trees[..., :3] * (1 - thick) + linear((206, 146, 106)) * thick * trees[..., 3:]
        return f32(trees + layer * (1 - trees[..., 3:]))

    def _mist(self, picture: Array) -> None:
        rows = f32(np.arange(FAR_WATER - 34, FAR_WATER + 30))[:, None, None]
        x = f32(np.arange(W))[None, :, None]
        veil = (
            0.30
            * np.exp(-(((rows - FAR_WATER) / 13) ** 2))
            * (0.6 + 0.6 * np.exp(-(((x - SUN[0]) / 420) ** 2)))
        )
        part = picture[FAR_WATER - 34 : FAR_WATER + 30]
        part += (linear((252, 190, 140)) * 1.05 - part) * veil

    def light(self, phase: float) -> Array:
        """The canvas in linear light at a phase of 0..1 of the loop."""
        picture = np.zeros((H, W, 3), np.float32)
        back = self.sky.frame(phase)
        over(back, self.terrain)
        boat = self.boat.frame(phase)
        land = self.headland
        mirrored = [
            (land.layer, NEAR_WATER, HEADLAND_DISTANCE),
            (boat, BOAT_WATER, FOCAL * EYE / (BOAT_WATER - HORIZON)),
        ]
        emissive = land.layer.copy()
        emissive[..., :3] += land.light * 1.2
        mirrored[0] = (emissive, NEAR_WATER, HEADLAND_DISTANCE)
        picture[: back.shape[0]] = back
        over(picture[:300], birds(phase))
        water = self.lake.frame(back, mirrored, phase)
        keep = smoothstep(0, 1, self.terrain[WATER_TOP : back.shape[0], :, 3])[..., None]
        keep[FAR_WATER - WATER_TOP :] = 0
        rows = back.shape[0] - WATER_TOP
        water[:rows] = water[:rows] * (1 - keep) + picture[WATER_TOP : back.shape[0]] * keep
        picture[WATER_TOP:WATER_BOTTOM] = water
        self._mist(picture)
        over(
            picture[: land.layer.shape[0]],
            np.where(grid(land.layer.shape[0], W)[1][..., None] > NEAR_WATER, 0, land.layer),
        )
        picture[: land.light.shape[0]] += land.light * (0.94 + 0.06 * math.sin(TAU * 7 * phase))
        smoke = self.smoke
        over(
            picture[smoke.top : smoke.top + smoke.HEIGHT, smoke.left : smoke.left + smoke.WIDTH],
            smoke.frame(phase),
        )
        over(picture[: boat.shape[0]], boat)
        self._foreground(picture, phase)
        return picture

    def _foreground(self, picture: Array, phase: float) -> None:
        dx, dy, _ = hand(phase)
        near = (0.22 * dx, 0.22 * dy)
        bank = self.bank.frame(phase, near)
        figure, left, top = self.walkers.frame(phase)
        shadow, shadow_left = cast_shadow(figure, left, 178)
        area = _window(bank, shadow, shadow_left, top - self.bank.top)
        if area is not None:
            target, part = area
            target[..., :3] *= (1 - 0.55 * part)[..., None]
        over(picture[self.bank.top :], bank)
        placed = _window(picture, figure, left, top)
        if placed is not None:
            over(*placed)
        over(picture[:, : self.oak.width], self.oak.frame(phase, near))
        for bush in self.bushes:
            part = picture[bush.top : bush.top + bush.height, bush.left : bush.left + bush.width]
            over(part, bush.frame(phase, (0.35 * dx, 0.35 * dy)))
        over(picture[self.front.top :], self.front.frame(phase, (0.5 * dx, 0.5 * dy)))

    def frame(self, index: int, grain: float = 1.3) -> Bytes:
        """One frame of the clip, display RGB."""
        phase = index % FRAMES / FRAMES
        light = through_lens(self.light(phase), phase)
        return develop(light, np.random.default_rng((99, index)), grain)


def _window(picture: Array, patch: Array, left: int, top: int) -> tuple[Array, Array] | None:
    """The parts of a picture and of a patch put at (left, top) that overlap."""
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + patch.shape[1], picture.shape[1]), min(top + patch.shape[0], picture.shape[0])
    if x0 >= x1 or y0 >= y1:
        return None
    return picture[y0:y1, x0:x1], patch[y0 - top : y1 - top, x0 - left : x1 - left]


# ---------------------------------------------------------------- files


def write_clip(scene: Scene, path: Path, crf: float) -> None:
    """Encode the loop as H.264, bt709, short GOPs, no sound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {
        "crf": str(crf),
        "preset": "slow",
        "x264-params": "colorprim=bt709:transfer=bt709:colormatrix=bt709:aq-mode=3:threads=1",
    }
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as box:
        stream = box.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        stream.codec_context.gop_size = FPS
        stream.codec_context.color_primaries = 1
        stream.codec_context.color_trc = 1
        stream.codec_context.colorspace = 1
        stream.codec_context.color_range = 1
        for index in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(scene.frame(index), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts = index
            box.mux(stream.encode(frame))
        box.mux(stream.encode(None))


def main() -> None:
    """Write the clip, or only some of its frames."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    parser.add_argument("--crf", type=float, default=29.5)
    parser.add_argument(
        "--stills", nargs="+", metavar="DIR/FRAME", help="a folder and frame numbers, instead of the clip"
    )
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    scene = Scene()
    if chosen.stills:
        folder = Path(chosen.stills[0])
        folder.mkdir(parents=True, exist_ok=True)
        for number in chosen.stills[1:]:
            cv2.imwrite(
                str(folder / f"{int(number):03d}.png"),
                cv2.cvtColor(scene.frame(int(number)), cv2.COLOR_RGB2BGR),
            )
        return
    write_clip(scene, chosen.out, chosen.crf)
    print(f"{chosen.out.name}: {chosen.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
