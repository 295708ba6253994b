"""The microphone's sound in recordings and streams: that of the moment at which each picture was captured."""

from __future__ import annotations

import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
import numpy as np
import pytest
from fakemic import FakeSound, fake_sound  # noqa: F401
from films import pictures_of, slow
from test_recording import SmallDisk
from test_stream import Listener, free_port

from stylecam.errors import SinkOpenError, SinkWriteError
from stylecam.frames import Frame
from stylecam.sinks import relay, stream
from stylecam.sinks.lipsync import LipSync
from stylecam.sinks.microphone import RATE, Microphone
from stylecam.sinks.recording import RecordingSink
from stylecam.sinks.stream import StreamSink

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
def microphone(clock: Clock, fake_sound: FakeSound) -> Iterator[Microphone]:  # noqa: F811
    """One that nobody looks after."""
    with closing(Microphone(clock, wait=lambda pause_s: True)) as made:
        yield made


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
@pytest.mark.parametrize("latency_s", [slow(0.1), 1.5])
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
    tmp_path: Path,
    clock: Clock,
    fake_sound: FakeSound,  # noqa: F811
) -> None:
    def record(path: Path, room: int) -> None:
        clock.now_s = CAPTURED_S
        with (
            closing(Microphone(clock, wait=lambda pause_s: True)) as microphone,
            RecordingSink(path, fps=FPS, microphone=microphone) as sink,
        ):
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


def test_while_the_microphone_is_away_there_is_silence_and_then_it_is_in_step_again(
    tmp_path: Path, clock: Clock, microphone: Microphone, fake_sound: FakeSound  # noqa: F811
) -> None:  # fmt: skip
    path, said = tmp_path / "take.mp4", list[str]()
    with RecordingSink(path, fps=FPS, microphone=microphone, say=said.append) as sink:
        for index in range(5 * FPS):
            if 0.3 < index / FPS < 1.9 or index / FPS > 3:
                clock.now_s = CAPTURED_S + index / FPS + 0.1
            else:
                hear_until(fake_sound, clock, index / FPS + 0.1)
            sink.write(flash(index))
    gone = "the microphone gives no sound: silence in its place until it is back"
    assert said == [gone, "the microphone is back", gone]
    assert len(pictures_of(path)) == 5 * FPS
    assert sound_rises_at(path) == pytest.approx(CLICK_S, abs=0.03)
    begin_s, sound = sound_of(path)
    assert begin_s + len(sound) / RATE == pytest.approx(5, abs=0.06)


def test_a_microphone_that_is_unplugged_is_opened_again(
    clock: Clock, fake_sound: FakeSound  # noqa: F811
) -> None:  # fmt: skip
    pauses = list[float]()

    def wait(pause_s: float) -> bool:
        pauses.append(pause_s)
        clock.now_s += pause_s
        if clock.now_s < CAPTURED_S + 2 or fake_sound.opened > 1:
            fake_sound.hear(np.ones(480, np.float32), 0.01)
        elif len(pauses) == 6:
            fake_sound.unplug()
        elif len(pauses) == 9:
            fake_sound.is_plugged = True  # nobody has listed it yet
        return len(pauses) == 12

    with closing(Microphone(clock, wait)) as microphone:
        microphone._watcher.join()
        assert pauses == [0.5] * 6 + [1, 2, 4, 8, 0.5, 0.5]
        assert fake_sound.opened == 2
        assert not microphone.is_away
        assert microphone.read(microphone.heard - 480, 480).all()
        assert not fake_sound.closed
    assert fake_sound.closed


def test_devices_are_listed_anew_only_while_no_stream_is_open(
    clock: Clock, microphone: Microphone, fake_sound: FakeSound, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    other = FakeSound()
    monkeypatch.setitem(sys.modules, "sounddevice", other)
    ends = iter([False, True])

    def wait(pause_s: float) -> bool:
        clock.now_s += 2
        return next(ends)

    with closing(Microphone(clock, wait)) as second:
        second._watcher.join()
        assert other.opened == 2
    assert not other.listed
    assert not fake_sound.closed


def test_a_latency_that_changes_moves_the_sound_once_and_all_the_way(microphone: Microphone) -> None:
    sync, origins = LipSync(microphone, lambda text: None), set[int | None]()
    for index in range(200):
        later_s = 0.2 if index > 20 else 0.3 if index in (9, 15) else 0.0  # two that are late move nothing
        sync.place(index / FPS, CAPTURED_S + index / FPS - later_s)
        origins.add(sync._origin)
    assert origins == {round(CAPTURED_S * RATE), round((CAPTURED_S - 0.2) * RATE)}


BLOCK_S = 0.01
HEARD_LATE_S = 0.1


class Stage(Event):
    """Each second a flash and a noise begin together; time goes on only while the stream waits for it.

    The device gives its sound a tenth of a second late, and `net_fps` frames a second are written
    `late_s` after they were captured: so what is sent depends on no machine's speed.
    """

    def __init__(
        self, clock: Clock, fake: FakeSound, net_fps: float, late_s: Callable[[float], float]
    ) -> None:
        super().__init__()
        self._clock, self._fake = clock, fake
        self._net_fps, self._late_s = net_fps, late_s
        self._heard_s = clock.now_s
        self._written = 0
        self.sink: StreamSink | None = None

    def wait(self, timeout: float | None = None) -> bool:
        end_s = self._clock.now_s + (timeout or 0.0)
        while self._clock.now_s < end_s - 1e-9:
            self._clock.now_s = min(end_s, self._clock.now_s + BLOCK_S / 2)
            self._go_on(self._clock.now_s)
        time.sleep((timeout or 0.0) / 4)  # not as fast as a listener may lose datagrams
        return self.is_set()

    def _go_on(self, now_s: float) -> None:
        while self._heard_s + BLOCK_S + HEARD_LATE_S <= now_s:
            at_s = self._heard_s + np.arange(round(BLOCK_S * RATE)) / RATE
            noise = np.random.default_rng(1).uniform(-0.5, 0.5, len(at_s)).astype(np.float32)
            self._fake.hear(np.where(is_on(at_s), noise, np.float32(0)), now_s - self._heard_s)
            self._heard_s += BLOCK_S
        while self.sink is not None and self.due_s() <= now_s:
            self.sink.write(self.next_frame())

    def due_s(self) -> float:
        captured_s = CAPTURED_S + self._written / self._net_fps
        return captured_s + self._late_s(captured_s - CAPTURED_S)

    def next_frame(self) -> Frame:
        captured_s = CAPTURED_S + self._written / self._net_fps
        self._written += 1
        light = 255 if is_on(captured_s) else 20
        return Frame(np.full((SIZE[1], SIZE[0], 3), light, np.uint8), captured_s, captured_s)


def is_on(at_s: np.ndarray | float) -> np.ndarray:
    """Whether flash and noise are on: for 0.3 s of every second."""
    return np.asarray((np.asarray(at_s) + 1e-6) % 1 < 0.3)


def offsets_ms(listener: Listener) -> list[float]:
    """By how much each flash is seen after the noise that began with it."""
    lit = [(float(p.time or 0), p.to_ndarray(format="gray").mean() > 99) for p in listener.pictures]
    flashes = [at_s for (at_s, on), (_, before) in zip(lit[1:], lit, strict=False) if on and not before]
    loud = np.concatenate(
        [float(b.time or 0) + np.flatnonzero(np.abs(b.to_ndarray()[0]) > 0.2) / RATE for b in listener.sounds]
    )
    clicks = loud[np.diff(loud, prepend=loud[0] - 1) > 0.3]
    return [float(1000 * (flash_s - clicks[np.abs(clicks - flash_s).argmin()])) for flash_s in flashes]


@pytest.mark.parametrize("protocol", ["udp", slow("rtmp")])
@pytest.mark.parametrize(
    ("net_fps", "late_s", "settled"),
    [
        (30, lambda at_s: 0.3, 0),
        slow(30, lambda at_s: 0.02, 0),  # seen before it is heard
        slow(8, lambda at_s: 0.7, 0),
        slow(30, lambda at_s: 0.1 if at_s < 1.5 else 0.6, 3),
        slow(30, lambda at_s: 0.6 if at_s < 1.5 else 0.1, 3),
    ],
    ids=["late", "soon", "slow net", "later", "sooner"],
)
def test_a_listener_sees_and_hears_together(
    protocol: str, net_fps: float, late_s: Callable[[float], float], settled: int, clock: Clock,
    microphone: Microphone, fake_sound: FakeSound, monkeypatch: pytest.MonkeyPatch,  # noqa: F811
) -> None:  # fmt: skip
    stage = Stage(clock, fake_sound, net_fps, late_s)
    monkeypatch.setattr(stream, "Event", lambda: stage)
    monkeypatch.setattr(stream, "time", SimpleNamespace(perf_counter=clock, monotonic=time.monotonic))
    monkeypatch.setattr(relay, "_PATIENCE_S", 60)
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    url = f"{protocol}://127.0.0.1:{free_port(kind)}" + "/live/key" * (protocol == "rtmp")
    listener = Listener(url, 6 * FPS)
    with StreamSink(url, fps=FPS, sound="mic", microphone=microphone) as sink:
        while stage.due_s() > clock.now_s:
            stage.wait(BLOCK_S)
        sink.write(stage.next_frame())
        clock.now_s += 0.1  # the connection takes a while, and the frame grows old
        stage.sink = sink
        listener.join()
    offsets = offsets_ms(listener)[settled:]
    assert len(offsets) >= 2
    assert offsets == pytest.approx([0] * len(offsets), abs=40)


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
