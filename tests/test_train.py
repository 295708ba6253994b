from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from nets import noise, paint, write_photos

from stylecam.errors import DatasetEmptyError, DivergedError, TrainError
from stylecam.neural.checkpoint import load_checkpoint, save_checkpoint
from stylecam.neural.options import Objective, TrainOptions
from stylecam.neural.train import TrainStep, learning_rate, train
from stylecam.neural.transformer import TransformerNet

Make = Callable[..., TrainOptions]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, 8)
    return folder


@pytest.fixture(scope="module")
def painting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("paintings") / "Waves.png"
    cv2.imwrite(str(path), cv2.resize(noise(12, 16, 3, seed=99), (64, 48)))
    return path


@pytest.fixture
def make(photos: Path, painting: Path, vgg_file: Path, tmp_path: Path) -> Make:
    """Options for a training of some tenths of a second a step."""
    objective = Objective(
        vgg=str(vgg_file), content_layer="relu2_2", style_layers=("relu1_2", "relu2_2"), style_size=64
    )
    basic = TrainOptions(
        style_images=(painting,), content_dir=photos, out_dir=tmp_path / "out", name="waves", steps=6,
        batch=1, crop=64, width=0.1, objective=objective, held_out=2, device="cpu", precision="fp32",
    )  # fmt: skip

    def make_options(**changes: Any) -> TrainOptions:
        aims = {key: changes.pop(key) for key in list(changes) if key in Objective.__dataclass_fields__}
        return replace(basic, objective=replace(objective, **aims), **changes)

    return make_options


def run(options: TrainOptions) -> list[TrainStep]:
    return list(train(options))


def parameters(options: TrainOptions) -> dict[str, torch.Tensor]:
    return load_checkpoint(options.checkpoint).net


def log_of(options: TrainOptions) -> list[dict[str, float]]:
    """The log without its times."""
    lines = (options.out_dir / f"{options.name}.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "step_s"} for line in lines]


def is_finite(options: TrainOptions) -> bool:
    return all(bool(value.isfinite().all()) for value in parameters(options).values())


def test_the_loss_falls(make: Make) -> None:
    steps = run(make(steps=15, batch=2, lr=1e-2))
    assert [step.step for step in steps] == list(range(1, 16))
    assert np.mean([step.total for step in steps[-3:]]) < 0.7 * np.mean([step.total for step in steps[:3]])


@pytest.mark.parametrize("paintings", [1, 2])
def test_a_resumed_run_equals_an_unbroken_one(
    make: Make, painting: Path, tmp_path: Path, paintings: int
) -> None:
    names = {"style_images": (painting,) * paintings, "batch": 2}
    whole, broken = make(out_dir=tmp_path / "whole", **names), make(out_dir=tmp_path / "broken", **names)
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
    options = make(steps=1, about={"painter": "Hokusai", "data": "eight photographs"})
    run(options)
    kept = load_checkpoint(options.checkpoint)
    assert kept.about["style"] == "waves"
    assert kept.about["title"] == "Waves"
    assert kept.about["painter"] == "Hokusai"
    training = kept.about["training"]
    assert training["data"] == "eight photographs"
    assert (training["steps"], training["batch"], training["crop"], training["seed"]) == (1, 1, 64, 0)
    assert len(training["held_out"]) == 2
    assert {layer: tuple(gram.shape) for layer, gram in kept.grams.items()} == {
        "relu1_2": (1, 64, 64),
        "relu2_2": (1, 128, 128),
    }


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


def test_a_start_checkpoint_gives_the_net_but_not_the_step(make: Make, tmp_path: Path) -> None:
    run(make(steps=2))
    first = make().checkpoint
    options = make(steps=1, lr=1e-12, start=first, out_dir=tmp_path / "next")
    assert [step.step for step in run(options)] == [1]
    torch.testing.assert_close(parameters(options), load_checkpoint(first).net, rtol=0, atol=1e-9)
    with pytest.raises(TrainError, match="holds another net"):
        run(replace(options, width=0.2))


def test_an_infinite_loss_stops_the_run_and_keeps_the_last_checkpoint(make: Make) -> None:
    run(make(steps=2))
    before = make().checkpoint.read_bytes()
    with pytest.raises(DivergedError, match="diverged at step 1: the loss is inf") as caught:
        run(make(style_weight=1e38, tv_weight=1e38, checkpoint_every=1))
    assert "lower --lr" in caught.value.hint
    assert make().checkpoint.read_bytes() == before
    assert is_finite(make())


def test_a_gradient_that_overflows_before_the_loss_does_is_noticed_too(make: Make) -> None:
    run(make(steps=1))
    before = make().checkpoint.read_bytes()
    with pytest.raises(DivergedError, match="diverged at step 1: the gradient overflowed"):
        run(make(tv_weight=1e35, checkpoint_every=1))  # a loss of some 1e38, just below the end of fp32
    assert make().checkpoint.read_bytes() == before


def test_a_flat_output_stops_the_run(make: Make, tmp_path: Path) -> None:
    run(make(steps=1))
    kept = load_checkpoint(make().checkpoint)
    for name in ("paint.weight", "paint.bias"):
        kept.net[name].zero_()
    save_checkpoint(kept, tmp_path / "flat.ckpt")
    options = make(start=tmp_path / "flat.ckpt", out_dir=tmp_path / "next")
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


def test_resuming_with_other_options_is_refused(make: Make) -> None:
    running = train(make())
    next(running)
    running.close()
    for change, named in (
        ({"lr": 5e-4}, "lr was 0.001"), ({"steps": 9}, "steps was 6"), ({"seed": 1}, "seed was 0"),
        ({"batch": 2}, "batch was 1"), ({"tv_weight": 1.0}, "another objective"),
        ({"width": 0.2}, "holds another net"),
    ):  # fmt: skip
        with pytest.raises(TrainError, match=named):
            run(make(resume=True, **change))


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
from stylecam.neural.options import Objective, TrainOptions
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
    learned = paint(nets[0], frames).astype(int) - paint(TransformerNet(nets[0].spec), frames)
    assert np.abs(apart).mean() < 0.05 * np.abs(learned).mean()
