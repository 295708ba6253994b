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
from nets import MakeFile

from stylecam.controls import Controls, Settings
from stylecam.engines import open_engine
from stylecam.engines.base import Engine
from stylecam.errors import InferenceError, OutOfMemoryError
from stylecam.frames import Frame, Pixels
from stylecam.live.governor import Governor, Rung
from stylecam.live.looks import Looks
from stylecam.live.painter import Painter
from stylecam.live.run import LiveRun
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


def test_with_smoothing_what_stands_still_is_painted_alike(make: Make) -> None:
    run, bgr = make(Camera(), []), np.asarray(cv2.GaussianBlur(noise(SIZE), (0, 0), 3), np.uint8)
    again = np.asarray(bgr + np.random.default_rng(0).integers(0, 2, bgr.shape, np.uint8), np.uint8)
    assert (paint_one(run, bgr) != paint_one(run, again)).any()
    assert (paint_one(run, bgr, smooth=0.2) == paint_one(run, again)).all()
    assert np.array_equal(paint_one(run, again, strength=0.0), again)


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
    run.painter.controls.change(keep="person", mirror=True)
    frame = run.painter.paint(Frame(bgr, 0.0, 0.0))
    assert np.array_equal(frame.bgr[:, :32], bgr[:, :31:-1]), "the mask is mirrored with the picture"
    assert not np.array_equal(frame.bgr[:, 32:], bgr[:, 31::-1])


def test_the_governor_shrinks_what_the_net_sees_and_not_the_frame(make: Make, tiny_style: Style) -> None:
    ladder = (Rung(tiny_style.net, SIZE), Rung(tiny_style.net, (32, 24)))
    run = make(Camera(), [], governor=Governor(ladder, 30, start=1))
    shown = paint_one(run, noise(SIZE))
    assert shown.shape == (48, 64, 3)
    assert run.painter.net_size_wh == (32, 24)
    assert run.stats()["net_size_wh"] == (32, 24)


def step_down(run: LiveRun, took_s: float = 0.1) -> str:
    """Let four frames be late, and say which rung the next one is painted by."""
    for number in range(5):
        run.painter._govern(took_s, float(number))
    assert run.painter.governor is not None
    return str(run.painter.governor.rung)


def test_the_governor_steps_only_to_what_is_ready(
    make: Make, tiny_style: Style, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [SIZE, (48, 40), (40, 32), (32, 24)]
    governor = Governor([Rung(tiny_style.net, size) for size in sizes], 30)
    run, ready, asked = make(Camera(), [], governor=governor), {SIZE, (32, 24)}, list[tuple[int, int]]()

    def prepare(shape: tuple[int, ...], mix: object) -> bool:
        asked.append((shape[2], shape[1]))
        return asked[-1] in ready

    monkeypatch.setattr(run.painter.looks.now.engine, "prepare", prepare)
    assert step_down(run, 0.05) == f"{tiny_style.net} net at 32x24"
    assert asked[0] == (48, 40), "before anything is wanted the nearest is made ready"
    ready.add((40, 32))
    run.painter._govern(0.01, 10.0)
    run.painter._govern(0.01, 10.1)
    assert governor.rung.size_wh == (40, 32), "as soon as it is ready"


def test_a_rung_that_cannot_be_made_ready_is_told_and_left_out(
    make: Make, tiny_style: Style, monkeypatch: pytest.MonkeyPatch
) -> None:
    governor = Governor([Rung(tiny_style.net, size) for size in (SIZE, (40, 32), (32, 24))], 30)
    run, tries = make(Camera(), [], governor=governor), list[object]()

    def prepare(shape: tuple[int, ...], mix: object) -> bool:
        if shape[2] == 40:
            tries.append(shape)
            raise OutOfMemoryError("no memory for it", "use a smaller --size")
        return True

    monkeypatch.setattr(run.painter.looks.now.engine, "prepare", prepare)
    assert step_down(run, 0.04) == f"{tiny_style.net} net at 32x24"
    assert len(tries) == 1
    assert run.messages.last[0] == f"{tiny_style.net} net at 40x32 stays out: no memory for it"
    paint_one(run, noise(SIZE))


def test_the_other_kind_of_net_is_open_before_a_step_to_it(
    tiny_style: Style, make_onnx: MakeFile, tmp_path: Path
) -> None:
    """Until then the size stays as well: the net at work is compiled for no other net's size."""
    fast, gate = replace(read_style(make_onnx("fast", 1)), name=tiny_style.name), threading.Event()

    def open_late(style: Style) -> Engine:
        gate.wait(10)
        return open_engine(style, "onnxruntime", "cpu")

    engine = open_engine(tiny_style, "onnxruntime", "cpu")
    governor = Governor([Rung("full", SIZE), Rung("fast", (48, 40))], 30)
    with closing(Looks(tiny_style, engine, open_late, [tiny_style.name])) as looks:
        looks._styles[(fast.name, "fast")] = fast
        settings = Settings(tiny_style.name, smooth=0.0)
        painter = Painter(
            looks, Controls(settings, [tiny_style.name]), say=lambda text: None, governor=governor
        )
        for number in range(6):
            painter._govern(1.0, float(number))
        painter.paint(Frame(noise(SIZE), 0.0, 0.0))
        assert (looks.now.style.net, painter.net_size_wh) == ("full", SIZE)
        gate.set()
        while governor.rung.net == "full":
            painter._govern(1.0, 9.0)
            time.sleep(0.01)
        painter.paint(Frame(noise(SIZE), 0.0, 0.0))
        assert (looks.now.style.net, painter.net_size_wh) == ("fast", (48, 40))


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


def test_a_style_waits_until_its_net_is_compiled(
    tiny_style: Style, tiny_styles_path: Path, monkeypatch: pytest.MonkeyPatch
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
        assert looks.preview("other", noise(SIZE)) is None
        assert looks.now.style is tiny_style
        ready = True
        assert looks.choose("other", other.net, SIZE, 11.0)


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
