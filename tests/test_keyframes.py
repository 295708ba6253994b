from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import noise

from stylecam.errors import OptimiseError, PictureError, SourceLostError
from stylecam.frames import Frame, Pixels, resize
from stylecam.pictures import Picture, write_picture
from stylecam.sinks.file import FileSink
from stylecam.slow.keyframes import (
    frames_at,
    frames_every,
    frames_of,
    frames_of_scenes,
    is_film,
    read_pictures,
    scene_starts,
)

SCENE = 24


def _scene(seed: int) -> Pixels:
    return resize(noise((10, 8), seed), (96, 72))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scenes of 24 frames that drift; frame 12 of each is sharp, the others are blurred a little."""
    path = tmp_path_factory.mktemp("film") / "scenes.mp4"
    with FileSink(path, fps=12, crf=5) as sink:
        for index in range(3 * SCENE):
            scene, place = divmod(index, SCENE)
            bgr = np.roll(_scene(scene), place // 3, axis=1)
            if place != 12:
                bgr = np.asarray(cv2.GaussianBlur(bgr, (0, 0), 1.5), np.uint8)
            sink.write(Frame(bgr, index / 12, 0.0))
    return path


def test_scenes_begin_where_the_film_cuts(film: Path) -> None:
    assert scene_starts(film) == [0, SCENE, 2 * SCENE, 3 * SCENE]


def test_a_scenes_frame_is_the_sharpest_of_its_middle(film: Path) -> None:
    found = frames_of_scenes(film)
    assert [each.index for each in found] == [12, SCENE + 12, 2 * SCENE + 12]
    assert [each.name for each in found] == ["frame-000012", "frame-000036", "frame-000060"]
    assert found[1].timestamp_s == pytest.approx(3.0)


def test_frames_at_and_every(film: Path) -> None:
    assert [each.index for each in frames_at(film, (40, 3))] == [3, 40]
    assert [each.index for each in frames_every(film, 2.5)] == [0, 30, 60]
    with pytest.raises(OptimiseError, match="no frame 72 in") as caught:
        frames_at(film, (3, 72))
    assert "frames 0 to 71" in caught.value.hint


def test_a_frame_is_the_one_of_that_number(film: Path) -> None:
    frames = list(frames_of(film))
    assert np.array_equal(frames_at(film, (40,))[0].bgr, frames[40].bgr)


def test_a_film_without_frames(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylecam.sources.FileSource.read", lambda self: None)
    with pytest.raises(SourceLostError, match="has no frames"):
        next(frames_of(film))


def test_pictures_by_name(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg"):
        write_picture(tmp_path / name, Picture(noise()))
    assert [each.name for each in read_pictures([tmp_path])] == ["a", "b"]
    assert not is_film(tmp_path / "b.png")
    assert is_film(Path("film.mp4"))
    write_picture(tmp_path / "a.png", Picture(noise()))
    with pytest.raises(OptimiseError, match="several pictures are called a"):
        read_pictures([tmp_path])
    (tmp_path / "none").mkdir()
    with pytest.raises(OptimiseError, match="no picture in"):
        read_pictures([tmp_path / "none"])
    with pytest.raises(PictureError, match="does not exist"):
        read_pictures([tmp_path / "c.png"])
