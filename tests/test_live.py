"""The live run: everything beside each other, the newest frame only, errors that reach the caller."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from commands import noise
from liverun import SIZE, Camera, Keeper, Make, finish, live_runs
from webpage import wait_for

from stylecam.errors import InferenceError, SinkWriteError, SourceLostError
from stylecam.frames import Frame, Pixels
from stylecam.styles import Style


@pytest.fixture
def make(tiny_style: Style, tmp_path: Path) -> Iterator[Make]:
    with live_runs(tiny_style, tmp_path) as build:
        yield build


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
    gate, quick = threading.Event(), Keeper()
    slow = Keeper(gate)
    run = make(Camera(10**6), [quick, slow])
    with closing(run.steps()) as steps:
        while not slow.offered.is_set():
            next(steps)
        begun = len(quick.kept)
        while len(quick.kept) < begun + 20:
            next(steps)
        assert not slow.kept, "it is still at its first frame"
        newest_s = quick.kept[-1].timestamp_s
        gate.set()
    assert slow.kept[1].timestamp_s >= newest_s, "those in between are dropped"
    dropped = run.outlets[1].meter.dropped
    assert dropped == run.painter.meter.frames - len(slow.kept) >= 18


def test_a_name_that_is_not_utf_8_stands_in_the_figures(make: Make) -> None:
    run = make(Camera(), [])
    outlet = run.attach("take\udcff.mp4", Keeper())
    assert json.loads(json.dumps(run.stats()).encode())["sinks"][0]["name"] == "take?.mp4"
    outlet.finish()


def test_latency_is_told_of_each_sink_and_of_the_slowest(make: Make) -> None:
    run = make(Camera(), [Keeper(), Keeper()])
    for outlet, late_s in zip(run.outlets, (0.031, 0.124), strict=True):
        outlet.meter.count_batch([10.0] * 20, [10.0 + late_s] * 19 + [10.5], 0.0)
    assert run.latency() is run.outlets[1].meter
    stats = run.stats()
    assert [sink["latency_ms"] for sink in stats["sinks"]] == [
        {"p50": 31.0, "p95": 31.0},
        {"p50": 124.0, "p95": 124.0},
    ]
    assert [sink["audio_delay_ms"] for sink in stats["sinks"]] == [30.0, 120.0]
    assert (stats["latency_ms"]["p50"], stats["audio_delay_ms"]) == (124.0, 120.0)
    for outlet in run.outlets:
        outlet.finish()


def test_a_sink_that_dies_is_told_and_the_rest_go_on(make: Make) -> None:
    good, bad = Keeper(), Keeper(fail_at=3)
    camera = Camera(10**6, more=lambda: run.outlets[1].is_open)
    run = make(camera, [good, bad])
    with pytest.raises(SinkWriteError, match="the disk is full"):
        finish(run)
    assert good.kept[-1].timestamp_s == pytest.approx(run.captured / 200), "the last frame too"
    assert run.captured > 3
    assert len(bad.kept) == 3
    assert [m for m in run.messages.last if "sink1 has stopped: the disk is full" in m]
    assert [figures["error"] for figures in run.stats()["sinks"]] == [None, "the disk is full"]


def test_two_sinks_of_one_name_are_both_told(make: Make) -> None:
    run = make(Camera(), [Keeper()])
    for _ in range(2):
        run.attach("null", Keeper(fail_at=0))
    with pytest.raises(SinkWriteError):
        finish(run)
    assert list(run.messages.last) == ["null has stopped: the disk is full"] * 2


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
        seen = run.captured
        wait_for(lambda: run.captured > seen + 1, "the frame that was being painted is out")
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


class Dying(Camera):
    """Give a few frames, and then nothing more until it is closed."""

    def __init__(self) -> None:
        super().__init__(3)
        self._closed = threading.Event()

    def read(self) -> Frame | None:
        if self._next == 3:
            assert self._closed.wait(30), "nobody has ended the run"
            return None
        return super().read()

    def close(self) -> None:
        self._closed.set()


@pytest.mark.slow
def test_it_stops_after_so_many_seconds_though_nothing_comes(make: Make) -> None:
    with Dying() as source:
        assert finish(make(source, [Keeper()], seconds=1.0)).captured == 3


def test_controls_end_it(make: Make) -> None:
    run = make(Camera(10**6), [Keeper()])
    run.painter.controls.quit()
    finish(run)


def test_a_sink_has_its_own_size_and_rate(make: Make) -> None:
    small = Keeper()
    small.on_main_thread = True  # so that none is dropped for want of time
    outlet = make(Camera(), []).attach("small", small, (32, 24), 16)
    for index in range(100):
        outlet.offer(Frame(noise(SIZE), index / 64, 0.0))
        outlet.serve(0)
    assert {frame.bgr.shape for frame in small.kept} == {(24, 32, 3)}
    times = sorted({frame.timestamp_s for frame in small.kept})
    assert np.diff(times) == pytest.approx([1 / 16] * 24)
    assert outlet.meter.frames == 25


def test_a_frame_is_handed_out_before_thumbnails_are_made(make: Make) -> None:
    gate, sink = threading.Event(), Keeper()
    run = make(Camera(10**6), [sink])

    def wait_long() -> None:
        assert gate.wait(30), "nothing was handed out before"

    run.painter.follow_up = wait_long  # type: ignore[method-assign]
    with closing(run.steps()) as steps:
        while not sink.kept:
            next(steps)
        assert not gate.is_set()
        gate.set()
