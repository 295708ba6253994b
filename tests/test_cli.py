from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import (
    Done,
    as_user_style,
    interrupted,
    noise,
    noise_film,
    record_engine,
    stylecam,
    stylecam_apart,
    tree,
)
from films import make_film, pictures_of, sound_of, times_of

from stylecam import __version__
from stylecam.cli.commands import load_program
from stylecam.engines import open_engine
from stylecam.frames import Pixels
from stylecam.pictures import Picture, read_picture, write_picture
from stylecam.sources.demo import CLIP
from stylecam.sources.pyav import FilmSource
from stylecam.styles import read_style

COMMON = {
    "frames", "fps", "wall_s", "size_wh", "engine", "device", "precision", "style", "net", "output",
}  # fmt: skip
FP32 = ("--engine", "onnxruntime", "--device", "cpu", "--precision", "fp32")
ONE_FRAME = "stylecam.meter:Meter.count_batch"
LIVE_TO_NOWHERE = "live --source demo --size 64x48 --sink null --seconds 0.2 --json"

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.fixture
def tiny(tiny_style_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small net's weights file; the working folder is empty, so that whatever is left there is seen."""
    monkeypatch.chdir(tmp_path)
    return tiny_style_path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    write_picture(path, Picture(noise()))
    return path


def painted(tiny: Path, bgr: Pixels) -> Pixels:
    with open_engine(read_style(tiny), "onnxruntime", "cpu", "fp32") as engine:
        return np.asarray(engine.infer(bgr[None])[0], np.uint8)


def succeeded(done: Done) -> Done:
    assert (done.code, "error:" in done.err) == (0, False), done.err
    return done


# The program as a whole


def test_version_and_help() -> None:
    assert stylecam("--version").out == f"stylecam {__version__}\n"
    for arguments in (["--help"], ["live", "-h"], ["train", "--help"]):
        assert "Usage: stylecam" in succeeded(stylecam(*arguments)).out


def test_every_option_says_what_it_is_for() -> None:
    for name, command in load_program().commands.items():
        assert command.help, name
        for param in command.params:
            assert getattr(param, "help", None), f"{name} {param.name}"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full disk at hand")
@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize(
    ("command", "is_pipe"),
    [
        pytest.param(LIVE_TO_NOWHERE, False, marks=pytest.mark.slow),
        pytest.param(LIVE_TO_NOWHERE, True, marks=pytest.mark.slow),
        ("styles --json", False),
        ("styles --json", True),
        ("styles", False),
    ],
)
def test_figures_that_cannot_be_printed(tiny: Path, command: str, is_pipe: bool, buffered: bool) -> None:
    arguments = [*command.split(), *(("-s", str(tiny)) if "live" in command else ())]
    env = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as closed, open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "stylecam", *arguments], stdout=closed if is_pipe else full,
            stderr=subprocess.PIPE, text=True, timeout=120, check=False, env=env,
        )  # fmt: skip
    cause = "Broken pipe" if is_pipe else "No space left on device"
    assert done.stderr.splitlines()[-2:] == [
        f"error: the figures could not be printed: {cause}", "hint: look at what reads them",
    ]  # fmt: skip
    assert done.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full disk at hand")
@pytest.mark.parametrize("arguments", [["--help"], ["bench", "--help"], ["--version"]])
def test_help_that_cannot_be_printed(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "stylecam", *arguments], stdout=full,
            stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip
    what, it = ("figures", "them") if "--version" in arguments else ("help", "it")
    assert done.stderr.splitlines() == [
        f"error: the {what} could not be printed: No space left on device", f"hint: look at what reads {it}",
    ]  # fmt: skip
    assert done.returncode == 1


@posix
def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "stylecam", "--version"]
    with open(write, "wb") as pipe:
        done = subprocess.run(
            command, stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["paint"],
        ["image"],
        ["image", "a.png"],
        ["live", "--net", "huge"],
        ["live", "--seconds", "-1"],
        ["video", "a.mp4", "-o", "b.mp4", "--batch", "0"],
        ["video", "a.mp4", "-o", "b.mp4", "--size", "640"],
        ["bench", "--engine", "abacus"],
    ],
)
def test_wrong_usage_exits_2(tiny: Path, tmp_path: Path, arguments: list[str]) -> None:
    done = stylecam(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert "Usage: stylecam" in done.err
    assert tree(tmp_path) == {}


def test_debug_shows_the_traceback(tiny: Path) -> None:
    quiet, loud = (
        stylecam("image", "no.png", "-o", "a.png", "-s", tiny, *more) for more in ([], ["--debug"])
    )
    assert "Traceback" not in quiet.err
    assert "Traceback" in loud.err
    assert loud.err.splitlines()[-2:] == quiet.err.splitlines()[-2:]
    assert (quiet.code, loud.code) == (1, 1)


def test_messages_go_to_stderr_and_figures_to_stdout(tiny: Path, photo: Path) -> None:
    quiet = succeeded(stylecam_apart("image", photo, "-o", "a.png", "-s", tiny))
    assert quiet.out == ""
    assert "tiny (full net): openvino on cpu in" in quiet.err
    told = succeeded(stylecam_apart("image", photo, "-o", "a.png", "-s", tiny, "--json"))
    assert len(told.out.splitlines()) == 1
    assert told.figures.keys() >= COMMON


# Photographs


def test_a_picture(tiny: Path, photo: Path) -> None:
    done = succeeded(stylecam("image", photo, "-o", "out.png", "-s", tiny, *FP32, "--json"))
    np.testing.assert_array_equal(read_picture(Path("out.png")).bgr, painted(tiny, noise()))
    figures = done.figures
    assert figures.keys() == COMMON
    assert (figures["frames"], figures["size_wh"], figures["output"]) == (1, [64, 48], ["out.png"])
    wanted = ("onnxruntime", "cpu", "fp32", "tiny", "full")
    assert tuple(figures[key] for key in ("engine", "device", "precision", "style", "net")) == wanted


def test_several_pictures_and_a_folder(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for index, name in enumerate(["a.png", "b.jpg", "c.webp"]):
        write_picture(tmp_path / "in" / name, Picture(noise((64 + index, 48), index)))
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    folder = succeeded(stylecam("image", "in", "-o", "new/deep", "-s", tiny, "--json"))
    assert folder.figures["frames"] == 3
    assert sorted(tree(tmp_path / "new" / "deep")) == ["a.png", "b.jpg", "c.webp"]
    succeeded(stylecam("image", "in/a.png", "in/b.jpg", "-o", "two", "-s", tiny))
    assert sorted(tree(tmp_path / "two")) == ["a.png", "b.jpg"]
    assert read_picture(tmp_path / "two" / "b.jpg").bgr.shape == (48, 65, 3)


def test_a_picture_lying_on_its_side_comes_out_upright(tiny: Path, tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    exif = pil.Exif()
    exif[0x0112] = 6  # turn it clockwise to see it upright
    pil.fromarray(noise()[..., ::-1]).save(tmp_path / "side.png", exif=exif)
    succeeded(stylecam("image", "side.png", "-o", "out.png", "-s", tiny, *FP32))
    upright = np.ascontiguousarray(np.rot90(noise(), -1))
    np.testing.assert_array_equal(read_picture(Path("out.png")).bgr, painted(tiny, upright))


def test_transparency_is_kept_or_its_loss_told(tiny: Path, tmp_path: Path) -> None:
    alpha = noise()[..., 0]
    write_picture(tmp_path / "glass.png", Picture(noise(), alpha))
    kept = succeeded(stylecam("image", "glass.png", "-o", "out.png", "-s", tiny))
    assert "transparency" not in kept.err
    np.testing.assert_array_equal(read_picture(Path("out.png")).alpha, alpha)
    lost = succeeded(stylecam("image", "glass.png", "-o", "out.jpg", "-s", tiny))
    assert "no transparency" in lost.err
    succeeded(stylecam("image", "glass.png", "-o", "small.png", "-s", tiny, "--size", 32))
    small = read_picture(Path("small.png"))
    assert small.alpha is not None
    assert small.alpha.shape == small.bgr.shape[:2] == (24, 32)


def test_16_bit_and_grey(tiny: Path, tmp_path: Path) -> None:
    grey = noise()[..., 0]
    cv2.imwrite(str(tmp_path / "deep.png"), noise().astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    succeeded(stylecam("image", "deep.png", "grey.png", "-o", "out", "-s", tiny, *FP32))
    for name, bgr in (("deep", noise()), ("grey", np.dstack([grey] * 3))):
        np.testing.assert_array_equal(read_picture(Path("out", f"{name}.png")).bgr, painted(tiny, bgr))


def test_size_is_that_of_the_long_side(tiny: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "tall.png", Picture(noise((40, 80))))
    done = succeeded(stylecam("image", "tall.png", "-o", "out.png", "-s", tiny, "--size", 64, "--json"))
    assert read_picture(Path("out.png")).bgr.shape == (64, 32, 3)
    assert done.figures["size_wh"] == [32, 64]


def test_one_broken_picture_of_three(tiny: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        write_picture(tmp_path / name, Picture(noise()))
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:500])
    done = stylecam("image", "a.png", "b.png", "c.png", "-o", "out", "-s", tiny)
    assert done.code == 1
    assert "1 of 3 pictures failed" in done.err
    assert 'failed: picture "b.png"' in done.err
    assert done.err.splitlines()[-1].startswith("hint: ")
    assert sorted(tree(tmp_path / "out")) == ["a.png", "c.png"]


# Films


@pytest.mark.parametrize("size_wh", [(64, 48), (65, 49)])
def test_a_film_keeps_its_size_frames_times_and_sound(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_wh: tuple[int, int]
) -> None:
    film = noise_film(tmp_path / "in.mp4", 10, size_wh, sound=True)
    calls = record_engine(monkeypatch)
    done = succeeded(stylecam("video", film, "-o", "out.mp4", "-s", tiny, *FP32, "--json"))
    pictures, out = pictures_of(Path("out.mp4")), Path("out.mp4")
    calls = list(calls)
    assert [picture.shape for picture in pictures] == [(size_wh[1], size_wh[0], 3)] * 10
    assert times_of(out) == pytest.approx(times_of(film), abs=1e-4)
    assert len(sound_of(film)) > 40
    assert sound_of(out) == sound_of(film)
    for given, shown in zip(calls, pictures, strict=True):
        # 4:2:0 blurs noise; another frame would be off by 70.
        assert np.abs(given[0].astype(int) - shown).mean() < 35
    with FilmSource(film) as source:
        for given in calls:
            frame = source.read()
            assert frame is not None
            np.testing.assert_array_equal(given[0], painted(tiny, frame.bgr))
    assert done.figures.keys() == COMMON | {"missing_s", "resumed", "damaged"}
    assert (done.figures["frames"], done.figures["size_wh"]) == (10, list(size_wh))
    assert done.figures["output"] == "out.mp4"
    assert sorted(tree(tmp_path)) == ["in.mp4", "out.mp4"]


def test_frames_and_size(tiny: Path, tmp_path: Path) -> None:
    film = noise_film(tmp_path / "in.mp4")
    done = succeeded(
        stylecam("video", film, "-o", "out.mkv", "-s", tiny, "--frames", 3, "--size", "34x20", "--json")
    )
    assert [picture.shape for picture in pictures_of(Path("out.mkv"))] == [(20, 34, 3)] * 3
    assert (done.figures["frames"], done.figures["size_wh"]) == (3, [34, 20])
    assert "warning" not in done.err


def test_batches_are_of_4_4_and_2_and_change_nothing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = noise_film(tmp_path / "in.mp4")
    calls = record_engine(monkeypatch)
    for batch in (1, 4):
        succeeded(stylecam("video", film, "-o", f"{batch}.mp4", "-s", tiny, *FP32, "--batch", batch))
    assert [len(call) for call in calls] == [1] * 10 + [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(calls[:10]), np.concatenate(calls[10:]))
    np.testing.assert_array_equal(pictures_of(Path("1.mp4")), pictures_of(Path("4.mp4")))


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
def test_an_interrupted_film_plays(tiny: Path, tmp_path: Path, number: int) -> None:
    done = interrupted(
        ONE_FRAME, "video", CLIP, "-o", "out.mp4", "-s", tiny, "--size", "64x48", number=number
    )
    assert done.code == 130
    assert done.err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.mp4.stylecam", "out.mp4"]
    assert 5 <= len(pictures_of(Path("out.mp4"))) < 240
    again = stylecam("video", CLIP, "-o", "out.mp4", "-s", tiny, "--size", "64x48", "--resume")
    assert again.code == 0, again.err
    assert "finished" not in again.err
    assert list(tree(tmp_path)) == ["out.mp4"]
    assert len(pictures_of(Path("out.mp4"))) == 240


@posix
def test_an_interrupt_before_the_first_frame_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    opening = "stylecam.engines.ort:OrtEngine.__init__"
    done = interrupted(opening, "video", CLIP, "-o", "out.mp4", "-s", tiny, *FP32, after=1)
    assert done.code == 130
    assert tree(tmp_path) == {}


def test_an_error_in_the_middle_leaves_nothing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = noise_film(tmp_path / "in.mp4", sound=True)
    (tmp_path / "old.mp4").write_bytes(b"what was there before")
    before = tree(tmp_path)
    calls = record_engine(monkeypatch, fail_at=4)
    for output in ("new.mp4", "old.mp4"):
        done = stylecam("video", film, "-o", output, "-s", tiny)
        assert done.code == 1
        assert done.err.splitlines()[-2:] == ["error: the net was lost", "hint: find it again"]
        assert len(calls) == 4
        assert tree(tmp_path) == before


def test_a_full_disk_leaves_nothing(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    film = noise_film(tmp_path / "in.mp4")
    before = tree(tmp_path)
    monkeypatch.setattr("stylecam.sinks.encoder.Encoder.encode", refuse)
    done = stylecam("video", film, "-o", "out.mp4", "-s", tiny)
    assert done.code == 1
    assert "No space left on device" in done.err
    assert tree(tmp_path) == before


# Styles, export


def test_styles_are_listed(tiny: Path) -> None:
    with as_user_style(tiny, "zebra"):
        table = succeeded(stylecam("styles")).out
        (row,) = (
            row
            for row in succeeded(stylecam("styles", "--json")).figures["styles"]
            if row["style"] == "zebra"
        )
        assert row == {
            "style": "zebra", "net": "full", "title": "Tiny", "painter": "Nobody", "year": "1889",
            "licence": "CC0", "file": "zebra.onnx",
        }  # fmt: skip
        write_picture(Path("photo.png"), Picture(noise()))
        assert (
            succeeded(stylecam("image", "photo.png", "-o", "x.png", "-s", "zebra", "--json")).figures["style"]
            == "zebra"
        )
    (line,) = (line for line in table.splitlines() if "zebra" in line)
    assert line.split() == ["zebra", "Tiny,", "Nobody,", "1889", "zebra", "-"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".onnx", ".ts", ".pt2"])
def test_export(tiny: Path, tiny_checkpoint_path: Path, tmp_path: Path, suffix: str) -> None:
    done = succeeded(stylecam("export", tiny_checkpoint_path, "-o", f"net{suffix}", "--json"))
    path = tmp_path / f"net{suffix}"
    assert done.figures == {"output": path.name, "net": "full", "bytes": path.stat().st_size}
    assert list(tree(tmp_path)) == [path.name]
    if suffix == ".onnx":
        write_picture(tmp_path / "photo.png", Picture(noise()))
        succeeded(stylecam("image", "photo.png", "-o", "out.png", "-s", path, *FP32))
        np.testing.assert_array_equal(read_picture(Path("out.png")).bgr, painted(tiny, noise()))


@pytest.mark.slow
def test_export_of_a_style_in_a_named_format(tiny: Path, tmp_path: Path) -> None:
    succeeded(stylecam("export", tiny, "-o", "net.bin", "--format", "torchscript"))
    assert list(tree(tmp_path)) == ["net.bin"]


def test_a_film_that_starts_and_ends_within_a_batch(tiny: Path, tmp_path: Path) -> None:
    film = make_film(tmp_path / "one.mp4", [0.0])
    succeeded(stylecam("video", film, "-o", "out.mp4", "-s", tiny, "--batch", 4))
    assert len(pictures_of(Path("out.mp4"))) == 1
