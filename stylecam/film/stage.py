"""A thread that takes one thing after another from the stage before it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")

_SLICE_S = 0.2
"""Longest uninterrupted wait: on Windows a wait without an end does not let Ctrl-C through."""


class Stage(Generic[T]):
    """Do `step` for every item put, in order, in a thread of its own; up to `depth` items wait.

    What fails there is raised by the next `put` or `finish`. `busy_s` is the time spent in `step`.
    """

    def __init__(self, name: str, step: Callable[[T], None], depth: int) -> None:
        self.busy_s = 0.0
        self._step = step
        self._queue: Queue[T | None] = Queue(depth)
        self._error: BaseException | None = None
        self._dropped = False
        self._thread = Thread(target=self._run, name=f"stylecam-{name}", daemon=True)
        self._thread.start()

    def put(self, item: T | None) -> None:
        """Hand over an item, waiting while the stage is behind."""
        while True:
            if self._error is not None:
                raise self._error
            try:
                return self._queue.put(item, timeout=_SLICE_S)
            except Full:
                continue

    def finish(self) -> None:
        """Wait until every item is done, and end the thread."""
        if self._thread.is_alive():
            self.put(None)
        self._join()
        if self._error is not None and not self._dropped:
            raise self._error

    def drop(self) -> None:
        """End the thread after the item that it is at; forget the others."""
        self._dropped = True
        with suppress(Empty):
            while True:
                self._queue.get_nowait()
        with suppress(Full):
            self._queue.put_nowait(None)
        self._join()

    def _join(self) -> None:
        while self._thread.is_alive():
            self._thread.join(_SLICE_S)

    def _run(self) -> None:
        try:
            while (item := self._queue.get()) is not None and not self._dropped:
                began_s = time.perf_counter()
                self._step(item)
                self.busy_s += time.perf_counter() - began_s
        except BaseException as exc:  # raised again by put or finish: nobody looks at a thread
            self._error = exc
