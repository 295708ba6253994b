from __future__ import annotations

import threading

import pytest
from films import frames, number_of

from stylecam.errors import SourceLostError, StylecamError
from stylecam.frames import Frame
from stylecam.reader import FrameReader
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
