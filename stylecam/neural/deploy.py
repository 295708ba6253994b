"""The form in which a net leaves the trainer: bytes in, bytes out, BGR, any size."""

from __future__ import annotations

import warnings
from typing import Optional

import torch
from torch import Tensor, nn

from stylecam.neural.transformer import NetSpec, StyleNet, build_net, swapped
from stylecam.styles import Style


class DeployableNet(nn.Module):
    """A transform net with the conversions around it, so that no caller has to write them.

    The channel order is swapped in the first and the last convolution, which costs nothing.
    """

    def __init__(self, net: StyleNet) -> None:
        super().__init__()
        self.net = swapped(net)

    def forward(self, frames: Tensor, style: Optional[Tensor] = None) -> Tensor:  # noqa: UP045 (TorchScript)
        """`frames` is uint8 (N, H, W, 3) BGR, and so is the result; `style` is (1, styles)."""
        y = self.net.uncropped(frames.permute(0, 3, 1, 2), style).round().clamp(0, 255)
        # Cropped last of all: an operation on the cropped tensor would make torch.export
        # assume that the sizes are multiples of 4, or that they are not.
        return y.to(torch.uint8).permute(0, 2, 3, 1)[:, : frames.shape[1], : frames.shape[2]]


def load_net(style: Style) -> StyleNet:
    """Rebuild the RGB torch net of a style (of one style, where the file holds several), fp32 on the CPU."""
    net = build_net(NetSpec.from_card(style.card["net"]))
    net.load_state_dict({name: torch.from_numpy(array) for name, array in style.arrays.items()})
    net = swapped(net)
    return net if style.mix is None else net.with_styles(torch.tensor([style.mix])).eval()


def script(deployable: DeployableNet) -> torch.jit.ScriptModule:
    """Compile to TorchScript; its deprecation warning is silenced, for .pt2 is offered beside it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        return torch.jit.script(deployable)
