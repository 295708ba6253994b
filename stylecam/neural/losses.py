"""The objective that the trainer and the slow path share (Gatys et al. 2016, Johnson et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylecam.errors import TrainError
from stylecam.neural.options import Objective
from stylecam.neural.vgg import Vgg


class LossTerms(NamedTuple):
    """The three weighted terms, each a scalar (or one number per picture)."""

    content: Tensor
    style: Tensor
    tv: Tensor

    @property
    def total(self) -> Tensor:
        """What the optimiser lowers."""
        return self.content + self.style + self.tv


def gram_matrix(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the channel co-activation matrix that stands for style.

    `features` is (N, C, H, W); the result is (N, C, C) in fp32, divided by C*H*W so that
    layers and pictures of different size share one weight (Johnson et al. 2016, sec. 3.2).
    `mask` (1, 1, any H, any W), 0..1 and somewhere above 0, says how much each place counts: a guided
    Gram matrix (Gatys et al. 2017, sec. 4), of the same measure as one without a guide.
    """
    n, c, h, w = features.shape
    if mask is not None:
        guide = F.interpolate(mask, (h, w), mode="area")
        features = features * (guide / guide.square().mean().sqrt())
    # In bf16 or fp16 this sum over H*W overflows or loses its digits, even under autocast.
    with torch.autocast(features.device.type, enabled=False):
        flat = features.reshape(n, c, h * w).float()
        return flat @ flat.mT / (c * h * w)


def total_variation(rgb: Tensor) -> Tensor:
    """Return, per picture, the mean squared difference of neighbours of `rgb` (N, 3, H, W), 0..255."""
    return across(rgb).square().mean((1, 2, 3)) + down(rgb).square().mean((1, 2, 3))


def across(rgb: Tensor) -> Tensor:
    """Return the differences of horizontal neighbours, (N, 3, H, W - 1)."""
    return rgb[..., :, 1:] - rgb[..., :, :-1]


def down(rgb: Tensor) -> Tensor:
    """Return the differences of vertical neighbours, (N, 3, H - 1, W)."""
    return rgb[..., 1:, :] - rgb[..., :-1, :]


def cell_pattern(rgb: Tensor, cell: int = 8, window: int = 16) -> Tensor:
    """Return, per picture, how much a pattern of `cell` x `cell` px shows in `rgb` (N, 3, H, W), 0..255.

    In windows of `window` cells square (fewer in a small picture) each place in a cell has its mean; these
    must not differ. A net that works on cells can only give texture to a plain wall by painting every
    cell alike, or every second one: of 8 px are the coarser cells, or two of the finer ones. The
    full net's body has such cells too, of 4 px. A part of a cell at the right or the bottom is left out.
    """
    height, width = (side - side % cell for side in rgb.shape[2:])
    laid = F.pixel_unshuffle(rgb[..., :height, :width], cell)
    window = min(window, *laid.shape[2:])
    places = F.avg_pool2d(laid, window, max(1, window // 2))
    spread: Tensor = places.unflatten(1, (rgb.shape[1], cell * cell)).var(2)
    return spread.mean((1, 2, 3))


def style_targets(vgg: Vgg, objective: Objective, paintings: list[Tensor]) -> dict[str, Tensor]:
    """Return each style layer's Gram matrices of the paintings, (styles, C, C) in fp32.

    Each painting is (1, 3, H, W), RGB, 0..255, already at the objective's style size.
    """
    with torch.no_grad():
        features = [vgg(painting, objective.style_layers) for painting in paintings]
        return {
            layer: torch.cat([gram_matrix(found[layer]) for found in features])
            for layer in objective.style_layers
        }


def per_style(numbers: Sequence[float], styles: int, what: str) -> Tensor:
    """Return one number for each of so many styles, of one for all or one for each. Raises TrainError."""
    if len(numbers) not in (1, styles):
        raise TrainError(f"{len(numbers)} {what} for {styles} paintings", "give one for all, or one for each")
    return torch.tensor(numbers).expand(styles).clone()


class PerceptualLoss(nn.Module):
    """Compare pictures with their contents and with the paintings' Gram matrices."""

    def __init__(self, vgg: Vgg, objective: Objective, targets: dict[str, Tensor]) -> None:
        super().__init__()
        self.vgg, self.objective = vgg, objective
        paintings = len(next(iter(targets.values())))
        self.register_buffer("style_weight", per_style(objective.style_weight, paintings, "style weights"))
        for layer, target in targets.items():
            self.register_buffer(f"target_{layer}", target)

    def content_features(self, rgb: Tensor) -> Tensor:
        """Return what the content term compares with, without gradients."""
        layer = self.objective.content_layer
        with torch.no_grad():
            found: Tensor = self.vgg(rgb, (layer,))[layer]
        return found

    def per_picture(
        self, rgb: Tensor, content: Tensor, styles: Tensor | None = None, mask: Tensor | None = None
    ) -> LossTerms:
        """Return the weighted terms of each of N pictures, each (N,) in fp32.

        `rgb` is (N, 3, H, W) in 0..255, `content` comes from `content_features`, and
        `styles` (N,) says which painting each picture is to look like, None the first. `mask` says
        where, as in `gram_matrix`; None everywhere.
        """
        goal, found = self.objective, self.vgg(rgb, self.objective.layers)
        difference = found[goal.content_layer].float() - content.float()
        weights: Tensor = self.get_buffer("style_weight")
        weight = weights[:1] if styles is None else weights[styles]
        style = torch.zeros(len(rgb), device=rgb.device)
        for layer in goal.style_layers:
            target: Tensor = getattr(self, f"target_{layer}")
            wanted = target[:1] if styles is None else target[styles]
            style = style + (gram_matrix(found[layer], mask) - wanted).square().mean((1, 2))
        return LossTerms(
            goal.content_weight * difference.square().mean((1, 2, 3)),
            weight * style,
            goal.tv_weight * total_variation(rgb.float()),
        )

    def forward(self, rgb: Tensor, original: Tensor, styles: Tensor | None = None) -> LossTerms:
        """Return the terms of a batch of stylized `rgb` of `original`, averaged over it."""
        terms = self.per_picture(rgb, self.content_features(original), styles)
        return LossTerms(*(term.mean() for term in terms))
