"""Films that come at their own pace, as a camera's frames do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from threading import Event

from stylecam.frames import Frame
from stylecam.sources.base import Source


class PacedSource(Source):
    """Play `source` in real time, so that it behaves like a camera; closes it with itself.

    A frame falls due when as much time has passed since the first one as lies between their
    timestamps. `sleep` returns True to end the wait for good; by default `close` does that.
    """

    is_live = True

    def __init__(
        self,
        source: Source,
        *,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], bool] | None = None,
    ) -> None:
        self.size_wh = source.size_wh
        self.fps = source.fps
        self._source = source
        self._clock = clock
        self._closed = Event()
        self._sleep = sleep or self._closed.wait
        self._start_s: float | None = None

    def read(self) -> Frame | None:
        """Wait until the next frame falls due; one read late counts as captured when it was due."""
        frame = self._source.read()
        if frame is None:
            return None
        if self._start_s is None:
            self._start_s = self._clock() - frame.timestamp_s
        due_s = self._start_s + frame.timestamp_s
        while (early_s := due_s - self._clock()) > 0:
            if self._sleep(early_s):
                return None
            if self._clock() >= due_s:
                return replace(frame, captured_s=self._clock())
        return replace(frame, captured_s=due_s)

    def close(self) -> None:
        """End a wait under way and close the film."""
        self._closed.set()
        self._source.close()
