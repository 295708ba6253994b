"""Training against flicker without films: the same scene, seen a little differently, must look the same.

A camera's next frame is nearly the last one, moved by less than a pixel or by a few, with other
noise. So a photograph is moved and scaled a little and given noise, and the painting of that must be
the painting of the photograph, moved and scaled alike (after Rainy and de Berker 2018, "Stabilizing
neural style-transfer for video with noise-resilient training", and Zheng et al. 2016 before them).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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

LARGEST_ZOOM = 0.04
LARGEST_NOISE = 8.0
"""Standard deviation of the noise of a small sensor in a dim room, of 255."""


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


def add_noise(rgb: Tensor, rng: np.random.Generator) -> Tensor:
    """Return `rgb`, 0..255, as a camera might see it a moment later: other noise, other light by a hair."""
    noise = rng.standard_normal(tuple(rgb.shape), np.float32) * rng.uniform(0, LARGEST_NOISE)
    light = rng.uniform(0.97, 1.03)
    return (rgb * light + torch.from_numpy(noise).to(rgb.device)).clamp(0, 255)


def unsteadiness(painted: Tensor, moved: Tensor, movement: Movement) -> Tensor:
    """Return, per picture, the mean squared distance of `moved` from `painted` once that is moved too.

    Both are (N, 3, H, W), 0..255: the paintings of a photograph and of the photograph moved. All is compared
    but what the movement brought in, and within `BORDER` twice as much.
    """
    shown = movement.shown(painted)
    off = (moved.float() - movement.apply(painted.float())).square() * shown
    weight = torch.full_like(shown, 2)
    down, right = (round(side * BORDER) for side in shown.shape[2:])
    weight[:, :, down : shown.shape[2] - down, right : shown.shape[3] - right] = 1
    return (off * weight).mean((1, 2, 3)) / shown.mean((1, 2, 3))
