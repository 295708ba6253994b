"""The WebSockets: frames out, the state out, and the visitor's camera in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from stylecam.errors import SourceError
from stylecam.web.coding import View
from stylecam.web.latest import Latest
from stylecam.web.liverun import CameraFeed, LiveRun
from stylecam.web.pictures import MOST_FPS, WHOLE, Fit, Fps, Size, view_of

_UNDER_WAY = 2
"""Frames sent and not yet acknowledged: one on the wire while another is being shown."""

_REPEAT_S = 2.0
"""So often a picture that stands still is sent again, for a client to tell it from a dead connection."""

_LOOK_S = 0.05
_TELL_S = 1.0
_MOST_LISTENERS = 32
_CAMERA_FPS = 30.0
_TRY_LATER = 1013
_NOT_HERE = 4404
_TAKEN_OVER = 4409


async def _while_connected(socket: WebSocket, take: Callable[[str], None], work: Awaitable[None]) -> None:
    """Do `work` until it ends or the client leaves; `take` gets every text that comes in meanwhile."""

    async def listen() -> None:
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            take(message.get("text") or "")

    tasks = {asyncio.ensure_future(listen()), asyncio.ensure_future(work)}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    except WebSocketDisconnect:
        pass
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class FrameSender:
    """Send one client the newest frame as often as it takes one, at most `fps` times a second.

    The client answers every frame with a text, whatever it says. Where the answers do not keep up
    nothing is sent, so a slow client skips frames instead of falling behind, and costs no memory.
    """

    def __init__(self, socket: WebSocket, latest: Latest, view: View, fps: float) -> None:
        self._socket = socket
        self._latest = latest
        self._view = view
        self._step_s = 1 / fps
        self._under_way = 0
        self._taken = asyncio.Event()

    def acknowledge(self, _text: str) -> None:
        """Note that the client has taken a frame."""
        self._under_way = max(0, self._under_way - 1)
        self._taken.set()

    async def run(self) -> None:
        """Send until the run ends. Raises WebSocketDisconnect."""
        clock = asyncio.get_running_loop().time
        number, due_s = 0, clock()
        while not self._latest.closed:
            while self._under_way >= _UNDER_WAY:
                self._taken.clear()
                await self._taken.wait()
            await asyncio.sleep(max(0.0, due_s - clock()))
            await self._latest.newer(number, _REPEAT_S)
            coded = await self._latest.message(self._view)
            if coded is not None and not self._latest.closed:
                number, message = coded
                self._under_way += 1
                await self._socket.send_bytes(message)
            due_s = max(due_s + self._step_s, clock())


class Cameras:
    """The one page whose camera is the source. The newest wins, and the one before is told so.

    A phone that went out of reach would else hold the place until its connection times out.
    """

    def __init__(self, feed: CameraFeed) -> None:
        self._feed = feed
        self._current: WebSocket | None = None

    async def take_over(self, socket: WebSocket) -> None:
        """Take pictures from this page until it leaves or another one comes."""
        before, self._current = self._current, socket
        if before is not None:
            with suppress(WebSocketDisconnect, RuntimeError):  # it may have gone by itself, a moment ago
                await before.close(_TAKEN_OVER, "another page sends its camera now")
        try:
            await self._take_all(socket)
        finally:
            if self._current is socket:
                self._current = None

    async def _take_all(self, socket: WebSocket) -> None:
        await socket.send_json({"size_wh": self._feed.size_wh, "fps": _CAMERA_FPS})
        while self._current is socket:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                break
            await socket.send_json(self._take(message.get("bytes") or b""))
            await asyncio.sleep(1 / MOST_FPS)

    def _take(self, jpeg: bytes) -> dict[str, Any]:
        try:
            self._feed.feed(jpeg)
        except SourceError as exc:
            return {"message": exc.message, "hint": exc.hint}
        return {"taken": True}


def socket_routes(run: LiveRun) -> APIRouter:
    """Return /ws/frames, /ws/state and /ws/camera."""
    router = APIRouter()
    cameras = Cameras(run.browser) if run.browser else None
    listeners: set[WebSocket] = set()

    @router.websocket("/ws/frames")
    async def frames(
        socket: WebSocket, size: Size = WHOLE, fps: Fps = MOST_FPS, fit: Fit = "contain"
    ) -> None:
        if run.latest.is_full:
            await _turn_away(socket, _TRY_LATER, "too many are watching")
            return
        with run.latest.watching():
            await socket.accept()
            sender = FrameSender(socket, run.latest, view_of(size, fit), fps)
            await _while_connected(socket, sender.acknowledge, sender.run())

    @router.websocket("/ws/state")
    async def state(socket: WebSocket) -> None:
        if len(listeners) >= _MOST_LISTENERS:
            await _turn_away(socket, _TRY_LATER, "too many are listening")
            return
        listeners.add(socket)
        try:
            await socket.accept()
            await _while_connected(socket, lambda _text: None, _tell(socket, run))
        finally:
            listeners.discard(socket)

    @router.websocket("/ws/camera")
    async def camera(socket: WebSocket) -> None:
        if cameras is None:
            await _turn_away(socket, _NOT_HERE, "started without --source browser")
            return
        await socket.accept()
        with suppress(WebSocketDisconnect):
            await cameras.take_over(socket)

    return router


async def _tell(socket: WebSocket, run: LiveRun) -> None:
    """Send the state on every change and once a second."""
    clock = asyncio.get_running_loop().time
    told, due_s = -1, clock()
    while not run.latest.closed:
        if run.controls.version != told or clock() >= due_s:
            told, due_s = run.controls.version, clock() + _TELL_S
            await socket.send_json({**run.state(), "stats": dict(run.stats())})
        await asyncio.sleep(_LOOK_S)


async def _turn_away(socket: WebSocket, code: int, reason: str) -> None:
    """Close with a reason, which a browser tells its page only for a socket that was accepted."""
    await socket.accept()
    await socket.close(code, reason)
