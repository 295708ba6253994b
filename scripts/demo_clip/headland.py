"""The headland with the house, its lit windows and its smoke."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo_clip.canvas import (
    NEAR_WATER,
    SUN,
    Array,
    H,
    Sheet,
    W,
    blur,
    f32,
    fbm,
    grid,
    linear,
    sample,
    shade,
    smoothstep,
)
from demo_clip.plants import conifer


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
