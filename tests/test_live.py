"""The live run: everything beside each other, the newest frame only, errors that reach the caller."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import noise

from stylecam.controls import Controls, Settings
from stylecam.engines import open_engine
from stylecam.engines.base import Engine
from stylecam.errors import InferenceError, SinkWriteError, SourceLostError
from stylecam.frames import Frame, Pixels
from stylecam.live.governor import Governor, Rung
from stylecam.live.looks import Looks
from stylecam.live.painter import Painter
from stylecam.live.run import LiveRun, Messages
from stylecam.sinks import Sink
from stylecam.sources import Source
from stylecam.styles import Style, read_style

SIZE = (64, 48)


class Camera(Source):
    """Give numbered frames at a rate, `count` of them, then end or fail."""

    is_live = True

    def __init__(self, count: int = 20, fps: float = 200, fail: Exception | None = None) -> None:
        self.size_wh, self.fps = SIZE, fps
        self._count, self._fail = count, fail
        self._next = 0

    def read(self) -> Frame | None:
        time.sleep(1 / (self.fps or 1))
        if self._next == self._count:
            if self._fail:
                raise self._fail
            return None
        self._next += 1
        bgr = np.full((SIZE[1], SIZE[0], 3), self._next % 200, np.uint8)
        return Frame(bgr, self._next / 200, time.perf_counter())

    def close(self) -> None:
        pass


class Keeper(Sink):
    """Keep what comes, taking its time, failing after `fail_at` frames."""

    def __init__(
        self, delay_s: float = 0.0, fail_at: int | None = None, error: Exception | None = None
    ) -> None:
        self.kept: list[Frame] = []
        self.threads: set[str] = set()
        self.on_main_thread = False
        self._delay_s, self._fail_at = delay_s, fail_at
        self._error = error or SinkWriteError("the disk is full", "make room")

    def write(self, frame: Frame) -> None:
        if len(self.kept) == self._fail_at:
            raise self._error
        time.sleep(self._delay_s)
        self.threads.add(threading.current_thread().name)
        self.kept.append(frame)

    def close(self) -> None:
        pass


@pytest.fixture
def tiny(tiny_style: Style) -> Style:
    return tiny_style


Make = Callable[..., LiveRun]


@pytest.fixture
def make(tiny: Style, tmp_path: Path) -> Any:
    looks: list[Looks] = []

    def build(
        source: Source, sinks: Sequence[Sink], governor: Governor | None = None, **more: Any
    ) -> LiveRun:
        found = Looks(tiny, open_engine(tiny, "onnxruntime", "cpu"), open_engine, [tiny.name])
        looks.append(found)
        controls = Controls(Settings(tiny.name, smooth=0.0, **more.pop("settings", {})), [tiny.name])
        messages = Messages(lambda text: None)
        painter = Painter(found, controls, say=messages, governor=governor, folder=tmp_path)
        run = LiveRun(source, painter, messages=messages, **more)
        for number, sink in enumerate(sinks):
            run.attach(f"sink{number}", sink)
        return run

    yield build
    for found in looks:
        found.close()


def finish(run: LiveRun) -> LiveRun:
    for _ in run.steps():
        pass
    return run


def test_every_sink_gets_what_is_painted_in_a_thread_of_its_own(make: Make) -> None:
    sinks = [Keeper(), Keeper()]
    run = finish(make(Camera(), sinks))
    meter = run.painter.meter
    assert (run.captured, run.captured - run.dropped) == (20, meter.frames)
    for number, sink in enumerate(sinks):
        assert sink.threads == {f"stylecam-sink{number}"}
        assert len(sink.kept) + run.outlets[number].meter.dropped == meter.frames
        times = [frame.timestamp_s for frame in sink.kept]
        assert times == sorted(set(times))
        assert times[-1] == pytest.approx(20 / 200), "the last frame reaches every sink"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stylecam-sink")]


def test_a_slow_sink_slows_nobody_and_gets_the_newest(make: Make) -> None:
    quick, slow = Keeper(), Keeper(delay_s=0.15)
    run = finish(make(Camera(60, fps=100), [quick, slow]))
    assert len(slow.kept) < len(quick.kept) / 2
    dropped = run.outlets[1].meter.dropped
    assert dropped == run.painter.meter.frames - len(slow.kept)
    assert slow.kept[-1].timestamp_s == quick.kept[-1].timestamp_s
    assert run.latency() is run.outlets[1].meter


def test_a_sink_that_dies_is_told_and_the_rest_go_on(make: Make) -> None:
    good, bad = Keeper(), Keeper(fail_at=3)
    run = make(Camera(), [good, bad])
    with pytest.raises(SinkWriteError, match="the disk is full"):
        finish(run)
    assert good.kept[-1].timestamp_s == pytest.approx(20 / 200)
    assert len(bad.kept) == 3
    assert [m for m in run.messages.last if "sink1 has stopped: the disk is full" in m]
    assert [figures["error"] for figures in run.stats()["sinks"]] == [None, "the disk is full"]


def test_it_ends_when_no_sink_is_left(make: Make) -> None:
    with pytest.raises(SinkWriteError):
        finish(make(Camera(10**6), [Keeper(fail_at=2), Keeper(fail_at=4)]))


@pytest.mark.parametrize("error", [SourceLostError("the plug is out", "put it in"), ZeroDivisionError("bug")])
def test_an_error_of_the_source_ends_it(make: Make, error: Exception) -> None:
    sink = Keeper()
    with pytest.raises(type(error), match=str(error)):
        finish(make(Camera(5, fail=error), [sink]))
    assert sink.kept


def test_an_error_of_the_net_ends_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(Camera(10**6), [Keeper()])

    def fail(*arguments: object) -> Pixels:
        raise InferenceError("the net was lost", "find it")

    monkeypatch.setattr(run.painter.looks, "paint", fail)
    with pytest.raises(InferenceError, match="the net was lost"):
        finish(run)


def test_a_bug_in_a_sink_ends_it(make: Make) -> None:
    with pytest.raises(ZeroDivisionError):
        finish(make(Camera(10**6), [Keeper(), Keeper(fail_at=2, error=ZeroDivisionError())]))


def test_closing_the_steps_ends_every_thread(make: Make) -> None:
    sink = Keeper()
    run = make(Camera(10**6), [sink])
    with closing(run.steps()) as steps:
        while not sink.kept:
            next(steps)
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name in ("stylecam-painter", "stylecam-reader", "stylecam-sink0")]


def test_a_window_is_served_by_the_caller_even_while_nothing_comes(make: Make) -> None:
    window = Keeper()
    window.on_main_thread = True
    run = make(Camera(10**6, fps=50), [window])
    with closing(run.steps()) as steps:
        while len(window.kept) < 3:
            next(steps)
        run.painter.controls.change(paused=True)
        time.sleep(0.1)
        next(steps)
        held = len(window.kept)
        for _ in range(4):
            next(steps)
    assert window.threads == {threading.current_thread().name}
    assert len(window.kept) >= held + 4
    assert len({id(frame.bgr) for frame in window.kept[held:]}) == 1
    assert run.outlets[0].meter.frames < len(window.kept), "frames shown again are not counted"


def test_it_stops_after_so_many_seconds_of_the_camera(make: Make) -> None:
    sink = Keeper()
    finish(make(Camera(10**6), [sink], seconds=0.1))
    assert 0 < len(sink.kept) <= 21


def test_controls_end_it(make: Make) -> None:
    run = make(Camera(10**6), [Keeper()])
    run.painter.controls.quit()
    finish(run)


def test_a_sink_has_its_own_size_and_rate(tiny: Style, make: Make) -> None:
    whole, small = Keeper(), Keeper()
    run = make(Camera(60, fps=100), [whole])
    run.attach("small", small, (32, 24), 20)
    finish(run)
    assert {frame.bgr.shape for frame in small.kept} == {(24, 32, 3)}
    assert {frame.bgr.shape for frame in whole.kept} == {(48, 64, 3)}
    gaps = np.diff([frame.timestamp_s for frame in small.kept])
    assert gaps.mean() == pytest.approx(1 / 20, rel=0.35)


def paint_one(run: LiveRun, bgr: Pixels, **settings: Any) -> Pixels:
    run.painter.controls.change(**settings)
    return run.painter.paint(Frame(bgr, 0.0, time.perf_counter())).bgr


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


def test_the_governor_shrinks_what_the_net_sees_and_not_the_frame(make: Make, tiny: Style) -> None:
    ladder = (Rung(tiny.net, SIZE), Rung(tiny.net, (32, 24)))
    run = make(Camera(), [], governor=Governor(ladder, 30, start=1))
    shown = paint_one(run, noise(SIZE))
    assert shown.shape == (48, 64, 3)
    assert run.painter.net_size_wh == (32, 24)
    assert run.stats()["net_size_wh"] == (32, 24)


def test_a_snapshot_is_written_beside_the_work(make: Make, tmp_path: Path) -> None:
    run = make(Camera(), [])
    run.painter.controls.ask_snapshot()
    shown = paint_one(run, noise(SIZE))
    deadline = time.monotonic() + 10
    while not run.messages.last and time.monotonic() < deadline:
        time.sleep(0.01)
    (file,) = tmp_path.glob("stylecam-*.png")
    assert np.array_equal(np.asarray(cv2.imread(str(file))), shown)


def test_a_recording_begins_and_ends_on_the_way(make: Make) -> None:
    watched, taken = Keeper(), [Keeper(), Keeper()]
    left = iter([("one", taken[0]), ("two", taken[1])])
    run = make(Camera(10**6), [watched], open_recording=lambda: next(left))
    controls = run.painter.controls
    with closing(run.steps()) as steps:
        for sink in taken:
            controls.change(recording=True)
            while len(sink.kept) < 3:
                next(steps)
            controls.change(recording=False)
            next(steps)
            next(steps)
            count = len(sink.kept)
            seen = len(watched.kept)
            while len(watched.kept) < seen + 3:
                next(steps)
            assert len(sink.kept) == count
    assert [text.split(" ")[0] for text in run.messages.last] == ["recording", "recorded:"] * 2


def test_a_recording_that_breaks_off_is_told_and_the_run_goes_on(make: Make) -> None:
    watched, broken = Keeper(), Keeper(fail_at=2)
    run = make(Camera(10**6), [watched], open_recording=lambda: ("take.mp4", broken))
    controls = run.painter.controls
    with closing(run.steps()) as steps:
        controls.change(recording=True)
        while controls.settings.recording or len(run.messages.last) < 2:
            next(steps)
        seen = len(watched.kept)
        while len(watched.kept) < seen + 3:
            next(steps)
        assert not controls.settings.recording
    assert list(run.messages.last) == ["recording into take.mp4", "take.mp4 has stopped: the disk is full"]
    assert [outlet.name for outlet in run.outlets] == ["sink0"]


def test_styles_of_one_net_fade_through_their_mixes(tiny_styles_path: Path) -> None:
    style = read_style(tiny_styles_path)
    names = style.styles
    first, second = (style.mixed({name: 1}) for name in names[:2])
    with closing(Looks(first, open_engine(first, "onnxruntime", "cpu"), open_engine, names)) as looks:
        looks._styles[(second.name, second.net)] = second
        bgr = noise(SIZE)
        alone = looks.paint(bgr, 0.0, 1.0)
        assert looks.choose(second.name, second.net, 10.0)
        assert np.array_equal(looks.paint(bgr, 10.0, 1.0), alone)
        middle = looks.paint(bgr, 10.5, 1.0)
        expected = looks.now.engine.infer(bgr[None], (0.5, 0.5, 0.0))[0]
        assert np.array_equal(middle, expected)
        after = looks.paint(bgr, 11.5, 1.0)
        assert np.array_equal(after, looks.now.engine.infer(bgr[None], (0.0, 1.0, 0.0))[0])


def test_another_net_is_opened_beside_the_work(tiny: Style, tiny_styles_path: Path) -> None:
    several = read_style(tiny_styles_path)
    other = replace(several.mixed({several.styles[1]: 1}), name="other")
    gate = threading.Event()

    def open_late(style: Style) -> Engine:
        gate.wait(10)
        return open_engine(style, "onnxruntime", "cpu")

    with closing(Looks(tiny, open_engine(tiny, "onnxruntime", "cpu"), open_late, ["tiny", "other"])) as looks:
        looks._styles[("other", other.net)] = other
        bgr = noise(SIZE)
        before = looks.paint(bgr, 0.0, 0.0)
        assert not looks.choose("other", other.net, 1.0)
        assert np.array_equal(looks.paint(bgr, 1.0, 0.0), before), "the old style goes on"
        gate.set()
        while not looks.choose("other", other.net, 2.0):
            time.sleep(0.01)
        halfway = looks.paint(bgr, 2.5, 1.0).astype(int)
        after = looks.paint(bgr, 4.0, 1.0)
        assert np.abs(halfway - (before.astype(int) + after) / 2).max() <= 1


def test_a_style_that_cannot_be_opened_is_told_and_stays_out(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(Camera(), [])

    def lost(name: str, net: str) -> Style:
        raise InferenceError("that file is damaged", "fetch it again")

    monkeypatch.setattr("stylecam.live.looks.find_style", lost)
    run.painter.controls.styles = (*run.painter.controls.styles, "gone")
    bgr = noise(SIZE)
    before = paint_one(run, bgr)
    assert np.array_equal(paint_one(run, bgr, style="gone"), before)
    assert np.array_equal(paint_one(run, bgr), before)
    assert list(run.messages.last) == ["style gone stays out: that file is damaged"]


def test_previews_are_made_while_somebody_asks(make: Make, tiny: Style) -> None:
    run, bgr = make(Camera(), []), noise(SIZE)
    for _ in range(20):
        paint_one(run, bgr)
    assert run.painter.previews._made == {}
    assert run.painter.previews.get(tiny.name) is None
    for _ in range(20):
        paint_one(run, bgr)
    made = run.painter.previews.get(tiny.name)
    assert made is not None
    assert made.shape == (48, 64, 3)
