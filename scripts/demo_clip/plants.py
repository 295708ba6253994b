"""Trees, shrubs and leaves, and the wind in them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demo_clip.canvas import SUN, TAU, Array, Colour, H, Sheet, blur, f32, grid, sample, shade


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
