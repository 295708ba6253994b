"""The newest frame, between the thread that paints and the clients that watch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from stylecam.frames import Frame
from stylecam.web.coding import View, to_jpeg, to_message

_MOST_WATCHERS = 16
"""Each may want a size of its own, and every size costs an encoding."""

_ENCODERS = 2
"""Threads that make JPEGs; the net needs the other cores."""


@dataclass
class _Picture:
    """One frame and, by kind and view, what it was or is being encoded to."""

    number: int
    frame: Frame
    coded: dict[tuple[str, View], asyncio.Future[bytes]] = field(default_factory=dict)


class Latest:
    """Hold the newest frame and let clients wait for newer ones; each kind and size is encoded once.

    `put` and `close` may be called from any thread, the rest from the event loop's.
    """

    def __init__(self) -> None:
        self._picture: _Picture | None = None
        self._number = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arrived = asyncio.Event()
        self._waking = False
        self._encoders = ThreadPoolExecutor(_ENCODERS, "stylecam-web-encoder")
        self.watchers = 0
        self.closed = False

    @property
    def number(self) -> int:
        """The newest frame's number, counted from 1; 0 while there is none."""
        picture = self._picture
        return picture.number if picture else 0

    @property
    def is_full(self) -> bool:
        """Whether as many clients watch as may."""
        return self.watchers >= _MOST_WATCHERS

    def put(self, frame: Frame) -> None:
        """Take the place of the last frame; wake who waits. Costs nothing while nobody does."""
        self._number += 1
        self._picture = _Picture(self._number, frame)
        self._wake_loop()

    def close(self) -> None:
        """End every wait for good."""
        self.closed = True
        self._wake_loop()
        self._encoders.shutdown(wait=False)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count one more client for a while."""
        self.watchers += 1
        try:
            yield
        finally:
            self.watchers -= 1

    async def newer(self, number: int, timeout_s: float | None = None) -> int:
        """Wait until the newest frame is another than `number`, at most `timeout_s`; return its number."""
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                while self.number == number and not self.closed:
                    await self._arrived.wait()
        except TimeoutError:
            pass
        return self.number

    async def jpeg(self, view: View) -> bytes | None:
        """Return the newest frame as JPEG, None while there is none."""
        picture = self._picture
        if picture is None:
            return None
        return await self._coded(picture, "jpeg", view, lambda: to_jpeg(picture.frame.bgr, view))

    async def message(self, view: View) -> tuple[int, bytes] | None:
        """Return the newest frame's number and its message (see `to_message`), None while there is none."""
        picture = self._picture
        if picture is None:
            return None
        make = lambda: to_message(picture.number, picture.frame, view)  # noqa: E731
        return picture.number, await self._coded(picture, "message", view, make)

    async def run(self, make: Callable[[], bytes]) -> bytes:
        """Do some encoding beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._encoders, make)

    async def _coded(self, picture: _Picture, kind: str, view: View, make: Callable[[], bytes]) -> bytes:
        """Encode a frame once for all who want the same."""
        coded = picture.coded.get((kind, view))
        if coded is None:
            coded = asyncio.get_running_loop().run_in_executor(self._encoders, make)
            picture.coded[kind, view] = coded
        return await asyncio.shield(coded)  # one client that leaves does not take it from the others

    def _wake_loop(self) -> None:
        loop = self._loop
        if loop is None or self._waking:  # one call under way is enough, and keeps their number bounded
            return
        self._waking = True
        try:
            loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # the loop has closed: nobody waits
            self._waking = False

    def _wake(self) -> None:
        self._waking = False
        arrived, self._arrived = self._arrived, asyncio.Event()
        arrived.set()
