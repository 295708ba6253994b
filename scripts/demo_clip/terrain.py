"""The mountains: a heightfield, ray-cast, with its own shadows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demo_clip.canvas import (
    EYE,
    FAR_WATER,
    FOCAL,
    HORIZON,
    SUN,
    Array,
    W,
    blur,
    f32,
    fbm,
    grid,
    linear,
    sample,
    smoothstep,
)


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
