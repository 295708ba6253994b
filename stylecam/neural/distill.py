"""Learning from a net that can already paint (knowledge distillation, Hinton et al. 2015)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from stylecam.neural.losses import across, down
from stylecam.neural.transformer import StyleNet


class ImitationTerms(NamedTuple):
    """How far a pupil's pictures lie from its teacher's, each a scalar."""

    pixels: Tensor
    edges: Tensor


class Imitation(nn.Module):
    """Compare a pupil's pictures with the teacher's: absolute differences, of pixels and of edges.

    The second term keeps brush strokes sharp, which the first alone would average away.
    """

    def __init__(self, teacher: StyleNet) -> None:
        super().__init__()
        self.teacher = teacher.eval().requires_grad_(False)

    def forward(self, painted: Tensor, original: Tensor, mix: Tensor | None) -> ImitationTerms:
        """`painted` and `original` are (N, 3, H, W), RGB, 0..255; `mix` (N, styles) or None."""
        with torch.no_grad():
            wanted: Tensor = self.teacher(original, mix).float()
        painted = painted.float()
        edges = (across(painted) - across(wanted)).abs().mean() + (down(painted) - down(wanted)).abs().mean()
        return ImitationTerms((painted - wanted).abs().mean(), edges)
