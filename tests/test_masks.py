from __future__ import annotations

import importlib.machinery
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from stylecam import masks
from stylecam.errors import BackendMissingError, PictureError
from stylecam.frames import Pixels
from stylecam.masks import FileMask, Mask, PersonMask, find_person_net
from stylecam.pictures import Picture, write_picture


@pytest.fixture(scope="module")
def portrait() -> Pixels:
    """A woman before a flag, amid grey, as a camera's picture."""
    picture = np.full((360, 640, 3), 90, np.uint8)
    rgb = np.asarray(data.astronaut(), np.uint8)  # type: ignore[no-untyped-call]
    picture[:, 140:500] = cv2.resize(np.ascontiguousarray(rgb[..., ::-1]), (360, 360))
    return picture


def with_noise(bgr: Pixels, seed: int) -> Pixels:
    grain = np.random.default_rng(seed).normal(0, 6, bgr.shape)
    return np.clip(bgr + grain, 0, 255).astype(np.uint8)


def test_the_person_is_found(portrait: Pixels) -> None:
    mask = PersonMask().find(portrait)
    assert mask.shape == (360, 640)
    assert mask.dtype == np.uint8
    face, suit, grey = mask[60:110, 290:320], mask[230:320, 250:300], mask[:, 540:]
    assert face.mean() > 245
    assert suit.mean() > 245
    assert grey.max() < 15
    assert mask[20:100, 420:480].max() < 30  # the wall beside her


def test_her_side_goes_with_the_picture(portrait: Pixels) -> None:
    straight, turned = PersonMask().find(portrait), PersonMask().find(np.ascontiguousarray(portrait[:, ::-1]))
    off, as_before = (np.abs(side.astype(int) - turned).mean() for side in (straight[:, ::-1], straight))
    assert off < as_before / 3


def test_colours_are_not_swapped(portrait: Pixels) -> None:
    """A net given blue skin is less sure of it; the difference is small, but there."""
    right, wrong = (PersonMask().find(bgr) for bgr in (portrait, np.ascontiguousarray(portrait[..., ::-1])))
    assert np.abs(right.astype(int) - wrong).mean() > 1


@pytest.mark.parametrize("size_wh", [(1280, 720), (90, 160), (17, 16)])
def test_every_size(portrait: Pixels, size_wh: tuple[int, int]) -> None:
    frame = np.asarray(cv2.resize(portrait, size_wh), np.uint8)
    assert PersonMask().find(frame).shape == (size_wh[1], size_wh[0])


def test_the_edge_is_soft_and_lies_on_hers(portrait: Pixels) -> None:
    mask = PersonMask().find(portrait)
    row = mask[70, 330:420].astype(int)  # from her hair to the wall
    assert row[0] > 200
    assert row[-1] < 20
    assert 2 < np.count_nonzero((row > 10) & (row < 240)) < 40


@pytest.mark.slow
def test_noise_makes_less_of_it_flicker_than_each_frame_by_itself(portrait: Pixels) -> None:
    noisy = [with_noise(portrait, seed) for seed in range(6)]
    steady = PersonMask()
    calm = np.stack([steady.find(bgr) for bgr in noisy]).astype(int)
    alone = np.stack([PersonMask().find(bgr) for bgr in noisy]).astype(int)
    assert np.abs(np.diff(calm, axis=0)).mean() < 0.7 * np.abs(np.diff(alone, axis=0)).mean()


def test_who_leaves_is_gone_at_once(portrait: Pixels) -> None:
    mask = PersonMask()
    mask.find(portrait)
    moved = np.roll(portrait, 300, axis=1)
    there, fresh = mask.find(moved), PersonMask().find(moved)
    assert np.abs(there.astype(int) - fresh).mean() < 8


def test_without_the_net(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(masks, "PERSON_NET", tmp_path / "none")
    monkeypatch.setattr(masks, "find_spec", lambda name: None)
    with pytest.raises(BackendMissingError, match="people") as caught:
        PersonMask()
    assert "mediapipe==0.10.21" in caught.value.hint
    package = importlib.machinery.ModuleSpec("mediapipe", None)
    package.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(masks, "find_spec", lambda name: package)
    with pytest.raises(BackendMissingError):  # a newer one, without nets
        find_person_net()
    net = tmp_path / "modules" / "selfie_segmentation" / "selfie_segmentation_landscape.tflite"
    net.parent.mkdir(parents=True)
    net.touch()
    assert find_person_net() == net


def test_a_damaged_net(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"no net")
    with pytest.raises(BackendMissingError, match=r"net\.tflite"):
        PersonMask(tmp_path / "net.tflite")


def test_a_mask_from_a_file(tmp_path: Path) -> None:
    halves = np.zeros((4, 8, 3), np.uint8)
    halves[:, 4:] = 255
    write_picture(tmp_path / "mask.png", Picture(halves))
    mask: Mask = FileMask(tmp_path / "mask.png")
    for size_wh in ((64, 48), (64, 48), (32, 96)):
        found = mask.find(np.zeros((size_wh[1], size_wh[0], 3), np.uint8))
        assert found.shape == (size_wh[1], size_wh[0])
        assert found[:, : size_wh[0] // 2 - 8].max() == 0
        assert found[:, size_wh[0] // 2 + 8 :].min() == 255


def test_a_mask_that_is_transparent_or_grey(tmp_path: Path) -> None:
    white = np.full((16, 16, 3), 255, np.uint8)
    alpha = np.tile(np.repeat(np.array([0, 255], np.uint8), 8), (16, 1))
    write_picture(tmp_path / "mask.png", Picture(white, alpha))
    found = FileMask(tmp_path / "mask.png").find(white)
    assert np.array_equal(found, alpha)
    write_picture(tmp_path / "grey.png", Picture(np.full((16, 16, 3), 100, np.uint8)))
    assert set(FileMask(tmp_path / "grey.png").find(white).flatten()) == {100}


def test_a_mask_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"none\.png"):
        FileMask(tmp_path / "none.png")
