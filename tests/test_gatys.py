"""The optimisation lowers the objective, iteration by iteration, from wherever it starts."""

from __future__ import annotations

from pathlib import Path

import torch

from stylecam.neural.gatys import optimise
from stylecam.neural.losses import PerceptualLoss, style_targets
from stylecam.neural.options import Objective
from stylecam.neural.vgg import load_vgg


def _loss(vgg_file: Path) -> PerceptualLoss:
    objective = Objective(
        backbone="vgg16", vgg=str(vgg_file), content_layer="relu2_2", style_layers=("relu1_2", "relu2_2")
    )
    vgg = load_vgg("vgg16", str(vgg_file))
    return PerceptualLoss(vgg, objective, style_targets(vgg, objective, [_picture(1)]))


def _picture(seed: int) -> torch.Tensor:
    return torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(seed)) * 255


def test_every_iteration_is_lower_and_the_first_is_the_start(vgg_file: Path) -> None:
    loss, content, start = _loss(vgg_file), _picture(2), _picture(3)
    iterates = list(optimise(loss, content, start, 12))
    objectives = [iterate.objective for iterate in iterates]
    assert [iterate.iteration for iterate in iterates] == list(range(13))
    assert torch.equal(iterates[0].rgb, start)
    # A line search that is cut short accepts steps uphill.
    assert objectives == sorted(objectives, reverse=True)
    assert objectives[-1] < 0.5 * objectives[0]


def test_an_iterate_has_the_objective_it_says(vgg_file: Path) -> None:
    loss, content = _loss(vgg_file), _picture(2)
    for iterate in optimise(loss, content, content, 3):
        with torch.no_grad():
            terms = loss.per_picture(iterate.rgb, loss.content_features(content))
        torch.testing.assert_close(terms.total.item(), iterate.objective, rtol=1e-4, atol=1e-6)
