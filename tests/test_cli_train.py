from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import as_user_style, interrupted, noise, stylecam, stylecam_apart, tree
from nets import MakeFile, psnr_db

from stylecam.engines import open_engine
from stylecam.frames import resize
from stylecam.neural.checkpoint import load_checkpoint
from stylecam.neural.transformer import NetSpec
from stylecam.pictures import Picture, read_picture, write_picture
from stylecam.styles import read_style

ONE_STEP = "stylecam.neural.train:Trainer.take_step"
STEPS = 6
NO_EXPORT = "import stylecam.neural.export as module; module.export = lambda name, path: path"

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.fixture
def studio(tmp_path: Path, vgg_file: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Photographs, a painting and a perceptual net with random weights; the options to train on them."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for index in range(5):
        blots = resize(noise((6, 5), index), (90, 80))
        write_picture(Path("photos", f"{index}.png"), Picture(blots))
    Path("photos", "broken.png").write_text("no picture")
    write_picture(Path("painting.png"), Picture(resize(noise((8, 8), 9), (64, 64))))
    return [
        "train", "--content-dir", "photos", "--style-image", "painting.png", "--vgg", vgg_file, "-o", "out",
        "--name", "blots", "--steps", STEPS, "--batch", 2, "--crop", 64, "--width", 0.25, "--held-out", 2,
        "--style-size", 64, "--style-layers", "relu1_2,relu2_2", "--content-layer", "relu2_2",
        "--style-weight", 0.01, "--checkpoint-every", 2, "--sample-every", 3, "--device", "cpu",
        "--precision", "fp32", "--painter", "Nobody", "--title", "Blots", "--json",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_painting_becomes_a_style(studio: list[object], tmp_path: Path) -> None:
    done = stylecam(*studio)
    assert done.code == 0, done.err
    weights = Path("out", "blots.onnx")
    checkpoint = Path("out", "blots.ckpt")
    assert done.figures == {"steps": STEPS, "checkpoint": str(checkpoint), "output": str(weights)}
    kept = {"blots.ckpt", "blots.onnx", "blots.jsonl", "blots-loss.png", "blots-samples"}
    assert {path.name for path in Path("out").iterdir()} == kept
    assert [path.name for path in Path("out", "blots-samples").iterdir()] == [
        "step-000003.jpg",
        "step-000006.jpg",
    ]
    log = [json.loads(line) for line in Path("out", "blots.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(1, STEPS + 1))
    card = read_style(weights).card
    assert (card["style"], card["title"], card["painter"]) == ("blots", "Blots", "Nobody")
    assert (card["training"]["steps"], len(card["training"]["held_out"])) == (STEPS, 2)
    photo = Path("photos", "0.png")
    shown = stylecam("image", photo, "-o", "out.png", "--style", weights)
    assert shown.code == 0, shown.err
    assert read_picture(Path("out.png")).bgr.shape == (80, 90, 3)


def interrupted_training(studio: list[object], number: int) -> int:
    """Interrupt a training soon; return the step at which it stopped."""
    done = interrupted(ONE_STEP, *studio, number=number, after=1)
    assert done.code == 130, done.err
    assert done.err.splitlines()[-1] == "interrupted"
    assert "go on with --resume" in done.err
    assert "Traceback" not in done.err
    assert "blots.onnx" not in tree(Path("out"))
    stopped_at = int(torch.load("out/blots.ckpt", weights_only=True)["step"])
    assert 1 <= stopped_at < STEPS
    return stopped_at


@pytest.mark.slow
@posix
def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(
    studio: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    # On two threads one run of hundreds came out rounded otherwise: how MKL adds up goes by the threads
    # that share a product. And all in processes of their own, for this one has loaded much.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    stopped_at = interrupted_training(studio, signal.SIGINT)
    for more in (["--resume"], ["-o", "through"]):
        done = stylecam_apart(*studio, *more, code=NO_EXPORT)
        assert done.code == 0, done.err
    log = [json.loads(line) for line in Path("out", "blots.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(1, STEPS + 1))
    assert stopped_at < STEPS
    nets = [torch.load(f"{folder}/blots.ckpt", weights_only=True)["net"] for folder in ("out", "through")]
    for name, tensor in nets[0].items():
        np.testing.assert_array_equal(tensor.numpy(), nets[1][name].numpy(), err_msg=name)
    refused = stylecam(*studio, "--resume", "--batch", 1)
    assert refused.code == 1
    assert "batch was 2" in refused.err


@pytest.mark.slow
@posix
def test_a_job_that_is_told_to_end_leaves_a_checkpoint(studio: list[object]) -> None:
    interrupted_training(studio, signal.SIGTERM)


@pytest.mark.slow
def test_a_style_teaches_a_fast_net(studio: list[object], tiny_styles_path: Path) -> None:
    with as_user_style(tiny_styles_path, "gallery"):
        teacher = ["--teacher", "three:1,two:1", "--perceptual-weight", 0, "--temporal-weight", 0.5]
        content = studio[: studio.index("--style-image")]
        place = studio.index
        rest = studio[place("-o") : place("--style-weight")]
        rest += [*studio[place("--checkpoint-every") : place("--painter")], "--licence", "CC0"]
        done = stylecam(*content, *teacher, *rest, "--net", "fast", "--steps", 2, "--sample-every", 0)
    assert done.code == 0, done.err
    assert "pixels" in done.err
    assert {path.name for path in Path("out").iterdir()} == {"blots.ckpt", "blots.onnx", "blots.jsonl"}
    style, kept = read_style(Path("out", "blots.onnx")), load_checkpoint(Path("out", "blots.ckpt"))
    assert (style.net, style.card["net"]["styles"]) == ("fast", 1)
    assert kept.spec == NetSpec("fast", 0.25, 1, grids=2, noise=True)
    assert (style.card["style"], style.card["title"]) == ("blots", "Two + Three")
    assert style.card["licence"] == "CC0"
    assert style.card["training"]["teacher"] == {"style": "three:1,two:1", "net": "full", "steps": 7}
    log = [json.loads(line) for line in Path("out", "blots.jsonl").read_text().splitlines()]
    assert [line.keys() >= {"total", "pixels", "edges", "temporal", "pattern"} for line in log] == [
        True,
        True,
    ]


@pytest.mark.slow
def test_several_paintings_have_names_and_weights_of_their_own(studio: list[object]) -> None:
    write_picture(Path("second.png"), Picture(resize(noise((8, 8), 10), (64, 64))))
    second = ["--style-image", "second.png", "--style-weight", 0.02, "--title", "Second", "--year", "1900"]
    turns = ["--turns", 1, "--turns", 3]
    done = stylecam(*studio, *second, *turns, "--net", "fast", "--steps", 2, "--sample-every", 0)
    assert done.code == 0, done.err
    style = read_style(Path("out", "blots.onnx"))
    assert style.styles == ["painting", "second"]
    assert [each["title"] for each in style.card["styles"]] == ["Blots", "Second"]
    assert {(each["painter"], each["year"]) for each in style.card["styles"]} == {("Nobody", "1900")}
    assert style.card["objective"]["style_weight"] == [0.01, 0.02]
    assert style.card["training"]["turns"] == [1, 3]
    refused = stylecam(*studio, *second, "--title", "Third")
    assert refused.code == 1
    assert "error: 3 values of --title for 2 paintings" in refused.err


@pytest.mark.slow
def test_a_style_of_a_shared_net_is_exported_alone(
    tiny_styles_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with as_user_style(tiny_styles_path, "gallery"):
        done = stylecam("export", "two", "-o", "alone.onnx")
        assert done.code == 0, done.err
    alone, shared = read_style(Path("alone.onnx")), read_style(tiny_styles_path)
    assert (alone.card["style"], alone.card["title"], alone.card["year"]) == ("two", "Two", "1881")
    assert (alone.card["net"]["styles"], alone.card["objective"]["style_weight"]) == (1, 7)
    learned = [array.size for name, array in alone.arrays.items() if not name.endswith("noise.pattern")]
    assert alone.card["net"]["params"] == sum(learned)
    assert alone.grams["relu1_2"].shape[0] == 1
    frames = noise((46, 34))[None]
    with open_engine(alone, "onnxruntime", "cpu") as one, open_engine(shared, "onnxruntime", "cpu") as all3:
        assert psnr_db(one.infer(frames), all3.infer(frames, [0, 1, 0])) >= 40


def test_an_export_says_which_net_it_wrote(
    make_onnx: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    full, fast = make_onnx("full", 1), make_onnx("fast", 1)
    with as_user_style(full, "zebra"), as_user_style(fast, "zebra-fast"):
        for net, kind in (("auto", "fast"), ("full", "full"), ("fast", "fast")):
            done = stylecam("export", "zebra", "-o", "zebra.ts", "--net", net, "--json")
            assert done.code == 0, done.err
            assert f"zebra.ts: the {kind} net, " in done.err
            assert done.figures["net"] == kind


def test_a_folder_that_cannot_be_written(studio: list[object], tmp_path: Path) -> None:
    before = tree(tmp_path)
    for folder in ("painting.png", "painting.png/deeper"):
        done = stylecam(*studio, "-o", folder)
        assert done.code == 1
        assert f"error: {folder} cannot be written" in done.err
        assert tree(tmp_path) == before


def test_a_net_that_is_not_the_backbone(studio: list[object], tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(3)}, "other.pth")
    before = tree(tmp_path)
    done = stylecam(*studio, "--vgg", "other.pth")
    assert done.code == 1
    assert "error: other.pth does not hold the net vgg16" in done.err
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "wrong",
    [
        ("--seed", -1),
        ("--held-out", -1),
        ("--temporal-weight", -1),
        ("--style-size", 4),
        ("--precision", "int8"),
    ],
)
def test_values_out_of_range_are_a_usage_error(studio: list[object], wrong: tuple[str, object]) -> None:
    done = stylecam(*studio, *wrong)
    assert done.code == 2
    assert f"Invalid value for '{wrong[0]}'" in done.err
    assert not Path("out").exists()


def test_a_teacher_brings_its_paintings_along(painting: Path, photos: Path, tmp_path: Path) -> None:
    done = stylecam(
        "train", "--teacher", "starry", "--style-image", painting, "--content-dir", photos, "-o", tmp_path
    )
    assert done.code == 2
    assert "brings its paintings" in done.err


def test_what_has_no_effect_beside_a_teacher_is_said(tmp_path: Path) -> None:
    done = stylecam("train", "--teacher", "starry", "--tv-weight", 0, "--content-dir", tmp_path, "-o", "out")
    assert "the objective is the teacher's; without effect: --tv-weight" in done.err
