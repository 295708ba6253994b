"""Flow, the measure of flicker, and the smoothing, on pictures whose movement is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from nets import noise

from stylecam import temporal
from stylecam.errors import StylecamError
from stylecam.frames import Pixels
from stylecam.temporal import Flicker, Flow, FlowFinder, Smoother, grey, visible, warp

SIZE_WH = (160, 96)
PLACE = (slice(16, -16), slice(16, -16))
"""Away from the border, where what moved in was never seen."""


def scene(shift: int = 0) -> Pixels:
    """A picture with something to see at every scale, moved to the right by whole pixels."""
    wide = (SIZE_WH[0] + 40, SIZE_WH[1])
    layers = [cv2.resize(noise(rows, 2 * rows, 3, seed=rows), wide).astype(float) for rows in (6, 12, 24)]
    picture = np.clip(np.mean(layers, 0), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(picture[:, 20 - shift : 20 - shift + SIZE_WH[0]])


def uniform(right: float) -> Flow:
    flow = np.zeros((SIZE_WH[1], SIZE_WH[0], 2), np.float32)
    flow[..., 0] = right
    return flow


def test_the_flow_leads_back_to_the_frame_before() -> None:
    flow = FlowFinder().find(grey(scene(3)), grey(scene(0)))
    assert np.abs(flow[PLACE] - (-3, 0)).mean() < 0.15
    assert np.abs(warp(scene(0), flow)[PLACE].astype(int) - scene(3)[PLACE]).mean() < 2


def test_warping_by_whole_pixels_moves_them_unchanged() -> None:
    assert (warp(scene(0), uniform(-4))[PLACE] == scene(4)[PLACE]).all()


def test_what_moved_in_from_outside_was_not_visible() -> None:
    seen = visible(uniform(-4), uniform(4))
    assert not seen[:, :4].any()
    assert seen[:, 8:-8].all()


def test_where_the_flow_does_not_lead_home_something_was_covered() -> None:
    back = uniform(4)
    back[40:60, 60:90] = 0
    seen = visible(uniform(-4), back)
    assert not seen[45:55, 70:85].any()
    assert seen[10:30, 20:60].all()


def flicker_of(paintings: list[Pixels], sources: list[Pixels]) -> Flicker:
    flicker = Flicker()
    for source, painting in zip(sources, paintings, strict=True):
        flicker.add(source, painting)
    return flicker


def test_a_painting_that_moves_with_its_source_does_not_flicker() -> None:
    sources = [scene(shift) for shift in range(4)]
    assert flicker_of([255 - source for source in sources], sources).ratio == pytest.approx(0, abs=0.02)


def test_fresh_noise_flickers_and_so_does_a_pattern_fixed_to_the_screen() -> None:
    sources = [scene(2 * shift) for shift in range(4)]
    grain = [(noise(*scene().shape, seed=seed) // 4).astype(np.uint8) for seed in range(4)]
    fresh = flicker_of([source // 2 + g for source, g in zip(sources, grain, strict=True)], sources)
    fixed = flicker_of([source // 2 + grain[0] for source in sources], sources)
    assert fresh.ratio > 0.4
    assert fixed.ratio > 0.4


def test_blurring_the_flicker_away_does_not_win() -> None:
    sources = [scene()] * 4
    noisy = [noise(*scene().shape, seed=seed) for seed in range(4)]
    blurred = [np.asarray(cv2.GaussianBlur(frame, (0, 0), 3), np.uint8) for frame in noisy]
    assert flicker_of(blurred, sources).ratio > 0.8 * flicker_of(noisy, sources).ratio


def test_still_errors_look_at_what_stands_still() -> None:
    sources = [scene()] * 3
    paintings = [np.asarray(source // 2 + 4 * (i % 2), np.uint8) for i, source in enumerate(sources)]
    figures = flicker_of(paintings, sources).figures()
    assert figures["still_error"] == pytest.approx(4, abs=0.1)
    assert figures["still_source"] == 0
    assert figures["share"] > 0.95


def test_a_plain_wall_beside_something_that_moves_is_not_judged() -> None:
    sources = []
    for shift in range(4):
        frame = np.full((SIZE_WH[1], SIZE_WH[0], 3), 200, np.uint8)
        frame[30:60, 20 + 6 * shift : 60 + 6 * shift] = scene()[30:60, 20:60]
        sources.append(frame)
    wall = scene()  # the painting's strokes stay where they are
    assert flicker_of([wall] * 4, sources).figures()["share"] < 0.95


def test_one_frame_tells_nothing() -> None:
    with pytest.raises(StylecamError, match="flicker cannot be measured"):
        _ = flicker_of([scene()], [scene()]).ratio


def smoothed(amount: float, paintings: list[Pixels], sources: list[Pixels]) -> list[Pixels]:
    smoother = Smoother(amount)
    return [smoother.smooth(source, painting) for source, painting in zip(sources, paintings, strict=True)]


def test_no_smoothing_changes_nothing() -> None:
    sources, paintings = [scene(i) for i in range(3)], [noise(*scene().shape, seed=i) for i in range(3)]
    for out, painting in zip(smoothed(0, paintings, sources), paintings, strict=True):
        assert out is painting


@pytest.mark.parametrize("step", [0, 2])
def test_more_smoothing_flickers_less(step: int) -> None:
    sources = [scene(step * i) for i in range(6)]
    paintings = [
        np.asarray(source // 2 + noise(*source.shape, seed=i) // 4, np.uint8)
        for i, source in enumerate(sources)
    ]
    ratios = [flicker_of(smoothed(amount, paintings, sources), sources).ratio for amount in (0, 0.4, 0.8)]
    assert ratios[2] < 0.8 * ratios[1] < 0.75 * ratios[0]


def test_what_moves_is_carried_along() -> None:
    sources = [scene(3 * i) for i in range(5)]
    out = smoothed(1, [255 - source for source in sources], sources)[-1]
    assert np.abs(out[PLACE].astype(int) - (255 - sources[-1][PLACE])).mean() < 4


def test_a_cut_begins_anew() -> None:
    other = np.asarray(255 - scene(), np.uint8)
    paintings = [scene(), other]
    assert (smoothed(1, paintings, [scene(), other])[1] == other).all()


def test_what_was_uncovered_is_not_smeared() -> None:
    sources = [scene(), scene()]
    sources[1][30:60, 60:100] += 128  # wraps: unlike before everywhere
    dark, bright = np.zeros_like(scene()), np.full_like(scene(), 200)
    out = smoothed(1, [dark, bright], sources)[1]
    assert (out[38:52, 68:92] == 200).mean() > 0.9
    assert out[:20].mean() < 60


@pytest.mark.parametrize("size_wh", [(640, 360), (500, 300)])
def test_tiles_meet_without_a_seam(size_wh: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """What moves is warped tile by tile; in one tile all of it must come out alike."""
    frames = [np.asarray(cv2.resize(scene(shift), size_wh), np.uint8) for shift in range(4)]
    shown = []
    for tile in (temporal._TILE, 1000):
        monkeypatch.setattr(temporal, "_TILE", tile)
        smoother = Smoother(0.8)
        shown.append([smoother.smooth(frame, 255 - frame) for frame in frames][-1].astype(int))
    assert np.abs(shown[0] - shown[1]).max() <= 1
    assert np.abs(shown[0] - (255 - frames[-1])).max() > 1


def test_still_parts_move_nothing_when_others_do() -> None:
    """A part that stands still is blended pixel on pixel, not resampled again and again."""
    sources = []
    for i in range(8):
        frame = scene()
        frame[40:56, 20 + 4 * i : 36 + 4 * i] = (0, 0, 255)
        sources.append(frame)
    sharp = noise(*scene().shape)
    out = smoothed(0.9, [sharp] * 8, sources)[-1]
    assert np.abs(out[:24].astype(int) - sharp[:24]).max() <= 1


def test_a_changed_size_begins_anew() -> None:
    smoother = Smoother(1)
    smoother.smooth(scene(), scene())
    small = np.ascontiguousarray(scene()[::2, ::2])
    assert (smoother.smooth(small, small) == small).all()


@pytest.mark.parametrize("size_wh", [(641, 363), (17, 700), (330, 16)])
def test_any_size_is_smoothed(size_wh: tuple[int, int]) -> None:
    frames = [np.asarray(cv2.resize(scene(i), size_wh), np.uint8) for i in range(3)]
    assert smoothed(0.7, frames, frames)[-1].shape == frames[-1].shape


@pytest.mark.parametrize("amount", [-0.1, 1.1])
def test_an_amount_out_of_range_is_refused(amount: float) -> None:
    with pytest.raises(StylecamError, match="out of range"):
        Smoother(amount)
