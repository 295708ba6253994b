"""Training against flicker without films: the same scene, seen a little differently, must look the same.

A camera's next frame is nearly the last one, moved by less than a pixel or by a few, with other
noise. So a photograph is moved and scaled a little and given noise, and the painting of that must be
the painting of the photograph, moved and scaled alike (after Rainy and de Berker 2018, "Stabilizing
neural style-transfer for video with noise-resilient training", and Zheng et al. 2016 before them).
Or nothing happens, and only the noise is another: what a still camera sees most of the time, and what a net
makes strokes of on a plain wall, which dance. Or somebody walks through a scene that stands still, and the
wall behind must be painted as before: a part of the photograph is covered by another, and the rest of the
painting must not change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

LARGEST_SHIFT = 1 / 7
"""Of a side: far enough to compare what is painted beside a border with the same place painted inside it."""

BORDER = 1 / 14
"""Of a side: the band along each border in which unsteadiness counts twice.

What VGG sees beside a border is the zeros it pads with, and a net can mend its style loss by painting bright
flecks there alone, in films a band of another kind.
"""

COVER = (0.25, 0.5)
"""Least and largest share of a side that is covered."""

COVERED = 8.0
"""How much more a change counts in what stands still than in what moves: it is smaller, and sooner seen."""

OUTLINE = 1 / 28
"""Of a side: so far around what is new all may be painted otherwise, for it has outlines."""

LARGEST_ZOOM = 0.04

_SHARP = 0.3
"""Blurred by less, in pixels, noise is as good as sharp."""

LEAST_NOISE = 0.25
"""Standard deviation of what denoising and a film's coding leave, of 255: still enough for a net to see."""

LARGEST_NOISE = 8.0
"""That of a small sensor in a dim room."""

COARSEST_NOISE = 3.0
"""How many pixels a camera's noise is blurred by, at most (standard deviation), by demosaicking and coding.

A net averages noise that differs from pixel to pixel. Of noise blurred by 1 or 2 px finished nets made 4 to
18 times as much.
"""

NOISY = 20.0
"""How much more a change counts where only noise changed, were the noise nothing: it is small."""


ONLY_NOISE = IS_COVERED = 1 / 4
"""Shares of the pairs in which only noise changes, and in which something is covered; in the rest all moves.

With thirds of each, finished nets came out 0 to 12% less steady at a smoothing of 0.2, where noise is gone
before the net; trained on with half moved, six of them won back 1 to 7% on the clip that moves more.
"""


@dataclass(frozen=True)
class Movement:
    """A shift in pixels and a zoom about the centre."""

    right: float
    down: float
    zoom: float

    @classmethod
    def draw(cls, rng: np.random.Generator, side: int) -> Movement:
        """Choose one for pictures of `side` px: half are whole pixels, no zoom, which resamples nothing."""
        right, down = rng.uniform(-LARGEST_SHIFT, LARGEST_SHIFT, 2) * side
        if rng.random() < 0.5:
            return cls(float(round(right)), float(round(down)), 1.0)
        return cls(float(right), float(down), math.exp(rng.uniform(-LARGEST_ZOOM, LARGEST_ZOOM)))

    def apply(self, rgb: Tensor) -> Tensor:
        """Return `rgb` (N, 3, H, W) moved, cubic between pixels, mirrored beyond the border."""
        return F.grid_sample(
            rgb, self._grid(rgb), mode="bicubic", padding_mode="reflection", align_corners=False
        )

    def shown(self, rgb: Tensor) -> Tensor:
        """Return 1 where `apply` shows what was there before, 0 where it mirrors: (N, 1, H, W)."""
        height, width = rgb.shape[2:]
        centres = torch.tensor([1 - 1 / width, 1 - 1 / height], device=rgb.device)  # of the last pixels
        return (self._grid(rgb).abs() <= centres + 1e-4).all(3)[:, None].float()

    def _grid(self, rgb: Tensor) -> Tensor:
        """Return where each pixel comes from, (N, H, W, 2), the borders at -1 and 1."""
        height, width = rgb.shape[2:]
        theta = torch.tensor(
            [[1 / self.zoom, 0, -2 * self.right / width], [0, 1 / self.zoom, -2 * self.down / height]],
            device=rgb.device,
        )
        return F.affine_grid(theta.expand(len(rgb), 2, 3), list(rgb.shape), align_corners=False)


@dataclass(frozen=True)
class Noise:
    """A camera's noise: its standard deviation, of 255, and by how many pixels it is blurred."""

    strength: float
    coarseness: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Noise:
        """Choose one; a weak one is as likely as one twice as strong."""
        strength = math.exp(rng.uniform(math.log(LEAST_NOISE), math.log(LARGEST_NOISE)))
        return cls(strength, rng.uniform(0, COARSEST_NOISE))

    def add(self, rgb: Tensor, rng: np.random.Generator) -> Tensor:
        """Return `rgb` (N, 3, H, W), 0..255, a moment later: other noise, other light by a hair."""
        noise = rng.standard_normal((rgb.shape[0] * rgb.shape[1], *rgb.shape[2:]), np.float32)
        if self.coarseness > _SHARP:
            noise = np.stack([cv2.GaussianBlur(plane, (0, 0), self.coarseness) for plane in noise])
        noise = noise.reshape(rgb.shape) * np.float32(self.strength / noise.std())
        return (rgb * rng.uniform(0.97, 1.03) + torch.from_numpy(noise).to(rgb.device)).clamp(0, 255)


@dataclass(frozen=True)
class Later:
    """The scene of some photographs a moment later.

    `seen` (N, 3, H, W) is what the net gets to see then, `movement` what its painting has done meanwhile,
    `counts` (N, 1, H, W) how much each place counts when the paintings are compared.
    """

    seen: Tensor
    movement: Movement
    counts: Tensor

    @classmethod
    def draw(cls, rgb: Tensor, rng: np.random.Generator) -> Later:
        """Choose what happens to `rgb` (N, 3, H, W), 0..255: it gets other noise, it moves, it is covered."""
        noise, still = Noise.draw(rng), Movement(0, 0, 1)
        happens = rng.random()
        if happens < ONLY_NOISE:
            counts = NOISY / (1 + noise.strength / 2) * _counts(torch.ones_like(rgb[:, :1]))
            return cls(noise.add(rgb, rng), still, counts)
        if happens < 1 - IS_COVERED:
            movement = Movement.draw(rng, rgb.shape[3])
            return cls(noise.add(movement.apply(rgb), rng), movement, _counts(movement.shown(rgb)))
        seen, apart = cover(rgb, rng)
        return cls(seen, still, COVERED * _counts(apart))

    def unsteadiness(self, before: Tensor, after: Tensor) -> Tensor:
        """Return, per picture, the mean squared distance of two paintings, once the first is moved too.

        Both are (N, 3, H, W), 0..255, of the photograph and of `seen`. All is compared but what the movement
        brought in, or what is covered, and within `BORDER` twice as much.
        """
        off = after.float() - self.movement.apply(before.float())
        return (off.square() * self.counts).mean((1, 2, 3))


def cover(rgb: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Cover a rectangle of `rgb` (N, 3, H, W) by what lies opposite, upside down.

    Return that and 1 where the painting must not change, (N, 1, H, W): a few pixels away from the rectangle.
    """
    height, width = rgb.shape[2:]
    high, wide = (round(side * rng.uniform(*COVER)) for side in (height, width))
    top, left = round(rng.uniform(0, height - high)), round(rng.uniform(0, width - wide))
    rows, columns = slice(top, top + high), slice(left, left + wide)
    seen, apart = rgb.clone(), torch.ones_like(rgb[:, :1])
    seen[:, :, rows, columns] = rgb.flip(2, 3)[:, :, rows, columns]
    down, right = round(height * OUTLINE), round(width * OUTLINE)
    near_rows = slice(max(0, top - down), top + high + down)
    near_columns = slice(max(0, left - right), left + wide + right)
    apart[:, :, near_rows, near_columns] = 0
    return seen, apart


def _counts(compared: Tensor) -> Tensor:
    """Return how much each place counts, of a mask of those compared: 1 on average, but for the borders."""
    weight = torch.full_like(compared, 2)
    down, right = (round(side * BORDER) for side in compared.shape[2:])
    weight[:, :, down : compared.shape[2] - down, right : compared.shape[3] - right] = 1
    return compared * weight / compared.mean((1, 2, 3), keepdim=True)
