"""The transform net of Johnson et al. 2016, with the instance norm of Ulyanov et al. 2016.

With several styles each instance norm holds one scale and shift per style and channel
(conditional instance norm, Dumoulin et al. 2017); a vector of style weights mixes them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylecam.errors import TrainError

UPSAMPLINGS = ("nearest", "transposed")


@dataclass(frozen=True)
class NetSpec:
    """All it takes to build a net: what a weights file says of itself under `net`."""

    kind: str = "full"
    width: float = 1.0
    styles: int = 1
    upsampling: str = "nearest"

    def __post_init__(self) -> None:
        known = {"kind": ("full",), "upsampling": UPSAMPLINGS}
        for field, values in known.items():
            if getattr(self, field) not in values:
                value = getattr(self, field)
                raise TrainError(f"net {field} {value!r} is unknown", f"known: {', '.join(values)}")
        if not (0.1 <= self.width <= 4 and 1 <= self.styles <= 64):
            raise TrainError(
                f"a net of width {self.width} for {self.styles} styles is out of range",
                "width lies between 0.1 and 4, the number of styles between 1 and 64",
            )

    @classmethod
    def from_card(cls, net: dict[str, Any]) -> NetSpec:
        """Rebuild the spec from a model card's `net` object."""
        return cls(**{name: net[name] for name in cls.__dataclass_fields__ if name in net})

    def to_card(self, params: int) -> dict[str, Any]:
        """Return the model card's `net` object."""
        return {**asdict(self), "params": params}


class InstanceNorm(nn.Module):
    """Normalise each channel of each picture, then scale and shift it by the style's numbers.

    The statistics are always taken in fp32: in half precision the squares overflow.
    """

    def __init__(self, channels: int, styles: int) -> None:
        super().__init__()
        self.single = styles == 1
        shape = (channels,) if self.single else (styles, channels)
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor, style: Optional[Tensor]) -> Tensor:  # noqa: UP045 (TorchScript)
        """`x` is (N, C, H, W); `style` (N or 1, styles) holds weights, None for a single style."""
        if self.single:
            return F.instance_norm(x.float(), weight=self.weight.float(), bias=self.bias.float()).to(x.dtype)
        assert style is not None
        scale = (style @ self.weight)[:, :, None, None]
        shift = (style @ self.bias)[:, :, None, None]
        return F.instance_norm(x.float()).to(x.dtype) * scale + shift


class ConvNorm(nn.Module):
    """Reflection pad, convolve, normalise, and rectify where asked."""

    def __init__(
        self, ins: int, outs: int, kernel: int, styles: int, stride: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        # The norm that follows takes every channel's mean away, so a bias would do nothing.
        self.conv = nn.Conv2d(
            ins, outs, kernel, stride, padding=kernel // 2, padding_mode="reflect", bias=False
        )
        self.norm = InstanceNorm(outs, styles)
        self.relu = relu

    def forward(self, x: Tensor, style: Optional[Tensor]) -> Tensor:  # noqa: UP045
        x = self.norm(self.conv(x), style)
        return F.relu(x) if self.relu else x


class Residual(nn.Module):
    """Two convolutions beside the identity, no rectifier after the sum (Gross and Wilber 2016)."""

    def __init__(self, channels: int, styles: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels, 3, styles)
        self.second = ConvNorm(channels, channels, 3, styles, relu=False)

    def forward(self, x: Tensor, style: Optional[Tensor]) -> Tensor:  # noqa: UP045
        changed: Tensor = self.second(self.first(x, style), style)
        return x + changed


class Upsample(nn.Module):
    """Double the size: nearest neighbour and a convolution, or a transposed convolution.

    Johnson used the transposed one; nearest leaves no checkerboard (Odena et al. 2016).
    """

    def __init__(self, ins: int, outs: int, styles: int, upsampling: str) -> None:
        super().__init__()
        self.transposed = upsampling == "transposed"
        self.conv: nn.Module
        if self.transposed:
            self.conv = nn.ConvTranspose2d(ins, outs, 3, 2, padding=1, output_padding=1, bias=False)
        else:
            self.conv = nn.Conv2d(ins, outs, 3, padding=1, padding_mode="reflect", bias=False)
        self.norm = InstanceNorm(outs, styles)

    def forward(self, x: Tensor, style: Optional[Tensor]) -> Tensor:  # noqa: UP045
        if not self.transposed:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        painted: Tensor = F.relu(self.norm(self.conv(x), style))
        return painted


class TransformerNet(nn.Module):
    """Map photographs to paintings in one pass.

    Input and output are float (N, 3, H, W), RGB, 0..255, of the same size for any H and W of
    at least 16: the strided convolutions round a size up, and the surplus is cut off the end.
    """

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        self.spec = spec
        a, b, c = (max(1, round(channels * spec.width)) for channels in (32, 64, 128))
        n = spec.styles
        self.down = nn.ModuleList(
            [ConvNorm(3, a, 9, n), ConvNorm(a, b, 3, n, stride=2), ConvNorm(b, c, 3, n, stride=2)]
        )
        self.body = nn.ModuleList([Residual(c, n) for _ in range(5)])
        self.up = nn.ModuleList([Upsample(c, b, n, spec.upsampling), Upsample(b, a, n, spec.upsampling)])
        self.paint = nn.Conv2d(a, 3, 9, padding=4, padding_mode="reflect")

    def forward(self, rgb: Tensor, style: Optional[Tensor] = None) -> Tensor:  # noqa: UP045
        """`style` is (N or 1, styles), needed where the net has more than one."""
        return self.uncropped(rgb, style)[:, :, : rgb.shape[2], : rgb.shape[3]]

    def uncropped(self, rgb: Tensor, style: Optional[Tensor] = None) -> Tensor:  # noqa: UP045
        """Paint as `forward` does, up to 3 px larger: each side rounded up to a multiple of 4."""
        # Both ends in fp32 even where the net is in half precision: bf16 rounds 127.5 +- 1 away.
        x = (rgb.float() / 127.5 - 1).to(self.paint.weight.dtype)
        for down in self.down:
            x = down(x, style)
        for residual in self.body:
            x = residual(x, style)
        for up in self.up:
            x = up(x, style)
        return torch.tanh(self.paint(x)).float() * 127.5 + 127.5


def count_params(net: nn.Module) -> int:
    """Return the number of learned numbers."""
    return sum(parameter.numel() for parameter in net.parameters())
