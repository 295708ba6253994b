"""A pupil learns to paint as its teacher does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from nets import make_checkpoint, make_net
from torch import Tensor, nn
from training import Make, run, save_teacher

from stylecam.errors import StyleError
from stylecam.neural import training_loss as module
from stylecam.neural.checkpoint import load_checkpoint
from stylecam.neural.distill import Imitation
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
