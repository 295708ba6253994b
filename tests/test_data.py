from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from nets import noise, write_photos
from numpy.typing import NDArray

from stylecam.errors import DatasetEmptyError, PictureError
from stylecam.neural.data import ContentFolder, center_crop, load_painting, to_pixels, to_tensor


def write_flat(folder: Path, count: int) -> None:
    """Photographs of one level of grey each, by which they are known: 10, 20, 30..."""
    folder.mkdir(exist_ok=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:02d}.png"), np.full((40, 50, 3), 10 * (index + 1), np.uint8))


def levels(batch: torch.Tensor) -> list[int]:
    return [round(float(picture.mean())) for picture in batch]


def test_tensors_are_rgb_and_come_back() -> None:
    bgr = noise(2, 5, 7, 3)
    tensor = to_tensor(bgr)
    assert tensor.shape == (2, 3, 5, 7)
    assert tensor[1, 0, 3, 4] == bgr[1, 3, 4, 2]
    np.testing.assert_array_equal(to_pixels(tensor), bgr)
    assert to_pixels(torch.tensor([-9.0, 0.6, 999.0]).view(1, 3, 1, 1)).tolist() == [[[[255, 1, 0]]]]


def test_center_crop_is_the_middle_square() -> None:
    bgr = noise(30, 50, 3)
    np.testing.assert_array_equal(center_crop(bgr, 30), bgr[:, 10:40])
    assert center_crop(bgr, 12).shape == (12, 12, 3)


def test_painting_has_the_style_size_on_its_long_side(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "p.png"), np.full((60, 100, 3), (0, 0, 200), np.uint8))
    painting = load_painting(tmp_path / "p.png", 50)
    assert painting.shape == (1, 3, 30, 50)
    assert painting[0, :, 0, 0].tolist() == [200, 0, 0]


def test_seed_and_place_decide_all(tmp_path: Path) -> None:
    write_photos(tmp_path, 5)
    one, same, other = (ContentFolder(tmp_path, 64, seed) for seed in (1, 1, 2))
    same.sample(17)  # what was read before does not matter
    for place in (0, 4, 5, 23):
        np.testing.assert_array_equal(one.sample(place), same.sample(place))
    assert any((one.sample(place) != other.sample(place)).any() for place in range(3))


def test_a_series_that_starts_later_goes_on_alike(tmp_path: Path) -> None:
    write_photos(tmp_path, 5)
    data = ContentFolder(tmp_path, 64, seed=1)
    whole, rest = data.batches(0, 2), ContentFolder(tmp_path, 64, seed=1).batches(3, 2)
    batches = [next(whole) for _ in range(6)]
    for batch in batches[3:]:
        torch.testing.assert_close(next(rest), batch, rtol=0, atol=0)
    assert batches[0].shape == (2, 3, 64, 64)


def test_every_epoch_shows_each_picture_once_in_another_order(tmp_path: Path) -> None:
    write_flat(tmp_path, 8)
    data = ContentFolder(tmp_path, 64, seed=0)
    epochs = [levels(data.batch(epoch, 8)) for epoch in range(3)]
    assert all(sorted(epoch) == [10 * (n + 1) for n in range(8)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_processes_see_different_pictures(tmp_path: Path) -> None:
    write_flat(tmp_path, 12)
    data = ContentFolder(tmp_path, 64, seed=0)
    seen = [level for step in range(2) for rank in range(3) for level in levels(data.batch(step, 2, rank, 3))]
    assert sorted(seen) == [10 * (n + 1) for n in range(12)]


def test_pictures_set_aside_are_never_trained_on(tmp_path: Path) -> None:
    write_flat(tmp_path, 9)
    data = ContentFolder(tmp_path, 64, seed=0, held_out=3)
    aside = {10 * (int(file.stem) + 1) for file in data.held_out}
    seen = {level for step in range(6) for level in levels(data.batch(step, 6))}
    assert len(aside) == 3
    assert seen == {10 * (n + 1) for n in range(9)} - aside
    assert ContentFolder(tmp_path, 64, seed=0, held_out=3).held_out == data.held_out


def test_pictures_a_net_was_judged_on_are_set_aside_first(tmp_path: Path) -> None:
    write_flat(tmp_path, 9)
    judged = ["07.png", "gone.png", "02.png"]
    data = ContentFolder(tmp_path, 64, seed=0, held_out=3, judged_on=judged)
    names = {file.name for file in data.held_out}
    assert len(names) == 3
    assert {"07.png", "02.png"} < names
    assert not set(data.held_out) & set(data.files)
    for held_out in (0, 1):
        data = ContentFolder(tmp_path, 64, seed=0, held_out=held_out, judged_on=judged)
        assert {file.name for file in data.held_out} == {"07.png", "02.png"}
        assert len(data.files) == 7


def test_crops_vary_in_place_size_and_flip(tmp_path: Path) -> None:
    ramp: NDArray[np.uint8] = np.tile(np.linspace(0, 255, 200).astype(np.uint8)[None, :, None], (120, 1, 3))
    cv2.imwrite(str(tmp_path / "ramp.png"), ramp)
    data = ContentFolder(tmp_path, 64, seed=0)
    crops = [data.sample(place).astype(int) for place in range(30)]
    rises = [int(crop[0, -1, 0] - crop[0, 0, 0]) for crop in crops]
    assert any(rise > 0 for rise in rises)
    assert any(rise < 0 for rise in rises)
    widest, slopes = 255 * 120 / 200, [abs(rise) for rise in rises]
    assert 0.25 * widest - 8 < min(slopes) < 0.4 * widest  # a quarter of the short side: enlarged
    assert 0.8 * widest < max(slopes) < widest + 8
    assert np.ptp([crop.mean() for crop in crops]) > 60


def test_it_trains_on_what_is_good_and_counts_the_rest(tmp_path: Path) -> None:
    write_photos(tmp_path, 2)
    cv2.imwrite(str(tmp_path / "grey.jpg"), noise(50, 60))
    cv2.imwrite(str(tmp_path / "deep.png"), noise(50, 60, 3).astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "huge.jpg"), np.full((3000, 6000, 3), 90, np.uint8))
    cv2.imwrite(str(tmp_path / "tiny.png"), noise(31, 100, 3))
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "huge.jpg").read_bytes()[:300])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "readme.txt").write_text("not counted")
    data = ContentFolder(tmp_path, 64, seed=0)
    batch = data.batch(0, 9)
    assert batch.shape == (9, 3, 64, 64)
    assert data.skipped == {"tiny.png", "broken.jpg", "empty.jpg", "text.png"}


def test_cmyk_is_read_as_colour(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow writes the CMYK file")
    pillow.new("CMYK", (50, 40), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=95)
    batch = ContentFolder(tmp_path, 64, seed=0).batch(0, 1)
    red, green, blue = batch.mean((0, 2, 3)).tolist()
    assert red > 200
    assert max(green, blue) < 60


def test_a_broken_picture_is_not_set_aside(tmp_path: Path) -> None:
    write_photos(tmp_path, 4)
    for index in range(6):
        (tmp_path / f"broken{index}.jpg").write_text("no picture")
    data = ContentFolder(tmp_path, 64, seed=0, held_out=3)
    assert len(data.held_out) == 3
    assert all(file.name.startswith("photo") for file in data.held_out)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetEmptyError, match="holds 0 pictures"):
        ContentFolder(tmp_path, 64, seed=0)
    with pytest.raises(PictureError, match="does not exist"):
        ContentFolder(tmp_path / "missing", 64, seed=0)


def test_a_folder_whose_pictures_are_all_set_aside_is_an_error(tmp_path: Path) -> None:
    write_photos(tmp_path, 4)
    with pytest.raises(DatasetEmptyError, match="of which 4 are set aside"):
        ContentFolder(tmp_path, 64, seed=0, held_out=20)


@pytest.mark.parametrize("held_out", [0, 2])
def test_a_folder_of_broken_pictures_is_an_error(tmp_path: Path, held_out: int) -> None:
    for index in range(3):
        (tmp_path / f"{index}.jpg").write_text("no picture")
    data = ContentFolder(tmp_path, 64, seed=0, held_out=held_out)
    with pytest.raises(DatasetEmptyError, match="none of the 3 pictures"):
        next(data.batches(0, 2))
