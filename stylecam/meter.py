"""What a run achieves: frames, rates, latency and losses, in bounded memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

_WINDOW = 4096
"""Percentiles look at this many newest frames, so that hours of live video cost no memory."""

_RECENT_S = 1.0


class Meter:
    """Take the times of a run as it goes and answer with figures; all times are seconds of `clock`.

    Not locked: one thread writes (the loop), the same or another reads figures for display.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.frames = 0
        self.captured = 0
        self.dropped = 0
        self._started_s = clock()
        self._first_s = self._last_s = self._started_s
        self._first_batch = 0
        self._latencies_s: deque[float] = deque(maxlen=_WINDOW)
        self._nets_s: deque[float] = deque(maxlen=_WINDOW)
        self._recent: deque[tuple[float, float]] = deque(maxlen=_WINDOW)

    def count_batch(self, captured_s: Sequence[float], written_s: Sequence[float], net_s: float) -> None:
        """Book one batch: when each frame was captured and written, and the batch's time in the net."""
        for captured, written in zip(captured_s, written_s, strict=True):
            self._latencies_s.append(written - captured)
            self._nets_s.append(net_s / len(captured_s))
            self._recent.append((written, written - captured))
        if not self.frames:
            self._first_s, self._first_batch = written_s[-1], len(written_s)
        self._last_s = written_s[-1]
        self.frames += len(written_s)

    @property
    def wall_s(self) -> float:
        """Seconds from this meter's making to the last frame written."""
        return self._last_s - self._started_s

    @property
    def fps(self) -> float:
        """Frames per second from the first batch out to the last one, start-up left out.

        A run of a single batch has no such span and is counted from the start.
        """
        if self.frames > self._first_batch:
            return _per_second(self.frames - self._first_batch, self._last_s - self._first_s)
        return _per_second(self.frames, self.wall_s)

    @property
    def recent_fps(self) -> float:
        """Frames per second over about the last second, for display; 0 once none has come for two."""
        times = [written for written, _ in self._newest()]
        if len(times) < 2 or self.clock() - times[-1] > 2 * max(_RECENT_S, times[-1] - times[0]):
            return 0.0
        return _per_second(len(times) - 1, times[-1] - times[0])

    @property
    def recent_latency_ms(self) -> float:
        """Median milliseconds from capture to written over about the last second, for display."""
        return percentile_ms((latency for _, latency in self._newest()), 50)

    @property
    def recent_p95_ms(self) -> float:
        """As `recent_latency_ms`, the 95th percentile."""
        return percentile_ms((latency for _, latency in self._newest()), 95)

    @property
    def latency_p50_ms(self) -> float:
        """Median milliseconds from a frame's capture until every sink has taken it."""
        return percentile_ms(self._latencies_s, 50)

    @property
    def latency_p95_ms(self) -> float:
        """As `latency_p50_ms`, the 95th percentile."""
        return percentile_ms(self._latencies_s, 95)

    @property
    def net_p50_ms(self) -> float:
        """Median milliseconds in the engine per frame (a batch's time over its frames)."""
        return percentile_ms(self._nets_s, 50)

    @property
    def net_p95_ms(self) -> float:
        """As `net_p50_ms`, the 95th percentile."""
        return percentile_ms(self._nets_s, 95)

    def percentiles(self, what: str) -> dict[str, float]:
        """Return p50 and p95 of "latency" or "net" in milliseconds, ready for JSON."""
        return {f"p{p}": round(float(getattr(self, f"{what}_p{p}_ms")), 1) for p in (50, 95)}

    def to_dict(self) -> dict[str, float]:
        """Return every figure by its name, ready for JSON."""
        names = ("frames", "captured", "dropped", "wall_s", "fps", "latency_p50_ms", "latency_p95_ms")
        return {name: getattr(self, name) for name in (*names, "net_p50_ms", "net_p95_ms")}

    def _newest(self) -> list[tuple[float, float]]:
        since = self._last_s - _RECENT_S
        newest: list[tuple[float, float]] = []
        for written, latency in reversed(list(self._recent)):  # another thread may add to it
            # Two are always kept: a net slower than a frame a second still has a rate.
            if written < since and len(newest) >= 2:
                break
            newest.append((written, latency))
        return newest[::-1]


def percentile_ms(values_s: Iterable[float], percent: int) -> float:
    """Return the nearest-rank percentile of `values_s` in milliseconds, 0.0 for none."""
    ranked = sorted(values_s)
    if not ranked:
        return 0.0
    rank = -(-percent * len(ranked) // 100)  # rounded up, so that p95 of few values is their largest
    return ranked[max(rank, 1) - 1] * 1000


def _per_second(count: int, span_s: float) -> float:
    return count / span_s if span_s > 0 else 0.0
