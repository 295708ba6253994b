from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from nets import noise

from stylecam.errors import OptimiseError, PictureError
from stylecam.neural.data import to_tensor
from stylecam.neural.goals import GoalMaker, Painting
from stylecam.neural.losses import gram_matrix
from stylecam.neural.options import Objective
from stylecam.neural.recipe import ClassicObjective, Recipe

CPU = torch.device("cpu")


def _recipe(vgg_file: Path, **changes: object) -> Recipe:
    objective = Objective(
        vgg=str(vgg_file), content_layer="relu2_2", style_layers=("relu1_2", "relu2_2"), style_size=40
    )
    return Recipe(**({"objective": objective} | changes))  # type: ignore[arg-type]


def test_several_paintings_count_by_their_shares(vgg_file: Path) -> None:
    """The gradient is that of the mean of the paintings' own style losses."""
    content, first, second = (to_tensor(noise(32, 40, 3, seed=seed)) for seed in (1, 2, 3))
    both = [Painting("a", noise(40, 40, 3, seed=8), 3.0), Painting("b", noise(40, 30, 3, seed=9), 1.0)]

    def gradient(paintings: list[Painting]) -> torch.Tensor:
        rgb = first.clone().requires_grad_()
        GoalMaker(_recipe(vgg_file), CPU, paintings).make(content)(rgb).style.backward()
        assert rgb.grad is not None
        return rgb.grad

    mean = 0.75 * gradient(both[:1]) + 0.25 * gradient(both[1:])
    assert (gradient(both) - mean).norm() < 1e-4 * mean.norm()
    assert not torch.equal(first, second)


def test_a_guided_gram_matrix_sees_the_mask_alone() -> None:
    torch.manual_seed(0)
    features, mask = torch.randn(1, 5, 8, 12), torch.zeros(1, 1, 8, 12)
    mask[..., :4] = 1
    guided = gram_matrix(features, mask)
    torch.testing.assert_close(guided, gram_matrix(features[..., :4]))
    torch.testing.assert_close(gram_matrix(features, torch.ones(1, 1, 3, 3)), gram_matrix(features))


def test_kept_colour_compares_grey_with_grey(vgg_file: Path) -> None:
    """A painting and its grey copy are the same style then."""
    bgr = noise(40, 40, 3, seed=4)
    luma = bgr @ np.array([0.114, 0.587, 0.299])
    grey = np.repeat(np.rint(luma)[..., None], 3, 2).astype(np.uint8)
    content = to_tensor(noise(32, 40, 3)).mean(1, keepdim=True).expand(-1, 3, -1, -1)
    styles = [
        GoalMaker(_recipe(vgg_file, keep_color=True), CPU, [Painting("a", each)]).make(content)(content).style
        for each in (bgr, grey)
    ]
    torch.testing.assert_close(styles[0], styles[1], rtol=0.02, atol=0)


def test_one_colour_has_no_style(vgg_file: Path) -> None:
    flat = np.full((40, 40, 3), (10, 200, 90), np.uint8)
    with pytest.raises(PictureError, match="is of one colour"):
        GoalMaker(_recipe(vgg_file), CPU, [Painting("flat", flat)])


def test_too_small_for_the_deepest_layer(vgg_file: Path) -> None:
    maker = GoalMaker(_recipe(vgg_file), CPU, [Painting("a", noise(40, 40, 3))])
    maker.check_size((4, 4), "the picture")
    with pytest.raises(OptimiseError, match="relu2_2 needs 4 px"):
        maker.check_size((64, 3), "the picture")
    classic = ClassicObjective(vgg=str(vgg_file), backbone="vgg16")
    deep = GoalMaker(_recipe(vgg_file, objective=classic), CPU, [Painting("a", noise(40, 40, 3))])
    with pytest.raises(OptimiseError, match="relu5_1 needs 32 px"):
        deep.check_size((64, 31), "the picture")


def test_a_painting_too_small(vgg_file: Path) -> None:
    objective = Objective(vgg=str(vgg_file), style_size=8)
    with pytest.raises(OptimiseError, match="painting tiny is too small"):
        GoalMaker(_recipe(vgg_file, objective=objective), CPU, [Painting("tiny", noise(40, 40, 3))])
