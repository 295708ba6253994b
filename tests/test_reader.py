from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from queue import Queue

import pytest
from films import frames, number_of

from stylecam.errors import SourceLostError, StylecamError
from stylecam.frames import Frame
from stylecam.reader import FrameReader, Patience
from stylecam.sources import Source


class Script(Source):
    """A source that plays a list; `gate` holds it back and `passed` tells when all were read."""

    fps = 10.0
    size_wh = (64, 48)

    def __init__(self, count: int, *, is_live: bool = False, error: Exception | None = None) -> None:
        self.is_live = is_live
        self.passed = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self._frames = iter(frames(count))
        self._error = error

    def read(self) -> Frame | None:
        self.gate.wait()
        frame = next(self._frames, None)
        if frame is None:
            self.passed.set()
            if self._error is not None:
                raise self._error
        return frame

    def close(self) -> None:
        self.gate.set()


def test_all_loses_nothing_and_batches_are_full() -> None:
    with FrameReader(Script(10), "all", depth=3) as reader:
        batches = [reader.take(4) for _ in range(4)]
        assert [len(batch) for batch in batches] == [4, 4, 2, 0]
        assert [number_of(f.bgr) for batch in batches for f in batch] == list(range(10))
        assert (reader.captured, reader.dropped) == (10, 0)


def test_latest_keeps_the_newest_and_counts_the_rest() -> None:
    source = Script(10, is_live=True)
    with FrameReader(source, "latest") as reader:
        assert source.passed.wait(10)
        batch = reader.take(4)
        assert [number_of(frame.bgr) for frame in batch] == [9]
        assert (reader.captured, reader.dropped) == (10, 9)
        assert reader.take(4) == []


@pytest.mark.parametrize("keep", ["all", "latest"])
def test_an_error_in_the_thread_reaches_the_caller(keep: str) -> None:
    source = Script(1, error=SourceLostError("camera 0 stopped", "check its plug"))
    reader = FrameReader(source, "all" if keep == "all" else "latest")
    with reader:
        assert reader.read() is not None
        with pytest.raises(SourceLostError, match="camera 0"):
            reader.read()


def test_close_ends_a_thread_that_waits_on_a_full_queue() -> None:
    reader = FrameReader(Script(20), "all", depth=2)
    assert reader.read() is not None
    reader.close()
    reader.close()
    assert not reader._thread.is_alive()
    assert reader.read() is None


def test_a_timeout_is_not_the_end() -> None:
    source = Script(1)
    source.gate.clear()
    with FrameReader(source, "all") as reader:
        with pytest.raises(TimeoutError):
            reader.read(timeout_s=0.01)
        source.gate.set()
        assert reader.read() is not None
        assert list(reader) == []


def test_frames_are_scaled_once_and_sizes_checked() -> None:
    with FrameReader(Script(2), "all", size_wh=(32, 16)) as reader:
        assert [frame.bgr.shape for frame in reader] == [(16, 32, 3)] * 2
    for size_wh in ((0, 48), (100_000, 48)):
        with pytest.raises(StylecamError, match="out of range"):
            FrameReader(Script(1), "all", size_wh=size_wh)


def a_patience(interval_s: float, *, since_s: float = 1.0) -> Patience:
    """One that has seen a steady camera, and was asked `since_s` before its newest frame, of time 0."""
    patience = Patience()
    for back in reversed(range(12)):
        patience.note(-back * interval_s)
    assert patience.wait_s(-since_s, -since_s) == 0
    return patience


def test_a_frame_about_to_come_is_waited_for() -> None:
    assert a_patience(0.03).wait_s(0.0, 0.020) == pytest.approx(0.010 + 0.003)


def test_a_fresh_frame_is_taken_at_once() -> None:
    assert a_patience(0.03).wait_s(0.0, 0.005) == 0


def test_a_frame_that_is_overdue_is_not_waited_for() -> None:
    assert a_patience(0.03).wait_s(0.0, 0.031) == 0


def test_waits_never_take_more_than_their_share() -> None:
    patience, now_s, waited_s = a_patience(0.03), 0.0, 0.0
    for _ in range(1000):  # a net of 1.7 intervals: its frames are always 0.7 old
        wait_s = patience.wait_s(now_s, now_s + 0.021) and 0.009
        patience.spend(wait_s)
        waited_s += wait_s
        now_s += 0.051 + wait_s
    assert 0.04 * now_s < waited_s < 0.051 * now_s


def test_one_gap_does_not_make_it_wait_longer() -> None:
    patience = a_patience(0.03)
    patience.note(9.0)
    assert patience.interval_s == pytest.approx(0.03)


class Camera(Source):
    """Gives the frames that are put into `coming`, as captured 100 s apart; then waits."""

    is_live = True
    fps = 0.01
    size_wh = (64, 48)

    def __init__(self) -> None:
        self.coming: Queue[Frame | None] = Queue()
        self._given = 0

    def read(self) -> Frame | None:
        frame = self.coming.get()
        self._given += 1
        return frame and replace(frame, captured_s=100.0 * self._given)

    def close(self) -> None:
        self.coming.put(None)


class LateAsker:
    """Ask a reader at 100 s, and again at 970 s for the frame of 900 s; `asked` is what happens then."""

    def __init__(self, camera: Camera, asked: Callable[[], object]) -> None:
        self._now_s, self._asked = 100.0, asked
        self.reader = FrameReader(camera, "latest", clock=self._clock)
        for count, frame in enumerate(frames(9), 1):
            camera.coming.put(frame)
            if count == 1:
                assert self.reader.read() is not None
        while self.reader.captured < 9:
            time.sleep(0.001)
        self._now_s = 970.0

    def _clock(self) -> float:
        if self._now_s == 970.0:
            self._asked()
        return self._now_s


def test_latest_waits_for_a_frame_that_is_about_to_come() -> None:
    with closing(Camera()) as camera:
        (newest,) = frames(1)
        reader = LateAsker(camera, lambda: camera.coming.put(newest)).reader
        got = reader.read(60)
        assert got is not None
        assert got.captured_s == 1000.0
        assert reader.dropped == 8
        camera.close()
        reader.close()


def test_closing_ends_the_wait_for_a_newer_frame() -> None:
    asked = threading.Event()
    with closing(Camera()) as camera, ThreadPoolExecutor(1) as pool:
        reader = LateAsker(camera, asked.set).reader
        reading = pool.submit(reader.read)
        assert asked.wait(10)
        camera.close()
        reader.close()
        reading.result(10)
