"""The optimiser of nets: which numbers Muon moves, how, and that a checkpoint brings it back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stylecam.neural.optimizer import NetOptimizer
from stylecam.neural.transformer import NetSpec, StyleNet, build_net

UNSCALED = torch.amp.GradScaler("cpu", enabled=False)


def make_net(width: float = 0.5) -> StyleNet:
    torch.manual_seed(3)
    return build_net(NetSpec("fast", width))


def take(net: StyleNet, optimizer: NetOptimizer, seed: int, lr: float = 0.01) -> None:
    picture = 255 * torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    net(picture).square().mean().backward()
    optimizer.step(lr, UNSCALED)


def numbers(net: StyleNet) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_a_kernel_moves_alike_in_every_direction() -> None:
    net = make_net()
    before, optimizer = numbers(net), NetOptimizer(net)
    take(net, optimizer, 1)
    name = "body.0.first.conv.weight"
    moved = (numbers(net)[name] - before[name]).flatten(1)
    strengths = torch.linalg.svdvals(moved)
    assert float(strengths.min() / strengths.max()) > 0.3  # Adam's first step has about 0.05
    # The rate is made to match Adam's: a root mean square of a fifth of it.
    assert float(moved.square().mean().sqrt()) == pytest.approx(0.2 * 0.01, rel=0.3)


def test_every_number_is_moved_by_one_of_the_two() -> None:
    net = make_net()
    before, optimizer = numbers(net), NetOptimizer(net)
    take(net, optimizer, 1)
    assert [name for name, value in numbers(net).items() if torch.equal(value, before[name])] == []


def test_kernels_with_few_outputs_are_left_to_adam() -> None:
    net = make_net(0.2)  # 13 channels
    before, optimizer = numbers(net), NetOptimizer(net)
    take(net, optimizer, 1)
    name = "body.0.first.conv.weight"
    moved = (numbers(net)[name] - before[name]).abs()
    assert float(moved.median()) == pytest.approx(0.01, rel=0.01)


def test_memory_may_be_laid_out_otherwise_after_it_was_made() -> None:
    first, second = make_net(), make_net()
    optimizers = NetOptimizer(first), NetOptimizer(second)
    second.to(memory_format=torch.channels_last)
    for net, optimizer in zip((first, second), optimizers, strict=True):
        take(net, optimizer, 1)
    for name, value in numbers(first).items():
        assert torch.allclose(value, numbers(second)[name], atol=5e-4), name


def test_it_goes_on_from_what_it_has_kept() -> None:
    straight, broken = make_net(), make_net()
    one, two = NetOptimizer(straight), NetOptimizer(broken)
    for seed in (1, 2):
        take(straight, one, seed)
    take(broken, two, 1)
    later = NetOptimizer(broken)
    later.load_state_dict(two.state_dict())
    take(broken, later, 2)
    for name, value in numbers(straight).items():
        assert torch.equal(value, numbers(broken)[name]), name
