"""What is painted in a live run: settings, styles faded into each other, nets opened beside the work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import noise
from liverun import SIZE, Camera, Make, live_runs, paint_one

from stylecam.engines import open_engine
from stylecam.engines.base import Engine
from stylecam.errors import InferenceError
from stylecam.frames import Frame, Pixels
from stylecam.live.governor import Governor, Rung
from stylecam.live.looks import Looks
from stylecam.styles import Style, read_style


@pytest.fixture
def make(tiny_style: Style, tmp_path: Path) -> Iterator[Make]:
    with live_runs(tiny_style, tmp_path) as build:
        yield build


def test_settings_show_in_the_next_frame(make: Make) -> None:
    run, bgr = make(Camera(), []), noise(SIZE)
    painted = paint_one(run, bgr)
    assert np.abs(painted.astype(int) - bgr).mean() > 10
    assert np.array_equal(paint_one(run, bgr, strength=0.0), bgr)
    half = paint_one(run, bgr, strength=0.5).astype(int)
    assert np.abs(half - (painted.astype(int) + bgr) / 2).max() <= 1
    both = paint_one(run, bgr, strength=1.0, split=True)
    assert np.array_equal(both[:, :31], bgr[:, :31])
    assert np.array_equal(both[:, 33:], painted[:, 33:])
    mirrored = paint_one(run, bgr, split=False, mirror=True)
    assert np.array_equal(paint_one(run, np.ascontiguousarray(bgr[:, ::-1]), mirror=False), mirrored)


def test_colour_kept_takes_only_the_light_from_the_painting(make: Make) -> None:
    run = make(Camera(), [])
    bgr = np.asarray(cv2.GaussianBlur(noise(SIZE), (0, 0), 3) // 2 + 64, np.uint8)
    painted, kept = paint_one(run, bgr), paint_one(run, bgr, color=True)
    light, colours = (cv2.cvtColor(picture, cv2.COLOR_BGR2YCrCb).astype(int) for picture in (painted, bgr))
    mixed = cv2.cvtColor(kept, cv2.COLOR_BGR2YCrCb).astype(int)
    inside = ((kept > 2) & (kept < 253)).all(-1)  # where nothing was cut off
    assert inside.mean() > 0.3
    assert np.abs(mixed[..., 0] - light[..., 0])[inside].max() <= 2
    assert np.abs(mixed[..., 1:] - colours[..., 1:])[inside].max() <= 3


def test_a_mask_leaves_the_rest_as_it_is(make: Make) -> None:
    class Left:
        def find(self, bgr: Pixels) -> Pixels:
            found = np.zeros(bgr.shape[:2], np.uint8)
            found[:, :32] = 255
            return found

    run, bgr = make(Camera(), []), noise(SIZE)
    painted = paint_one(run, bgr)
    run.painter._mask = Left()
    run.painter.controls.has_mask = True
    run.painter.controls.change(keep="person")
    frame = run.painter.paint(Frame(bgr, 0.0, 0.0))
    assert np.array_equal(frame.bgr[:, 32:], bgr[:, 32:])
    assert np.array_equal(frame.bgr[:, :32], painted[:, :32])
    assert frame.alpha is not None
    assert frame.alpha[0, 0] == 255
    run.painter.controls.change(keep="background")
    frame = run.painter.paint(Frame(bgr, 0.0, 0.0))
    assert np.array_equal(frame.bgr[:, :32], bgr[:, :32])


def test_the_governor_shrinks_what_the_net_sees_and_not_the_frame(make: Make, tiny_style: Style) -> None:
    ladder = (Rung(tiny_style.net, SIZE), Rung(tiny_style.net, (32, 24)))
    run = make(Camera(), [], governor=Governor(ladder, 30, start=1))
    shown = paint_one(run, noise(SIZE))
    assert shown.shape == (48, 64, 3)
    assert run.painter.net_size_wh == (32, 24)
    assert run.stats()["net_size_wh"] == (32, 24)


def test_styles_of_one_net_fade_through_their_mixes(tiny_styles_path: Path) -> None:
    style = read_style(tiny_styles_path)
    names = style.styles
    first, second = (style.mixed({name: 1}) for name in names[:2])
    with closing(Looks(first, open_engine(first, "onnxruntime", "cpu"), open_engine, names)) as looks:
        looks._styles[(second.name, second.net)] = second
        bgr = noise(SIZE)
        alone = looks.paint(bgr, 0.0, 1.0)
        assert looks.choose(second.name, second.net, SIZE, 10.0)
        assert np.array_equal(looks.paint(bgr, 10.0, 1.0), alone)
        middle = looks.paint(bgr, 10.5, 1.0)
        expected = looks.now.engine.infer(bgr[None], (0.5, 0.5, 0.0))[0]
        assert np.array_equal(middle, expected)
        after = looks.paint(bgr, 11.5, 1.0)
        assert np.array_equal(after, looks.now.engine.infer(bgr[None], (0.0, 1.0, 0.0))[0])


def test_a_change_in_the_middle_of_a_fade_begins_at_what_is_shown(tiny_styles_path: Path) -> None:
    style = read_style(tiny_styles_path)
    first, second, third = (style.mixed({name: 1}) for name in style.styles)
    with closing(Looks(first, open_engine(first, "onnxruntime", "cpu"), open_engine, style.styles)) as looks:
        for each in (second, third):
            looks._styles[(each.name, each.net)] = each
        bgr = noise(SIZE)
        looks.choose(second.name, second.net, SIZE, 10.0)
        middle = looks.paint(bgr, 10.5, 1.0)
        looks.choose(third.name, third.net, SIZE, 10.5)
        assert np.array_equal(looks.paint(bgr, 10.5, 1.0), middle)
        later = looks.paint(bgr, 11.0, 1.0)
        assert np.array_equal(later, looks.now.engine.infer(bgr[None], (0.25, 0.25, 0.5))[0])


def test_mixes_are_made_of_one_file_that_is_read_once(
    tiny_styles_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mixer's slider has a hundred places: a copy of the net for each would fill the memory."""
    style, read = read_style(tiny_styles_path), []

    def find(name: str, net: str) -> Style:
        read.append(name)
        return style

    monkeypatch.setattr("stylecam.live.looks.find_style", find)
    first, names = style.mixed({style.styles[0]: 1}), style.styles
    with closing(Looks(first, open_engine(first, "onnxruntime", "cpu"), open_engine, names)) as looks:
        for part in range(1, 100):
            assert looks.choose(f"{names[0]}:{part},{names[1]}:{100 - part}", style.net, SIZE, float(part))
            assert looks.now.mix == pytest.approx((part / 100, 1 - part / 100, 0.0))
        assert len(read) == 1
        assert len(looks._styles) == 1


@pytest.mark.parametrize("is_ever_ready", [True, False])
def test_a_style_waits_until_its_net_is_compiled(
    tiny_style: Style, tiny_styles_path: Path, monkeypatch: pytest.MonkeyPatch, is_ever_ready: bool
) -> None:
    several = read_style(tiny_styles_path)
    other = replace(several.mixed({several.styles[1]: 1}), name="other")
    engine, ready = open_engine(other, "onnxruntime", "cpu"), False
    monkeypatch.setattr(engine, "prepare", lambda shape, mix: ready)
    with closing(
        Looks(
            tiny_style, open_engine(tiny_style, "onnxruntime", "cpu"), lambda style: engine, ["tiny", "other"]
        )
    ) as looks:
        looks._styles[("other", other.net)] = other
        while looks._opened(other) is None:
            time.sleep(0.01)
        assert not looks.choose("other", other.net, SIZE, 10.0)
        assert looks.preview("other", noise(SIZE), 10.0) is None
        assert looks.now.style is tiny_style
        ready = is_ever_ready
        assert looks.choose("other", other.net, SIZE, 11.0) == is_ever_ready
        assert looks.choose("other", other.net, SIZE, 13.0), (
            "a net without room for it does not wait for ever"
        )


def test_another_net_is_opened_beside_the_work(tiny_style: Style, tiny_styles_path: Path) -> None:
    several = read_style(tiny_styles_path)
    other = replace(several.mixed({several.styles[1]: 1}), name="other")
    gate = threading.Event()

    def open_late(style: Style) -> Engine:
        gate.wait(10)
        return open_engine(style, "onnxruntime", "cpu")

    with closing(
        Looks(tiny_style, open_engine(tiny_style, "onnxruntime", "cpu"), open_late, ["tiny", "other"])
    ) as looks:
        looks._styles[("other", other.net)] = other
        bgr = noise(SIZE)
        before = looks.paint(bgr, 0.0, 0.0)
        assert not looks.choose("other", other.net, SIZE, 1.0)
        assert np.array_equal(looks.paint(bgr, 1.0, 0.0), before), "the old style goes on"
        gate.set()
        while not looks.choose("other", other.net, SIZE, 2.0):
            time.sleep(0.01)
        halfway = looks.paint(bgr, 2.5, 1.0).astype(int)
        after = looks.paint(bgr, 4.0, 1.0)
        assert np.abs(halfway - (before.astype(int) + after) / 2).max() <= 1


def test_a_style_that_cannot_be_opened_is_told_and_stays_out(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, tries = make(Camera(), []), []

    def lost(name: str, net: str) -> Style:
        tries.append(name)
        raise InferenceError("that file is damaged", "fetch it again")

    monkeypatch.setattr("stylecam.live.looks.find_style", lost)
    run.painter.controls.styles = (*run.painter.controls.styles, "gone")
    bgr = noise(SIZE)
    before = paint_one(run, bgr)
    assert np.array_equal(paint_one(run, bgr, style="gone"), before)
    assert np.array_equal(paint_one(run, bgr), before)
    assert list(run.messages.last) == ["style gone stays out: that file is damaged"]
    assert tries == ["gone"], "reading files for every frame would slow the rest down"


def test_previews_are_made_while_somebody_asks(make: Make, tiny_style: Style) -> None:
    run, bgr = make(Camera(), []), noise(SIZE)
    for _ in range(20):
        paint_one(run, bgr)
    assert run.painter.previews._made == {}
    assert run.painter.previews.get(tiny_style.name) is None
    for _ in range(20):
        paint_one(run, bgr)
    made = run.painter.previews.get(tiny_style.name)
    assert made is not None
    assert made.shape == (48, 64, 3)
