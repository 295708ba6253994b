"""What an optimiser moves, and the picture that stands for: units, luminance alone, a mask."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stylecam.neural.vgg import TORCHVISION

LUMA = (0.299, 0.587, 0.114)
"""Rec. 601: the Y of the YIQ in which Gatys et al. 2016 ("Preserving color in neural artistic style
transfer") keep a photograph's colours."""

DEVIATION = 58.0
"""A photograph's, of 255 levels."""


def white_noise(size_wh: tuple[int, int], seed: int = 0) -> Tensor:
    """Return float (1, 3, H, W), RGB: noise about a mid grey, with the deviation of a photograph.

    From there Gatys et al. 2016 begin, and Johnson et al. 2016 (section 4.1) where they count iterations.
    """
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(127.5, DEVIATION, (1, 3, size_wh[1], size_wh[0]))).float()


def to_grey(rgb: Tensor) -> Tensor:
    """Return the luminance of `rgb` (N, 3, H, W) three times, in the same range."""
    luma = torch.tensor(LUMA, device=rgb.device).view(1, 3, 1, 1)
    return (rgb * luma).sum(1, keepdim=True).expand_as(rgb)


class Canvas:
    """Lead from pixels that an optimiser moves to a picture, and back.

    `content` is (1, 3, H, W), RGB, 0..255. With `keep_color` one luminance moves, what is judged is
    grey, and the finished picture has the content's colours. With `normalised` the pixels have
    ImageNet's mean 0 and deviation 1, so that a learning rate means what it does in tutorials. Where
    `mask` (1, 1, H, W), 0..1, is 0 the picture is the content. `deviation` is a photograph's, in pixels.
    """

    def __init__(
        self,
        content: Tensor,
        *,
        keep_color: bool = False,
        normalised: bool = False,
        mask: Tensor | None = None,
    ) -> None:
        self.content, self.keep_color, self.mask = content, keep_color, mask
        channels = (1, 3, 1, 1)
        mean, std = (
            255 * torch.tensor(values, device=content.device).view(channels)
            for values in (TORCHVISION.mean, TORCHVISION.std)
        )
        if keep_color:
            mean, std = mean.mean(1, keepdim=True), std.mean(1, keepdim=True)
        self.deviation = 1.0 if normalised else DEVIATION
        self._mean, self._std = (mean, std) if normalised else (torch.zeros_like(mean), torch.ones_like(std))

    @property
    def subject(self) -> Tensor:
        """The content as it is judged: grey where colour is kept."""
        return self.seen(self.content)

    def seen(self, rgb: Tensor) -> Tensor:
        """Return any picture of the content as it is judged here: grey, and the content off the mask."""
        return self._masked(to_grey(rgb) if self.keep_color else rgb)

    def pixels_of(self, rgb: Tensor) -> Tensor:
        """Return the pixels whose picture `rgb` (1, 3, H, W) is, contiguous as L-BFGS wants them."""
        x = to_grey(rgb)[:, :1] if self.keep_color else rgb
        # L-BFGS flattens with view(-1), which channels_last memory refuses.
        return ((x - self._mean) / self._std).contiguous()

    def picture(self, pixels: Tensor) -> Tensor:
        """Return what is judged, (1, 3, H, W), RGB, 0..255 and beyond; gradients go through."""
        return self._masked((pixels * self._std + self._mean).expand(-1, 3, -1, -1))

    def finished(self, judged: Tensor) -> Tensor:
        """Return a picture to look at: with `keep_color` the content's colours are put back."""
        return judged + (self.content - to_grey(self.content)) if self.keep_color else judged

    def _masked(self, judged: Tensor) -> Tensor:
        if self.mask is None:
            return judged
        content = to_grey(self.content) if self.keep_color else self.content
        return content + self.mask * (judged - content)
