"""The classic's objective, recomputed from the recipe alone: plain convolutions and sums."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stylecam.neural.canvas import Canvas
from stylecam.neural.classic import ClassicGoal
from stylecam.neural.gatys import Descent
from stylecam.neural.recipe import ClassicObjective
from stylecam.neural.vgg import CAFFE, Vgg, load_vgg

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BLOCKS = (2, 2, 3, 3, 3)
STYLE = {"relu1_1": 1.0, "relu2_1": 0.75, "relu3_1": 0.2, "relu4_1": 0.2, "relu5_1": 0.2}


def _picture(seed: int, height: int = 32, width: int = 48) -> Tensor:
    coarse = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(seed)) * 255
    return F.interpolate(coarse, (height, width), mode="bilinear")


def _normalise(rgb: Tensor) -> Tensor:
    return (rgb / 255 - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


def _features(state: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """Convolve, rectify and pool by hand, from a state dict under torchvision's names."""
    found, index = {}, 0
    for block, count in enumerate(BLOCKS, 1):
        for k in range(1, count + 1):
            x = F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1)
            x = torch.maximum(x, torch.zeros(()))
            found[f"relu{block}_{k}"] = x[0]
            index += 2
        x = F.max_pool2d(x, 2)
        index += 1
    return found


def _tutorial(state: dict[str, Tensor], x: Tensor, content: Tensor, style: Tensor) -> Tensor:
    """1 x content + 1e6 x style of normalised pictures, as the recipe says it."""
    found, wanted, painted = (_features(state, each) for each in (x, content, style))
    total = ((found["relu4_2"] - wanted["relu4_2"]) ** 2).mean()
    for layer, weight in STYLE.items():
        d, h, w = found[layer].shape
        ours, theirs = (each[layer].reshape(d, h * w) for each in (found, painted))
        total = total + 1e6 * weight * ((ours @ ours.T - theirs @ theirs.T) ** 2).mean() / (d * h * w)
    return total


def _paper(state: dict[str, Tensor], x: Tensor, content: Tensor, style: Tensor) -> Tensor:
    found, wanted, painted = (_features(state, each) for each in (x, content, style))
    total = ((found["relu4_2"] - wanted["relu4_2"]) ** 2).sum() / 2
    for layer, weight in STYLE.items():
        n, h, w = found[layer].shape
        ours, theirs = (each[layer].reshape(n, h * w) for each in (found, painted))
        share = weight / (4 * n**2 * (h * w) ** 2)
        total = total + 1e3 * share * ((ours @ ours.T - theirs @ theirs.T) ** 2).sum()
    return total


@pytest.mark.parametrize(("form", "beta", "truth"), [("tutorial", 1e6, _tutorial), ("paper", 1e3, _paper)])
def test_loss_and_gradient_are_the_recipes(vgg_file: Path, form: str, beta: float, truth: object) -> None:
    content, style, rgb = _picture(1), _picture(2), _picture(3)
    goal = ClassicGoal(
        load_vgg("vgg16", str(vgg_file)), ClassicObjective(form, style_weight=beta), content, [style], [1.0]
    )
    canvas = Canvas(content, normalised=True)
    descent = Descent(lambda pixels: goal(canvas.picture(pixels)), canvas.pixels_of(rgb))
    point = descent.look()

    x = _normalise(rgb).requires_grad_()
    state = torch.load(vgg_file, weights_only=True)
    expected = truth(state, x, _normalise(content), _normalise(style))  # type: ignore[operator]
    expected.backward()
    assert x.grad is not None
    torch.testing.assert_close(point.total, expected.detach(), rtol=1e-4, atol=0)
    assert (point.gradient - x.grad).norm() < 1e-3 * x.grad.norm()


def test_adam_takes_the_recipes_steps(vgg_file: Path) -> None:
    content, style = _picture(1), _picture(2)
    goal = ClassicGoal(load_vgg("vgg16", str(vgg_file)), ClassicObjective(), content, [style], [1.0])
    canvas = Canvas(content, normalised=True)
    descent = Descent(lambda pixels: goal(canvas.picture(pixels)), canvas.pixels_of(content), "adam", lr=3e-4)
    state = torch.load(vgg_file, weights_only=True)
    x = _normalise(content).requires_grad_()
    adam = torch.optim.Adam([x], lr=3e-4)
    for _ in range(3):
        descent.step()
        adam.zero_grad()
        _tutorial(state, x, _normalise(content), _normalise(style)).backward()
        adam.step()
    # Adam's first steps are of +-lr: where a gradient is next to nothing its sign may differ.
    assert (descent.pixels - x).abs().mean() < 1e-6
    assert (x - _normalise(content)).abs().mean() > 1e-4


def test_caffes_features_are_brought_to_the_same_measure(vgg_file: Path) -> None:
    """The same net, its first layer told of the other input, gives the same objective."""
    ours = Vgg("vgg16", CAFFE)
    ours.load_state_dict(torch.load(vgg_file))
    goal = ClassicGoal(ours, ClassicObjective(), _picture(1), [_picture(2)], [1.0])
    assert goal.scale == pytest.approx(57.375)
    found = ours(_picture(1), ("relu4_2",))["relu4_2"] / 57.375
    torch.testing.assert_close(goal.content, found)


def test_layers_may_have_weights_of_their_own(vgg_file: Path) -> None:
    vgg, content, style = load_vgg("vgg16", str(vgg_file)), _picture(1), _picture(2)

    def style_term(*weights: float) -> float:
        layers = ("conv1_1", "conv2_1")
        objective = ClassicObjective("paper", style_layers=layers, layer_weights=weights)
        return float(ClassicGoal(vgg, objective, content, [style], [1.0])(_picture(3)).style)

    assert style_term(2.0, 0.5) == pytest.approx(2 * style_term(1, 0) + 0.5 * style_term(0, 1), rel=1e-5)
    assert style_term(0.5) == pytest.approx(style_term(0.5, 0.5))
