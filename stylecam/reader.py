"""The capture thread: reads the source beside the inference, dropping frames or waiting for it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from threading import Condition, Thread
from types import TracebackType
from typing import Literal, Self

from stylecam.frames import Frame, check_size, resize
from stylecam.sources.base import Source

_SLICE_S = 0.2
"""Longest uninterrupted wait: on Windows a wait without an end does not let Ctrl-C through."""

_JOIN_S = 2.0


class FrameReader:
    """Read `source` in a thread of its own; the source stays the caller's to close.

    keep="latest" holds one frame, replaced by each newer one and then counted as dropped (live).
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
    ) -> None:
        self.captured = 0
        self.dropped = 0
        self._source = source
        self._size_wh = check_size(size_wh or source.size_wh)
        self._latest = keep == "latest"
        self._depth = 1 if self._latest else max(1, depth)
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
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while not (self._frames or self._ended or self._closed):
                if deadline is not None and time.monotonic() >= deadline:
                    raise TimeoutError(f"no frame within {timeout_s} s")
                self._changed.wait(
                    _SLICE_S if deadline is None else min(_SLICE_S, deadline - time.monotonic())
                )
            if self._frames:
                self._changed.notify_all()
                return self._frames.popleft()
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
            self._closed = True
            self._frames.clear()
            self._changed.notify_all()
        self._thread.join(_JOIN_S)

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            while not self._closed and (frame := self._source.read()) is not None:
                self._put(replace(frame, bgr=resize(frame.bgr, self._size_wh)))
        except BaseException as exc:  # handed to whoever reads: a thread's traceback reaches nobody
            self._error = exc
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, frame: Frame) -> None:
        with self._changed:
            self.captured += 1
            if self._latest and self._frames:
                self._frames.clear()
                self.dropped += 1
            self._changed.wait_for(lambda: self._closed or len(self._frames) < self._depth)
            if not self._closed:
                self._frames.append(frame)
            self._changed.notify_all()
