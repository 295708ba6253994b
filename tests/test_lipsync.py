"""The microphone's sound in recordings: that of the moment at which each picture was captured."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
import numpy as np
import pytest
from fakemic import FakeSound, fake_sound  # noqa: F401
from films import pictures_of
from test_recording import SmallDisk

from stylecam.errors import SinkOpenError, SinkWriteError
from stylecam.frames import Frame
from stylecam.sinks.lipsync import LipSync
from stylecam.sinks.microphone import RATE, Microphone
from stylecam.sinks.recording import RecordingSink

SUFFIXES = [".mp4", ".mov", ".mkv", ".webm"]
FPS = 30
SIZE = (64, 48)
CAPTURED_S = 100.0
CLICK_S = 2.0


@dataclass
class Clock:
    now_s: float = CAPTURED_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def microphone(clock: Clock, fake_sound: FakeSound) -> Microphone:  # noqa: F811
    return Microphone(clock)


def flash(index: int) -> Frame:
    """A dark frame, white from `CLICK_S` on."""
    light = 255 if index >= CLICK_S * FPS else 20
    bgr = np.full((SIZE[1], SIZE[0], 3), light, np.uint8)
    return Frame(bgr, 5 + index / FPS, CAPTURED_S + index / FPS)


def hear_until(fake: FakeSound, clock: Clock, end_s: float, step_s: float = 0.1) -> None:
    """Hear noise from `CLICK_S` on, silence before, as the clock goes on."""
    while clock.now_s < CAPTURED_S + end_s - 1e-6:
        begin_s = clock.now_s - CAPTURED_S
        noise = np.random.default_rng(1).uniform(-0.5, 0.5, round(step_s * RATE)).astype(np.float32)
        noise[begin_s + np.arange(len(noise)) / RATE < CLICK_S - 1e-9] = 0
        clock.now_s += step_s
        fake.hear(noise, step_s)


def sound_of(path: Path) -> tuple[float, np.ndarray]:
    """When the sound begins in seconds, and its left channel."""
    with av.open(str(path)) as film:
        blocks = list(film.decode(audio=0))
        return float(blocks[0].time or 0), np.concatenate([b.to_ndarray()[0] for b in blocks])


def sound_rises_at(path: Path) -> float:
    begin_s, sound = sound_of(path)
    return begin_s + float(np.argmax(np.abs(sound) > 0.2)) / RATE


def light_rises_at(path: Path) -> float:
    with av.open(str(path)) as film:
        return next(
            float(p.time or 0) for p in film.decode(video=0) if p.to_ndarray(format="gray").mean() > 99
        )


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("latency_s", [0.1, 1.5])
def test_sound_fits_the_picture_however_late_it_is_painted(
    tmp_path: Path, suffix: str, latency_s: float, clock: Clock, microphone: Microphone,
    fake_sound: FakeSound,  # noqa: F811
) -> None:  # fmt: skip
    path = tmp_path / f"take{suffix}"
    with RecordingSink(path, fps=FPS, microphone=microphone) as sink:
        for index in range(90):
            hear_until(fake_sound, clock, index / FPS + latency_s)
            sink.write(flash(index))
    assert light_rises_at(path) == pytest.approx(CLICK_S, abs=0.002)
    assert sound_rises_at(path) == pytest.approx(CLICK_S, abs=0.03)
    begin_s, sound = sound_of(path)
    assert begin_s + len(sound) / RATE == pytest.approx(3, abs=0.06)
    assert len(pictures_of(path)) == 90


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_sound_and_picture_play_at_any_moment(
    tmp_path: Path, suffix: str, clock: Clock, microphone: Microphone, fake_sound: FakeSound  # noqa: F811
) -> None:  # fmt: skip
    """A copy is what `kill -9` leaves."""
    path, copy = tmp_path / f"take{suffix}", tmp_path / f"copy{suffix}"
    with RecordingSink(path, fps=FPS, microphone=microphone) as sink:
        for index in range(120):
            hear_until(fake_sound, clock, index / FPS + 0.1)
            sink.write(flash(index))
        shutil.copyfile(path, copy)
    assert len(pictures_of(copy)) > 120 - 2 * FPS
    begin_s, sound = sound_of(copy)
    assert begin_s + len(sound) / RATE > 2.0
    assert sound_rises_at(copy) == pytest.approx(CLICK_S, abs=0.03)


def test_a_full_disk_keeps_sound_and_picture(
    tmp_path: Path, clock: Clock, microphone: Microphone, fake_sound: FakeSound,  # noqa: F811
) -> None:  # fmt: skip
    def record(path: Path, room: int) -> None:
        clock.now_s = CAPTURED_S
        with RecordingSink(path, fps=FPS, microphone=Microphone(clock)) as sink:
            SmallDisk(sink._file, room)
            for index in range(120):
                hear_until(fake_sound, clock, index / FPS + 0.1)
                sink.write(flash(index))

    whole, path = tmp_path / "whole.mp4", tmp_path / "take.mp4"
    record(whole, 10**9)
    with pytest.raises(SinkWriteError, match="it plays up to there"):
        record(path, round(whole.stat().st_size * 0.9))
    assert len(pictures_of(path)) > 60
    assert len(sound_of(path)[1]) > 2 * RATE


def test_frames_left_out_on_pause_leave_the_sound_in_place(
    tmp_path: Path, clock: Clock, microphone: Microphone, fake_sound: FakeSound  # noqa: F811
) -> None:  # fmt: skip
    path = tmp_path / "take.mp4"
    with RecordingSink(path, fps=FPS, microphone=microphone) as sink:
        for index in [*range(10), *range(100, 120)]:
            hear_until(fake_sound, clock, index / FPS + 0.1)
            sink.write(flash(index))
    assert sound_rises_at(path) == pytest.approx(CLICK_S, abs=0.03)
    begin_s, sound = sound_of(path)
    assert begin_s + len(sound) / RATE == pytest.approx(4, abs=0.06)


def test_a_microphone_that_fails_is_told_and_the_pictures_go_on(
    tmp_path: Path, clock: Clock, microphone: Microphone, fake_sound: FakeSound  # noqa: F811
) -> None:  # fmt: skip
    path, said = tmp_path / "take.mp4", list[str]()
    with RecordingSink(path, fps=FPS, microphone=microphone, say=said.append) as sink:
        hear_until(fake_sound, clock, 0.5)
        for index in range(150):
            sink.write(flash(index))
    assert said == ["the microphone gives no more sound: silence in its place"]
    assert len(pictures_of(path)) == 150
    begin_s, sound = sound_of(path)
    assert begin_s + len(sound) / RATE == pytest.approx(5, abs=0.06)


def test_a_latency_that_changes_moves_the_sound(microphone: Microphone) -> None:
    sync = LipSync(microphone, lambda text: None)
    for index in range(200):
        later_s = 0.2 if index > 20 else 0.0
        sync.place(index / FPS, CAPTURED_S + index / FPS - later_s)
    assert sync._origin == pytest.approx((CAPTURED_S - 0.2) * RATE, abs=0.041 * RATE)


def test_one_microphone_serves_several_and_keeps_its_time(
    clock: Clock, microphone: Microphone, fake_sound: FakeSound  # noqa: F811
) -> None:  # fmt: skip
    for late_s, first in [(0.0, 1), (0.01, 2401), (-0.01, 4801)]:  # stamps that tremble leave no gap
        clock.now_s += 0.05
        fake_sound.hear(np.arange(first, first + 2400, dtype=np.float32), 0.05 + late_s)
    begin = round(CAPTURED_S * RATE)
    for _ in range(2):
        assert microphone.read(begin, 7200).tolist() == list(range(1, 7201))
    clock.now_s += 1
    fake_sound.hear(np.ones(2400, np.float32), 0)
    assert not microphone.read(begin + 7200, 2400).any()  # what was lost is silence
    assert microphone.heard == round((CAPTURED_S + 1.15) * RATE)
    microphone.close()
    assert fake_sound.closed


def test_without_the_package_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(SinkOpenError, match="sounddevice is not installed") as caught:
        Microphone()
    assert "[mic]" in caught.value.hint
