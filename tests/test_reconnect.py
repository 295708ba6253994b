from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from films import frames, make_film, number_of, numbered

from stylecam.errors import SourceLostError, SourceOpenError
from stylecam.frames import Frame
from stylecam.sinks.stream import StreamSink
from stylecam.sources import Source, film, open_source
from stylecam.sources.reconnect import ReconnectingSource

GONE = SourceLostError("camera 0 stopped giving pictures", "check its plug")


class FakeSource(Source):
    """Gives frames 0.1 s apart from 0 on, captured one after another, then an error or the end."""

    is_live = True
    size_wh = (64, 48)
    fps = 10.0

    def __init__(self, count: int, captured_s: float = 0.0, error: SourceLostError | None = None) -> None:
        self._frames = [
            Frame(frame.bgr, frame.timestamp_s, captured_s + frame.timestamp_s) for frame in frames(count)
        ]
        self._error = error
        self.closed = False

    def read(self) -> Frame | None:
        if self._frames:
            return self._frames.pop(0)
        if self._error is not None:
            raise self._error
        return None

    def close(self) -> None:
        self.closed = True


class Waits:
    """Note pauses instead of making them; give up after `most`."""

    def __init__(self, most: int) -> None:
        self.seconds: list[float] = []
        self._most = most

    def __call__(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        return len(self.seconds) >= self._most


def opening(*found: Source | SourceOpenError) -> Callable[[], Source]:
    waiting = list(found)

    def open_() -> Source:
        one = waiting.pop(0)
        if isinstance(one, SourceOpenError):
            raise one
        return one

    return open_


ABSENT = SourceOpenError("camera 0 could not be opened", "plug it in")


def test_lost_and_found_again() -> None:
    said: list[str] = []
    waits = Waits(8)
    lost = FakeSource(3, 100.0, GONE)
    sources = opening(lost, ABSENT, ABSENT, FakeSource(0), FakeSource(2, 110.0), FakeSource(1, 120.0, GONE))
    with ReconnectingSource(sources, say=said.append, wait=waits) as source:
        read = [source.read() for _ in range(6)]
        assert lost.closed
    shown = [frame for frame in read if frame is not None]
    assert [frame.captured_s for frame in shown] == pytest.approx([100.0, 100.1, 100.2, 110.0, 110.1, 120.0])
    assert [frame.timestamp_s for frame in shown] == pytest.approx([0.0, 0.1, 0.2, 10.0, 10.1, 20.0])
    # One that opens and gives nothing has not come back; one that has begins anew with a short pause.
    assert waits.seconds == [0.5, 1.0, 2.0, 4.0, 0.5]
    assert said == [
        "camera 0 stopped giving pictures; waiting for it to come back",
        "the source is back",
        "the source has ended; waiting for it to come back",
        "the source is back",
    ]


def test_times_rise_even_where_the_clock_does_not() -> None:
    with ReconnectingSource(
        opening(FakeSource(2, 5.0), FakeSource(2, 5.0)), say=lambda text: None, wait=Waits(9)
    ) as source:
        times_s = [frame.timestamp_s for frame in (source.read() for _ in range(4)) if frame]
    assert len(times_s) == 4
    assert all(b > a for a, b in pairwise(times_s))


def test_the_first_one_has_to_open() -> None:
    with pytest.raises(SourceOpenError, match="camera 0"):
        ReconnectingSource(opening(ABSENT), say=lambda text: None)


def test_a_fault_of_ours_is_no_loss() -> None:
    class Faulty(FakeSource):
        def read(self) -> Frame | None:
            raise ZeroDivisionError

    source = ReconnectingSource(opening(Faulty(1)), say=lambda text: None)
    with pytest.raises(ZeroDivisionError):
        source.read()


def test_close_ends_the_wait_for_good() -> None:
    """With the real wait: half a second at first, eight in the end."""
    lost = threading.Event()
    source = ReconnectingSource(opening(FakeSource(0), *[ABSENT] * 99), say=lambda text: lost.set())
    read: list[Frame | None] = []
    reader = threading.Thread(target=lambda: read.append(source.read()), daemon=True)
    reader.start()
    assert lost.wait(30)
    source.close()
    reader.join(30)
    assert read == [None]
    assert source.read() is None


def test_one_that_comes_back_too_late_is_closed() -> None:
    late = FakeSource(3)

    def open_() -> Source:
        if not first:
            source.close()
        return first.pop() if first else late

    first = [FakeSource(0)]
    source = ReconnectingSource(open_, say=lambda text: None, wait=lambda seconds: False)
    assert source.read() is None
    assert late.closed


def test_a_film_that_is_taken_away_and_brought_back(tmp_path: Path) -> None:
    path = make_film(tmp_path / "a.mp4", [0.0, 0.1, 0.2])
    aside = tmp_path / "aside.mp4"
    said: list[str] = []

    def wait(seconds: float) -> bool:
        if path.exists():
            path.rename(aside)
        elif seconds > 1:
            make_film(path, [0.0, 0.1], size_wh=(96, 64))
        return False

    with ReconnectingSource(lambda: open_source(str(path), live=True), say=said.append, wait=wait) as source:
        shown = [frame for frame in (source.read() for _ in range(5)) if frame is not None]
    assert [number_of(frame.bgr) for frame in shown] == [0, 1, 2, 0, 1]
    assert [frame.bgr.shape for frame in shown[2:4]] == [(48, 64, 3), (64, 96, 3)]
    assert all(b.timestamp_s > a.timestamp_s for a, b in pairwise(shown))
    assert all(b.captured_s > a.captured_s for a, b in pairwise(shown))
    assert len(said) == 2


@pytest.fixture
def udp(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(film, "_URL_PATIENCE_S", (30.0, 4.0))  # more than a busy machine needs for a frame
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"udp://127.0.0.1:{probe.getsockname()[1]}"


def sending(url: str, level: int) -> StreamSink:
    """Send a grey picture until the sink is closed."""
    sink = StreamSink(url, fps=20, sound="none")
    sink.write(Frame(numbered(level, (96, 64)), 0.0, 0.0))
    return sink


@pytest.mark.slow
def test_a_stream_that_is_killed_and_restarted(udp: str) -> None:
    said: list[str] = []
    shown: list[Frame] = []
    with ExitStack() as senders:

        def say(text: str) -> None:
            said.append(text)
            if len(said) == 1:  # gone: here is the next one
                senders.enter_context(sending(udp, 20))

        def read_until(level: int) -> None:
            end_s = time.monotonic() + 60
            while not shown or number_of(shown[-1].bgr) != level:
                assert time.monotonic() < end_s, "it never came"
                frame = source.read()
                assert frame is not None
                shown.append(frame)

        with sending(udp, 9):
            source = ReconnectingSource(lambda: open_source(udp, live=True), say=say)
            senders.enter_context(source)
            read_until(9)
        read_until(20)
    assert [line.split(";")[0] for line in said] == ["the source has ended", "the source is back"]
    assert all(b.timestamp_s > a.timestamp_s for a, b in pairwise(shown))
