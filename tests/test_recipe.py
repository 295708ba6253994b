from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision.transforms.functional import resize

from stylecam.errors import OptimiseError
from stylecam.neural.options import Objective
from stylecam.neural.recipe import ClassicObjective, Recipe, Wishes

CARD = Objective(style_weight=(3.0,), tv_weight=0.5).to_card()


def test_the_classic_is_the_recipe() -> None:
    recipe = Wishes("classic").to_recipe()
    assert recipe.objective == ClassicObjective(
        "tutorial", "vgg19", "torchvision", "relu4_2", 1.0,
        ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), (1.0, 0.75, 0.2, 0.2, 0.2), 1e6, 0.0,
    )  # fmt: skip
    assert (recipe.optimizer, recipe.lr, recipe.iterations, recipe.initial) == ("adam", 3e-4, 5000, "content")
    assert (recipe.tolerance, recipe.precision, recipe.normalised) == (0, "fp32", True)


@pytest.mark.parametrize(
    ("size_wh", "worked_at"),
    [((640, 480), (533, 400)), ((300, 200), (450, 300)), ((512, 512), (400, 400)), ((526, 400), (526, 400))],
)
def test_the_classics_sizes(size_wh: tuple[int, int], worked_at: tuple[int, int]) -> None:
    """The short side becomes min(400, the long side), which may enlarge."""
    assert Recipe(preset="classic").work_sizes(size_wh) == [worked_at]


@pytest.mark.parametrize(("width", "height"), [(641, 479), (301, 200), (97, 331), (1000, 333), (777, 778)])
def test_the_classics_sizes_are_torchvisions(width: int, height: int) -> None:
    wanted = resize(torch.zeros(1, height, width), [min(400, max(width, height))]).shape
    assert Recipe(preset="classic").work_size((width, height)) == (wanted[2], wanted[1])


def test_a_wish_goes_before_the_preset() -> None:
    more: dict[str, Any] = {"optimizer": "lbfgs", "iterations": 7, "lr": None, "size": "none"}
    recipe = Wishes("classic", backbone="vgg16", more=more).to_recipe()
    assert (recipe.optimizer, recipe.iterations, recipe.lr) == ("lbfgs", 7, 3e-4)
    assert recipe.objective is not None
    assert (recipe.objective.backbone, recipe.objective.vgg) == ("vgg16", "wheel")
    assert recipe.work_size((33, 77)) == (33, 77)


def test_the_same_objective_by_either_optimiser() -> None:
    both = [
        Wishes(preset, loss="tutorial", more={"optimizer": "lbfgs"}).to_recipe()
        for preset in ("classic", "reference")
    ]
    assert both[0].objective == both[1].objective


def test_a_style_brings_its_objective() -> None:
    assert Wishes().to_recipe(CARD).objective == Objective.from_card(CARD)
    changed = Wishes(style_weight=9, content_weight=2, tv_weight=0, vgg="a.pth").to_recipe(CARD).objective
    assert isinstance(changed, Objective)
    assert (changed.style_weight, changed.content_weight, changed.tv_weight) == ((9,), 2, 0)
    assert changed.vgg == "a.pth"


@pytest.mark.parametrize(
    ("wishes", "cause"),
    [
        (Wishes("classic"), "tutorial"),
        (Wishes(loss="paper"), "paper"),
        (Wishes(backbone="vgg19"), "vgg16"),
        (Wishes(style_layers=("relu1_1",)), "relu1_2,relu2_2"),
        (Wishes(layer_weights=(1.0,)), "--style-weights"),
    ],
)
def test_what_a_styles_grams_cannot_do(wishes: Wishes, cause: str) -> None:
    with pytest.raises(OptimiseError, match=cause):
        wishes.to_recipe(CARD)


@pytest.mark.parametrize(
    ("more", "cause"),
    [({"iterations": 0}, "iterations"), ({"lr": 0.0}, "learning|lr"), ({"initial": "nothing"}, "nothing")],
)
def test_out_of_range(more: dict[str, Any], cause: str) -> None:
    with pytest.raises(OptimiseError, match=cause):
        Wishes(more=more).to_recipe()


def test_as_many_weights_as_layers() -> None:
    with pytest.raises(OptimiseError, match="2 weights for 5"):
        Wishes(loss="paper", layer_weights=(1.0, 2.0)).to_recipe()


def test_coarse_to_fine() -> None:
    recipe = Recipe(size=1024)
    assert recipe.work_sizes((400, 200)) == [(256, 128), (512, 256), (1024, 512)]
    assert Recipe(size=1024, initial="fast").work_sizes((400, 200)) == [(1024, 512)]
    assert Recipe(size=300).work_sizes((400, 200)) == [(300, 150)]
    assert Recipe(size=64, levels=3).work_sizes((400, 200)) == [(16, 8), (32, 16), (64, 32)]
    assert Recipe().work_sizes((400, 200)) == [(400, 200)]
    assert Recipe().work_size((4000, 2000)) == (512, 256)
