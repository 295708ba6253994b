"""Learning from a net that can already paint: all it does (Hinton et al. 2015), or its tones alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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


class Tones(nn.Module):
    """Hold a net to the tones of the one it began as: to the mean colours of its paintings, place by place.

    A net given something new (a fixed noise, say) goes looking for Gram matrices a little nearer the
    painting's, and may find them by flecks that glow on a white wall, or by dropping the darks.
    """

    SIDE = 16
    """Of the squares whose means are compared, in pixels: larger than strokes, smaller than flecks."""

    def __init__(self, origin: StyleNet) -> None:
        super().__init__()
        self.origin = origin.eval().requires_grad_(False)

    def forward(self, painted: Tensor, original: Tensor, mix: Tensor | None) -> Tensor:
        """Return the mean squared difference of the means; arguments as in `Imitation`."""
        with torch.no_grad():
            wanted: Tensor = self.origin(original, None if self.origin.spec.styles == 1 else mix).float()
        means = F.avg_pool2d(painted.float() - wanted, self.SIDE, self.SIDE // 2)
        return means.square().mean()
