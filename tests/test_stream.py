"""Streams, received by real listeners on this machine."""

from __future__ import annotations

import importlib
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
import numpy as np
import pytest
from fakemic import FakeSound, fake_sound, tone  # noqa: F401
from films import bars, number_of, numbered

from stylecam.backoff import Backoff
from stylecam.errors import SinkOpenError, SinkWriteError
from stylecam.frames import Frame, Pixels
from stylecam.sinks import broadcast, relay, srt, stream
from stylecam.sinks.broadcast import Broadcast
from stylecam.sinks.microphone import RATE, Microphone
from stylecam.sinks.relay import Order, Sound
from stylecam.sinks.stream import StreamSink

DEADLINE_S = 30.0


def wait_for(condition: Any) -> None:
    """Wait until something is so; the deadline is only there for a test that fails."""
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.01)


class Listener:
    """Receive a stream in a thread, decode it, and go away after `most` pictures."""

    def __init__(self, url: str, most: int) -> None:
        self.pictures: list[av.VideoFrame] = []
        self.sounds: list[av.AudioFrame] = []
        self.keys: list[int] = []
        self._most = most
        options = {"listen": "1", "listen_timeout": "30"} if url.startswith("rtmp") else {"fifo_size": "9999"}
        # A short look at the beginning: by itself FFmpeg gathers five seconds first.
        self._options = {**options, "probesize": "5000", "analyzeduration": "100000"}
        self._url = url
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with av.open(self._url, options=self._options, timeout=DEADLINE_S) as container:
            for packet in container.demux():
                for decoded in packet.decode():
                    if isinstance(decoded, av.VideoFrame):
                        if decoded.key_frame:
                            self.keys.append(len(self.pictures))
                        self.pictures.append(decoded)
                    elif isinstance(decoded, av.AudioFrame):
                        self.sounds.append(decoded)
                if len(self.pictures) >= self._most:
                    return

    def join(self) -> Self:
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), f"{len(self.pictures)} pictures came"
        return self

    def steps_s(self) -> list[float]:
        return [float(step) for step in np.diff([float(picture.time or 0) for picture in self.pictures])]


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def rtmp() -> str:
    return f"rtmp://127.0.0.1:{free_port()}/live/secret-key"


@pytest.fixture(autouse=True)
def _time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with other work to do is slow, not gone: no hole in the time line, no process given up."""
    monkeypatch.setattr(stream, "_LATE_S", DEADLINE_S)
    monkeypatch.setattr(relay, "_PATIENCE_S", DEADLINE_S)


@pytest.fixture
def said() -> list[str]:
    return []


def order(path: Path, *, fps: float = 10.0, sound: Sound = "silent") -> Order:
    container = {".flv": "flv", ".ts": "mpegts"}[path.suffix]
    return Order(str(path), container, (224, 64), fps, 500_000, sound)


def send_all(path: Path, pictures: list[Pixels], **changes: Any) -> Path:
    sending = Broadcast(order(path, **changes))
    for number, bgr in enumerate(pictures):
        sending.send(number, bgr)
    sending.close()
    return path


@pytest.mark.parametrize("suffix", [".flv", ".ts"])
@pytest.mark.parametrize("fps", [10.0, 30000 / 1001])
def test_what_is_sent(tmp_path: Path, suffix: str, fps: float) -> None:
    distance = round(2 * fps)
    count = 2 * distance + 5
    path = send_all(tmp_path / f"a{suffix}", [bars(), *[bars()[:, ::-1]] * (count - 1)], fps=fps)
    with av.open(str(path)) as film:
        video = film.streams.video[0]
        packets = [packet for packet in film.demux(video) if packet.size]
        context = video.codec_context
        tags = (context.colorspace, context.color_range, context.color_primaries, context.color_trc)
        step = Fraction(1) / Fraction(fps).limit_denominator(1001) / (video.time_base or 1)
        assert tags == (1, 1, 1, 1)  # BT.709, limited range, in H.273's numbers
        assert context.pix_fmt == "yuv420p"
        assert not context.has_b_frames
    assert all(packet.pts == packet.dts for packet in packets)
    keys = [index for index, packet in enumerate(packets) if packet.is_keyframe]
    assert keys == [0, distance, 2 * distance]
    ticks = [packet.pts or 0 for packet in packets]
    assert [tick - ticks[0] for tick in ticks] == pytest.approx([i * step for i in range(count)], abs=1.1)
    if suffix == ".ts":
        assert set(np.diff(ticks)) == {step}  # 90 kHz holds these rates exactly


def test_the_colours(tmp_path: Path) -> None:
    path = send_all(tmp_path / "a.flv", [bars()] * 10)
    with av.open(str(path)) as film:
        *_, last = film.decode(video=0)
    error = np.abs(last.to_ndarray(format="bgr24").astype(int) - bars())[8:24, 16::32]
    assert error.max() < 12
    assert np.abs(bars()[..., ::-1].astype(int) - bars())[8:24, 16::32].max() > 200


@pytest.mark.parametrize("suffix", [".flv", ".ts"])
def test_silence_goes_with_it_unless_unwanted(tmp_path: Path, suffix: str) -> None:
    with av.open(str(send_all(tmp_path / f"a{suffix}", [bars()] * 20))) as film:
        sounds = [sound.to_ndarray() for sound in film.decode(audio=0)]
    assert sum(sound.shape[-1] for sound in sounds) == pytest.approx(2 * RATE, abs=5 * 1024)
    assert all(np.abs(sound).max() < 1e-4 for sound in sounds)
    with av.open(str(send_all(tmp_path / f"b{suffix}", [bars()] * 20, sound="none"))) as film:
        assert not film.streams.audio
        assert len(list(film.decode(video=0))) == 20


def keep_writing(sink: StreamSink, stop: threading.Event) -> None:
    """Be a net that makes 50 frames a second, each with its own grey."""
    index = 0
    while not stop.wait(0.02):
        sink.write(Frame(numbered(index % 31), index / 50, 0.0))
        index += 1


@pytest.fixture
def net() -> Iterator[Any]:
    """Start `keep_writing` for a sink; ended, and the sink closed, with the test."""
    stop = threading.Event()
    started: list[tuple[StreamSink, threading.Thread]] = []

    def start(sink: StreamSink) -> StreamSink:
        thread = threading.Thread(target=keep_writing, args=(sink, stop), daemon=True)
        thread.start()
        started.append((sink, thread))
        return sink

    yield start
    stop.set()
    for sink, thread in started:
        thread.join()
        sink.close()
        sink._thread.join(DEADLINE_S)
        assert not sink._thread.is_alive()


def test_a_listener_for_rtmp(rtmp: str, said: list[str], net: Any) -> None:
    listener = Listener(rtmp, 30)
    net(StreamSink(rtmp, fps=20, say=said.append))
    listener.join()
    assert listener.steps_s() == pytest.approx([0.05] * 29, abs=1e-6)
    assert listener.keys == [0]
    assert len(listener.sounds) > 30
    assert listener.pictures[0].to_ndarray(format="bgr24").shape == numbered(0).shape
    assert "on the air" in said[-1]
    assert "secret" not in "".join(said)


def test_a_listener_for_udp(said: list[str], net: Any) -> None:
    url = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    listener = Listener(url, 50)
    net(StreamSink(url, fps=30, size_wh=(97, 64), say=said.append))
    listener.join()
    assert listener.steps_s() == pytest.approx([1 / 30] * 49, abs=1e-6)
    assert {(picture.width, picture.height) for picture in listener.pictures} == {(96, 64)}
    assert len(listener.sounds) > 30


@pytest.mark.slow
def test_the_newest_frame_is_repeated(rtmp: str) -> None:
    listener = Listener(rtmp, 40)
    with StreamSink(rtmp, fps=20, sound="none") as sink:
        sink.write(Frame(numbered(9), 0.0, 0.0))
        wait_for(lambda: listener.pictures)
        sink.write(Frame(numbered(20), 7.0, 0.0))
        listener.join()
        wait_for(lambda: sink.frames >= 40)  # a frame is counted once it is out: the listener may be first
    numbers = [number_of(np.asarray(p.to_ndarray(format="bgr24"), np.uint8)) for p in listener.pictures]
    assert numbers == sorted(numbers)
    assert set(numbers) == {9, 20}
    assert listener.steps_s() == pytest.approx([0.05] * 39, abs=1e-6)


@pytest.mark.slow
def test_a_listener_that_goes_away_and_comes_back(rtmp: str, said: list[str], net: Any) -> None:
    first = Listener(rtmp, 10)
    net(StreamSink(rtmp, fps=20, say=said.append))
    first.join()
    wait_for(lambda: any("connection lost" in line for line in said))
    second = Listener(rtmp, 10).join()
    assert second.keys[0] == 0
    assert [line.split(": ")[1].split(" (")[0] for line in said if "no connection" not in line] == [
        "on the air",
        "connection lost",
        "on the air",
    ]


@pytest.mark.slow
def test_a_listener_that_starts_later(rtmp: str, said: list[str], net: Any) -> None:
    net(StreamSink(rtmp, fps=20, say=said.append))
    wait_for(lambda: said)
    assert "no connection" in said[0]
    assert "refused" in said[0]
    Listener(rtmp, 5).join()
    assert len(said) == 2  # a refusal is said once, however often it comes
    assert "on the air" in said[1]


@pytest.fixture
def mute_server() -> Iterator[tuple[str, socket.socket]]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"rtmp://127.0.0.1:{server.getsockname()[1]}/live/x", server


def test_close_while_connecting(mute_server: tuple[str, socket.socket]) -> None:
    """Connecting in this process, PyAV would hold Python's lock, and this test would hang."""
    url, server = mute_server
    sink = StreamSink(url)
    sink.write(Frame(bars(), 0.0, 0.0))
    caller, _ = server.accept()
    with caller:
        sink.close()
        sink._thread.join(DEADLINE_S)
        assert not sink._thread.is_alive()
        while caller.recv(4096):  # ends when the process is gone
            pass


@pytest.mark.slow
def test_a_server_that_never_answers(
    mute_server: tuple[str, socket.socket], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_PATIENCE_S", 2.0)
    with StreamSink(mute_server[0], say=said.append) as sink:
        sink.write(Frame(bars(), 0.0, 0.0))
        wait_for(lambda: said)
    assert "no answer for 2 s" in said[0]


def test_close_before_the_first_frame_and_twice(rtmp: str) -> None:
    sink = StreamSink(rtmp)
    sink.close()
    sink.close()
    assert not sink._thread.is_alive()
    with pytest.raises(SinkWriteError, match="closed"):
        sink.write(Frame(bars(), 0.0, 0.0))


def test_a_fault_in_the_thread_is_raised_by_write(rtmp: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(order: Order) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(stream, "Relay", broken)
    with StreamSink(rtmp) as sink:
        sink.write(Frame(bars(), 0.0, 0.0))
        wait_for(lambda: not sink._thread.is_alive())
        with pytest.raises(SinkWriteError, match="no more processes"):
            sink.write(Frame(bars(), 0.0, 0.0))


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("http://127.0.0.1/x", "http://"),
        ("rtmp:///live", "no host"),
        ("udp://127.0.0.1", "no port"),
        ("rtmp://127.0.0.1:99999/x", "99999"),
    ],
)
def test_bad_addresses(url: str, cause: str) -> None:
    with pytest.raises(SinkOpenError, match=cause) as caught:
        StreamSink(url)
    assert caught.value.hint
    assert "/x" not in caught.value.message  # where the key stands


def test_the_key_is_told_to_nobody() -> None:
    for url in ("rtmp://me:pw@host:1/app/key", "rtmp://host:1?key=1", "rtmp://host:1"):
        with StreamSink(url) as sink:
            assert sink.peer == "rtmp://host:1"


def has_srt() -> bool:
    try:
        srt.check_srt()
    except SinkOpenError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(not has_srt(), reason="neither PyAV nor an ffmpeg program knows SRT")
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the listener is the ffmpeg program")
def test_a_listener_for_srt(tmp_path: Path, said: list[str], net: Any) -> None:
    url = f"srt://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    net(StreamSink(url, fps=30, say=said.append))
    wait_for(lambda: said)
    assert "no connection" in said[0]
    path = tmp_path / "received.ts"
    listening = ["ffmpeg", "-i", f"{url}?mode=listener", "-c", "copy", "-frames:v", "40", str(path)]
    done = subprocess.run(listening, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert done.returncode == 0
    assert "on the air" in said[1]
    with av.open(str(path)) as film:
        times_s = [float(picture.time or 0) for picture in film.decode(video=0)]
    assert len(times_s) >= 30
    assert np.diff(times_s) == pytest.approx([1 / 30] * (len(times_s) - 1), abs=1e-4)


def test_srt_is_refused_where_nothing_can_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(srt, "pyav_knows_srt", lambda: False)
    monkeypatch.setattr("stylecam.sinks.srt.shutil.which", lambda name: None)
    with pytest.raises(SinkOpenError, match="over SRT") as caught:
        StreamSink("srt://127.0.0.1:9000")
    assert "udp://" in caught.value.hint


@pytest.mark.parametrize("choice", [{"fps": 0}, {"fps": 500}, {"bitrate": 5}, {"sound": "loud"}])
def test_bad_choices(rtmp: str, choice: Any) -> None:
    with pytest.raises(SinkOpenError, match=str(*choice.values())):
        StreamSink(rtmp, **choice)


def test_waits_double_up_to_a_limit() -> None:
    backoff = Backoff()
    assert [backoff.next_s() for _ in range(6)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    backoff.reset()
    assert backoff.next_s() == 0.5


def test_the_microphone_is_heard(tmp_path: Path) -> None:
    sending = Broadcast(order(tmp_path / "a.flv", sound="mic"))
    for number in range(20):
        sending.send(number, bars(), tone(number * RATE // 10, RATE // 10))
    sending.close()
    with av.open(str(tmp_path / "a.flv")) as film:
        heard = np.concatenate([sound.to_ndarray() for sound in film.decode(audio=0)], axis=1)
    middle = heard[0, RATE : RATE + RATE // 2]
    assert 0.3 < np.abs(middle).max() < 0.6
    assert np.abs(np.fft.rfft(middle)).argmax() == 220  # 440 Hz, half a second
    assert heard[0] == pytest.approx(heard[1], abs=1e-3)


def test_a_stream_with_the_microphone(rtmp: str, net: Any, fake_sound: FakeSound) -> None:  # noqa: F811
    microphone = Microphone(lambda: 0.0)
    fake_sound.hear(tone(0, 20 * RATE), 0.0)
    listener = Listener(rtmp, 30)
    net(StreamSink(rtmp, fps=20, sound="mic", microphone=microphone))  # its frames are captured at 0.0
    listener.join()
    assert len(listener.sounds) > 30
    assert listener.steps_s() == pytest.approx([0.05] * 29, abs=1e-6)


def test_no_microphone_is_said_at_once(rtmp: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSound("no device"))
    with pytest.raises(SinkOpenError, match="no device") as caught:
        StreamSink(rtmp, sound="mic")
    assert "silence" in caught.value.hint
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(SinkOpenError, match="sounddevice is not installed") as caught:
        StreamSink(rtmp, sound="mic")
    assert "pip install" in caught.value.hint


def test_the_real_package_without_its_library(rtmp: str) -> None:
    try:
        importlib.import_module("sounddevice")
    except OSError:
        with pytest.raises(SinkOpenError, match="PortAudio is not installed") as caught:
            StreamSink(rtmp, sound="mic")
        assert "libportaudio2" in caught.value.hint
    except ImportError:
        pytest.skip("sounddevice is not installed")
    else:
        pytest.skip("PortAudio is installed")


def test_the_process_tells_what_is_wrong_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    broadcast._tell("two\nlines")
    assert capsys.readouterr().out == "two lines\n"
