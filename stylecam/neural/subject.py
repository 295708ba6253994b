"""A picture to be painted by optimisation, at one size: what moves, and by what it is judged."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stylecam.frames import Pixels, resize, size_of
from stylecam.neural.canvas import Canvas
from stylecam.neural.data import to_pixels, to_tensor
from stylecam.neural.device import autocast
from stylecam.neural.goals import Goal, GoalMaker
from stylecam.neural.losses import LossTerms
from stylecam.neural.recipe import Recipe


class Subject:
    """A picture to be painted at one size: its canvas, and its objective in one precision.

    `bgr` is (H, W, 3) uint8, `mask` (H, W) uint8 or None.
    """

    def __init__(
        self, maker: GoalMaker, bgr: Pixels, size_wh: tuple[int, int], mask: Pixels | None, precision: str
    ) -> None:
        self.maker, self.size_wh, self.precision = maker, size_wh, precision
        recipe = maker.recipe
        self.mask = None if mask is None else _mask_tensor(mask, size_wh).to(maker.device)
        content = to_tensor(resize(bgr, size_wh)).to(maker.device)
        self.canvas = Canvas(
            content, keep_color=recipe.keep_color, normalised=recipe.normalised, mask=self.mask
        )
        self.goal = self.goal_in(precision)
        self._exact: Goal | None = self.goal if precision == "fp32" else None

    def goal_in(self, precision: str) -> Goal:
        """Return the objective whose targets are computed in `precision`."""
        with autocast(self.maker.device, precision):
            return self.maker.make(self.canvas.subject, self.mask)

    def exact_goal(self) -> Goal:
        """Return the objective in fp32, made when first asked for."""
        if self._exact is None:
            self._exact = self.goal_in("fp32")
        return self._exact

    def judge(self, pixels: Tensor) -> LossTerms:
        """Return the terms of the pixels an optimiser moves."""
        return self.goal(self.canvas.picture(pixels))

    @torch.no_grad()
    def shown(self, pixels: Tensor) -> Pixels:
        """Return the picture to look at, (H, W, 3) uint8 BGR."""
        shown: Pixels = to_pixels(self.canvas.finished(self.canvas.picture(pixels)))[0]
        return shown

    @torch.no_grad()
    def terms_of(self, bgr: Pixels) -> dict[str, float]:
        """Judge any picture of this subject, (H, W, 3) uint8 BGR of its size, in fp32."""
        return floats(self.exact_goal()(self.canvas.seen(to_tensor(bgr).to(self.maker.device))))

    @torch.no_grad()
    def terms_of_pixels(self, pixels: Tensor) -> dict[str, float]:
        """Judge pixels as they are, not rounded, in fp32."""
        return floats(self.exact_goal()(self.canvas.picture(pixels)))


def finished_as(recipe: Recipe, content: Pixels, painted: Pixels, mask: Pixels | None) -> Pixels:
    """Return a picture painted of `content` (both (H, W, 3) uint8 BGR) as the recipe finishes its own:
    with the content's colours where they are kept, and the content itself off the mask.
    """
    area = None if mask is None else _mask_tensor(mask, size_of(content))
    canvas = Canvas(to_tensor(content), keep_color=recipe.keep_color, mask=area)
    shown: Pixels = to_pixels(canvas.finished(canvas.seen(to_tensor(painted))))[0]
    return shown


def floats(terms: LossTerms) -> dict[str, float]:
    """Return the terms by name as numbers."""
    return {name: float(term) for name, term in terms._asdict().items()}


def _mask_tensor(mask: Pixels, size_wh: tuple[int, int]) -> Tensor:
    small = resize(mask[..., None], size_wh).reshape(size_wh[1], size_wh[0])
    return torch.from_numpy(small.astype(np.float32) / 255)[None, None]
