"""The whole scene, from the sky to the grass in front."""

from __future__ import annotations

import math

import numpy as np

from demo_clip.canvas import (
    BOAT_WATER,
    EYE,
    FAR_WATER,
    FOCAL,
    FRAMES,
    HEADLAND_DISTANCE,
    HORIZON,
    NEAR_WATER,
    SUN,
    TAU,
    WATER_BOTTOM,
    WATER_TOP,
    Array,
    Bytes,
    H,
    Sheet,
    W,
    blur,
    f32,
    grid,
    linear,
    over,
    smoothstep,
)
from demo_clip.figures import Boat, Walkers, birds, cast_shadow
from demo_clip.headland import Smoke, headland
from demo_clip.lake import Lake
from demo_clip.lens import develop, hand, through_lens
from demo_clip.plants import Foliage, conifer, oak, shrub
from demo_clip.shore import front_grass, shore_grass
from demo_clip.sky import Sky
from demo_clip.terrain import Terrain


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
