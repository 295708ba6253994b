"""A pupil learns to paint as its teacher does; a net keeps the tones of the one it began as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from nets import make_checkpoint, make_net
from torch import Tensor, nn
from training import Make, run, save_teacher

from stylecam.errors import StyleError, TrainError
from stylecam.neural import training_loss as module
from stylecam.neural.checkpoint import load_checkpoint
from stylecam.neural.distill import Imitation, Tones
from stylecam.neural.options import Objective
from stylecam.neural.transformer import NetSpec

TAUGHT = {"style_images": (), "net": "fast", "width": 0.25, "batch": 2, "pattern_weight": 0.0}


@pytest.fixture
def single_teacher(objective: Objective, tmp_path: Path) -> str:
    return save_teacher(tmp_path / "single.ckpt", objective, 1)


def pictures(count: int) -> Tensor:
    return torch.rand(count, 3, 20, 24) * 255


@pytest.mark.parametrize("styles", [1, 3])
def test_the_terms_follow_their_formulas(styles: int) -> None:
    teacher, painted, original = make_net(styles=styles), pictures(2), pictures(2)
    mix = None if styles == 1 else torch.tensor([[0, 1.0, 0], [0, 0, 1.0]])
    terms = Imitation(teacher)(painted, original, mix)
    off = (painted - teacher(original, mix)).double().numpy()
    assert float(terms.pixels) == pytest.approx(np.abs(off).mean(), rel=1e-5)
    edges = np.abs(np.diff(off, axis=3)).mean() + np.abs(np.diff(off, axis=2)).mean()
    assert float(terms.edges) == pytest.approx(edges, rel=1e-5)


def test_the_teacher_itself_learns_nothing() -> None:
    teacher, painted = make_net().requires_grad_(True), pictures(1).requires_grad_()
    sum(Imitation(teacher)(painted, pictures(1).requires_grad_(), None), torch.zeros(())).backward()
    assert painted.grad is not None
    assert painted.grad.abs().sum() > 0
    assert [parameter.grad for parameter in teacher.parameters()] == [None] * len(list(teacher.parameters()))


def test_a_pupil_comes_closer_to_its_teacher(make: Make, single_teacher: str) -> None:
    steps = run(make(teacher=single_teacher, steps=50, **TAUGHT))
    assert list(steps[0].terms) == ["pixels", "edges"]
    for term in ("pixels", "edges"):
        first, last = (np.mean([step.terms[term] for step in part]) for part in (steps[:3], steps[-3:]))
        assert last < 0.8 * first, term


def test_who_paints_as_the_teacher_in_every_style_has_no_loss(make: Make, teacher: str) -> None:
    alike = {"style_images": (), "width": 0.25, "batch": 2, "steps": 3, "lr": 1e-12}
    for step in run(make(teacher=teacher, start=teacher, **alike)):
        assert step.total < 1e-2


def test_the_pupils_card_tells_of_its_teacher(make: Make, teacher: str) -> None:
    options = make(teacher=teacher, steps=1, about={"licence": "MIT"}, **TAUGHT)
    run(options)
    pupil, master = load_checkpoint(options.checkpoint), load_checkpoint(Path(teacher))
    assert pupil.spec == NetSpec("fast", 0.25, 3, grids=2, noise=True)
    assert pupil.about["style"] == "waves"
    assert pupil.about["styles"] == make_checkpoint(3).about["styles"]
    assert pupil.about["licence"] == "MIT"
    assert pupil.about["training"]["teacher"] == {"style": "tiny", "net": "full", "steps": 7}
    assert pupil.about["training"]["perceptual_weight"] == 0
    assert pupil.objective == master.objective
    torch.testing.assert_close(pupil.grams, master.grams, rtol=0, atol=0)


def test_the_pupil_of_a_single_style_takes_its_painting_over(make: Make, single_teacher: str) -> None:
    options = make(teacher=single_teacher, steps=1, **TAUGHT)
    run(options)
    about = load_checkpoint(options.checkpoint).about
    said = [about[key] for key in ("style", "title", "painter", "year", "licence")]
    assert said == ["waves", "Tiny", "Nobody", "1889", "CC0"]


def test_the_objective_is_left_out_unless_it_counts(
    make: Make, teacher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_no_vgg(*which: object) -> nn.Module:
        raise AssertionError("the perceptual net was loaded")

    monkeypatch.setattr(module, "load_vgg", load_no_vgg)
    assert len(run(make(teacher=teacher, steps=1, **TAUGHT))) == 1
    with pytest.raises(AssertionError, match="the perceptual net was loaded"):
        run(make(teacher=teacher, steps=1, perceptual_weight=1.0, **TAUGHT))


def test_the_objective_counts_as_much_as_is_said(make: Make, teacher: str) -> None:
    (half,), (whole,) = (
        run(make(teacher=teacher, steps=1, perceptual_weight=weight, **TAUGHT)) for weight in (0.5, 1.0)
    )
    assert list(whole.terms) == ["pixels", "edges", "content", "style", "tv"]
    for term in ("pixels", "edges"):
        assert half.terms[term] == pytest.approx(whole.terms[term])
    for term in ("content", "style", "tv"):
        assert half.terms[term] == pytest.approx(whole.terms[term] / 2)


def test_a_teacher_that_is_not_there(make: Make) -> None:
    with pytest.raises(StyleError, match="style 'nobody' is unknown"):
        run(make(teacher="nobody", **TAUGHT))
    assert not make().out_dir.exists()


@pytest.mark.parametrize("styles", [1, 3])
def test_tones_are_compared_by_the_means_of_squares(styles: int) -> None:
    origin = make_net(styles=styles)
    painted, original = torch.rand(2, 2, 3, 32, 40) * 255
    mix = torch.tensor([[0, 1.0, 0], [0, 0, 1.0]])
    off = (painted - origin(original, None if styles == 1 else mix)).double().numpy()
    corners = [(top, left) for top in (0, 8, 16) for left in (0, 8, 16, 24)]
    means = [off[:, :, top : top + 16, left : left + 16].mean((2, 3)) for top, left in corners]
    found = float(Tones(origin)(painted, original, mix))
    assert found == pytest.approx(np.mean(np.square(means)), rel=1e-4)


def test_strokes_may_change_where_tones_do_not() -> None:
    origin, original = make_net(), torch.rand(1, 3, 64, 64) * 255
    checks = torch.ones(1, 3, 64, 64)
    checks[:, :, ::2, 1::2] = checks[:, :, 1::2, ::2] = -1
    painted = origin(original, None)
    assert float(Tones(origin)(painted + 20 * checks, original, None)) < 1e-6
    assert float(Tones(origin)(painted + 20, original, None)) == pytest.approx(400, rel=1e-4)


@pytest.mark.slow
def test_a_net_may_be_held_to_the_tones_of_the_one_it_begins_as(make: Make, single_teacher: str) -> None:
    begun = {"width": 0.25, "batch": 2, "start": single_teacher}
    first = run(make(steps=1, lr=1e-12, tone_weight=1.0, **begun))[0].terms["tones"]
    assert first < 0.1  # as both have their strokes where the one noise says
    drifts = []
    for weight in (1e-6, 1e4):
        options = make(steps=12, lr=2e-3, tone_weight=weight, **begun)
        drifts.append(run(options)[-1].terms["tones"] / weight)
        assert load_checkpoint(options.checkpoint).about["training"]["tone_weight"] == weight
    assert drifts[1] < 0.5 * drifts[0]


def test_tones_without_a_start_are_refused(make: Make) -> None:
    with pytest.raises(TrainError, match="no tones to keep"):
        make(tone_weight=1.0)
