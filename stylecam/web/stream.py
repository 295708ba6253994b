"""MJPEG over HTTP, for players and pages that know nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse
from starlette.types import Message, Send

from stylecam.web.coding import View
from stylecam.web.latest import Latest

_BOUNDARY = "stylecam-frame"
_REPEAT_S = 0.5
_STALL_S = 15.0
"""A client that takes nothing for that long is let go."""


class MjpegResponse(StreamingResponse):
    """Send the newest frame whenever the client has taken the last one, and again every half second.

    A browser shows a part only when the next boundary has come, so that follows each picture at once.
    """

    def __init__(self, latest: Latest, view: View, fps: float) -> None:
        media_type = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        super().__init__(_parts(latest, view, fps), media_type=media_type)
        self._latest = latest

    async def stream_response(self, send: Send) -> None:
        """Send part after part; uvicorn's send waits while the client's buffer is full."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(_STALL_S):
                await send(message)

        try:
            with self._latest.watching():
                await super().stream_response(send_in_time)
        except TimeoutError:  # uvicorn closes what was left unfinished
            return


async def _parts(latest: Latest, view: View, fps: float) -> AsyncIterator[bytes]:
    clock = asyncio.get_running_loop().time
    yield f"--{_BOUNDARY}\r\n".encode()
    number, due_s = 0, clock()
    while not latest.closed:
        number = await latest.newer(number, _REPEAT_S)
        jpeg = await latest.jpeg(view)
        if jpeg is not None:
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            yield head.encode() + jpeg + f"\r\n--{_BOUNDARY}\r\n".encode()
        due_s = max(due_s + 1 / fps, clock())
        await asyncio.sleep(due_s - clock())
