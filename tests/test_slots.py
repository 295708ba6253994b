"""The time line of recordings: one rate, whatever the camera does, and each picture where it was seen."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
import numpy as np
import pytest
from fakemic import FakeSound, fake_sound  # noqa: F401
from films import number_of, pictures_of, times_of
from liverun import Camera, Keeper, Make, live_runs
from test_lipsync import CAPTURED_S, CLICK_S, Clock, hear_until, light_rises_at, sound_rises_at
from test_recording import frame
from webpage import wait_for

from stylecam.controls import Controls, Settings
from stylecam.frames import Frame
from stylecam.live import outlet
from stylecam.live.outlet import Outlet
from stylecam.sinks import LiveLinks, SinkSpec, encoder, open_live_sink
from stylecam.sinks.microphone import Microphone
from stylecam.sinks.recording import RecordingSink
from stylecam.styles import Style

FPS = 30
HOLD_S = 10


def record(path: Path, times_s: Sequence[float], fps: float | None = FPS, bitrate: int | None = None) -> int:
    """Record numbered frames that come at these times; return how many the sink says it made of them."""
    with RecordingSink(path, fps=fps, bitrate=bitrate) as sink:
        for index, time_s in enumerate(times_s):
            sink.write(Frame(frame(index).bgr, 5 + time_s, 0.0))
    return sink.frames


def numbers_of(path: Path) -> list[int]:
    """The number of the frame that each picture of a film shows."""
    return [number_of(bgr[2:14, 2:14]) for bgr in pictures_of(path)]


def packets_of(path: Path) -> list[av.Packet[Any]]:
    with av.open(str(path)) as film:
        return [packet for packet in film.demux(video=0) if packet.size]


def steps_of(path: Path) -> set[Fraction]:
    """How far apart a film's pictures are, in seconds."""
    times = sorted((p.pts or 0) * p.time_base for p in packets_of(path))
    return {later - earlier for earlier, later in pairwise(times)}


@pytest.mark.parametrize(
    ("fps", "step"),
    [(30, Fraction(1, 30)), (29.97, Fraction(100, 2997)), (24000 / 1001, Fraction(1001, 24000)),
     (12.5, Fraction(2, 25)), (7, Fraction(1, 7)), (None, Fraction(1, 30))],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_all_pictures_are_equally_far_apart(
    tmp_path: Path, fps: float | None, step: Fraction, suffix: str
) -> None:
    path = tmp_path / f"take{suffix}"
    times_s = np.cumsum(np.random.default_rng(3).uniform(0.01, 0.3, 29))
    record(path, [float(time_s) for time_s in times_s], fps)
    assert steps_of(path) == {step}
    assert {p.duration * p.time_base for p in packets_of(path) if p.duration} == {step}
    with av.open(str(path)) as film:
        assert film.streams.video[0].average_rate == 1 / step


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_matroska_has_them_to_the_millisecond(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"take{suffix}"
    record(path, [index / 8 for index in range(16)])
    times_s = times_of(path)
    assert len(times_s) == 57
    assert times_s == pytest.approx([slot / FPS for slot in range(57)], abs=0.0006)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".y4m"])
def test_a_slow_camera_has_each_picture_until_the_next(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"take{suffix}"
    count = record(path, [index / 8 for index in range(9)])  # at the slots 0, 3.75, 7.5, 11.25 and so on
    expected = [0] * 4 + [1] * 4 + [2] * 3 + [3] * 4 + [4] * 4 + [5] * 4 + [6] * 3 + [7] * 4 + [8]
    assert numbers_of(path) == expected
    assert count == len(expected)


@pytest.mark.parametrize("fast", [60, 120])
def test_of_a_fast_camera_the_newest_picture_has_the_slot(tmp_path: Path, fast: int) -> None:
    path = tmp_path / "take.mp4"
    record(path, [index / fast for index in range(29)])
    times_s = [number / fast for number in numbers_of(path)]
    assert len(times_s) == 28 * FPS // fast + 1
    assert times_s == pytest.approx([slot / FPS for slot in range(len(times_s))], abs=0.25 / FPS)


def test_a_camera_that_trembles_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "take.mp4"
    late_s = [0.01, *(-0.008 if index % 3 else 0.008 for index in range(1, 29))]
    record(path, [index / FPS + late for index, late in enumerate(late_s)])
    assert numbers_of(path) == list(range(29))


def test_a_picture_that_comes_out_of_turn_has_the_last_slot(tmp_path: Path) -> None:
    path = tmp_path / "take.mp4"
    record(path, [0, 10 / FPS, 4 / FPS, 11 / FPS])
    assert numbers_of(path) == [0] * 10 + [2, 3]


def test_a_pause_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "take.mp4"
    times_s = [0, 1 / FPS, 2 / FPS, HOLD_S, HOLD_S + 1 / FPS]
    assert record(path, times_s) == HOLD_S * FPS + 2
    assert numbers_of(path) == [0, 1] + [2] * (HOLD_S * FPS - 2) + [3, 4]
    assert steps_of(path) == {Fraction(1, FPS)}


def test_a_machine_that_slept_leaves_ten_seconds(tmp_path: Path) -> None:
    """However long it was: nobody waits for a night to be encoded, and no disk is filled with it."""
    path = tmp_path / "take.mp4"
    night_s = 8 * 3600
    record(path, [0, night_s, night_s + 1 / FPS, night_s + 4 / FPS])
    assert numbers_of(path) == [0] * (HOLD_S * FPS) + [1] + [2] * 3 + [3]


@pytest.mark.parametrize("fps", [30, 29.97, 12.5, 7.3])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_there_is_a_key_frame_every_two_seconds(tmp_path: Path, fps: float, suffix: str) -> None:
    path = tmp_path / f"take{suffix}"
    record(path, [index / 4 for index in range(28)], fps)
    packets = packets_of(path)
    keys = [float((p.pts or 0) * p.time_base) for p in packets if p.is_keyframe]
    end_s = float((packets[-1].pts or 0) * packets[-1].time_base)
    assert len(keys) >= 4
    assert max(later - earlier for earlier, later in pairwise([*keys, end_s])) <= 2.0005


def test_a_picture_that_stays_is_converted_once_and_weighs_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert, converted = encoder.to_bt709, list[int]()

    def counted(bgr: Any, pix_fmt: str) -> av.VideoFrame:
        converted.append(1)
        return convert(bgr, pix_fmt)

    monkeypatch.setattr(encoder, "to_bt709", counted)
    path = tmp_path / "take.mp4"
    record(path, [index / 6 for index in range(10)])
    assert len(converted) == 10
    sizes = [packet.size for packet in packets_of(path)]
    new, repeated = sizes[5::5], [size for slot, size in enumerate(sizes) if slot % 5]
    assert sum(repeated) / len(repeated) < 0.05 * sum(new) / len(new)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".y4m"])
def test_what_was_shown_is_on_the_disk_at_once(tmp_path: Path, suffix: str) -> None:
    """A copy is what `kill -9` leaves; half a second of a film may be in the muxer."""
    path, copy = tmp_path / f"take{suffix}", tmp_path / f"copy{suffix}"
    with RecordingSink(path, fps=FPS) as sink:
        for index in range(16):
            sink.write(Frame(frame(index).bgr, index / 4, 0.0))
        shutil.copyfile(path, copy)
        assert len(pictures_of(copy)) > sink.frames - 0.9 * FPS


def test_a_y4m_needs_no_times(tmp_path: Path) -> None:
    path = tmp_path / "take.y4m"
    record(path, [0, 0.5, 0.9], 12.5)
    with av.open(str(path)) as film:
        assert film.streams.video[0].average_rate == Fraction(25, 2)
    assert numbers_of(path) == [0] * 6 + [1] * 5 + [2]
    np.testing.assert_allclose(pictures_of(path)[0].astype(int), frame(0).bgr.astype(int), atol=3)


def test_a_gif_has_as_many_pictures_as_players_show(tmp_path: Path) -> None:
    path = tmp_path / "take.gif"
    record(path, [index / 120 for index in range(25)], 120)
    assert steps_of(path) == {Fraction(1, 50)}
    assert len(pictures_of(path)) == 11


def test_sound_follows_the_slots(tmp_path: Path, fake_sound: FakeSound) -> None:  # noqa: F811
    """Every picture but the first is shown 80 ms early, in a slot of 200 ms: so is what is heard."""
    path, clock = tmp_path / "take.mp4", Clock()
    with RecordingSink(path, fps=5, microphone=Microphone(clock)) as sink:
        for index in range(16):
            at_s = index / 5 + (0.08 if index else 0)
            hear_until(fake_sound, clock, at_s + 0.1)
            light = np.full((48, 64, 3), 255 if at_s >= CLICK_S else 20, np.uint8)
            sink.write(Frame(light, 5 + at_s, CAPTURED_S + at_s))
    assert light_rises_at(path) == pytest.approx(CLICK_S, abs=0.002)
    assert sound_rises_at(path) == pytest.approx(CLICK_S - 0.08, abs=0.03)


def test_sound_stays_with_a_slow_camera(tmp_path: Path, fake_sound: FakeSound) -> None:  # noqa: F811
    path, clock = tmp_path / "take.mp4", Clock()
    with RecordingSink(path, fps=FPS, microphone=Microphone(clock)) as sink:
        for index in range(25):
            hear_until(fake_sound, clock, index / 8 + 0.3)
            light = np.full((48, 64, 3), 255 if index / 8 >= CLICK_S else 20, np.uint8)
            sink.write(Frame(light, 5 + index / 8, CAPTURED_S + index / 8))
    assert light_rises_at(path) == pytest.approx(CLICK_S, abs=0.002)
    assert sound_rises_at(path) == pytest.approx(CLICK_S, abs=0.03)


def links() -> LiveLinks:
    return LiveLinks(
        Controls(Settings("tiny"), ["tiny"]), dict, str, lambda style: None, lambda text: None, {}
    )


@pytest.mark.parametrize(
    ("asked", "usual", "rate"),
    [(12.0, 25.0, 12), (None, 25.0, 25), (None, None, 30), (None, 1000.0, 30), (None, 0.01, 30)],
)
def test_the_rate_is_the_sinks_own_else_the_runs_else_thirty(
    tmp_path: Path, asked: float | None, usual: float | None, rate: int
) -> None:
    path = tmp_path / "take.mp4"
    with open_live_sink(SinkSpec(str(path), fps=asked), links(), fps=usual) as sink:
        sink.write(frame(0))
        sink.write(frame(30))
    assert steps_of(path) == {Fraction(1, rate)}


@pytest.fixture
def make(tiny_style: Style, tmp_path: Path) -> Iterator[Make]:
    with live_runs(tiny_style, tmp_path) as build:
        yield build


def test_a_live_run_fills_a_pause_while_it_lasts(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlet, "_LATE_S", 0.1)
    path = tmp_path / "take.mp4"
    with RecordingSink(path, fps=FPS) as sink:
        run = make(Camera(10**6, fps=50), [sink])
        with closing(run.steps()) as steps:
            while not sink.frames:
                next(steps)
            run.painter.controls.change(paused=True)
            painted = -1
            while painted != run.painter.meter.frames:  # one may be on its way
                painted = run.painter.meter.frames
                wait_until_s = time.monotonic() + 0.3
                while time.monotonic() < wait_until_s:
                    next(steps)
            before = sink.frames
            while sink.frames < before + 20:
                next(steps)
            assert run.painter.meter.frames == painted
            assert run.outlets[0].meter.frames <= painted
    assert steps_of(path) == {Fraction(1, FPS)}


def test_only_a_sink_that_keeps_time_is_told_that_a_picture_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet, "_LATE_S", 0.0)
    keeper, other = Keeper(), Keeper()
    keeper.keeps_time = True
    shown = frame(3)
    outlets = [Outlet("one", sink, lambda: None, size_wh=(32, 24)) for sink in (keeper, other)]
    for each in outlets:
        each.offer(shown)
    wait_for(lambda: len(keeper.kept) > 3, "the picture again")
    for each in outlets:
        each.finish()
    times_s = [kept.timestamp_s for kept in keeper.kept]
    assert times_s == sorted(set(times_s))
    assert len({id(kept.bgr) for kept in keeper.kept}) == 1
    assert [kept.timestamp_s for kept in other.kept] == [shown.timestamp_s]
    assert outlets[0].meter.frames == 1
