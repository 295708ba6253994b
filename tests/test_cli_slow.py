from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from commands import interrupted, noise, noise_film, stylecam, tree
from films import pictures_of, sound_of
from nets import MakeFile

from stylecam.errors import PictureError
from stylecam.frames import resize
from stylecam.neural.data import to_tensor
from stylecam.neural.losses import style_targets
from stylecam.neural.options import Objective
from stylecam.neural.vgg import load_vgg
from stylecam.pictures import Picture, read_picture, write_picture
from stylecam.styles import read_style, write_card

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.fixture(scope="module")
def style_file(make_onnx: MakeFile, vgg_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny net whose Gram matrices are those of a picture, for the random VGG."""
    tiny_style_path = make_onnx("full", 1)
    style = read_style(tiny_style_path)
    objective = Objective.from_card(style.card["objective"])
    painting = to_tensor(resize(noise((8, 8), 5), (64, 64)))
    grams = style_targets(load_vgg("vgg16", str(vgg_file)), objective, [painting])
    model = onnx.load(tiny_style_path)
    write_card(model, style.card, {layer: gram.numpy() for layer, gram in grams.items()})
    path = tmp_path_factory.mktemp("style") / "tiny.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def desk(style_file: Path, vgg_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: photo.png and other.png, painting.png, vgg.pth, tiny.onnx."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("photo", "other", "painting")):
        write_picture(tmp_path / f"{name}.png", Picture(resize(noise((9, 7), seed), (56, 48))))
    (tmp_path / "tiny.onnx").write_bytes(style_file.read_bytes())
    (tmp_path / "vgg.pth").symlink_to(vgg_file)
    return tmp_path


TINY = ("--style", "tiny.onnx", "--vgg", "vgg.pth", "--precision", "fp32", "-o", "out", "--json")
PAINTED = (
    "--style-image", "painting.png", "--vgg", "vgg.pth", "--precision", "fp32", "-o", "out", "--json",
    "--style-layers", "relu1_2,relu2_2", "--content-layer", "relu2_2", "--style-size", 48,
)  # fmt: skip


def test_a_style_needs_no_painting(desk: Path) -> None:
    done = stylecam("slow", "photo.png", *TINY, "--iterations", 6, "--snapshots", 2, "--compare", 5)
    assert done.code == 0, done.err
    figures = done.figures
    assert (figures["iterations"], figures["size_wh"], figures["style"]) == (6, [56, 48], "tiny")
    assert figures["objective"] == pytest.approx(sum(figures["terms"].values()))
    assert 0 < figures["optimize_s"] < figures["wall_s"]
    assert {"frames", "fps", "engine", "device", "precision", "net", "equal_iterations"} <= figures.keys()
    assert figures["output"] == str(Path("out", "photo", "reference.png"))
    names = {path.name for path in Path("out", "photo").iterdir()}
    assert names == {
        "content.png",
        "fast.png",
        "reference.png",
        "loss.svg",
        "result.json",
        "state.pt",
        "steps",
    }
    steps = sorted(path.stem for path in Path("out", "photo", "steps").iterdir())
    assert steps == ["000000", "000002", "000004", "000006"]
    report = json.loads(Path("out", "report.json").read_text())
    curve = report["keyframes"][0]["curve"]
    assert [row[0] for row in curve] == list(range(7))
    assert Path("out", "report.html").exists()


def test_a_painting_and_the_classic(desk: Path) -> None:
    done = stylecam(
        "slow", "photo.png", "other.png", *PAINTED, "--preset", "classic", "--backbone", "vgg16",
        "--size", "none", "--style-weights", "1,0.5", "--iterations", 3, "--snapshots", 1,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.figures["frames"] == 2
    assert done.figures["output"] == [str(Path("out", n, "reference.png")) for n in ("photo", "other")]
    report = json.loads(Path("out", "report.json").read_text())
    assert report["about"]["objective"]["layer_weights"] == [1, 0.5]
    totals = [sum(row[3].values()) for row in report["keyframes"][1]["curve"]]
    assert totals == sorted(totals, reverse=True)
    assert not Path("out", "photo", "fast.png").exists()
    # Adam's three steps of 0.0003 deviations stay below half a level: nothing is to be seen yet.
    first = read_picture(Path("out", "photo", "content.png")).bgr.astype(int)
    assert np.abs(first - read_picture(Path("out", "photo", "reference.png")).bgr).max() <= 1


def test_size_and_several_paintings(desk: Path) -> None:
    done = stylecam(
        "slow", "photo.png", *PAINTED, "--style-image", "other.png", "--share", 3, "--share", 1,
        "--size", 32, "--iterations", 2, "--keep-color", "--fast", "tiny.onnx", "--compare", 0,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.figures["size_wh"] == [32, 27]
    assert done.figures["style"] == "painting+other"
    assert Path("out", "photo", "fast.png").exists()


def test_resume_goes_on(desk: Path) -> None:
    first = stylecam("slow", "photo.png", *TINY, "--iterations", 3, "--compare", 0)
    more = stylecam("slow", "photo.png", *TINY, "--iterations", 6, "--compare", 0, "--resume")
    again = stylecam("slow", "photo.png", *TINY, "--iterations", 6, "--compare", 0, "--resume")
    assert more.figures["iterations"] == 6, more.err
    assert more.figures["objective"] < first.figures["objective"]
    assert again.figures["objective"] == more.figures["objective"]
    assert "finished before" in again.err
    other = stylecam("slow", "photo.png", *TINY, "--iterations", 6, "--resume", "--initial", "noise")
    assert other.code == 1
    assert "initial was content" in other.err


def test_resume_knows_another_painting_and_photograph(desk: Path) -> None:
    """By what they show: the file may have the name of the one that was begun with."""
    arguments = ("slow", "photo.png", *PAINTED, "--iterations", 2)
    assert stylecam(*arguments).code == 0
    before = tree(desk / "out")
    for name in ("photo", "painting"):
        kept = Path(f"{name}.png").read_bytes()
        Path(f"{name}.png").write_bytes(Path("other.png").read_bytes())
        done = stylecam(*arguments, "--resume")
        Path(f"{name}.png").write_bytes(kept)
        assert done.code == 1
        told = {"photo": "the content image", "painting": "the painting"}[name]
        assert f"begun with other options: {told} was another\nhint: " in done.err
    assert "there was no mask" in stylecam(*arguments, "--resume", "--mask", "other.png").err
    assert tree(desk / "out") == before
    assert "finished before" in stylecam(*arguments, "--resume").err


def test_resume_makes_up_for_the_comparison(desk: Path) -> None:
    """Interrupted while the net was compared, a picture is finished but for what the net is worth."""
    stylecam("slow", "photo.png", *TINY, "--iterations", 3, "--compare", 0)
    done = stylecam("slow", "photo.png", *TINY, "--iterations", 3, "--compare", 2, "--resume")
    assert done.figures["iterations"] == 3, done.err
    assert len(done.figures["equal_iterations"]) == 1
    again = stylecam("slow", "photo.png", *TINY, "--iterations", 3, "--compare", 2, "--resume")
    assert "finished before" in again.err


def test_resume_compares_with_the_net_that_is_named_now(desk: Path) -> None:
    model, style = onnx.load("tiny.onnx"), read_style(Path("tiny.onnx"))
    for tensor in model.graph.initializer:
        if tensor.name.endswith("bias"):
            tensor.raw_data = bytes(len(tensor.raw_data))
    write_card(model, {**style.card, "style": "second"}, style.grams)
    onnx.save(model, "second.onnx")
    kept = Path("out", "photo", "result.json")
    stylecam("slow", "photo.png", *TINY, "--iterations", 3, "--compare", 2)
    before = json.loads(kept.read_text())
    done = stylecam(
        "slow", "photo.png", *TINY, "--iterations", 3, "--compare", 2, "--fast", "second.onnx", "--resume"
    )
    now = json.loads(kept.read_text())
    assert done.code == 0, done.err
    assert (before["net"], now["net"]) == ("tiny, full", "second, full")
    assert before["terms"]["fast"] != now["terms"]["fast"]
    assert before["terms"]["reference"] == now["terms"]["reference"]


def test_a_run_lists_its_own_iterates_alone(desk: Path) -> None:
    """Begun anew, and gone on with further than the run that was there before."""
    arguments = ("slow", "photo.png", *TINY, "--compare", 0, "--snapshots")
    assert stylecam(*arguments, 1, "--iterations", 5).code == 0
    assert stylecam(*arguments, 2, "--iterations", 2).code == 0
    done = stylecam(*arguments, 2, "--iterations", 4, "--resume")
    assert done.code == 0, done.err
    snapshots = json.loads(Path("out", "photo", "result.json").read_text())["snapshots"]
    assert [iteration for iteration, _ in snapshots] == [0, 2, 4]
    assert sorted(path.stem for path in Path("out", "photo", "steps").iterdir()) == [
        "000000",
        "000002",
        "000004",
    ]


@posix
@pytest.mark.slow
def test_ctrl_c_keeps_the_best_so_far(desk: Path) -> None:
    arguments = ("slow", "photo.png", *TINY, "--iterations", 500, "--tolerance", 0)
    done = interrupted("stylecam.neural.gatys:Descent.step", *arguments, number=signal.SIGINT)
    assert done.code == 130, done.err
    report = json.loads(Path("out", "report.json").read_text())
    (keyframe,) = report["keyframes"]
    assert keyframe["ended"] == "it was interrupted"
    assert 3 <= keyframe["iterations"] < 100
    content = sum(keyframe["terms"]["content"].values())
    assert sum(keyframe["terms"]["reference"].values()) < content
    reached = keyframe["iterations"] + 2
    resumed = stylecam(*arguments[:-3], reached, "--compare", 0, "--resume")
    assert resumed.figures["iterations"] == reached, resumed.err


@pytest.mark.slow
def test_a_film_of_references(desk: Path) -> None:
    noise_film(Path("clip.mp4"), 8, (64, 48), sound=True)
    done = stylecam(
        "slow", "clip.mp4", *TINY, "--iterations", 2, "--at", "1,5", "--film", "film.mp4", "--compare", 0,
        "--initial", "previous", "--keep-color",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert (done.figures["frames"], done.figures["film_frames"]) == (2, 8)
    assert sound_of(Path("film.mp4")) == sound_of(Path("clip.mp4"))
    film = pictures_of(Path("film.mp4"))
    assert len(film) == 8
    reference = cv2.imread("out/frame-000005/reference.png")
    assert reference is not None
    distances = [np.abs(frame.astype(int) - reference).mean() for frame in film]
    assert int(np.argmin(distances)) == 5


@pytest.mark.slow
def test_resume_follows_the_keyframes_that_are_named_now(desk: Path) -> None:
    noise_film(Path("clip.mp4"), 8, (64, 48))
    begun = (*TINY, "--iterations", 1, "--compare", 0, "--initial", "previous", "--resume")
    assert stylecam("slow", "clip.mp4", *begun, "--at", "1,5").code == 0
    again = stylecam("slow", "clip.mp4", *begun, "--at", "1,5")
    assert again.err.count("finished before") == 2
    other = stylecam("slow", "clip.mp4", *begun, "--at", "3,5")
    assert "frame-000005: began with another keyframe before: anew" in other.err
    assert "finished before" not in other.err


def test_a_film_is_not_spread_over_its_own_source(desk: Path) -> None:
    noise_film(Path("clip.mp4"), 3, (64, 48))
    before = tree(desk)
    done = stylecam("slow", "clip.mp4", *TINY, "--at", 0, "--film", desk / "clip.mp4")
    assert done.code == 1
    assert done.err.splitlines()[0] == "error: clip.mp4 would be overwritten"
    assert tree(desk) == before


@pytest.mark.parametrize(
    ("film", "cause"),
    [("film.xyz", 'container ".xyz" is not known'), ("none/film.mp4", 'folder "none" does not exist')],
)
def test_where_the_film_goes_is_looked_at_first(desk: Path, film: str, cause: str) -> None:
    noise_film(Path("clip.mp4"), 3, (64, 48))
    before = tree(desk)
    done = stylecam("slow", "clip.mp4", *TINY, "--at", 0, "--film", film)
    assert (done.code, tree(desk)) == (1, before)
    assert cause in done.err.splitlines()[0]


@posix
@pytest.mark.slow
@pytest.mark.parametrize("there", [b"", b"the film of before"])
def test_ctrl_c_leaves_no_piece_of_a_film(desk: Path, there: bytes) -> None:
    noise_film(Path("clip.mp4"), 8, (64, 48), sound=True)
    if there:
        Path("film.mp4").write_bytes(there)
    done = interrupted(
        "stylecam.sinks.file:FileSink.write", "slow", "clip.mp4", *TINY, "--iterations", 1, "--at", "1",
        "--film", "film.mp4", "--compare", 0, number=signal.SIGINT, after=3,
    )  # fmt: skip
    assert done.code == 130, done.err
    assert "film.mp4: not written" in done.err
    left = {
        path.name: path.read_bytes() for path in desk.iterdir() if path.stem.strip(".").startswith("film")
    }
    assert left == ({"film.mp4": there} if there else {})
    assert Path("out", "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["missing.png", *TINY], "does not exist"),
        (["vgg.pth", *TINY], "could not be opened"),
        (["photo.png", *TINY, "--size", 24, "--levels", 4], "too small"),
        (["photo.png", *TINY, "--preset", "classic"], "tutorial"),
        (["photo.png", *TINY, "--at", "3"], "is no film"),
        (["photo.png", *TINY, "--initial", "style"], "no painting to begin with"),
        (["clip.mp4", *TINY, "--at", "-1,3"], "there is no frame -1"),
        (["clip.mp4", *TINY, "--every", "inf"], "every inf s is out of range"),
        (["clip.mp4", "photo.png", *TINY], '"clip.mp4" is no picture: a film is painted alone'),
        (["photo.png", "clip.mp4", *TINY], '"clip.mp4" is no picture: a film is painted alone'),
        (["photo.png", *PAINTED, "--film", "a.mp4"], "is no film"),
        (["photo.png", *PAINTED, "--initial", "fast"], "need a net"),
        (["photo.png", *PAINTED, "--share", 1, "--share", 2], "2 shares for 1"),
        (["photo.png", *PAINTED, "--style-weight", "1e38", "--tv-weight", "1e38"], "the objective is"),
        (["photo.png", *PAINTED, "--content-layer", "relu9_1"], "vgg16 has no layer relu9_1"),
        (["photo.png", *PAINTED, "--vgg", "nothing.pth"], "could not be read"),
        (["photo.png", *PAINTED, "--mask", "nothing.png"], "does not exist"),
    ],
)
def test_bad_input_is_refused(desk: Path, arguments: list[object], cause: str) -> None:
    before = tree(desk)
    done = stylecam("slow", *arguments)
    assert done.code == 1, done.err
    assert cause in next(line for line in done.err.splitlines() if line.startswith("error: "))
    assert "hint: " in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    left = set(tree(desk)) - set(before)
    assert not any(name.endswith(("reference.png", "report.html", ".part")) for name in left)


@pytest.mark.parametrize(
    "arguments",
    [
        ["photo.png"], ["photo.png", *TINY, "--style-image", "painting.png"],
        ["photo.png", *TINY, "--size", "big"], ["photo.png", *TINY, "--at", "1,b"],
        ["photo.png", *TINY, "--preset", "modern"], ["photo.png", *TINY, "--iterations", 0],
        ["photo.png", *TINY, "--initial", "noise", "--seed", -1],
    ],
)  # fmt: skip
def test_a_wrong_command_line(desk: Path, arguments: list[object]) -> None:
    assert stylecam("slow", *arguments).code == 2


def test_pictures_already_finished_stay(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = write_picture

    def full(path: Path, picture: Picture) -> None:
        if "other" in str(path):
            raise PictureError(f'picture "{path}" cannot be written: No space left on device', "free some")
        real(path, picture)

    monkeypatch.setattr("stylecam.slow.run.write_picture", full)
    done = stylecam("slow", "photo.png", "other.png", *TINY, "--iterations", 2, "--compare", 0)
    assert done.code == 1
    assert "No space left" in done.err
    assert Path("out", "photo", "reference.png").exists()
    assert len(json.loads(Path("out", "report.json").read_text())["keyframes"]) == 1
