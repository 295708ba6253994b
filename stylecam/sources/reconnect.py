"""A source that comes back: opened again whenever it is lost or has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Event, Lock

from stylecam.backoff import Backoff
from stylecam.errors import SourceError
from stylecam.frames import Frame
from stylecam.sources.base import Source

_STEP_S = 0.001
"""Least time between the last frame before a loss and the first one after it."""


class ReconnectingSource(Source):
    """Read the source that `open_` gives, and ask it for another one when that is lost or has ended.

    The first must open, or its SourceOpenError is raised; later ones are tried until one gives a
    frame, after pauses that grow from 0.5 to 8 s. `say` is told of each loss and each return once,
    on the reading thread. Timestamps go on as if the source had run all the while. `size_wh` and
    `fps` are the first source's; later frames may have another size. `wait` pauses for so many
    seconds and returns True to give up for good; by default `close` ends it.
    """

    is_live = True

    def __init__(
        self,
        open_: Callable[[], Source],
        *,
        say: Callable[[str], None],
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._open = open_
        self._say = say
        self._closed = Event()
        self._wait = wait or self._closed.wait
        self._backoff = Backoff()
        self._swap = Lock()
        self._is_lost = False
        self._offset_s = 0.0
        self._last_s: tuple[float, float] | None = None  # timestamp and capture of the newest frame
        self._source = open_()
        self.size_wh = self._source.size_wh
        self.fps = self._source.fps

    @property
    def given(self) -> str:
        """What a camera really gives, in words; "" for any other source."""
        return str(getattr(self._source, "given", ""))

    def read(self) -> Frame | None:
        """Return the next frame, however long it takes to come; None only after `close`."""
        while not self._closed.is_set():
            frame, trouble = self._try_read()
            if frame is not None:
                return self._placed(frame)
            if self._closed.is_set() or not self._reopen(trouble):
                break
        return None

    def close(self) -> None:
        """Close the source that is open, or end the wait for it."""
        self._closed.set()
        with self._swap:
            self._source.close()

    def _try_read(self) -> tuple[Frame | None, str]:
        try:
            return self._source.read(), "the source has ended"
        except SourceError as exc:
            return None, exc.message

    def _reopen(self, trouble: str) -> bool:
        if not self._is_lost:
            self._is_lost = True
            self._say(f"{trouble}; waiting for it to come back")
        self._source.close()
        while not self._wait(self._backoff.next_s()):
            try:
                source = self._open()
            except SourceError:
                continue
            with self._swap:
                self._source = source
                if self._closed.is_set():  # by another thread, in the meantime
                    source.close()
            return True
        return False

    def _placed(self, frame: Frame) -> Frame:
        """Put a frame where it belongs among those of the sources before."""
        if self._is_lost:
            self._is_lost = False
            self._backoff.reset()
            self._say("the source is back")
            if self._last_s is not None:
                timestamp_s, captured_s = self._last_s
                away_s = max(frame.captured_s - captured_s, _STEP_S)
                self._offset_s = timestamp_s + away_s - frame.timestamp_s
        placed = replace(frame, timestamp_s=frame.timestamp_s + self._offset_s)
        self._last_s = placed.timestamp_s, placed.captured_s
        return placed
