"""The nets that paint: Johnson et al. 2016's, and a faster one that works at a quarter of the size.

Both use the instance norm of Ulyanov et al. 2016. With several styles each instance norm holds one
scale and shift per style and channel (conditional instance norm, Dumoulin et al. 2017); a vector of
style weights mixes them. A fixed noise in front of one norm (`FixedNoise`) keeps plain walls still.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, replace
from typing import Any, Optional, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylecam.errors import TrainError

UPSAMPLINGS = ("nearest", "transposed")
CELL = 4
"""Both nets do most of their work on cells of so many pixels square."""


@dataclass(frozen=True)
class NetSpec:
    """All it takes to build a net: what a weights file says of itself under `net`.

    `kind` is "full" (`TransformerNet`) or "fast", which has no upsampling to choose; `grids` tells a fast net
    of one grid of cells (`CellNet`, as files say that say nothing) from one of two (`CellUNet`). `noise` says
    whether there is a `FixedNoise` (files that say nothing have none).
    """

    kind: str = "full"
    width: float = 1.0
    styles: int = 1
    upsampling: str = "nearest"
    grids: int = 1
    noise: bool = False

    def __post_init__(self) -> None:
        grids = (1, 2) if self.kind == "fast" else (1,)
        known = {"kind": ("full", "fast"), "upsampling": UPSAMPLINGS, "grids": grids}
        for field, values in known.items():
            if getattr(self, field) not in values:
                value = getattr(self, field)
                raise TrainError(f"net {field} {value!r} is unknown", f"known: {', '.join(map(str, values))}")
        if not (0.1 <= self.width <= 4 and 1 <= self.styles <= 64):
            raise TrainError(
                f"a net of width {self.width} for {self.styles} styles is out of range",
                "width lies between 0.1 and 4, the number of styles between 1 and 64",
            )

    @classmethod
    def from_card(cls, net: dict[str, Any]) -> NetSpec:
        """Rebuild the spec from a model card's `net` object."""
        return cls(**{name: net[name] for name in cls.__dataclass_fields__ if name in net})

    def channels(self, *counts: int) -> list[int]:
        """Return so many channels, times the width."""
        return [max(1, round(count * self.width)) for count in counts]

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
        scale, shift = style @ self.weight, style @ self.bias
        if style.shape[0] == 1:  # one look for the whole batch, as engines have it, is an operation less
            return F.instance_norm(x.float(), weight=scale[0].float(), bias=shift[0].float()).to(x.dtype)
        normal = F.instance_norm(x.float()).to(x.dtype)
        return normal * scale[:, :, None, None] + shift[:, :, None, None]


class FixedNoise(nn.Module):
    """Add noise, each channel its own mixture, that is the same in every frame.

    On a plain wall a net has nothing to tell it where to put a stroke but the noise of the camera, which is
    another in each frame: it paints strokes that dance. Here it finds one that stays. (The noise of Karras et
    al. 2019, sec. 3.2, with strengths that are learned, but never drawn anew.)
    """

    KINDS = 4
    SIDE = 64
    """In places; beyond, the noise repeats itself."""

    def __init__(self, channels: int, strength: float) -> None:
        """`strength` is the standard deviation of its numbers before training, which hardly changes it."""
        super().__init__()
        drawn = torch.randn(1, self.KINDS, self.SIDE, self.SIDE, generator=torch.Generator().manual_seed(0))
        self.pattern: Tensor
        self.register_buffer("pattern", drawn)
        self.conv = nn.Conv2d(self.KINDS, channels, 1, bias=False)
        nn.init.normal_(self.conv.weight, std=strength)

    def forward(self, x: Tensor) -> Tensor:
        """`x` is (N, C, H, W)."""
        rows = torch.arange(x.shape[2], device=x.device) % self.pattern.shape[2]
        columns = torch.arange(x.shape[3], device=x.device) % self.pattern.shape[3]
        noise = self.pattern.index_select(2, rows).index_select(3, columns)
        mixed: Tensor = self.conv(noise.to(self.conv.weight.dtype))
        return x + mixed.to(x.dtype)


class ConvNorm(nn.Module):
    """Reflection pad, convolve, add a fixed noise where asked, normalise, and rectify where asked."""

    def __init__(
        self,
        ins: int,
        outs: int,
        kernel: int,
        styles: int,
        stride: int = 1,
        relu: bool = True,
        noise: float = 0.0,
    ) -> None:
        super().__init__()
        # The norm that follows takes every channel's mean away, so a bias would do nothing.
        self.conv = nn.Conv2d(
            ins, outs, kernel, stride, padding=kernel // 2, bias=False,
            padding_mode="reflect" if kernel > 1 else "zeros",  # no operation for nothing
        )  # fmt: skip
        self.noise = FixedNoise(outs, noise) if noise else nn.Identity()
        self.norm = InstanceNorm(outs, styles)
        self.relu = relu

    def forward(self, x: Tensor, style: Optional[Tensor]) -> Tensor:  # noqa: UP045
        x = self.norm(self.noise(self.conv(x)), style)
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


class StyleNet(nn.Module):
    """Map photographs to paintings in one pass: what the full and the fast net have in common.

    Input and output are float (N, 3, H, W), RGB, 0..255, of the same size for any H and W of at
    least 16: inside, a size is rounded up to whole cells, and the surplus is cut off the end.
    """

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, rgb: Tensor, style: Optional[Tensor] = None) -> Tensor:  # noqa: UP045
        """`style` is (N or 1, styles), needed where the net has more than one."""
        return self.uncropped(rgb, style)[:, :, : rgb.shape[2], : rgb.shape[3]]

    def uncropped(self, rgb: Tensor, style: Optional[Tensor] = None) -> Tensor:  # noqa: UP045
        """Paint as `forward` does, up to 7 px larger: each side rounded up to whole cells."""
        raise NotImplementedError

    def swap_channels(self) -> None:
        """Turn a net for RGB into one for BGR, or back, in place, which costs nothing when it runs."""
        raise NotImplementedError

    def roll_noise(self, rng: np.random.Generator) -> None:
        """Move a net's fixed noise, round its ends, in place: training shows each part of it everywhere."""
        for noise in self._noises():
            down, right = rng.integers(0, FixedNoise.SIDE, 2).tolist()
            noise.pattern.copy_(torch.roll(noise.pattern, (down, right), (2, 3)))

    def take_noise(self, other: StyleNet) -> None:
        """Take over where another net's fixed noise is, in place, if both have some."""
        for mine, its in zip(self._noises(), other._noises(), strict=False):
            mine.pattern.copy_(its.pattern)

    def _noises(self) -> list[FixedNoise]:
        return [module for module in self.modules() if isinstance(module, FixedNoise)]

    def with_styles(self, weight: Tensor) -> Self:
        """Return a copy whose styles are mixtures of this net's: `weight` is (new, styles).

        A row of ones and zeros picks a style; with one row the copy is a net of a single style.
        """
        spec = replace(self.spec, styles=len(weight))
        made = type(self)(spec)
        state = self.state_dict()
        for name, module in self.named_modules():
            if isinstance(module, InstanceNorm):
                for part in ("weight", "bias"):
                    mixed = weight @ state[f"{name}.{part}"].reshape(self.spec.styles, -1)
                    state[f"{name}.{part}"] = mixed[0] if spec.styles == 1 else mixed
        made.load_state_dict(state)
        return made


class TransformerNet(StyleNet):
    """The full net: Johnson et al. 2016's, but for the upsampling."""

    def __init__(self, spec: NetSpec) -> None:
        super().__init__(spec)
        a, b, c = spec.channels(32, 64, 128)
        n = spec.styles
        self.down = nn.ModuleList(
            [
                ConvNorm(3, a, 9, n),
                ConvNorm(a, b, 3, n, stride=2),
                ConvNorm(b, c, 3, n, stride=2, noise=0.1 * spec.noise),
            ]
        )
        self.body = nn.ModuleList([Residual(c, n) for _ in range(5)])
        self.up = nn.ModuleList([Upsample(c, b, n, spec.upsampling), Upsample(b, a, n, spec.upsampling)])
        self.paint = nn.Conv2d(a, 3, 9, padding=4, padding_mode="reflect")

    def uncropped(self, rgb: Tensor, style: Optional[Tensor] = None) -> Tensor:  # noqa: UP045
        """See `StyleNet.uncropped`."""
        # Both ends in fp32 even where the net is in half precision: bf16 rounds 127.5 +- 1 away.
        x = (rgb.float() / 127.5 - 1).to(self.paint.weight.dtype)
        for down in self.down:
            x = down(x, style)
        for residual in self.body:
            x = residual(x, style)
        for up in self.up:
            x = up(x, style)
        return torch.tanh(self.paint(x)).float() * 127.5 + 127.5

    def swap_channels(self) -> None:
        """See `StyleNet.swap_channels`."""
        state = self.state_dict()
        for name, dim in (("down.0.conv.weight", 1), ("paint.weight", 0), ("paint.bias", 0)):
            state[name].copy_(state[name].flip(dim))


class CellNet(StyleNet):
    """A fast net: every convolution sees cells of 4 x 4 pixels, laid behind each other as channels.

    (Shi et al. 2016, sec. 3.2, both ways.) A frame of 1280 x 720 is a grid of 320 x 180, small
    enough for two CPU cores, and 3 x 3 cells reach as far as the full net's first layers do.
    """

    def __init__(self, spec: NetSpec, channels: int = 64, inner: int = 64, multiple: int = CELL) -> None:
        super().__init__(spec)
        channels, inner = spec.channels(channels, inner)
        self.cell, self.multiple, pixels = CELL, multiple, 3 * CELL * CELL  # TorchScript sees no globals
        self.enter = ConvNorm(pixels, channels, 3, spec.styles, noise=0.25 * spec.noise)
        self.body = nn.ModuleList([Residual(inner, spec.styles) for _ in range(4)])
        self.paint = nn.Conv2d(channels, pixels, 3, padding=1, padding_mode="reflect")

    def uncropped(self, rgb: Tensor, style: Optional[Tensor] = None) -> Tensor:  # noqa: UP045
        """See `StyleNet.uncropped`."""
        h, w = rgb.shape[2], rgb.shape[3]
        x = (rgb.float() / 127.5 - 1).to(self.paint.weight.dtype)
        x = F.pad(x, [0, -w % self.multiple, 0, -h % self.multiple], mode="reflect")
        x = self.inside(self.enter(F.pixel_unshuffle(x, self.cell), style), style)
        return torch.tanh(F.pixel_shuffle(self.paint(x), self.cell)).float() * 127.5 + 127.5

    def inside(self, x: Tensor, style: Optional[Tensor]) -> Tensor:  # noqa: UP045
        """Turn the features of a photograph's cells into those of the painting's."""
        for residual in self.body:
            x = residual(x, style)
        return x

    def swap_channels(self) -> None:
        """See `StyleNet.swap_channels`."""
        state = self.state_dict()
        for name, dim in (("enter.conv.weight", 1), ("paint.weight", 0), ("paint.bias", 0)):
            colours = state[name].unflatten(dim, (3, CELL * CELL))
            state[name].copy_(colours.flip(dim).flatten(dim, dim + 1))


class CellUNet(CellNet):
    """The fast net: a coarser grid, of cells of 8 x 8 pixels, does the work, the finer one keeps the detail.

    (Ronneberger et al. 2015, with one step down.) There a convolution of 96 channels costs little more than
    half of one of 64 on the finer grid, and reaches twice as far. On the way back each of a coarse cell's
    four fine ones has features of its own (Shi et al. 2016), so that an edge need not step where it ends.
    """

    def __init__(self, spec: NetSpec) -> None:
        super().__init__(spec, 32, 96, 2 * CELL)
        fine, coarse = spec.channels(32, 96)
        self.down = ConvNorm(fine, coarse, 3, spec.styles, stride=2)
        self.up = ConvNorm(coarse, 4 * fine, 1, spec.styles)
        self.join = ConvNorm(fine, fine, 3, spec.styles, relu=False)

    def inside(self, x: Tensor, style: Optional[Tensor]) -> Tensor:  # noqa: UP045
        """See `CellNet.inside`."""
        coarse = self.down(x, style)
        for residual in self.body:
            coarse = residual(coarse, style)
        joined: Tensor = x + self.join(F.pixel_shuffle(self.up(coarse, style), 2), style)
        return joined

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        """Take also what gave the four fine cells of a coarse one the same features (nearest neighbour)."""
        for name, own in self.up.state_dict(prefix=f"{prefix}up.").items():
            dim = 0 if name.endswith("conv.weight") else -1
            if name in state and 4 * state[name].shape[dim] == own.shape[dim]:
                state[name] = state[name].repeat_interleave(4, dim)
        super()._load_from_state_dict(state, prefix, *rest)


def build_net(spec: NetSpec) -> StyleNet:
    """Return a net of that kind, with first weights."""
    if spec.kind == "full":
        return TransformerNet(spec)
    return CellNet(spec) if spec.grids == 1 else CellUNet(spec)


def swapped(net: StyleNet) -> StyleNet:
    """Return a copy for BGR of a net for RGB, or the reverse, ready to run."""
    net = copy.deepcopy(net).eval().requires_grad_(False)
    net.swap_channels()
    return net


def count_params(net: nn.Module) -> int:
    """Return the number of learned numbers."""
    return sum(parameter.numel() for parameter in net.parameters())
