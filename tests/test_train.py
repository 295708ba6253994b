from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from films import slow
from nets import KINDS, MakeFile, distance, make_checkpoint, noise, paint, with_half_weights, write_photos
from torch import Tensor, nn
from training import Make, log_of, parameters, run

from stylecam.errors import DatasetEmptyError, DivergedError, StyleError, TrainError, VggError
from stylecam.neural.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from stylecam.neural.optimizer import NORM_BOOST
from stylecam.neural.options import TrainOptions, describe_paintings
from stylecam.neural.train import Trainer, learning_rate, train
from stylecam.neural.transformer import NetSpec, build_net


def is_finite(options: TrainOptions) -> bool:
    return all(bool(value.isfinite().all()) for value in parameters(options).values())


@pytest.mark.slow
def test_the_loss_falls(make: Make) -> None:
    steps = run(make(steps=15, batch=2, lr=1e-2))
    assert [step.step for step in steps] == list(range(1, 16))
    assert np.mean([step.total for step in steps[-3:]]) < 0.7 * np.mean([step.total for step in steps[:3]])


@pytest.fixture(params=["one painting", slow("two paintings"), "a teacher"])
def sort(request: pytest.FixtureRequest, painting: Path, teacher: str) -> dict[str, Any]:
    """Options for each sort of training."""
    sorts: dict[str, dict[str, Any]] = {
        "one painting": {"temporal_weight": (0.1,)},
        "two paintings": {"style_images": (painting, painting)},
        "a teacher": {
            "style_images": (), "teacher": teacher, "perceptual_weight": 0.1, "net": "fast",
            "temporal_weight": (0.1, 0.2, 0.3),
        },
    }  # fmt: skip
    return sorts[request.param] | {"batch": 2}


def test_a_resumed_run_equals_an_unbroken_one(make: Make, sort: dict[str, Any], tmp_path: Path) -> None:
    whole, broken = make(out_dir=tmp_path / "whole", **sort), make(out_dir=tmp_path / "broken", **sort)
    run(whole)
    first = train(broken)
    assert [next(first).step for _ in range(3)] == [1, 2, 3]
    first.close()
    rest = run(replace(broken, resume=True))
    assert [step.step for step in rest] == [4, 5, 6]
    assert {step.restarted_from for step in rest} == {3}
    assert log_of(broken) == log_of(whole)
    torch.testing.assert_close(parameters(broken), parameters(whole), rtol=0, atol=0)


def test_resuming_a_finished_run_ends_at_once(make: Make) -> None:
    options = make(steps=2)
    run(options)
    before = parameters(options)
    assert list(itertools.islice(train(replace(options, resume=True)), 3)) == []
    torch.testing.assert_close(parameters(options), before, rtol=0, atol=0)


def test_resume_without_a_checkpoint_starts_anew(make: Make) -> None:
    assert [step.step for step in run(make(steps=1, resume=True))] == [1]


def test_closing_early_leaves_a_checkpoint(make: Make) -> None:
    options = make()
    running = train(options)
    next(running)
    assert not options.checkpoint.exists()
    running.close()
    assert load_checkpoint(options.checkpoint).step == 1


def test_checkpoints_come_as_often_as_asked(make: Make) -> None:
    running = train(make(checkpoint_every=2))
    found = []
    for _ in range(4):
        next(running)
        found.append(load_checkpoint(make().checkpoint).step if make().checkpoint.exists() else 0)
    running.close()
    assert found == [0, 2, 2, 4]


def test_a_checkpoint_says_what_it_is(make: Make, painting: Path) -> None:
    about = describe_paintings([painting], ["Waves"], ["Hokusai"], [""], "CC0")
    options = make(steps=1, about=about, data="eight photographs")
    run(options)
    kept = load_checkpoint(options.checkpoint)
    assert kept.about["style"] == "waves"
    assert (kept.about["title"], kept.about["painter"]) == ("Waves", "Hokusai")
    assert "teacher" not in kept.about["training"]
    training = kept.about["training"]
    assert training["data"] == "eight photographs"
    assert (training["steps"], training["batch"], training["crop"], training["seed"]) == (1, 1, 64, 0)
    assert len(training["held_out"]) == 2
    assert {layer: tuple(gram.shape) for layer, gram in kept.grams.items()} == {
        "relu1_2": (1, 64, 64),
        "relu2_2": (1, 128, 128),
    }


@pytest.mark.slow
def test_samples_and_plot_are_drawn(make: Make) -> None:
    run(make(steps=2, sample_every=2))
    out = make().out_dir
    assert {file.name for file in out.iterdir()} == {
        "waves.ckpt", "waves.jsonl", "waves-loss.png", "waves-samples",
    }  # fmt: skip
    assert [file.name for file in (out / "waves-samples").iterdir()] == ["step-000002.jpg"]


def test_several_paintings_train_one_net(make: Make, painting: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((40, 40, 3), 128, np.uint8))
    options = make(style_images=(painting, tmp_path / "flat.png"), steps=4)
    run(options)
    kept = load_checkpoint(options.checkpoint)
    assert kept.spec.styles == 2
    assert kept.grams["relu1_2"].shape == (2, 64, 64)
    scales = kept.net["down.0.norm.weight"]
    assert (scales[0] != 1).all()  # batch 1: steps 1 and 3 were for the first painting
    assert (scales[1] != 1).all()
    assert (scales[0] != scales[1]).any()


def test_bf16_trains(make: Make) -> None:
    steps = run(make(steps=2, precision="bf16"))
    assert steps[-1].precision == "bf16"
    assert is_finite(make())


def test_transposed_upsampling_trains(make: Make) -> None:
    run(make(steps=1, upsampling="transposed"))
    assert load_checkpoint(make().checkpoint).spec.upsampling == "transposed"


def learned(numbers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All but the noise, which each step moves."""
    return {name: value for name, value in numbers.items() if not name.endswith("noise.pattern")}


def test_a_start_checkpoint_gives_the_net_but_not_the_step(make: Make, tmp_path: Path) -> None:
    run(make(steps=2))
    first = make().checkpoint
    options = make(steps=1, lr=1e-12, start=str(first), out_dir=tmp_path / "next")
    assert [step.step for step in run(options)] == [1]
    wanted = learned(load_checkpoint(first).net)
    torch.testing.assert_close(learned(parameters(options)), wanted, rtol=0, atol=1e-9)
    start = {"style": "waves", "net": "full", "steps": 2}
    assert load_checkpoint(options.checkpoint).about["training"]["start"] == start
    assert "start" not in load_checkpoint(first).about["training"]
    with pytest.raises(TrainError, match="holds another net"):
        run(replace(options, width=0.2))


def set_aside(options: TrainOptions) -> set[str]:
    return {file.name for file in Trainer(options).data.held_out}


def test_photographs_set_aside_stay_so_in_a_run_that_begins_where_another_ended(
    make: Make, tmp_path: Path
) -> None:
    run(make(steps=1))
    first = make().checkpoint
    aside = load_checkpoint(first).about["training"]["held_out"]
    for seed in range(1, 4):
        options = make(steps=2, start=str(first), seed=seed, out_dir=tmp_path / f"next{seed}")
        assert set_aside(options) == set(aside)
        assert not {file.name for file in Trainer(options).data.files} & set(aside)
    running = train(options)
    next(running)
    running.close()
    assert set_aside(replace(options, start=None, resume=True)) == set(aside)
    assert any(set_aside(make(seed=seed)) != set(aside) for seed in range(1, 4))


class Recorder(nn.Module):
    """Paint nothing, and write down in which styles it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.styles: list[int] = []

    def forward(self, rgb: Tensor, mix: Tensor) -> Tensor:
        self.styles += mix.argmax(1).tolist()
        return rgb


@pytest.mark.parametrize(
    ("turns", "wanted"), [((1,), [0, 1, 2, 0, 1, 2, 0, 1]), ((1, 1, 2), [2, 0, 1, 2, 2, 0, 1, 2])]
)
def test_paintings_take_turns(make: Make, painting: Path, turns: tuple[int, ...], wanted: list[int]) -> None:
    options = make(style_images=(painting,) * 3, batch=2, turns=turns)
    trainer, recorder = Trainer(options), Recorder()
    for step in range(4):
        trainer.goal.terms(recorder, torch.rand(2, 3, 64, 64) * 255, step)
    assert recorder.styles == wanted
    assert trainer._checkpoint().about["training"]["turns"] == list(turns)


def test_a_painting_without_turns_is_refused(make: Make, painting: Path) -> None:
    with pytest.raises(TrainError, match="a style with 0 turns") as caught:
        make(style_images=(painting, painting), turns=(1, 0))
    assert caught.value.hint == "give each 1 or more"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("styles", [1, 3])
def test_every_style_begins_as_the_single_net(
    make: Make, make_ckpt: MakeFile, painting: Path, kind: str, styles: int
) -> None:
    first = make_ckpt(kind, 1)
    begun = Trainer(make(style_images=(painting,) * styles, start=str(first), net=kind, width=0.25))
    wanted = load_checkpoint(first).build_net()
    for mix in torch.eye(styles).tolist():
        frames = noise(1, 30, 33, 3)
        assert distance(paint(begun.plain_net, frames, mix), paint(wanted, frames)) <= 1


def test_a_net_of_several_styles_begins_as_one_of_as_many(
    make: Make, make_ckpt: MakeFile, painting: Path
) -> None:
    options = make(style_images=(painting,) * 3, start=str(make_ckpt("full", 3)), width=0.25)
    wanted = load_checkpoint(make_ckpt("full", 3)).net
    torch.testing.assert_close(dict(Trainer(options).plain_net.state_dict()), dict(wanted), rtol=0, atol=0)
    with pytest.raises(TrainError, match=r"holds another net: .*styles=3") as caught:
        Trainer(replace(options, style_images=(painting,) * 2))
    assert "styles=2" in caught.value.hint


def test_a_weights_file_can_be_the_start(
    make: Make, make_onnx: MakeFile, tiny_checkpoint: Checkpoint
) -> None:
    options = make(start=str(make_onnx("full", 1)), width=0.25)
    wanted = with_half_weights(tiny_checkpoint.build_net()).state_dict()
    torch.testing.assert_close(dict(Trainer(options).plain_net.state_dict()), dict(wanted), rtol=0, atol=0)
    with pytest.raises(StyleError, match="holds a full net, not a fast one"):
        Trainer(replace(options, net="fast"))


@pytest.mark.parametrize(("kind", "wanted"), [KINDS, KINDS[::-1]])
def test_a_net_of_another_kind_is_told_by_its_kind(
    make: Make, make_ckpt: MakeFile, make_onnx: MakeFile, kind: str, wanted: str
) -> None:
    """Before anything else that is not as it should be follows from it, such as its grids."""
    run(make(net=kind, steps=1))
    wrong: list[dict[str, Any]] = [
        {"start": str(make_ckpt(kind, 1))}, {"start": str(make_onnx(kind, 1))}, {"resume": True}
    ]  # fmt: skip
    for each in wrong:
        with pytest.raises(StyleError, match=f"holds a {kind} net, not a {wanted} one") as caught:
            Trainer(make(net=wanted, steps=1, **each))
        assert caught.value.hint == f"name --net {kind}"


def test_a_file_that_teaches_may_hold_either_net(
    make: Make, make_ckpt: MakeFile, make_onnx: MakeFile
) -> None:
    for file in (make_ckpt("fast", 1), make_onnx("fast", 1), make_onnx("full", 1)):
        taught = Trainer(make(style_images=(), teacher=str(file)))
        assert taught.goal.teacher
        assert taught.goal.teacher.net.spec.kind == (
            "full" if file.parent.name.startswith("full") else "fast"
        )


def test_the_fast_net_trains(make: Make) -> None:
    options = make(net="fast", steps=15, batch=2, lr=1e-2)
    steps = run(options)
    assert np.mean([step.total for step in steps[-3:]]) < 0.7 * np.mean([step.total for step in steps[:3]])
    assert load_checkpoint(options.checkpoint).spec == NetSpec("fast", 0.1, grids=2, noise=True)


def test_a_fast_net_of_one_grid_goes_on_as_it_is(make: Make, make_ckpt: MakeFile, tmp_path: Path) -> None:
    """Earlier versions trained such nets; nobody need begin anew."""
    options = make(net="fast", width=0.25, steps=1, start=str(make_ckpt("cells", 1)), out_dir=tmp_path / "on")
    run(options)
    assert load_checkpoint(options.checkpoint).spec == NetSpec("fast", 0.25, noise=True)
    again = replace(options, start=None, resume=True)
    assert Trainer(again).spec == NetSpec("fast", 0.25, noise=True)
    assert Trainer(replace(again, resume=False)).spec == NetSpec("fast", 0.25, grids=2, noise=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_net_without_noise_is_given_a_little_at_the_start(make: Make, tmp_path: Path, kind: str) -> None:
    """Earlier versions trained such nets; a run of theirs goes on without."""
    had = make_checkpoint(kind=kind)
    plain = build_net(replace(had.spec, noise=False)).eval()
    plain.load_state_dict({name: value for name, value in had.net.items() if "noise" not in name})
    first = tmp_path / "plain.ckpt"
    save_checkpoint(replace(had, spec=plain.spec, net=plain.state_dict()), first)
    options = make(net=kind, width=0.25, start=str(first))
    begun = Trainer(options)
    assert begun.spec == had.spec
    found = begun.plain_net.state_dict()
    torch.testing.assert_close({name: found[name] for name in plain.state_dict()}, dict(plain.state_dict()))
    (strength,) = (value for name, value in found.items() if name.endswith("noise.conv.weight"))
    wanted = 0.25 if kind == "fast" else 0.1
    assert float(strength.std()) == pytest.approx(wanted, rel=0.3), "a tenth of what is there"


@pytest.mark.parametrize("kind", KINDS)
def test_each_step_sees_the_noise_at_another_place_the_same_in_each_run(make: Make, kind: str) -> None:
    options = make(net=kind, width=0.25, steps=2)
    seen = []
    for _ in range(2):
        trainer = Trainer(options)
        for step, batch in zip(range(2), trainer.batches(), strict=False):
            trainer.take_step(step, batch)
            (pattern,) = (v.clone() for n, v in trainer.plain_net.named_buffers() if n.endswith("pattern"))
            seen.append(pattern)
    assert torch.equal(seen[0], seen[2])
    assert torch.equal(seen[1], seen[3])
    assert not torch.equal(seen[0], seen[1])


def test_a_pattern_of_cells_counts_against_a_net(make: Make, teacher: str) -> None:
    assert [make(net=kind).pattern for kind in KINDS] == [3000, 10000]
    assert [make(net=kind, teacher=teacher).pattern for kind in KINDS] == [0, 3]
    assert make(net="fast", pattern_weight=0.0).pattern == 0
    terms = [run(make(net="fast", steps=1, pattern_weight=weight))[0].terms for weight in (0.0, 1.0, 2.0)]
    assert "pattern" not in terms[0]
    assert terms[2]["pattern"] == pytest.approx(2 * terms[1]["pattern"])
    assert terms[1]["pattern"] > 0


def first_moves(options: TrainOptions) -> dict[bool, float]:
    """The largest change in the first step: of the norms' numbers (True), of the last layer's offsets."""
    trainer = Trainer(options)
    before = {name: value.clone() for name, value in trainer.plain_net.state_dict().items()}
    trainer.take_step(0, next(trainer.batches()))
    moves = {True: 0.0, False: 0.0}
    for name, value in trainer.plain_net.state_dict().items():
        norm = ".norm." in name
        if not norm and name != "paint.bias":  # kernels are Muon's
            continue
        moves[norm] = max(moves[norm], float((value - before[name]).abs().max()))
    return moves


def test_what_tells_styles_apart_moves_faster(make: Make, painting: Path) -> None:
    single, several = (first_moves(make(style_images=(painting,) * styles, lr=1e-4)) for styles in (1, 2))
    assert single[True] == pytest.approx(single[False], rel=0.01)
    assert several[True] == pytest.approx(NORM_BOOST * several[False], rel=0.01)


def test_the_total_is_the_sum_of_the_terms(make: Make) -> None:
    (step,) = run(make(steps=1))
    assert list(step.terms) == ["content", "style", "tv", "pattern"]
    assert step.total == pytest.approx(sum(step.terms.values()))


def test_each_painting_has_its_own_style_weight(make: Make, painting: Path, tmp_path: Path) -> None:
    def style_terms(*weights: float) -> list[float]:
        several = {"style_images": (painting, painting), "style_weight": weights}
        return [step.terms["style"] for step in run(make(steps=2, lr=1e-12, **several))]

    alike, apart = style_terms(5.0), style_terms(5.0, 10.0)
    assert apart == pytest.approx([alike[0], 2 * alike[1]])


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"style_weight": (1.0, 2.0, 3.0)}, "3 style weights for 2 paintings"),
        ({"temporal_weight": (1.0, 2.0, 3.0)}, "3 temporal weights for 2 paintings"),
        ({"turns": (1, 2, 3)}, "3 turns for 2 paintings"),
    ],
)
def test_a_wrong_number_of_weights_is_refused(
    make: Make, painting: Path, wrong: dict[str, Any], what: str
) -> None:
    with pytest.raises(TrainError, match=what) as caught:
        Trainer(make(style_images=(painting, painting), **wrong))
    assert caught.value.hint == "give one for all, or one for each"


def test_without_a_painting_or_a_teacher_there_is_nothing_to_learn_from(make: Make) -> None:
    with pytest.raises(TrainError, match="nothing to learn from") as caught:
        make(style_images=())
    assert "--teacher" in caught.value.hint


def test_one_painting_is_described() -> None:
    about = describe_paintings([Path("a/waves.jpg")], ["Waves"], ["Hokusai"], ["1831"], "CC0")
    assert about == {
        "style": "waves", "title": "Waves", "painter": "Hokusai", "year": "1831", "licence": "CC0",
    }  # fmt: skip


def test_several_paintings_are_described_each() -> None:
    images = [Path("waves.jpg"), Path("b/dunes.png")]
    about = describe_paintings(images, ["Waves", "Dunes"], ["Hokusai"], ["1831", ""], "CC0")
    each = [
        {"style": "waves", "title": "Waves", "painter": "Hokusai", "year": "1831"},
        {"style": "dunes", "title": "Dunes", "painter": "Hokusai", "year": ""},
    ]
    assert about == {"licence": "CC0", "styles": each}
    assert describe_paintings([], [], [""], [""], "CC0") == {"licence": "CC0"}
    assert describe_paintings([], [], [""], [""], "") == {}


@pytest.mark.parametrize("what", ["title", "painter", "year"])
def test_a_wrong_number_of_descriptions_is_refused(what: str) -> None:
    texts = {name: ["x"] for name in ("title", "painter", "year")} | {what: ["x", "y"]}
    images = [Path("a.png"), Path("b.png"), Path("c.png")]
    with pytest.raises(TrainError, match=f"2 values of --{what} for 3 paintings") as caught:
        describe_paintings(images, texts["title"], texts["painter"], texts["year"], "")
    assert caught.value.hint == "give one, or one for each"


def test_two_paintings_of_one_name_are_refused() -> None:
    """Their styles could not be told apart."""
    with pytest.raises(TrainError, match="several paintings are called waves") as caught:
        describe_paintings([Path("a/waves.jpg"), Path("b/waves.png")], ["W"], [""], [""], "")
    assert "rename" in caught.value.hint


def test_an_infinite_loss_stops_the_run_and_keeps_the_last_checkpoint(make: Make) -> None:
    run(make(steps=2))
    before = make().checkpoint.read_bytes()
    with pytest.raises(DivergedError, match="diverged at step 1: the loss is inf") as caught:
        run(make(style_weight=(1e38,), tv_weight=1e38, checkpoint_every=1))
    assert "lower --lr" in caught.value.hint
    assert make().checkpoint.read_bytes() == before
    assert is_finite(make())


def test_a_gradient_that_overflows_before_the_loss_does_is_noticed_too(make: Make) -> None:
    run(make(steps=1))
    before = make().checkpoint.read_bytes()
    with pytest.raises(DivergedError, match=r"diverged at step \d: the gradient overflowed"):
        run(make(tv_weight=1e35, steps=9))  # a loss of some 1e38, just below the end of fp32
    assert make().checkpoint.read_bytes() == before


def test_one_step_whose_gradient_overflows_is_left_out(make: Make) -> None:
    trainer = Trainer(make(steps=4))
    batch = next(trainer.batches())
    trainer.take_step(0, batch)
    before = {name: numbers.clone() for name, numbers in learned(trainer.plain_net.state_dict()).items()}
    whole = trainer.goal.terms

    def steep(net: nn.Module, seen: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        painted, _ = whole(net, seen, step)
        return painted, {"root": (painted.sum() * 0).sqrt()}

    trainer.goal.terms = steep  # type: ignore[assignment,method-assign]
    assert trainer.take_step(1, batch).left_out == 1
    torch.testing.assert_close(learned(trainer.plain_net.state_dict()), before, rtol=0, atol=0)
    trainer.goal.terms = whole  # type: ignore[method-assign]
    assert trainer.take_step(2, batch).left_out == 1
    assert (trainer.plain_net.state_dict()["paint.weight"] != before["paint.weight"]).any()


def test_a_flat_output_stops_the_run(make: Make, tmp_path: Path) -> None:
    run(make(steps=1))
    kept = load_checkpoint(make().checkpoint)
    for name in ("paint.weight", "paint.bias"):
        kept.net[name].zero_()
    save_checkpoint(kept, tmp_path / "flat.ckpt")
    options = make(start=str(tmp_path / "flat.ckpt"), out_dir=tmp_path / "next")
    with pytest.raises(DivergedError, match="the output has gone flat"):
        run(options)
    assert not options.checkpoint.exists()


def test_an_output_that_goes_flat_never_reaches_a_checkpoint(make: Make, tmp_path: Path) -> None:
    """Any step may be the one after which a checkpoint is due, not only every tenth."""
    first = make(steps=20, checkpoint_every=1)
    running = train(first)
    for _ in range(2):
        next(running)
    running.close()
    kept = load_checkpoint(first.checkpoint)
    for name in ("paint.weight", "paint.bias"):
        kept.net[name].zero_()
    save_checkpoint(kept, first.checkpoint)
    with pytest.raises(DivergedError, match="the output has gone flat"):
        run(replace(first, resume=True))
    assert load_checkpoint(first.checkpoint).step == 2


def test_a_plain_photograph_is_no_reason_to_stop(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    cv2.imwrite(str(folder / "paper.png"), np.full((80, 80, 3), 250, np.uint8))
    assert len(run(make(content_dir=folder, held_out=0, steps=2))) == 2


def test_resuming_with_other_options_is_refused(make: Make, teacher: str) -> None:
    running = train(make())
    next(running)
    running.close()
    for change, named in (
        ({"lr": 5e-4}, "lr was 0.001"), ({"steps": 9}, "steps was 6"), ({"seed": 1}, "seed was 0"),
        ({"batch": 2}, "batch was 1"), ({"tv_weight": 1.0}, "the objective was another"),
        ({"width": 0.2}, r"the net was .*width=0\.1"),
        ({"temporal_weight": (1.0,)}, r"temporal_weight was \[0\.0\]"),
        ({"teacher": teacher}, "teacher was None"), ({"pattern_weight": 1.0}, r"pattern was 3000\.0"),
        ({"turns": (2,)}, r"turns was \[1\]"),
        ({"tone_weight": 1.0, "start": teacher}, r"tone_weight was 0\.0"),
    ):  # fmt: skip
        with pytest.raises(TrainError, match=named):
            run(make(resume=True, **change))


@pytest.mark.parametrize("finished", [False, True])
def test_resuming_with_another_painting_is_refused(
    make: Make, painting: Path, tmp_path: Path, finished: bool
) -> None:
    """Its net would be given the new one's name and Gram matrices."""
    other = tmp_path / "other.png"
    cv2.imwrite(str(other), cv2.resize(noise(12, 16, 3, seed=98), (64, 48)))
    for first, then in (((painting,), (other,)), ((painting, other), (other, painting))):
        options = make(style_images=first, steps=2, out_dir=tmp_path / f"out{len(first)}")
        running = train(options)
        for _ in range(2 if finished else 1):
            next(running)
        running.close()
        before = options.checkpoint.read_bytes()
        with pytest.raises(TrainError, match="with other options: the painting was another"):
            run(replace(options, style_images=then, resume=True))
        assert options.checkpoint.read_bytes() == before
        assert len(run(replace(options, resume=True))) == (0 if finished else 1)


def test_resuming_with_a_teacher_of_another_painting_is_refused(
    make: Make, make_ckpt: MakeFile, tmp_path: Path
) -> None:
    teacher = tmp_path / "mine.ckpt"
    options = make(style_images=(), teacher=str(teacher), steps=1)
    save_checkpoint(load_checkpoint(make_ckpt("full", 1)), teacher)
    run(options)
    assert run(replace(options, resume=True)) == []
    save_checkpoint(make_checkpoint(seed=1), teacher)
    with pytest.raises(TrainError, match="the painting was another"):
        run(replace(options, resume=True))


def test_a_corrupt_checkpoint_is_refused_and_left(make: Make) -> None:
    options = make(resume=True)
    options.out_dir.mkdir()
    options.checkpoint.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(TrainError, match="is not a checkpoint"):
        run(options)
    assert options.checkpoint.read_bytes() == b"PK\x03\x04 and no more"


def test_broken_pictures_are_counted(make: Make, tmp_path: Path) -> None:
    write_photos(tmp_path / "mixed", 2)
    for index in range(3):
        (tmp_path / "mixed" / f"broken{index}.jpg").write_text("no picture")
    assert run(make(content_dir=tmp_path / "mixed", held_out=0, steps=5))[-1].skipped == 3


def test_an_empty_folder_is_an_error_and_leaves_nothing(make: Make, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetEmptyError):
        run(make(content_dir=tmp_path / "empty"))
    assert not make().out_dir.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch": 0},
        {"crop": 32},
        {"crop": 5000},
        {"lr": 0.0},
        {"lr": -1.0},
        {"lr": float("nan")},
    ],
)
def test_numbers_out_of_range_are_refused(make: Make, wrong: dict[str, Any]) -> None:
    with pytest.raises(TrainError, match="out of range"):
        make(**wrong)


@pytest.mark.parametrize("sort", ["alone", "taught"])
def test_any_crop_trains(make: Make, make_ckpt: MakeFile, teacher: str, sort: str) -> None:
    """Also one that is no whole number of cells, of strides or of squares of tones."""
    sorts: dict[str, dict[str, Any]] = {
        "alone": {"start": str(make_ckpt("full", 1)), "tone_weight": 1.0},
        "taught": {"style_images": (), "teacher": teacher, "net": "fast"},
    }
    more = sorts[sort] | {"width": 0.25, "temporal_weight": (0.1,), "perceptual_weight": 1.0}
    assert len(run(make(crop=101, steps=1, batch=2, **more))) == 1


def test_a_painting_too_narrow_for_the_deepest_layer_is_refused(make: Make, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "strip.png"), noise(20, 3000, 3))
    with pytest.raises(
        TrainError, match=r"strip\.png is too small at 400x3: .* relu2_2 needs 4 px"
    ) as caught:
        Trainer(make(style_images=(tmp_path / "strip.png",), style_size=400))
    assert "--style-size" in caught.value.hint
    Trainer(make(style_images=(tmp_path / "strip.png",), style_size=600))


@pytest.mark.parametrize("wrong", [{"content_layer": "relu9_1"}, {"style_layers": ("relu9_1",)}])
def test_an_unknown_layer_is_refused_before_anything_is_touched(make: Make, wrong: dict[str, Any]) -> None:
    run(make(steps=2))
    with pytest.raises(VggError, match="vgg16 has no layer relu9_1"):
        run(make(steps=2, **wrong))
    assert len(log_of(make())) == 2


def test_the_rate_rises_then_falls_to_a_hundredth() -> None:
    rates = [learning_rate(step, 1000, 1.0) for step in range(1000)]
    assert rates[0] == pytest.approx(1 / 50)
    assert rates[49] == rates[50] == 1
    assert rates[524] == pytest.approx(0.505, abs=0.01)
    assert all(a >= b for a, b in itertools.pairwise(rates[49:]))
    assert rates[-1] == pytest.approx(0.01, abs=1e-4)


PROCESS = """
import json, sys
from pathlib import Path
from stylecam.neural.options import Objective, TrainOptions, describe_paintings
from stylecam.neural.train import train
objective, paths, rest = (json.loads(text) for text in sys.argv[1:])
objective = Objective.from_card(objective)
style, content, out = (Path(paths[name]) for name in ("style", "content", "out"))
options = TrainOptions((style,), content, out, objective=objective, **rest)
assert len(list(train(options))) == options.steps
"""


@pytest.mark.slow
def test_two_processes_train_the_net_that_one_with_twice_the_batch_does(make: Make, tmp_path: Path) -> None:
    one = make(steps=3, batch=2, out_dir=tmp_path / "one")
    run(one)
    two = replace(one, batch=1, out_dir=tmp_path / "two")
    script = tmp_path / "process.py"
    script.write_text(PROCESS)
    plain = ("name", "steps", "batch", "crop", "width", "held_out", "device", "precision")
    paths = {"style": str(two.style_images[0]), "content": str(two.content_dir), "out": str(two.out_dir)}
    arguments = (two.objective.to_card(), paths, {name: getattr(two, name) for name in plain})
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*torchrun, str(script), *(json.dumps(argument) for argument in arguments)],
        check=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert [file.name for file in two.out_dir.glob("*.ckpt")] == ["waves.ckpt"]
    assert len(log_of(two)) == 3
    assert load_checkpoint(two.checkpoint).about["training"]["batch"] == 2
    # Not the numbers themselves: Adam makes steps of those that have no effect out of rounding errors.
    nets = [load_checkpoint(options.checkpoint).build_net() for options in (one, two)]
    frames = noise(1, 32, 32, 3)
    apart = paint(nets[0], frames).astype(int) - paint(nets[1], frames)
    torch.manual_seed(one.seed)
    learned = paint(nets[0], frames).astype(int) - paint(build_net(nets[0].spec), frames)
    assert np.abs(apart).mean() < 0.05 * np.abs(learned).mean()
