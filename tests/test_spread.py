"""References move with the film, and give way to the net where the film shows something new."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import noise

from stylecam.frames import Frame, Pixels, resize
from stylecam.sinks.file import FileSink
from stylecam.slow.spread import Carrier, Track, spread
from stylecam.temporal import grey

SIZE = (160, 96)
STEP = 2
"""Pixels that the scene moves to the right from frame to frame."""

COUNT = 14
NET = 77
"""The grey that stands for the fast net's pictures."""


def _wide(seed: int) -> Pixels:
    return np.asarray(cv2.GaussianBlur(resize(noise((34, 12), seed), (272, 96)), (0, 0), 1), np.uint8)


def _view(wide: Pixels, index: int) -> Pixels:
    left = 60 - STEP * index
    return np.ascontiguousarray(wide[:, left : left + SIZE[0]])


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pan of 14 frames, then a cut to another scene that stands still."""
    path = tmp_path_factory.mktemp("pan") / "pan.mp4"
    with FileSink(path, fps=10, crf=3) as sink:
        for index in range(COUNT + 4):
            bgr = _view(_wide(1), index) if index < COUNT else _view(_wide(2), 0)
            sink.write(Frame(bgr, index / 10, 0.0))
    return path


def _net(content: Pixels) -> Pixels:
    return np.full_like(content, NET)


def _reference(index: int) -> Pixels:
    """Another pattern that moves as the film does."""
    return _view(_wide(3), index)


def _error(found: Pixels, wanted: Pixels) -> float:
    """Mean difference inside a margin that the pan may have uncovered."""
    inside = slice(32, -32)
    return float(np.abs(found.astype(int) - wanted)[8:-8, inside].mean())


@pytest.fixture(scope="module")
def frames(film: Path) -> list[Frame]:
    references = [(2, _reference(2)), (10, _reference(10))]
    return list(spread(film, references, _net, SIZE))


def test_every_frame_at_its_own_time(frames: list[Frame]) -> None:
    assert len(frames) == COUNT + 4
    assert [frame.timestamp_s for frame in frames] == pytest.approx([i / 10 for i in range(COUNT + 4)])


def test_keyframes_are_their_references(frames: list[Frame]) -> None:
    for index in (2, 10):
        assert np.abs(frames[index].bgr.astype(int) - _reference(index)).max() <= 1


@pytest.mark.parametrize("index", [0, 1, 4, 6, 9, 12])
def test_a_reference_moves_with_the_film(frames: list[Frame], index: int) -> None:
    still = _error(_reference(2), _reference(6))
    assert _error(frames[index].bgr, _reference(index)) < 0.35 * still


def test_after_a_cut_there_is_the_net_alone(frames: list[Frame]) -> None:
    for frame in frames[COUNT:]:
        assert (frame.bgr == NET).all()


def test_what_comes_into_the_picture_is_the_nets(frames: list[Frame]) -> None:
    """Past the last keyframe the left edge shows what no reference has seen."""
    assert np.abs(frames[13].bgr[20:-20, :2].astype(int) - NET).mean() < 6
    assert np.abs(frames[13].bgr[20:-20, 60:62].astype(int) - NET).mean() > 12


def test_references_at_the_very_ends_and_one_alone(film: Path) -> None:
    ends = list(spread(film, [(0, _reference(0)), (COUNT + 3, _reference(0))], _net, SIZE))
    assert len(ends) == COUNT + 4
    assert np.array_equal(ends[0].bgr, _reference(0))
    assert np.array_equal(ends[-1].bgr, _reference(0))
    assert len(list(spread(film, [(5, _reference(5))], _net, SIZE))) == COUNT + 4


def test_a_reference_is_carried_to_the_next_keyframe(film: Path) -> None:
    carrier = Carrier(film)
    first = carrier.carry(_reference(1), 1, 5, _net(_reference(1)))
    second = carrier.carry(_reference(5), 5, 9, _net(_reference(1)))
    still = _error(_reference(1), _reference(5))
    assert _error(first, _reference(5)) < 0.35 * still
    assert _error(second, _reference(9)) < 0.35 * still


def test_what_was_lost_is_not_found_again() -> None:
    first, other = grey(_view(_wide(1), 0)), grey(_view(_wide(2), 0))
    track = Track(first)
    assert track.follow(first).trust.mean() > 0.9
    assert track.follow(other).trust.mean() < 0.1
    assert track.follow(first).trust.mean() < 0.1


def test_a_film_that_stands_still_is_the_reference_to_its_edges() -> None:
    rng = np.random.default_rng(0)
    first = grey(_view(_wide(1), 0))
    track = Track(first)
    for _ in range(5):
        noisy = np.clip(first + rng.normal(0, 1, first.shape), 0, 255).astype(np.uint8)
        carried = track.follow(noisy)
    edges = np.concatenate([carried.trust[:, 0], carried.trust[:, -1], carried.trust[0], carried.trust[-1]])
    assert edges.mean() > 0.95
