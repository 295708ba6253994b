from __future__ import annotations

from typing import Any

import pytest
import torch
from nets import make_net
from torch import Tensor
from torch.nn import functional as F

from stylecam.errors import TrainError
from stylecam.neural.transformer import InstanceNorm, NetSpec, TransformerNet, count_params

SIZES_HW = [(16, 16), (16, 17), (18, 19), (33, 47), (64, 50)]


def by_hand(net: TransformerNet, rgb: Tensor) -> Tensor:
    """Johnson's net written out, for sides that are multiples of 4."""
    numbers = net.state_dict()

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = numbers[f"{name}.weight"]
        x = F.pad(x, [weight.shape[2] // 2] * 4, mode="reflect")
        return F.conv2d(x, weight, numbers.get(f"{name}.bias"), stride)

    def norm(x: Tensor, name: str) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        x = (x - mean) / ((x - mean).square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
        weight, bias = (numbers[f"{name}.norm.{which}"].view(1, -1, 1, 1) for which in ("weight", "bias"))
        scaled: Tensor = x * weight + bias
        return scaled

    x = rgb / 127.5 - 1
    for index, stride in ((0, 1), (1, 2), (2, 2)):
        x = norm(conv(x, f"down.{index}.conv", stride), f"down.{index}").clamp(min=0)
    for index in range(5):
        y = norm(conv(x, f"body.{index}.first.conv"), f"body.{index}.first").clamp(min=0)
        x = x + norm(conv(y, f"body.{index}.second.conv"), f"body.{index}.second")
    for index in range(2):
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        x = norm(conv(x, f"up.{index}.conv"), f"up.{index}").clamp(min=0)
    return conv(x, "paint").tanh() * 127.5 + 127.5


def test_it_is_johnsons_net() -> None:
    net, rgb = make_net(), torch.rand(2, 3, 32, 24) * 255
    torch.testing.assert_close(net(rgb), by_hand(net, rgb), rtol=1e-3, atol=0.05)


def test_the_papers_net_has_1_68_million_parameters() -> None:
    assert count_params(TransformerNet(NetSpec())) == pytest.approx(1.68e6, rel=0.003)


@pytest.mark.parametrize("upsampling", ["nearest", "transposed"])
@pytest.mark.parametrize("size_hw", SIZES_HW)
def test_every_size_comes_back(upsampling: str, size_hw: tuple[int, int]) -> None:
    rgb = torch.rand(2, 3, *size_hw) * 255
    painted = make_net(width=0.1, upsampling=upsampling)(rgb)
    assert painted.shape == rgb.shape
    assert painted.dtype == torch.float32
    assert 0 <= float(painted.min()) < float(painted.max()) <= 255


def test_an_odd_size_is_cut_at_the_end_not_shifted() -> None:
    net, rgb = make_net(), torch.rand(1, 3, 30, 45) * 255
    torch.testing.assert_close(net(rgb), net.uncropped(rgb)[:, :, :30, :45])
    assert net.uncropped(rgb).shape[2:] == (32, 48)


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
    numbers = TransformerNet(NetSpec(width=width)).state_dict()
    assert tuple(len(numbers[f"down.{index}.conv.weight"]) for index in range(3)) == channels
    assert numbers["paint.weight"].shape == (3, channels[0], 9, 9)


def single_of(several: TransformerNet, mix: Tensor) -> TransformerNet:
    """The one-style net whose scales and shifts are a mixture of those of a net for several."""
    single = make_net()
    numbers = several.state_dict()
    single.load_state_dict({n: mix @ v if ".norm." in n else v for n, v in numbers.items()})
    return single


@pytest.mark.parametrize("mix", [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0.2, 0.5, 0.3]])
def test_style_weights_mix_scales_and_shifts(mix: list[float]) -> None:
    several, weights, rgb = make_net(styles=3), torch.tensor(mix), torch.rand(1, 3, 32, 32) * 255
    wanted = single_of(several, weights)(rgb)
    torch.testing.assert_close(several(rgb, weights[None]), wanted, rtol=1e-3, atol=0.02)


def test_each_picture_of_a_batch_can_have_its_own_style() -> None:
    several, rgb = make_net(styles=3), torch.rand(1, 3, 32, 32) * 255
    painted = several(rgb.repeat(3, 1, 1, 1), torch.eye(3))
    for index in range(3):
        alone = several(rgb, torch.eye(3)[index : index + 1])
        torch.testing.assert_close(painted[index : index + 1], alone, rtol=1e-3, atol=0.02)
    assert (painted[0] - painted[1]).abs().mean() > 5


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
    [{"width": 0.05}, {"width": 5}, {"styles": 0}, {"styles": 65}, {"kind": "huge"}, {"upsampling": "x"}],
)
def test_a_net_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(TrainError):
        NetSpec.from_card({"kind": "full", **wrong})


def test_the_card_rebuilds_the_spec() -> None:
    spec = NetSpec(width=0.5, styles=3, upsampling="transposed")
    assert NetSpec.from_card(spec.to_card(5)) == spec
    assert spec.to_card(5)["params"] == 5
