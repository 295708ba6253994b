from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import noise, tree

from stylecam.engines.base import Engine
from stylecam.errors import PictureError, StylecamError
from stylecam.frames import Pixels
from stylecam.meter import Meter
from stylecam.photos import plan_photos, stylize_photos
from stylecam.pictures import Picture, read_picture, write_picture


class Inverter(Engine):
    """Give the negative, and note the sizes."""

    backend, device, precision = "test", "cpu", "fp32"

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def infer(self, frames: Pixels, style: object = None) -> Pixels:
        self.shapes.append(frames.shape)
        return np.asarray(255 - frames, np.uint8)

    def close(self) -> None:
        pass


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    (folder / "below").mkdir(parents=True)
    for index, name in enumerate(("b.png", "a.jpg", ".hidden.png", "below/c.png")):
        write_picture(folder / name, Picture(noise(seed=index)))
    (folder / "notes.txt").touch()
    return folder


def test_one_picture_goes_to_a_file_or_into_a_folder(album: Path, tmp_path: Path) -> None:
    source = album / "b.png"
    assert plan_photos([source], tmp_path / "out.webp") == [(source, tmp_path / "out.webp")]
    assert plan_photos([source], tmp_path) == [(source, tmp_path / "b.png")]


def test_a_folder_gives_its_pictures_by_name(album: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    out = tmp_path / "new" / "out"
    assert [(s.name, t) for s, t in plan_photos([album], out)] == [
        ("a.jpg", out / "a.jpg"),
        ("b.png", out / "b.png"),
    ]
    both = plan_photos([album, album / "below" / "c.png"], out)
    assert [target.name for _, target in both] == ["a.jpg", "b.png", "c.png"]
    assert tree(tmp_path) == before


def test_a_picture_of_a_kind_that_cannot_be_written_becomes_png(album: Path, tmp_path: Path) -> None:
    ((_, target), _) = plan_photos([album / "scan.jp2", album / "b.png"], tmp_path / "out")
    assert target.name == "scan.png"


def test_plans_that_cannot_work(album: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    (tmp_path / "none").mkdir()
    one, several = [album / "b.png"], [album]
    for inputs, output, cause in (
        (one, "out", "no suffix"),
        (one, "nowhere/out.png", "nowhere"),
        (one, "plain/out.png", "plain"),
        (several, "plain", "plain"),
        (several, "plain/deeper", "plain"),
        ([tmp_path / "none"], "out", "no picture"),
        ([album / "b.png", album], "out", "several pictures are called b.png"),
    ):
        with pytest.raises(PictureError, match=cause) as caught:
            plan_photos(inputs, tmp_path / output)
        assert caught.value.hint


def test_each_picture_is_told_of_and_counted(album: Path, tmp_path: Path) -> None:
    (album / "broken.png").write_text("no picture")
    meter, out = Meter(), tmp_path / "out"
    photos = list(stylize_photos(plan_photos([album], out), Inverter(), meter=meter))
    assert [photo.source.name for photo in photos] == ["a.jpg", "b.png", "broken.png"]
    assert [photo.error is None for photo in photos] == [True, True, False]
    assert meter.frames == 2
    np.testing.assert_array_equal(read_picture(out / "b.png").bgr, 255 - noise(seed=0))
    assert sorted(tree(out)) == ["a.jpg", "b.png"]


def test_a_folder_is_made_for_a_picture_and_not_before(album: Path, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.png"):
        (album / name).write_text("no picture")
    photos = list(stylize_photos(plan_photos([album], tmp_path / "out"), Inverter(), meter=Meter()))
    assert all(photo.error for photo in photos)
    assert not (tmp_path / "out").exists()


def test_the_long_side_is_scaled(album: Path, tmp_path: Path) -> None:
    engine, pairs = Inverter(), [(album / "b.png", tmp_path / "out.png")]
    (photo,) = stylize_photos(pairs, engine, long_side=32, meter=Meter())
    assert (engine.shapes, photo.size_wh) == ([(1, 24, 32, 3)], (32, 24))
    with pytest.raises(StylecamError, match="out of range"):
        next(stylize_photos(pairs, engine, long_side=0, meter=Meter()))


def test_lost_transparency_is_told(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", Picture(noise(), noise()[..., 0]))
    for name, said in (("out.png", 0), ("out.jpg", 1)):
        (photo,) = stylize_photos([(tmp_path / "a.png", tmp_path / name)], Inverter(), meter=Meter())
        assert len(photo.warnings) == said
