"""The near shore: banks, a path, grass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo_clip.canvas import TAU, Array, Colour, H, Sheet, W, blur, f32, fbm, grid, linear, sample, smoothstep


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
