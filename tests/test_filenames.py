"""What a name stands for, as a program is given it: a film, or numbered pictures."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import pytest
from commands import Done, noise_film, stylecam, tree
from films import numbered, sound_of
from painting import shown

from stylecam.errors import SinkOpenError, SourceOpenError
from stylecam.filenames import numbering_of
from stylecam.film.parts import cut
from stylecam.film.task import Task
from stylecam.sinks.codecs import Encoding
from stylecam.sinks.target import kind_of_target, open_target
from stylecam.sources import FileSource
from stylecam.sources.pyav import FilmSource

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")


@pytest.fixture
def tiny(tiny_style_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tiny_style_path


def video(tiny: Path, *arguments: object) -> Done:
    return stylecam("video", *arguments, "-s", tiny, "--engine", "onnxruntime", "--device", "cpu")


def some_pictures(pattern: str, numbers: range) -> str:
    """Write a picture for each number, and return their pattern."""
    pictures = numbering_of(Path(pattern))
    assert pictures is not None
    pictures.folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        cv2.imwrite(str(pictures.path_of(number)), numbered(number))
    return pattern


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("out/%06d.png", "out/000007.png"), ("%d.png", "7.png"), ("%3d.png", "007.png"),
        ("50% off %03d.png", "50% off 007.png"), ("100%/%%d%.png", "100%/%7%.png"),
    ],
)  # fmt: skip
def test_the_number_goes_into_its_place_alone(pattern: str, name: str) -> None:
    pictures = numbering_of(Path(pattern))
    assert pictures is not None
    assert pictures.path_of(7) == Path(name)


@pytest.mark.parametrize("name", ["plain.png", "50%.png", "%s.png", "% d.png", "%d%d.png", "%03d/a.png"])
def test_no_place_for_a_number_or_several(name: str) -> None:
    assert numbering_of(Path(name)) is None


def test_numbers_are_of_the_pictures_that_are_there(tmp_path: Path) -> None:
    for name in ("007.png", "010.png", "1000.png", "11.png", "012.jpg", "a013.png"):
        (tmp_path / name).touch()
    (tmp_path / "014.png").mkdir()
    pictures = numbering_of(tmp_path / "%03d.png")
    assert pictures is not None
    assert pictures.numbers() == [7, 10, 1000]


@pytest.mark.parametrize("pattern", ["a %03d.png", "50% cat %03d.png", "100%/%03d%.png", "%d of 9/%%%3d.png"])
def test_pictures_go_out_and_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    monkeypatch.chdir(tmp_path)
    film = noise_film(tmp_path / "in.mp4", 3)
    with FilmSource(film) as source, open_target(pattern, source, Encoding()) as out:
        for frame in iter(source.read, None):
            out.write(frame)
    before = [pixels for _, pixels in shown(film)]
    for name in (pattern, tmp_path / pattern):
        assert [pixels for _, pixels in shown(name)] == before


@pytest.mark.parametrize("name", ["100%.mp4", "a%d.mp4", "50% off %03d.mkv"])
def test_a_film_is_a_film_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    film = noise_film(tmp_path / "in.mp4", 3)
    assert kind_of_target(name) == "film"
    with FilmSource(film) as source, open_target(name, source, Encoding(crf=0)) as out:
        for frame in iter(source.read, None):
            out.write(frame)
    assert len(shown(name)) == 3


def test_a_picture_called_as_a_pattern_is_that_one_picture(tmp_path: Path) -> None:
    some_pictures(f"{tmp_path}/x%03d.png", range(1, 4))
    cv2.imwrite(str(tmp_path / "x%03d.png"), numbered(9))
    with FilmSource(tmp_path / "x%03d.png") as source:
        assert [frame.bgr.tobytes() for frame in iter(source.read, None)] == [numbered(9).tobytes()]


def test_two_places_are_refused_on_either_side(tmp_path: Path) -> None:
    with pytest.raises(SourceOpenError, match="no picture is called") as source:
        FilmSource(tmp_path / "x%03d%d.png")
    film = noise_film(tmp_path / "in.mp4", 2)
    with FilmSource(film) as opened, pytest.raises(SinkOpenError, match="cannot be written as") as sink:
        open_target(f"{tmp_path}/out/x%03d%d.png", opened, Encoding())
    assert "one" in source.value.hint
    assert "one" in sink.value.hint
    assert list(tree(tmp_path)) == ["in.mp4"]


def test_a_percent_sign_through_the_command(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in 100%"
    folder.mkdir()
    for name in ("100%.mp4", "a%d.mp4"):
        noise_film(folder / name, 2)
    assert video(tiny, folder, "-o", "50%").code == 0
    assert sorted(tree(tmp_path / "50%")) == ["100%.mp4", "a%d.mp4"]
    assert video(tiny, "50%/100%.mp4", "-o", "50% off %03d.png").code == 0
    assert video(tiny, "50% off %03d.png", "-o", "5%.mp4").code == 0
    assert len(shown("5%.mp4")) == 2
    before = tree(tmp_path)
    for arguments in (("5%.mp4", "-o", "x%03d%d.png"), ("x%03d%d.png", "-o", "x.mp4")):
        done = video(tiny, *arguments)
        assert done.code == 1
        assert "x%03d%d.png" in done.err
        assert "Traceback" not in done.err
        assert "(full net)" not in done.err
    assert tree(tmp_path) == before


@posix
@pytest.mark.parametrize("name", ["rec-12:30:05.mp4", "file:a.mp4", "day 1:/a.mp4", "-f.mp4", "a?b.mp4"])
def test_every_name_of_a_file_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """FFmpeg takes what stands before a colon for a protocol."""
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    noise_film(tmp_path / "film.mp4", 3, sound=True).rename(name)
    with FileSource(name) as source:
        assert source.read() is not None
    assert len(cut(Task(name, "out.mp4"), 10.0, 1)) == 1
    with FilmSource(name) as film, open_target(f"out-{Path(name).name}", film, Encoding()) as out:
        for frame in iter(film.read, None):
            out.write(frame)
    made = tmp_path / f"out-{Path(name).name}"
    assert len(shown(made)) == 3
    assert sound_of(made) == sound_of(tmp_path / name)
    some_pictures("take 1:2/%03d.png", range(1, 4))
    assert len(shown("take 1:2/%03d.png")) == 3


@posix
def test_a_colon_through_the_command(tiny: Path, tmp_path: Path) -> None:
    noise_film(tmp_path / "in.mp4", 3, sound=True).rename("rec-12:30:05.mp4")
    for target in ("rec-13:30.mp4", "rec-13:30.gif"):
        done = video(tiny, "rec-12:30:05.mp4", "-o", target)
        assert done.code == 0, done.err
        assert len(shown(tmp_path / target)) == 3
    assert sorted(tree(tmp_path)) == ["rec-12:30:05.mp4", "rec-13:30.gif", "rec-13:30.mp4"]
