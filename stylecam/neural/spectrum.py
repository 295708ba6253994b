"""The variables in which L-BFGS moves a picture: frequencies, the low ones weighted up."""

from __future__ import annotations

import torch
from torch import Tensor

EXPONENT = 0.3
"""Down to a hundredth of the classic's first objective, for two photographs and paintings at 128 px, L-BFGS
takes 22 and 14 evaluations with it, 31 and 20 in the pixels themselves; with 1 more than 40."""


class Spectrum:
    """Weigh the spatial frequencies f of pixels by f^-EXPONENT, and undo it.

    In pixels themselves the objective is far steeper along fine structure than along coarse, and L-BFGS
    spends its first steps on finding that out. A step in these variables moves coarse structure further
    (Olah et al. 2017, "Feature Visualization", call it preconditioning). `like` (1, C, H, W) tells size and
    device.
    """

    def __init__(self, like: Tensor) -> None:
        self._size = height, width = like.shape[2], like.shape[3]
        down = torch.fft.fftfreq(height, device=like.device)[:, None]
        across = torch.fft.rfftfreq(width, device=like.device)[None]
        # The mean colour, of frequency 0, goes with the longest wave.
        frequency = (down.square() + across.square()).sqrt().clamp(min=1 / max(height, width))
        self._weights = (2 * frequency) ** -EXPONENT

    def pixels(self, variables: Tensor) -> Tensor:
        """Return the pixels (1, C, H, W) of `variables` of that shape; linear, and its own transpose."""
        return self._weighted(variables, self._weights)

    def variables(self, pixels: Tensor) -> Tensor:
        """Undo `pixels`."""
        return self._weighted(pixels, 1 / self._weights)

    def _weighted(self, x: Tensor, weights: Tensor) -> Tensor:
        found: Tensor = torch.fft.irfft2(torch.fft.rfft2(x) * weights, s=self._size)
        return found
