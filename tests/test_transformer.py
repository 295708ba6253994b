from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from nets import KINDS, THIRDS, make_net
from torch import Tensor
from torch.nn import functional as F

from stylecam.errors import TrainError
from stylecam.neural.transformer import (
    FixedNoise,
    InstanceNorm,
    NetSpec,
    StyleNet,
    build_net,
    count_params,
    swapped,
)

ALL_KINDS = (*KINDS, "cells")
MIXES = [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], THIRDS]
SIZES_HW = [(16, 16), (16, 17), (18, 19), (33, 47), (64, 50)]


class ByHand:
    """The parts of a net written out."""

    def __init__(self, numbers: dict[str, Tensor]) -> None:
        self.numbers = numbers

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.numbers[f"{name}.weight"]
        x = F.pad(x, [weight.shape[2] // 2] * 4, mode="reflect")
        return F.conv2d(x, weight, self.numbers.get(f"{name}.bias"), stride)

    def conv_norm(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        x = self.conv(x, f"{name}.conv", stride)
        if f"{name}.noise.pattern" in self.numbers:
            x = x + self.noise(x.shape[2:], f"{name}.noise")
        mean = x.mean((2, 3), keepdim=True)
        x = (x - mean) / ((x - mean).square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
        scale, shift = (self.numbers[f"{name}.norm.{part}"].view(1, -1, 1, 1) for part in ("weight", "bias"))
        scaled: Tensor = x * scale + shift
        return scaled

    def noise(self, size_hw: Sequence[int], name: str) -> Tensor:
        pattern, weight = self.numbers[f"{name}.pattern"], self.numbers[f"{name}.conv.weight"]
        pattern = pattern.tile((3, 3))[:, :, : size_hw[0], : size_hw[1]]
        return torch.einsum("nkhw,ck->nchw", pattern, weight[:, :, 0, 0])

    def residual(self, x: Tensor, name: str) -> Tensor:
        return x + self.conv_norm(self.conv_norm(x, f"{name}.first").clamp(min=0), f"{name}.second")


def full_by_hand(numbers: dict[str, Tensor], rgb: Tensor) -> Tensor:
    """Johnson's net, for sides that are multiples of 4."""
    hand, x = ByHand(numbers), rgb / 127.5 - 1
    for index, stride in ((0, 1), (1, 2), (2, 2)):
        x = hand.conv_norm(x, f"down.{index}", stride).clamp(min=0)
    for index in range(5):
        x = hand.residual(x, f"body.{index}")
    for index in range(2):
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        x = hand.conv_norm(x, f"up.{index}").clamp(min=0)
    return hand.conv(x, "paint").tanh() * 127.5 + 127.5


def cells_by_hand(numbers: dict[str, Tensor], rgb: Tensor) -> Tensor:
    """The net on cells of 4 x 4 pixels, for sides that are multiples of 4, with two grids of 8."""
    hand, x = ByHand(numbers), rgb / 127.5 - 1
    n, _, h, w = x.shape
    x = x.reshape(n, 3, h // 4, 4, w // 4, 4).permute(0, 1, 3, 5, 2, 4).reshape(n, 48, h // 4, w // 4)
    x = kept = hand.conv_norm(x, "enter").clamp(min=0)
    two = "down.conv.weight" in hand.numbers
    if two:
        x = hand.conv_norm(x, "down", 2).clamp(min=0)
    for index in range(4):
        x = hand.residual(x, f"body.{index}")
    if two:
        x = hand.conv_norm(x, "up").clamp(min=0)
        if x.shape[1] == kept.shape[1]:
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        else:
            x = x.reshape(n, -1, 2, 2, h // 8, w // 8).permute(0, 1, 4, 2, 5, 3).reshape(kept.shape)
        x = kept + hand.conv_norm(x, "join")
    x = hand.conv(x, "paint").reshape(n, 3, 4, 4, h // 4, w // 4).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(n, 3, h, w).tanh() * 127.5 + 127.5


@pytest.mark.parametrize(
    ("kind", "by_hand"), [("full", full_by_hand), ("fast", cells_by_hand), ("cells", cells_by_hand)]
)
@pytest.mark.parametrize("size_hw", [(32, 24), (16, 520)])
def test_it_is_the_net_it_says(
    kind: str, by_hand: Callable[[dict[str, Tensor], Tensor], Tensor], size_hw: tuple[int, int]
) -> None:
    net, rgb = make_net(kind=kind), torch.rand(2, 3, *size_hw) * 255
    torch.testing.assert_close(net(rgb), by_hand(net.state_dict(), rgb), rtol=1e-3, atol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_the_noise_is_the_same_in_every_frame_and_for_every_picture(kind: str) -> None:
    net, rgb = make_net(kind=kind), torch.rand(1, 3, 32, 24) * 255
    painted = net(rgb.expand(2, 3, 32, 24))
    torch.testing.assert_close(painted[0], painted[1])
    torch.testing.assert_close(net(rgb)[0], painted[0], rtol=0, atol=0.01)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_on_a_plain_wall_one_place_differs_from_the_next_with_noise_alone(kind: str) -> None:
    wall = torch.full((1, 3, 128, 128), 120.0)
    without = build_net(replace(make_net(kind=kind).spec, noise=False)).eval()
    off = [
        net(wall)[..., 56:64, 56:64] - net(wall)[..., 56:64, 64:72] for net in (without, make_net(kind=kind))
    ]
    assert float(off[0].abs().max()) < 0.05
    assert float(off[1].abs().mean()) > 5


@pytest.mark.parametrize("kind", KINDS)
def test_the_noise_is_moved_in_place_and_round_its_ends(kind: str) -> None:
    net, rgb = make_net(kind=kind), torch.rand(1, 3, 64, 64) * 255
    before, painted = net.state_dict(), net(rgb)
    (name,) = (name for name in before if name.endswith(".pattern"))
    first = before[name].clone()
    net.roll_noise(np.random.default_rng(0))
    rolled = net.state_dict()[name]
    down, right = np.random.default_rng(0).integers(0, FixedNoise.SIDE, 2)
    assert (down, right) != (0, 0)
    assert torch.equal(rolled[:, :, down, right], first[:, :, 0, 0])
    assert torch.equal(rolled, first.roll((int(down), int(right)), (2, 3)))
    assert float((net(rgb) - painted).abs().max()) > 1
    for other in KINDS:
        taken = make_net(kind=other)
        taken.take_noise(net)
        assert [torch.equal(v, rolled) for n, v in taken.named_buffers() if n.endswith(".pattern")] == [True]
    none = make_net(kind="cells")
    none.roll_noise(np.random.default_rng(0))
    none.take_noise(net)
    net.take_noise(none)
    assert torch.equal(net.state_dict()[name], rolled)


@pytest.mark.parametrize("styles", [1, 3])
def test_two_grids_joined_by_nearest_neighbour_are_read_as_what_they_were(styles: int) -> None:
    net, rgb = make_net(styles=styles, kind="fast"), torch.rand(2, 3, 32, 24) * 255
    earlier = {name: numbers.clone() for name, numbers in net.state_dict().items()}
    earlier["up.conv.weight"] = earlier["up.conv.weight"][::4]
    for part in ("weight", "bias"):
        earlier[f"up.norm.{part}"] = earlier[f"up.norm.{part}"][..., ::4]
    net.load_state_dict(earlier)
    mix = torch.tensor([THIRDS]) if styles == 3 else None
    mixed = {n: (mix @ v)[0] if mix is not None and ".norm." in n else v for n, v in earlier.items()}
    torch.testing.assert_close(net(rgb, mix), cells_by_hand(mixed, rgb), rtol=1e-3, atol=0.05)


def test_the_papers_net_has_1_68_million_parameters() -> None:
    assert count_params(build_net(NetSpec())) == pytest.approx(1.68e6, rel=0.003)


@pytest.mark.parametrize(
    ("kind", "upsampling"),
    [("full", "nearest"), ("full", "transposed"), ("fast", "nearest"), ("cells", "nearest")],
)
@pytest.mark.parametrize("size_hw", SIZES_HW)
def test_every_size_comes_back(kind: str, upsampling: str, size_hw: tuple[int, int]) -> None:
    rgb = torch.rand(2, 3, *size_hw) * 255
    painted = make_net(width=0.1, upsampling=upsampling, kind=kind)(rgb)
    assert painted.shape == rgb.shape
    assert painted.dtype == torch.float32
    assert 0 <= float(painted.min()) < float(painted.max()) <= 255


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_an_odd_size_is_cut_at_the_end_not_shifted(kind: str) -> None:
    net, rgb = make_net(kind=kind), torch.rand(1, 3, 30, 45) * 255
    torch.testing.assert_close(net(rgb), net.uncropped(rgb)[:, :, :30, :45])
    assert net.uncropped(rgb).shape[2:] == (32, 48)


@pytest.mark.parametrize(("kind", "cell"), [("fast", 8), ("cells", 4)])
@pytest.mark.parametrize("size_hw", [(16, 17), (18, 19), (33, 46)])
def test_the_fast_net_mirrors_an_odd_size_up_to_whole_cells(
    size_hw: tuple[int, int], kind: str, cell: int
) -> None:
    net, rgb = make_net(kind=kind), torch.rand(2, 3, *size_hw) * 255
    missing = [(0, 0), (0, 0), *((0, -side % cell) for side in size_hw)]
    mirrored = torch.from_numpy(np.pad(rgb.numpy(), missing, mode="reflect"))
    painted = cells_by_hand(net.state_dict(), mirrored)[:, :, : size_hw[0], : size_hw[1]]
    torch.testing.assert_close(net(rgb), painted, rtol=1e-3, atol=0.05)


def test_transposed_upsampling_is_another_net() -> None:
    torch.manual_seed(0)
    nearest, transposed = (make_net(upsampling=kind) for kind in ("nearest", "transposed"))
    assert count_params(nearest) == count_params(transposed)
    rgb = torch.rand(1, 3, 32, 32) * 255
    assert (nearest(rgb) - transposed(rgb)).abs().mean() > 5


@pytest.mark.parametrize(
    ("width", "channels"), [(0.25, (8, 16, 32)), (0.5, (16, 32, 64)), (1, (32, 64, 128))]
)
def test_width_multiplies_the_channels(width: float, channels: tuple[int, ...]) -> None:
    numbers = build_net(NetSpec(width=width)).state_dict()
    assert tuple(len(numbers[f"down.{index}.conv.weight"]) for index in range(3)) == channels
    assert numbers["paint.weight"].shape == (3, channels[0], 9, 9)
    for grids, fine, inner in ((1, 64, 64), (2, 32, 96)):
        fast = build_net(NetSpec("fast", width, grids=grids)).state_dict()
        assert fast["enter.conv.weight"].shape == (fine * width, 48, 3, 3)
        assert fast["body.3.first.conv.weight"].shape[:2] == (inner * width, inner * width)
        assert fast["paint.weight"].shape == (48, fine * width, 3, 3)


def single_of(several: StyleNet, mix: Tensor) -> StyleNet:
    """The one-style net whose scales and shifts are a mixture of those of a net for several."""
    single = make_net(kind=several.spec.kind)
    numbers = several.state_dict()
    single.load_state_dict({n: mix @ v if ".norm." in n else v for n, v in numbers.items()})
    return single


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mix", MIXES)
def test_style_weights_mix_scales_and_shifts(kind: str, mix: list[float]) -> None:
    several, weights = make_net(styles=3, kind=kind), torch.tensor(mix)
    rgb = torch.rand(1, 3, 32, 32) * 255
    wanted = single_of(several, weights)(rgb)
    torch.testing.assert_close(several(rgb, weights[None]), wanted, rtol=1e-3, atol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_each_picture_of_a_batch_can_have_its_own_style(kind: str) -> None:
    several, rgb = make_net(styles=3, kind=kind), torch.rand(1, 3, 32, 32) * 255
    painted = several(rgb.repeat(3, 1, 1, 1), torch.eye(3))
    for index in range(3):
        alone = several(rgb, torch.eye(3)[index : index + 1])
        torch.testing.assert_close(painted[index : index + 1], alone, rtol=1e-3, atol=0.02)
    assert (painted[0] - painted[1]).abs().mean() > 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mix", MIXES)
def test_a_mixture_can_become_a_net_of_one_style(kind: str, mix: list[float]) -> None:
    several, rgb = make_net(styles=3, kind=kind), torch.rand(2, 3, 30, 33) * 255
    before = {name: value.clone() for name, value in several.state_dict().items()}
    single = several.with_styles(torch.tensor([mix]))
    assert single.spec == replace(several.spec, styles=1)
    torch.testing.assert_close(single(rgb), several(rgb, torch.tensor([mix])), rtol=1e-3, atol=0.02)
    torch.testing.assert_close(dict(several.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_styles_of_a_net_can_be_chosen_and_mixed_anew(kind: str) -> None:
    several, rgb = make_net(styles=3, kind=kind), torch.rand(1, 3, 32, 32) * 255
    chosen = torch.tensor([[0, 0, 1.0], THIRDS])
    pair = several.with_styles(chosen)
    assert pair.spec == replace(several.spec, styles=2)
    for row, pick in zip(chosen, torch.eye(2), strict=True):
        torch.testing.assert_close(pair(rgb, pick[None]), several(rgb, row[None]), rtol=1e-3, atol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_one_style_becomes_several_alike(kind: str) -> None:
    single, rgb = make_net(kind=kind), torch.rand(1, 3, 32, 32) * 255
    several = single.with_styles(torch.ones(3, 1))
    assert several.spec.styles == 3
    for mix in (*torch.eye(3), torch.tensor(THIRDS)):
        torch.testing.assert_close(several(rgb, mix[None]), single(rgb), rtol=1e-3, atol=0.02)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("styles", [1, 3])
def test_a_net_for_bgr_is_the_net_for_rgb_swapped(kind: str, styles: int) -> None:
    net, rgb, mix = make_net(styles=styles, kind=kind), torch.rand(2, 3, 18, 25) * 255, torch.eye(styles)[-1:]
    before = net(rgb, mix)
    torch.testing.assert_close(swapped(net)(rgb.flip(1), mix).flip(1), before, rtol=1e-3, atol=0.02)
    torch.testing.assert_close(swapped(swapped(net))(rgb, mix), before, rtol=0, atol=0)
    torch.testing.assert_close(net(rgb, mix), before, rtol=0, atol=0)  # a copy was swapped
    assert (swapped(net)(rgb, mix) - before).abs().mean() > 5


@pytest.mark.parametrize("mix", MIXES)
def test_one_look_for_a_batch_is_that_look_for_each(mix: list[float]) -> None:
    norm, x = InstanceNorm(6, 3), torch.randn(4, 6, 10, 12)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    row = torch.tensor([mix])
    for batch in (x, x[:1]):  # a batch of one with one row takes the short way too
        each = norm(torch.cat([batch, batch]), row.repeat(2 * len(batch), 1))[: len(batch)]
        torch.testing.assert_close(norm(batch, row), each, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("styles", [1, 2])
def test_instance_norm_takes_its_statistics_in_fp32(styles: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(1, 4, 64, 64) * 1000  # the squares pass 65504, the end of fp16
    wanted = F.instance_norm(x.half().float())
    plain, seen = F.instance_norm, []

    def instance_norm(values: Tensor, **others: Any) -> Tensor:
        seen.append(values.dtype)
        return plain(values, **others)

    # torch's CPU kernel happens to add up in fp32 all by itself; those of GPUs need not.
    monkeypatch.setattr(F, "instance_norm", instance_norm)
    norm, mix = InstanceNorm(4, styles).half(), torch.eye(styles)[:1].half()
    torch.testing.assert_close(norm(x.half(), mix).float(), wanted, rtol=2e-3, atol=2e-3)
    assert seen == [torch.float32]


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0.05}, {"width": 5}, {"styles": 0}, {"styles": 65}, {"kind": "huge"}, {"upsampling": "x"},
        {"grids": 2}, {"kind": "fast", "grids": 3},
    ],
)  # fmt: skip
def test_a_net_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(TrainError):
        NetSpec.from_card({"kind": "full", **wrong})


def test_the_card_rebuilds_the_spec() -> None:
    spec = NetSpec("full", width=0.5, styles=3, upsampling="transposed")
    assert NetSpec.from_card(spec.to_card(5)) == spec
    fast = NetSpec("fast", grids=2)
    assert NetSpec.from_card(fast.to_card(5)) == fast
    assert NetSpec.from_card({"kind": "fast"}).grids == 1, "what earlier versions wrote"
    assert spec.to_card(5)["params"] == 5
