"""One sink of a live run, with the newest frame that waits for it, at its own pace."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from threading import Condition, Thread
from typing import Any

from stylecam.errors import StylecamError
from stylecam.frames import Frame, resize
from stylecam.meter import Meter
from stylecam.sinks.base import Sink

_SLICE_S = 0.2
_REPEAT_S = 0.05
"""A window must look at its keyboard even when no frame comes."""

_LATE_S = 1.0
"""What a sink is told of a picture that stays is so old: a newer one may be that much later than the last."""


class Outlet:
    """Hand frames to `sink`, the newest only: what it cannot keep up with is dropped, and counted.

    A sink with `on_main_thread` is served by whoever calls `serve`; any other in a thread of its
    own. `size_wh` and `fps` bound what this sink gets. `changed` is notified when it ends.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        changed: Callable[[], None],
        *,
        size_wh: tuple[int, int] | None = None,
        fps: float | None = None,
    ) -> None:
        self.name, self.sink, self.size_wh, self.fps = name, sink, size_wh, fps
        self.meter = Meter()
        self.error: Exception | None = None
        self.is_told = False
        self._changed = changed
        self._new = Condition()
        self._next: Frame | None = None
        self._last: Frame | None = None
        self._ending = self._ended = False
        self._due_s = self._written_s = 0.0
        self._thread: Thread | None = None
        if not sink.on_main_thread:
            self._thread = Thread(target=self._run, name=f"stylecam-{name}", daemon=True)
            self._thread.start()

    @property
    def is_open(self) -> bool:
        """Whether the sink still takes frames."""
        return not (self._ended or self._ending)

    @property
    def wants_quit(self) -> bool:
        """Whether the person at this sink has asked to end the run."""
        return self.is_open and self.sink.wants_quit

    def offer(self, frame: Frame) -> None:
        """Leave a frame for the sink; returns at once."""
        with self._new:
            if self._ended or (self.fps and frame.timestamp_s < self._due_s):
                return
            if self.fps:  # a rate that divides the source's: a little early is in time
                self._due_s = max(self._due_s + 1 / self.fps, frame.timestamp_s + 0.5 / self.fps)
            if self._next is not None:
                self.meter.dropped += 1
            self._next = frame
            self._new.notify()

    def serve(self, timeout_s: float) -> None:
        """Write the newest frame, waiting for it up to `timeout_s`; the last one again where none comes."""
        frame = self._take(min(timeout_s, _REPEAT_S))
        if frame is not None:
            self._write(frame)
        elif self._last is not None and self.is_open:
            self._write(self._last, again=True)

    def finish(self, timeout_s: float = 5.0) -> None:
        """Let the sink take what is left, then stop. The sink itself stays the caller's to close."""
        with self._new:
            self._ending = True
            self._new.notify()
        if self._thread is None:
            if self._next is not None and not self._ended:
                self.serve(0)
            self._ended = True
        else:
            self._thread.join(timeout_s)

    def figures(self) -> dict[str, Any]:
        """Return what this sink has got, ready for JSON."""
        failed = self.error.message if isinstance(self.error, StylecamError) else None
        return {
            "name": self.name, "frames": self.meter.frames, "dropped": self.meter.dropped,
            "fps": round(self.meter.fps, 2), "latency_ms": self.meter.percentiles("latency"),
            "audio_delay_ms": round(self.meter.latency_p50_ms, -1), "error": failed,
        }  # fmt: skip

    def _run(self) -> None:
        while not self._ended:
            frame = self._take(_SLICE_S)
            if frame is not None:
                self._write(frame)
            elif self._ending:
                break
            else:
                self._stay()
        self._ended = True
        self._changed()

    def _take(self, timeout_s: float) -> Frame | None:
        with self._new:
            self._new.wait_for(lambda: self._next is not None or self._ending, timeout_s)
            frame, self._next = self._next, None
            return frame

    def _stay(self) -> None:
        """Tell a sink that keeps time until when the last picture stays at least."""
        stayed_s = time.perf_counter() - self._written_s - _LATE_S
        if self._last is not None and self.is_open and stayed_s > 0:
            self._write(replace(self._last, timestamp_s=self._last.timestamp_s + stayed_s), again=True)

    def _write(self, frame: Frame, again: bool = False) -> None:
        try:
            if not again and self.size_wh is not None:
                alpha = None if frame.alpha is None else resize(frame.alpha, self.size_wh)
                frame = replace(frame, bgr=resize(frame.bgr, self.size_wh), alpha=alpha)
            self.sink.write(frame)
        except Exception as exc:  # told by the run: nobody looks at a thread
            self.error, self._ended = exc, True
            self._changed()
            return
        if not again:
            self._last = frame if self.sink.on_main_thread or self.sink.keeps_time else None
            self._written_s = time.perf_counter()
            self.meter.count_batch([frame.captured_s], [self._written_s], 0.0)
