"""What stands still is held, what moves is let through, on frames whose movement is known."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from nets import noise

from stylecam.denoise import CELL, Denoiser, FilmDenoiser
from stylecam.frames import Pixels

SIZE_WH = (160, 96)


def scene() -> Pixels:
    small = noise(6, 10, 3, seed=1)
    return np.asarray(cv2.resize(small, SIZE_WH, interpolation=cv2.INTER_CUBIC) // 2 + 60, np.uint8)


def grainy(seed: int, deviation: float, picture: Pixels | None = None) -> Pixels:
    """A picture as a sensor sees it: other noise each time."""
    grain = np.random.default_rng(seed).standard_normal(scene().shape) * deviation
    return np.clip(np.rint((scene() if picture is None else picture) + grain), 0, 255).astype(np.uint8)


def with_square(left: int, grey: int = 255) -> Pixels:
    picture = scene()
    picture[40:56, left : left + 16] = grey
    return picture


def change(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def test_a_still_scene_in_faint_noise_goes_in_unchanged() -> None:
    denoiser = Denoiser()
    first = denoiser.denoise(grainy(0, 1))
    for seed in range(1, 8):
        assert (denoiser.denoise(grainy(seed, 1)) == first).all()


def test_stronger_noise_is_averaged_over_time() -> None:
    denoiser = Denoiser()
    seen = [denoiser.denoise(grainy(seed, 5)) for seed in range(12)]
    assert change(seen[10], seen[11]) < 0.5 * change(grainy(10, 5), grainy(11, 5))
    assert change(seen[11], scene()) < 0.8 * change(grainy(11, 5), scene())


def test_what_moves_is_let_through_and_leaves_nothing_behind() -> None:
    denoiser = Denoiser()
    for left in range(10, 130, 6):
        seen = denoiser.denoise(with_square(left))
        assert (seen[40:56, left : left + 16] == 255).all()
        assert np.abs(seen.astype(int) - with_square(left)).max() <= 3


@pytest.mark.parametrize("place", [(40, 56), (41, 59), (39, 63)])
def test_a_small_thing_is_let_through(place: tuple[int, int]) -> None:
    down, right = place
    denoiser, glint = Denoiser(), scene()
    glint[down : down + 2, right : right + 2] += 80
    line = scene()
    line[:, right] += 50
    for picture in (scene(), glint, scene(), line, scene()):
        assert np.abs(denoiser.denoise(picture).astype(int) - picture).max() <= 2


def test_around_something_that_moves_the_rest_is_held() -> None:
    denoiser = Denoiser()
    first = denoiser.denoise(grainy(0, 1, with_square(20)))
    for seed, left in enumerate(range(24, 60, 4), 1):
        seen = denoiser.denoise(grainy(seed, 1, with_square(left)))
    assert (seen[:, 60 + 16 + 3 * CELL :] == first[:, 60 + 16 + 3 * CELL :]).all()


def test_a_cut_is_let_through_at_once() -> None:
    denoiser = Denoiser()
    denoiser.denoise(scene())
    assert (denoiser.denoise(255 - scene()) == 255 - scene()).all()


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_slow_change_of_light_is_followed(step: int) -> None:
    denoiser, behind = Denoiser(), []
    for light in range(0, 90, step):
        lit = np.asarray(scene() // 2 + light, np.uint8)
        behind.append(np.abs(denoiser.denoise(lit).astype(int) - lit).max())
    assert max(behind) <= 8
    for _ in range(20):
        seen = denoiser.denoise(lit)
    assert np.abs(seen.astype(int) - lit).max() <= 3  # of 3, a sixth is less than a level


def test_a_colour_that_changes_at_the_same_grey_is_let_through() -> None:
    denoiser = Denoiser()
    before, after = np.full((64, 64, 3), 100, np.uint8), np.full((64, 64, 3), 100, np.uint8)
    after[..., 0] += 20
    after[..., 1] -= 4  # 0.114 * 20 = 0.587 * 3.9
    denoiser.denoise(before)
    assert (denoiser.denoise(after) == after).all()


@pytest.mark.parametrize("size_wh", [(16, 16), (17, 31), (161, 97), (1, 1)])
def test_any_size_is_denoised_and_another_begins_anew(size_wh: tuple[int, int]) -> None:
    denoiser = Denoiser()
    denoiser.denoise(scene())
    for seed in (0, 1):
        frame = noise(size_wh[1], size_wh[0], 3, seed=seed)
        assert denoiser.denoise(frame).shape == frame.shape
    again = noise(*scene().shape, seed=7)
    assert (denoiser.denoise(again) == again).all()


def test_what_came_in_is_left_as_it_was() -> None:
    denoiser = Denoiser()
    frames = [grainy(seed, 2) for seed in range(3)]
    kept = [frame.copy() for frame in frames]
    for frame in frames:
        denoiser.denoise(frame)
    assert all((frame == copy).all() for frame, copy in zip(frames, kept, strict=True))


def film() -> list[Pixels]:
    """Sixty frames in which something moves over a scene that noise makes other each time."""
    return [grainy(number, 1.5, with_square(10 + 2 * number, 200)) for number in range(60)]


@pytest.mark.parametrize("begin", [1, 7, 16, 23])
def test_a_film_begun_anywhere_is_the_same_once_the_memory_is_full(begin: int) -> None:
    whole, part = FilmDenoiser(8), FilmDenoiser(8)
    wanted = [whole.denoise(number, frame) for number, frame in enumerate(film())]
    found = [part.denoise(number, frame) for number, frame in enumerate(film()) if number >= begin]
    settled = slice(part.memory, None)
    assert all((a == b).all() for a, b in zip(found[settled], wanted[begin:][settled], strict=True))
    assert any((a != b).any() for a, b in zip(found, wanted[begin:], strict=True))


def test_a_film_is_held_without_a_jump() -> None:
    """Begun anew every few frames at once, a still film would jump by its noise."""
    denoiser = FilmDenoiser(12)
    seen = [denoiser.denoise(number, grainy(number, 1)) for number in range(60)]
    noisy = change(grainy(0, 1), grainy(1, 1))
    changes = [change(a, b) for a, b in pairwise(seen)]
    assert max(changes) < 0.35 * noisy
    assert any(changes[12:])


def test_a_period_of_nought_changes_nothing() -> None:
    denoiser = FilmDenoiser(0)
    assert all(denoiser.denoise(number, frame) is frame for number, frame in enumerate(film()[:3]))
