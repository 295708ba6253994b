"""The form in which a net leaves the trainer: bytes in, bytes out, BGR, any size."""

from __future__ import annotations

import copy
import warnings
from typing import Optional

import torch
from torch import Tensor, nn

from stylecam.neural.transformer import NetSpec, TransformerNet
from stylecam.styles import Style


class DeployableNet(nn.Module):
    """A transform net with the conversions around it, so that no caller has to write them.

    The channel order is swapped in the first and the last convolution, which costs nothing.
    """

    def __init__(self, net: TransformerNet) -> None:
        super().__init__()
        self.net = swap_channels(net)

    def forward(self, frames: Tensor, style: Optional[Tensor] = None) -> Tensor:  # noqa: UP045 (TorchScript)
        """`frames` is uint8 (N, H, W, 3) BGR, and so is the result; `style` is (1, styles)."""
        y = self.net.uncropped(frames.permute(0, 3, 1, 2), style).round().clamp(0, 255)
        # Cropped last of all: an operation on the cropped tensor would make torch.export
        # assume that the sizes are multiples of 4, or that they are not.
        return y.to(torch.uint8).permute(0, 2, 3, 1)[:, : frames.shape[1], : frames.shape[2]]


def swap_channels(net: TransformerNet) -> TransformerNet:
    """Return a copy for BGR of a net for RGB, or the reverse."""
    net = copy.deepcopy(net).eval().requires_grad_(False)
    flips = (("down.0.conv.weight", 1), ("paint.weight", 0), ("paint.bias", 0))
    net.load_state_dict(net.state_dict() | {name: net.get_parameter(name).flip(dim) for name, dim in flips})
    return net


def load_net(style: Style) -> TransformerNet:
    """Rebuild the RGB torch net of a weights file, in fp32 on the CPU."""
    net = TransformerNet(NetSpec.from_card(style.card["net"]))
    net.load_state_dict({name: torch.from_numpy(array) for name, array in style.arrays.items()})
    return swap_channels(net)


def script(deployable: DeployableNet) -> torch.jit.ScriptModule:
    """Compile to TorchScript; its deprecation warning is silenced, for .pt2 is offered beside it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        return torch.jit.script(deployable)
