"""The capture thread: reads the source beside the inference, dropping frames or waiting for it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from statistics import median
from threading import Condition, Thread
from types import TracebackType
from typing import Literal, Self

from stylecam.frames import Frame, check_size, resize
from stylecam.sources.base import Source

_SLICE_S = 0.2
"""Longest uninterrupted wait: on Windows a wait without an end does not let Ctrl-C through."""

_JOIN_S = {"latest": 0.5, "all": 2.0}
"""How long `close` waits for a read under way: a camera that takes longer hangs, a decoder may be slow."""

_NEAR = 0.4
"""A frame due within this share of the camera's interval is worth a wait."""

_SPARED = 0.05
"""The most of the time that may go into such waits: it is what they cost in frames a second."""

_LATE = 0.1
"""So much of the interval a frame may come late before it is given up."""

_MEMORY = 8


class Patience:
    """Tell when to leave a frame for the next one, which is about to come.

    A net that takes longer than the camera's interval finds a frame that has waited, half an interval on
    average, and it is seen so much later. Where the next one is near, to wait for it costs less time than it
    saves; the waits are rationed, so that they never cost more than `_SPARED` of the frames a second.
    """

    def __init__(self) -> None:
        self._captured_s: deque[float] = deque(maxlen=_MEMORY)
        self._asked_s: float | None = None
        self._spare_s = 0.0

    @property
    def interval_s(self) -> float:
        """Usual time between the last few frames; 0 before there are enough of them."""
        if len(self._captured_s) < _MEMORY:
            return 0.0
        return median(later - sooner for sooner, later in pairwise(self._captured_s))

    def note(self, captured_s: float) -> None:
        """Learn when a frame was captured."""
        self._captured_s.append(captured_s)

    def wait_s(self, captured_s: float, now_s: float) -> float:
        """Return how long to wait for the frame after the one of `captured_s`; 0 is not to."""
        if self._asked_s is not None:
            self._spare_s = min(self.interval_s, self._spare_s + _SPARED * (now_s - self._asked_s))
        self._asked_s = now_s
        coming_s = captured_s + self.interval_s - now_s
        is_near = 0 < coming_s <= min(_NEAR * self.interval_s, self._spare_s)
        return coming_s + _LATE * self.interval_s if is_near else 0.0

    def spend(self, waited_s: float) -> None:
        """Book a wait."""
        self._spare_s -= waited_s


class FrameReader:
    """Read `source` in a thread of its own; the source stays the caller's to close.

    keep="latest" holds one frame, replaced by each newer one and then counted as dropped (live); an old one
    is left for the next where that is about to come (`Patience`).
    keep="all" holds up to `depth` frames and then makes the source wait; nothing is lost (video).
    Every frame is resized to `size_wh`, the source's size by default, so a stream that changes
    its size midway stays stackable. Raises StylecamError where that size is out of range.
    """

    def __init__(
        self,
        source: Source,
        keep: Literal["latest", "all"],
        *,
        depth: int = 8,
        size_wh: tuple[int, int] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.captured = 0
        self.dropped = 0
        self._source = source
        self._size_wh = check_size(size_wh or source.size_wh)
        self._latest = keep == "latest"
        self._join_s = _JOIN_S[keep]
        self._depth = 1 if self._latest else max(1, depth)
        self._patience, self._clock = Patience(), clock
        self._frames: deque[Frame] = deque()
        self._changed = Condition()
        self._closed = self._ended = False
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="stylecam-reader", daemon=True)
        self._thread.start()

    def read(self, timeout_s: float | None = None) -> Frame | None:
        """Wait for the next frame; None once the source has ended and all are handed out.

        Raises what the thread raised, after the frames read before it, and TimeoutError.
        """
        frame = self._next(timeout_s)
        # Live, only a frame that is handed out is worth the work.
        return self._scaled(frame) if frame is not None and self._latest else frame

    def _next(self, timeout_s: float | None) -> Frame | None:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while not (self._frames or self._ended or self._closed):
                if deadline is not None and time.monotonic() >= deadline:
                    raise TimeoutError(f"no frame within {timeout_s} s")
                self._changed.wait(
                    _SLICE_S if deadline is None else min(_SLICE_S, deadline - time.monotonic())
                )
            if self._frames:
                if self._latest:
                    self._await_newer(self._frames[0])
                self._changed.notify_all()
                return self._frames.popleft() if self._frames else None  # closed meanwhile
            if self._error is not None:
                raise self._error
            return None

    def take(self, count: int) -> list[Frame]:
        """Return the next batch, empty at the end: `count` frames, fewer only where the film ends.

        Live there is never more than one waiting, and waiting for more would only add latency.
        """
        batch: list[Frame] = []
        while len(batch) < (1 if self._latest else count):
            frame = self.read()
            if frame is None:
                break
            batch.append(frame)
        return batch

    def close(self) -> None:
        """Stop the thread. May be called twice; does not wait for a source that hangs."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._frames.clear()
            self._changed.notify_all()
        self._thread.join(self._join_s)

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _await_newer(self, held: Frame) -> None:
        """Wait for a frame that is about to come, and give up what is at hand."""
        now_s = self._clock()
        wait_s = self._patience.wait_s(held.captured_s, now_s)
        if wait_s:
            self._changed.wait_for(lambda: self._ended or self._closed or self._frames[0] is not held, wait_s)
            self._patience.spend(self._clock() - now_s)

    def _run(self) -> None:
        try:
            while not self._closed and (frame := self._source.read()) is not None:
                self._put(frame if self._latest else self._scaled(frame))
        except BaseException as exc:  # handed to whoever reads: a thread's traceback reaches nobody
            self._error = exc
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _scaled(self, frame: Frame) -> Frame:
        return replace(frame, bgr=resize(frame.bgr, self._size_wh))

    def _put(self, frame: Frame) -> None:
        with self._changed:
            self.captured += 1
            self._patience.note(frame.captured_s)
            if self._latest and self._frames:
                self._frames.clear()
                self.dropped += 1
            self._changed.wait_for(lambda: self._closed or len(self._frames) < self._depth)
            if not self._closed:
                self._frames.append(frame)
            self._changed.notify_all()
