"""What goes in wrong comes out as `error:` and `hint:` and exit 1, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import Done, as_user_style, noise, noise_film, stylecam, stylecam_apart, tree
from films import pictures_of, sound_of
from onnx import numpy_helper

from stylecam.engines.cuda import cuda_problem
from stylecam.pictures import Picture, write_picture
from stylecam.sources import find_cameras


@pytest.fixture
def desk(tiny_style_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: good.png, good.mp4, good.onnx, and a file called plain."""
    monkeypatch.chdir(tmp_path)
    write_picture(tmp_path / "good.png", Picture(noise()))
    noise_film(tmp_path / "good.mp4", 3)
    (tmp_path / "good.onnx").write_bytes(tiny_style_path.read_bytes())
    (tmp_path / "plain").write_text("a file, no folder")
    return tmp_path


def refused(desk: Path, *arguments: object, cause: str) -> Done:
    """Run the program, which must say `cause` in its error, and leave everything as it was."""
    before = tree(desk)
    done = stylecam(*arguments)
    assert done.code == 1, done.err
    *_, error, hint = done.err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert len(hint) > 10
    assert cause in error
    assert done.out == ""
    assert "Traceback" not in done.err
    assert tree(desk) == before
    return done


STYLE = ("-s", "good.onnx")


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("missing", None, "does not exist"),
        ("text", b"no picture and no film\n" * 50, "could not be opened|cannot be decoded"),
        ("empty", b"", "is empty (0 bytes)"),
    ],
)
def test_no_good_file(desk: Path, name: str, content: bytes | None, cause: str) -> None:
    for suffix, arguments, index in ((".mp4", ["video"], 0), (".png", ["image"], -1), (".mp4", ["live"], 0)):
        path = Path(f"{name}{suffix}")
        if content is not None:
            path.write_bytes(content)
        where = (
            ["--source", path, "--sink", "out.mp4"] if arguments == ["live"] else [path, "-o", f"out{suffix}"]
        )
        done = refused(desk, *arguments, *where, *STYLE, cause=cause.split("|")[index])
        assert str(path) in done.err


def test_a_folder_in_place_of_a_film(desk: Path) -> None:
    (desk / "folder.mp4").mkdir()
    done = refused(
        desk, "video", "folder.mp4", "-o", "out.mp4", *STYLE, cause='"folder.mp4" is a folder without'
    )
    assert "give a film" in done.err


@pytest.mark.parametrize("name", ["out.mp4", "-", "%06d.png", "out/%06d.png"])
def test_several_films_into_what_holds_one(desk: Path, name: str) -> None:
    (desk / "films").mkdir()
    (desk / "films" / "good.mp4").write_bytes((desk / "good.mp4").read_bytes())
    for films in (["films"], ["good.mp4", "films/good.mp4"]):
        done = refused(desk, "video", *films, "-o", name, *STYLE, cause=f'"{name}" cannot hold several films')
        assert "folder" in done.err.splitlines()[-1]


def test_a_folder_without_pictures(desk: Path) -> None:
    (desk / "folder").mkdir()
    refused(desk, "image", "folder", "-o", "out", *STYLE, cause="no picture in folder")


def test_nothing_but_broken_pictures(desk: Path) -> None:
    for name in ("a.png", "b.png"):
        Path(name).write_text("no picture")
    done = refused(desk, "image", "a.png", "b.png", "-o", "out", *STYLE, cause="a.png")
    assert "2 of 2 pictures failed" in done.err
    assert 'failed: picture "b.png"' in done.err


def test_a_film_cut_off_in_the_middle_is_stylized_as_far_as_it_goes(desk: Path) -> None:
    whole = noise_film(desk / "cut.mp4", 30, sound=True).read_bytes()
    Path("cut.mp4").write_bytes(whole[: len(whole) // 2])
    before = tree(desk)
    done = stylecam("video", "cut.mp4", "-o", "out.mp4", *STYLE, "--json")
    assert done.code == 0, done.err
    assert "warning: cut.mp4 breaks off" in done.err
    assert 5 <= done.figures["frames"] < 30
    assert 0.5 < done.figures["missing_s"] <= 3 - done.figures["frames"] / 10 + 0.1
    assert len(pictures_of(Path("out.mp4"))) == done.figures["frames"]
    assert sound_of(Path("out.mp4"))
    assert tree(desk).keys() - before.keys() == {"out.mp4"}


def test_a_film_of_which_nothing_is_left(desk: Path) -> None:
    whole = noise_film(desk / "cut.mp4", 30).read_bytes()
    start = whole.index(b"mdat") + 8
    Path("cut.mp4").write_bytes(whole[:start])
    refused(desk, "video", "cut.mp4", "-o", "out.mp4", *STYLE, cause="cut.mp4")


def test_an_unknown_style_names_the_known_ones(desk: Path) -> None:
    with as_user_style(Path("good.onnx"), "zebra"):
        for arguments in (
            ["image", "good.png", "-o", "out.png"],
            ["image", ".", "-o", "out"],
            ["video", "good.mp4", "-o", "out.mp4"],
            ["live", "--source", "demo", "--sink", "out.mp4"],
            ["bench", "--seconds", "0.1"],
            ["export", "-o", "out.onnx"],
        ):
            style = ["nosuch"] if arguments[0] == "export" else ["-s", "nosuch"]
            done = refused(desk, *arguments, *style, cause="style 'nosuch' is unknown")
            assert "zebra" in done.err.splitlines()[-1]


def test_a_net_that_the_style_does_not_have(desk: Path) -> None:
    refused(desk, "image", "good.png", "-o", "out.png", *STYLE, "--net", "fast", cause="full net, not a fast")


def no_weights_files(desk: Path) -> dict[str, str]:
    """Write files that are no weights files or damaged ones; return what must be said of each."""
    whole = (desk / "good.onnx").read_bytes()
    Path("missing").unlink(missing_ok=True)
    Path("text.onnx").write_text("no weights\n" * 50)
    Path("empty.onnx").touch()
    Path("cut.onnx").write_bytes(whole[: len(whole) // 2])
    foreign = onnx.load("good.onnx")
    del foreign.metadata_props[:]
    onnx.save(foreign, "foreign.onnx")
    changed = bytearray(whole)
    (init,) = (init for init in onnx.load("good.onnx").graph.initializer if init.name == "net.paint.weight")
    place = whole.index(numpy_helper.to_array(init).tobytes())
    changed[place + 100] ^= 1
    Path("changed.onnx").write_bytes(changed)
    return {
        "nowhere.onnx": "no weights file nowhere.onnx",
        "text.onnx": "text.onnx is",
        "empty.onnx": "empty.onnx is",
        "cut.onnx": "cut.onnx is not a weights file, or is damaged",
        "foreign.onnx": "without stylecam's model card",
        "changed.onnx": "changed.onnx is damaged",
        "./good.png": "good.png is not a weights file",
    }


def test_no_weights_file_and_corrupt_weights(desk: Path) -> None:
    for name, cause in no_weights_files(desk).items():
        refused(desk, "image", "good.png", "-o", "out.png", "-s", name, cause=cause)
    refused(desk, "video", "good.mp4", "-o", "out.mp4", "-s", "changed.onnx", cause="is damaged")


def test_a_camera_that_is_not_there(desk: Path) -> None:
    there = {camera.index for camera in find_cameras()}
    missing = next(index for index in range(99, 0, -1) if index not in there)
    arguments = ("--source", missing, "--sink", "out.mp4", *STYLE)
    done = refused(desk, "live", *arguments, cause=f"camera {missing} could not be opened")
    assert "found" in done.err
    # OpenCV has a word to say of its own, past Python's stderr.
    assert "VIDEOIO" not in stylecam_apart("live", *arguments).err


@pytest.mark.parametrize("folder", ["plain", "plain/deeper", "nowhere"])
def test_an_output_folder_that_cannot_be_written(desk: Path, folder: str) -> None:
    (desk / "pictures").mkdir()
    write_picture(desk / "pictures" / "a.png", Picture(noise()))
    refused(desk, "image", "good.png", "-o", f"{folder}/out.png", *STYLE, cause=folder)
    refused(desk, "video", "good.mp4", "-o", f"{folder}/out.mp4", *STYLE, cause=folder)
    refused(desk, "live", "--source", "demo", "--sink", f"{folder}/out.mp4", *STYLE, cause=folder)
    for suffix in (".onnx", ".ts", ".pt2"):
        refused(desk, "export", "good.onnx", "-o", f"{folder}/out{suffix}", cause=folder)
    if folder != "nowhere":  # of several pictures the folder is made
        refused(desk, "image", "pictures", "-o", folder, *STYLE, cause="plain")


@pytest.mark.parametrize("name", ["out", "out.xyz", "."])
def test_an_output_of_no_known_kind(desk: Path, name: str) -> None:
    refused(desk, "live", "--source", "demo", "--sink", name, *STYLE, cause=f'"{name}"')
    if name != ".":
        refused(desk, "video", "good.mp4", "-o", name, *STYLE, cause=f'film "{name}"')
        refused(desk, "image", "good.png", "-o", name, *STYLE, cause="suffix")
        refused(desk, "export", "good.onnx", "-o", name, cause="suffix")


@pytest.mark.parametrize("size", [0, 15, 100000])
def test_a_size_out_of_range(desk: Path, size: int) -> None:
    cause = f"size {size}x{size} is out of range"
    refused(desk, "image", "good.png", "-o", "out.png", *STYLE, "--size", size, cause=cause)
    refused(desk, "image", "good.png", "good.png", "-o", "out", *STYLE, "--size", size, cause="")
    square = f"{size}x{size}"
    refused(desk, "video", "good.mp4", "-o", "out.mp4", *STYLE, "--size", square, cause=cause)
    refused(desk, "bench", *STYLE, "--size", square, cause=cause)
    live = ("--source", "demo", "--sink", "out.mp4", *STYLE, "--size", square)
    refused(desk, "live", *live, cause=cause)


def test_a_picture_too_small_or_too_flat_for_the_net(desk: Path) -> None:
    write_picture(desk / "dot.png", Picture(noise((8, 8))))
    refused(desk, "image", "dot.png", "-o", "out.png", *STYLE, cause="size 8x8 is out of range")
    write_picture(desk / "wide.png", Picture(np.zeros((32, 640, 3), np.uint8)))
    refused(
        desk, "image", "wide.png", "-o", "out.png", *STYLE, "--size", 64, cause="size 64x3 is out of range"
    )


@pytest.mark.skipif(not cuda_problem(), reason="there is CUDA here")
def test_cuda_where_there_is_none(desk: Path) -> None:
    for arguments in (
        ["image", "good.png", "-o", "out.png"],
        ["video", "good.mp4", "-o", "out.mp4"],
        ["live", "--source", "demo", "--sink", "out.mp4"],
        ["bench", "--seconds", "0.1"],
    ):
        refused(desk, *arguments, *STYLE, "--device", "cuda", cause="device cuda is not available: ")
        refused(desk, *arguments, *STYLE, "--device", "cuda", "--engine", "openvino", cause="CUDA")


def test_a_precision_that_the_engine_does_not_have(desk: Path) -> None:
    strict = ("--engine", "onnxruntime", "--device", "cpu", "--precision", "bf16")
    refused(desk, "image", "good.png", "-o", "out.png", *STYLE, *strict, cause="does not compute in bf16")


def test_an_output_that_is_the_input(desk: Path) -> None:
    (desk / "link.mp4").symlink_to("good.mp4")
    for name in ("good.mp4", "./good.mp4", "link.mp4"):
        refused(desk, "video", "good.mp4", "-o", name, *STYLE, cause="would be overwritten")
        refused(desk, "live", "--source", "good.mp4", "--sink", name, *STYLE, cause="would be overwritten")
    refused(desk, "image", "good.png", "-o", "good.png", *STYLE, cause="would be overwritten")
    refused(desk, "image", ".", "-o", ".", *STYLE, cause="would be overwritten")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("in/%06d.png", "in/"), ("in/%06d.png", "in"), ("in/%06d.png", "in/%06d.png"), ("in/%d.png", "in/"),
        ("in/%06d.png", "in/%d.png"), ("in/%06d.png", "link"), ("in/1234567.png", "in/%06d.png"),
    ],
)  # fmt: skip
def test_pictures_that_are_the_input(desk: Path, source: str, target: str) -> None:
    """However many would be written, and whatever the numbers in the folder begin with."""
    (desk / "in").mkdir()
    (desk / "link").symlink_to("in")
    for number in (1234567, 1234568):
        write_picture(desk / "in" / f"{number}.png", Picture(noise()))
    more = ("--frames", 1, *STYLE)
    refused(
        desk, "video", source, "-o", target, *more, cause=f"{Path('in/1234567.png')} would be overwritten"
    )


def test_pictures_may_lie_beside_those_they_are_made_of(desk: Path) -> None:
    for number in (1, 2):
        write_picture(desk / f"in{number}.png", Picture(noise()))
    done = stylecam("video", "in%d.png", "-o", "out%d.png", *STYLE)
    assert done.code == 0, done.err
    assert {"out1.png", "out2.png"} <= tree(desk).keys()


def test_two_pictures_of_one_name(desk: Path) -> None:
    (desk / "other").mkdir()
    write_picture(desk / "other" / "good.png", Picture(noise()))
    pair = ("good.png", "other/good.png")
    refused(desk, "image", *pair, "-o", "out", *STYLE, cause="several pictures are called good.png")


def test_no_checkpoint(desk: Path) -> None:
    Path("text.ckpt").write_text("no checkpoint")
    for name, cause in (("no.ckpt", "there is no checkpoint"), ("text.ckpt", "is not a checkpoint")):
        refused(desk, "export", name, "-o", "out.onnx", cause=cause)


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"--content-dir": "nowhere"}, "nowhere"),
        ({"--content-dir": "empty"}, "holds 0 pictures"),
        ({"--style-image": "nowhere.png"}, "nowhere.png"),
        ({"--style-image": "plain"}, "plain"),
        ({"--vgg": "nowhere.pth"}, "nowhere.pth"),
        ({"--vgg": "plain"}, "plain"),
        ({"--backbone": "vgg17"}, "vgg17"),
        ({"--steps": "0"}, "out of range"),
        ({"--crop": "8"}, "out of range"),
        ({"--device": "abacus"}, "abacus"),
    ],
)
def test_training_that_cannot_start(desk: Path, changed: dict[str, str], cause: str) -> None:
    (desk / "empty").mkdir()
    (desk / "photos").mkdir()
    write_picture(desk / "photos" / "a.png", Picture(noise()))
    options = {
        "--content-dir": "photos", "--style-image": "good.png", "--vgg": "plain", "--output": "out",
        "--held-out": "0",
    } | changed  # fmt: skip
    refused(desk, "train", *(part for option in options.items() for part in option), cause=cause)


@pytest.mark.parametrize(
    "arguments",
    [
        ("video", "good.mp4", "-o", "out.mp4"),
        ("live", "--source", "good.mp4", "--sink", "out.mp4"),
        ("bench", "--temporal", "good.mp4"),
        ("bench",),
    ],
)
@pytest.mark.parametrize("amount", ["1.5", "-0.1", "nan"])
def test_smoothing_out_of_range_before_anything_is_opened(
    desk: Path, arguments: tuple[str, ...], amount: str
) -> None:
    done = refused(desk, *arguments, *STYLE, "--smooth", amount, cause=f"smoothing {amount} is out of range")
    assert len(done.err.splitlines()) == 2
