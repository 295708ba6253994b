from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import noise, write_photos

from stylecam.errors import OptimiseError
from stylecam.frames import Pixels, resize
from stylecam.neural.gatys import Evaluator, Point
from stylecam.neural.goals import GoalMaker, Painting
from stylecam.neural.optimisation import Optimisation, iterations_to_equal, load_state, save_state
from stylecam.neural.options import Objective
from stylecam.neural.recipe import Recipe
from stylecam.pictures import read_picture

BASE = Recipe(precision="fp32", size="none", iterations=6, tolerance=0.0, levels=1)


@pytest.fixture
def photo(tmp_path: Path) -> Pixels:
    return read_picture(write_photos(tmp_path, 1, (48, 40))[0]).bgr


@pytest.fixture
def make(vgg_file: Path, photo: Pixels) -> Any:
    objective = Objective(
        vgg=str(vgg_file), content_layer="relu2_2", style_layers=("relu1_2", "relu2_2"), style_size=40
    )

    def make(
        changes: dict[str, Any],
        objective: Objective = objective,
        content: Pixels = photo,
        paintings: tuple[int, ...] = (5,),
        **more: Any,
    ) -> Optimisation:
        recipe = replace(BASE, **({"objective": objective} | changes))
        each = [Painting("a", resize(noise(8, 8, 3, seed=seed), (40, 40)), seed) for seed in paintings]
        return Optimisation(GoalMaker(recipe, torch.device("cpu"), each), content, **more)

    return make


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_so_many_iterations_and_every_one_told(make: Any, optimizer: str) -> None:
    painting = make({"optimizer": optimizer})
    steps = list(painting.steps())
    assert [step.iteration for step in steps] == list(range(7))
    assert painting.ended == "all 6 iterations are made"
    assert steps[-1].total < 0.9 * steps[0].total
    assert steps[0].terms["content"] == pytest.approx(0, abs=1e-6)
    assert sum(painting.best_terms().values()) == pytest.approx(min(s.total for s in steps), rel=1e-3)


def test_the_written_picture_is_as_good_as_the_optimised_one(make: Any) -> None:
    """Pixels beyond 0..255 would be cut off in the file, and with them much of what was won."""
    painting = make({"iterations": 25})
    for _ in painting.steps():
        assert painting.descent.pixels.min() >= 0
        assert painting.descent.pixels.max() <= 255
    written = sum(painting.terms_of(painting.picture()).values())
    assert written == pytest.approx(sum(painting.best_terms().values()), rel=0.02)


def test_it_stops_by_itself_and_says_so(make: Any) -> None:
    painting = make({"iterations": 500, "tolerance": 0.3})
    steps = list(painting.steps())
    assert 10 <= steps[-1].iteration < 100
    assert painting.ended == "the objective has stopped falling: by less than 30% in 10 iterations"
    assert steps[-1].total > 0.7 * steps[-11].total


def test_coarse_to_fine_ends_at_the_full_size(make: Any) -> None:
    """The large strokes first, in a tenth of the iterations each; then the most at the full size."""
    painting = make({"levels": 3, "iterations": 20})
    sizes = [step.size_wh for step in painting.steps()]
    assert sizes == [(12, 10)] * 3 + [(24, 20)] * 2 + [(48, 40)] * 16
    assert painting.picture().shape == (40, 48, 3)


def test_left_off_at_a_smaller_size_it_is_judged_at_the_full_one(make: Any) -> None:
    painting = make({"levels": 2, "iterations": 20})
    next(painting.steps())
    assert not painting.is_fine
    assert painting.best_terms() == painting.terms_of(painting.picture())


def test_fewer_iterations_than_sizes(make: Any) -> None:
    painting = make({"levels": 3, "iterations": 1})
    assert [step.size_wh for step in painting.steps()][-1] == (48, 40)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("levels", [1, 2])
def test_resumed_to_the_bit(make: Any, tmp_path: Path, optimizer: str, levels: int) -> None:
    changes = {"optimizer": optimizer, "levels": levels, "iterations": 8}
    whole = make(changes)
    whole_steps = list(whole.steps())
    begun = make(changes)
    for step in begun.steps():
        if step.iteration == 5:
            break
    save_state(begun.state_dict(), tmp_path / "state.pt")
    resumed = make(changes, state=load_state(tmp_path / "state.pt"))
    list(resumed.steps())
    assert torch.equal(resumed.descent.pixels, whole.descent.pixels)
    assert [step.total for step in resumed.steps_done] == [step.total for step in whole_steps]


def test_a_higher_limit_lets_it_go_on_and_other_options_do_not(make: Any) -> None:
    done = make({})
    list(done.steps())
    state = done.state_dict()
    assert list(make({}, state=state).steps()) == []
    assert [step.iteration for step in make({"iterations": 8}, state=state).steps()] == [7, 8]
    with pytest.raises(OptimiseError, match="initial was content"):
        make({"initial": "noise"}, state=state)


def test_other_pictures_are_not_gone_on_with(make: Any, photo: Pixels) -> None:
    """They have the names and sizes of those that were begun with."""
    mask = np.full((40, 48), 255, np.uint8)
    plain, masked = make({}), make({}, mask=mask)
    for painting in (plain, masked):
        next(painting.steps())
    make({}, mask=mask, state=masked.state_dict())
    for changed, begun, cause in (
        ({"paintings": (6,)}, plain, "options: the painting was another$"),
        ({"paintings": (5, 6)}, plain, "share was 1.0, the painting was another$"),
        ({"content": 255 - photo}, plain, "options: the content image was another$"),
        ({"content": photo[:32]}, plain, "options: the content image was another$"),
        ({"mask": mask}, plain, "options: there was no mask$"),
        ({}, masked, "options: the mask was another$"),
        ({"mask": mask // 2}, masked, "options: the mask was another$"),
    ):
        with pytest.raises(OptimiseError, match=cause):
            make({}, state=begun.state_dict(), **changed)


def test_of_another_objective_only_what_differs_is_told(make: Any) -> None:
    painting = make({})
    next(painting.steps())
    objective = replace(painting.recipe.objective, style_layers=("relu1_2",), style_weight=(3.0,))
    with pytest.raises(OptimiseError) as caught:
        make({}, objective=objective, state=painting.state_dict())
    assert caught.value.message.endswith(": style_layers was relu1_2,relu2_2, style_weight was 5.0")


def test_weights_that_make_it_nan(make: Any, vgg_file: Path) -> None:
    objective = Objective(
        vgg=str(vgg_file), content_layer="relu2_2", style_layers=("relu1_2",), style_size=40,
        style_weight=(1e38,), tv_weight=1e38,
    )  # fmt: skip
    painting = make({}, objective=objective)
    with pytest.raises(OptimiseError, match=r"the objective is (inf|nan)"):
        list(painting.steps())


@pytest.mark.parametrize("initial", ["content", "noise", "style", "fast"])
def test_where_it_begins(make: Any, photo: Pixels, initial: str) -> None:
    fast = noise(40, 48, 3, seed=7)
    first = make({"initial": initial}, first=fast).iterate()
    expected = {
        "content": photo,
        "fast": fast,
        "style": resize(resize(noise(8, 8, 3, seed=5), (40, 40)), (48, 40)),
    }
    if initial == "noise":
        assert 40 < first.std() < 70
        assert abs(first.mean() - 127.5) < 5
    else:
        assert np.array_equal(first, expected[initial])


def test_style_goes_where_the_mask_is_white(make: Any, photo: Pixels) -> None:
    mask = np.zeros((40, 48), np.uint8)
    mask[:, :24] = 255
    painting = make({}, mask=mask)
    list(painting.steps())
    changed = (painting.picture() != photo).any(-1)
    assert not changed[:, 24:].any()
    assert changed[:, :24].mean() > 0.5
    with pytest.raises(OptimiseError, match="black all over"):
        make({}, mask=np.zeros((40, 48), np.uint8))


def test_kept_colours_are_the_photographs(make: Any) -> None:
    painting = make({"keep_color": True})
    photo = np.full((40, 48, 3), (90, 120, 150), np.uint8)
    photo[::5] += np.uint8(20)
    painting = Optimisation(painting.maker, photo)
    list(painting.steps())
    found = painting.picture().astype(int)
    inside = ((found > 1) & (found < 254)).all(-1)
    assert inside.mean() > 0.5
    assert np.abs(found[..., 2] - found[..., 0] - 60)[inside].max() <= 1
    assert np.abs(found - photo).mean() > 1


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_the_time_holds_every_evaluation(make: Any, monkeypatch: pytest.MonkeyPatch, optimizer: str) -> None:
    """The first one too: L-BFGS is to be timed against Adam."""
    real = Evaluator._judged

    def slow(self: Evaluator, here: torch.Tensor) -> Point:
        time.sleep(0.05)
        return real(self, here)

    monkeypatch.setattr(Evaluator, "_judged", slow)
    steps = list(make({"optimizer": optimizer, "iterations": 3}).steps())
    assert all(step.seconds >= 0.05 * step.evaluations for step in steps)
    assert steps[0].evaluations == 1


def test_what_a_picture_is_worth(make: Any, photo: Pixels) -> None:
    """The picture after seven iterations of plain L-BFGS is worth seven."""
    maker = make({}).maker
    steps = list(iterations_to_equal(maker, photo, 0.0, 9, "fp32"))
    assert [step.iteration for step in steps] == list(range(10))
    again = list(iterations_to_equal(maker, photo, steps[7].total, 100, "fp32"))
    assert again[-1].iteration == 7
    assert next(iter(iterations_to_equal(maker, photo, 1e30, 5, "fp32"))).iteration == 0
