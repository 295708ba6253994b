"""The ordinary style transfer (Gatys et al. 2015/16), in the tutorials' form and in the papers'."""

from __future__ import annotations

import torch
from torch import Tensor

from stylecam.neural.losses import LossTerms, gram_matrix, total_variation
from stylecam.neural.recipe import ClassicObjective
from stylecam.neural.vgg import CAFFE, Vgg

CAFFE_SCALE = 255 * 0.225
"""Caffe's nets see 0..255 where torchvision's see deviations of about 0.225 of 0..1: so much larger
are their features, and divided by it the weights 1 and 1e6 keep their meaning."""


class ClassicGoal:
    """The objective of one content image and a mixture of paintings.

    `content` and the paintings are (1, 3, H, W), RGB, 0..255; in the classic all have one size.
    `shares` add up to 1. `mask` says where style is wanted, as in `gram_matrix`.
    """

    def __init__(
        self,
        vgg: Vgg,
        objective: ClassicObjective,
        content: Tensor,
        paintings: list[Tensor],
        shares: list[float],
        mask: Tensor | None = None,
    ) -> None:
        self.vgg, self.objective, self.mask = vgg, objective, mask
        self.scale = CAFFE_SCALE if vgg.convention == CAFFE else 1.0
        with torch.no_grad():
            found = self._features(content, (objective.content_layer,))
            self.content = found[objective.content_layer]
            self.targets = {layer: torch.zeros(()) for layer in objective.style_layers}
            for painting, share in zip(paintings, shares, strict=True):
                features = self._features(painting, objective.style_layers)
                for layer in objective.style_layers:
                    self.targets[layer] = self.targets[layer] + share * self._gram(features[layer])

    def __call__(self, rgb: Tensor) -> LossTerms:
        """Return the weighted terms, scalars in fp32, of one picture (1, 3, H, W) in 0..255."""
        goal, found = self.objective, self._features(rgb, self.objective.layers)
        difference = found[goal.content_layer] - self.content
        content = difference.square().sum() / 2 if goal.form == "paper" else difference.square().mean()
        style = torch.zeros((), device=rgb.device)
        for layer in goal.style_layers:
            style = style + goal.weight_of(layer) * self._distance(layer, found[layer])
        tv = total_variation(rgb.float()).sum()
        return LossTerms(goal.content_weight * content, goal.style_weight * style, goal.tv_weight * tv)

    def _features(self, rgb: Tensor, layers: tuple[str, ...]) -> dict[str, Tensor]:
        return {name: value.float() / self.scale for name, value in self.vgg(rgb, layers).items()}

    def _gram(self, features: Tensor) -> Tensor:
        return gram_matrix(features, self.mask) * features[0].numel()

    def _distance(self, layer: str, features: Tensor) -> Tensor:
        _, n, h, w = features.shape
        squares = (self._gram(features) - self.targets[layer]).square()
        if self.objective.form == "paper":
            return squares.sum() / (4 * n**2 * (h * w) ** 2)  # Gatys et al. 2016, eq. 4
        return squares.mean() / (n * h * w)
