"""From a recipe and a style to the objective of each picture, at each size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor

from stylecam.errors import OptimiseError, PictureError
from stylecam.frames import Pixels, fit_long_side, resize, size_of
from stylecam.neural.canvas import to_grey
from stylecam.neural.classic import ClassicGoal
from stylecam.neural.data import to_tensor
from stylecam.neural.losses import LossTerms, PerceptualLoss, style_targets
from stylecam.neural.options import Objective
from stylecam.neural.recipe import Recipe
from stylecam.neural.vgg import load_vgg, smallest_side
from stylecam.styles import Array

Goal: TypeAlias = Callable[[Tensor], LossTerms]
"""Of a picture (1, 3, H, W), RGB, 0..255: the weighted terms, scalars in fp32."""

FLATTEST = 1.0
"""A painting whose pixels deviate less than this from their mean (of 255) is of one colour."""


@dataclass(frozen=True)
class Painting:
    """A style image, (H, W, 3) uint8 BGR, under its name, and its share among several."""

    name: str
    bgr: Pixels
    share: float = 1.0


class GoalMaker:
    """Make the objective of any content image: the perceptual net and the style, loaded once.

    The style is `paintings`, or the Gram matrices `grams` that travel with a net's weights. Several
    paintings count by their shares: the target is the mean of their Gram matrices, whose gradient is
    that of the mean of their style losses. Raises VggError, PictureError, OptimiseError.
    """

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device,
        paintings: list[Painting] | None = None,
        grams: dict[str, Array] | None = None,
    ) -> None:
        self.recipe, self.device = recipe, device
        self.paintings, self.grams = paintings or [], grams or {}
        assert recipe.objective is not None
        self.objective = recipe.objective
        for painting in self.paintings:
            _check_painting(painting)
        self.vgg = load_vgg(self.objective.backbone, self.objective.vgg).to(device)
        self.vgg.check_layers(self.objective.layers)
        self.vgg.to(memory_format=torch.channels_last)
        total = sum(painting.share for painting in self.paintings) or 1.0
        self.shares = [painting.share / total for painting in self.paintings]
        self._loss: PerceptualLoss | None = None
        if isinstance(self.objective, Objective):
            for painting in self.paintings:
                size_wh = fit_long_side(size_of(painting.bgr), self.objective.style_size)
                self.check_size(size_wh, f"painting {painting.name}")

    def make(self, content: Tensor, mask: Tensor | None = None) -> Goal:
        """Return the objective of `content` (1, 3, H, W), RGB, 0..255, grey where colour is kept."""
        if isinstance(self.objective, Objective):
            loss = self._trainer_loss(content)
            wanted = loss.content_features(content)
            return lambda rgb: LossTerms(*(term.sum() for term in loss.per_picture(rgb, wanted, mask=mask)))
        size_wh = (content.shape[3], content.shape[2])
        paintings = [self._tensor(resize(each.bgr, size_wh), content) for each in self.paintings]
        return ClassicGoal(self.vgg, self.objective, content, paintings, self.shares, mask)

    def style_digest(self) -> str:
        """Return what tells the paintings, or the Gram matrices, from others."""
        return digest(*(painting.bgr for painting in self.paintings), *self.grams.values())

    def check_size(self, size_wh: tuple[int, int], what: str) -> None:
        """Raise OptimiseError where a picture is too small for the deepest layer of the objective."""
        least, deepest = smallest_side(self.objective.layers)
        if min(size_wh) < least:
            raise OptimiseError(
                f"{what} is too small at {size_wh[0]}x{size_wh[1]}: the layer {deepest} needs {least} px",
                "choose a larger --size (--style-size for a painting), or layers less deep",
            )

    def _trainer_loss(self, content: Tensor) -> PerceptualLoss:
        # Grey paintings are matched to each content anew; colour ones are looked at once.
        if self._loss is None or (self.recipe.keep_color and self.paintings):
            self._loss = self._new_trainer_loss(content)
        return self._loss

    def _new_trainer_loss(self, content: Tensor) -> PerceptualLoss:
        goal = self.objective
        assert isinstance(goal, Objective)
        if not self.paintings:
            targets = {layer: torch.from_numpy(gram).float() for layer, gram in self.grams.items()}
            goal = replace(goal, style_weight=goal.style_weight[:1])
            return PerceptualLoss(self.vgg, goal, {k: v[:1] for k, v in targets.items()}).to(self.device)
        sizes = [fit_long_side(size_of(each.bgr), goal.style_size) for each in self.paintings]
        tensors = [
            self._tensor(resize(each.bgr, size_wh), content)
            for each, size_wh in zip(self.paintings, sizes, strict=True)
        ]
        with torch.autocast(self.device.type, enabled=False):
            each_style = style_targets(self.vgg, goal, tensors)
        shares = torch.tensor(self.shares, device=self.device).view(-1, 1, 1)
        mixed = {layer: (shares * grams).sum(0, keepdim=True) for layer, grams in each_style.items()}
        return PerceptualLoss(self.vgg, goal, mixed).to(self.device)

    def _tensor(self, bgr: Pixels, content: Tensor) -> Tensor:
        rgb = to_tensor(bgr).to(self.device)
        return match_luminance(to_grey(rgb), content) if self.recipe.keep_color else rgb


def digest(*arrays: NDArray[Any]) -> str:
    """Return a sha256 over the shapes and numbers of pictures or matrices."""
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(f"{array.shape} {array.dtype}".encode() + array.tobytes())
    return whole.hexdigest()


def match_luminance(painting: Tensor, content: Tensor) -> Tensor:
    """Return a grey painting with the mean and deviation of the grey content (Gatys et al. 2016b, sec. 3)."""
    spread = content.std() / painting.std().clamp(min=1e-6)
    return (painting - painting.mean()) * spread + content.mean()


def _check_painting(painting: Painting) -> None:
    if painting.bgr.reshape(-1, 3).std(0).max() < FLATTEST:
        raise PictureError(
            f'style image "{painting.name}" is of one colour: there is no style in it',
            "name a painting with texture",
        )
