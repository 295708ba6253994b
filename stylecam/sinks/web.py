"""The web page: a control page, an overlay for OBS, and pictures for everything else."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from threading import Thread
from typing import Any

import uvicorn

from stylecam.controls import Controls
from stylecam.errors import SinkOpenError, SinkWriteError
from stylecam.frames import Frame, Pixels
from stylecam.sinks.base import Sink
from stylecam.web.access import Access
from stylecam.web.app import make_app
from stylecam.web.latest import Latest
from stylecam.web.links import is_loopback, is_token, page_url
from stylecam.web.liverun import CameraFeed, LiveRun

DEFAULT_PORT = 8423

_MOST_CONNECTIONS = 128
_LARGEST_MESSAGE = 2 * 1024 * 1024
_SEND_BUFFER = 256 * 1024
"""Bytes that the system keeps for a client that does not read; more would only grow old there."""

_GRACE_S = 1
_JOIN_S = 5.0
_SLICE_S = 0.01


class WebSink(Sink):
    """Serve the page of a live run, in a thread of its own, from the constructor to `close`.

    `controls` is what the page changes. `stats` and `previews` (see LiveRun) are called from the
    server's thread. `host` is a name or address to bind; any but loopback needs a `token` of 8 to 128
    letters, digits and ``_.~-``. Port 0 takes a free one. `url` is the link for a person, with the
    token. `browser` is a BrowserSource, where the visitor's camera is the source. Raises
    SinkOpenError.
    """

    def __init__(
        self,
        controls: Controls,
        stats: Callable[[], Mapping[str, Any]],
        *,
        previews: Callable[[str], Pixels | None],
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        token: str | None = None,
        browser: CameraFeed | None = None,
    ) -> None:
        _check_token(host, token)
        listener = _listen(host, port)
        port = listener.getsockname()[1]
        self.url = page_url(host, port, token)
        self._latest = Latest()
        run = LiveRun(controls, stats, previews, self._latest, browser, token)
        self._server = uvicorn.Server(_config(run, Access(host, port, token)))
        self._error: BaseException | None = None
        self._closed = False
        self._thread = Thread(target=self._serve, args=(listener,), name="stylecam-web", daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(_SLICE_S)
        if not self._server.started:
            raise SinkOpenError(f"the web page could not be started: {self._error}", "choose another sink")

    def write(self, frame: Frame) -> None:
        """Take the newest frame; it is encoded when somebody watches. Never waits for a client."""
        if not self._closed and not self._thread.is_alive():
            raise SinkWriteError(f"the web page has stopped: {self._error}", "start again")
        self._latest.put(frame)

    def close(self) -> None:
        """Say goodbye to the clients and free the port."""
        if self._closed:
            return
        self._closed = True
        self._latest.close()
        self._server.should_exit = True
        self._thread.join(_JOIN_S)

    def _serve(self, listener: socket.socket) -> None:
        try:
            self._server.run([listener])
        except BaseException as exc:  # told by write: nobody looks at a thread
            self._error = exc
        finally:
            listener.close()


def _config(run: LiveRun, access: Access) -> uvicorn.Config:
    return uvicorn.Config(
        make_app(run, access),
        loop="asyncio",
        http="h11",
        ws="websockets-sansio",
        ws_max_size=_LARGEST_MESSAGE,
        ws_per_message_deflate=False,  # JPEG does not get smaller
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_S,
    )


def _check_token(host: str, token: str | None) -> None:
    if token is None and not is_loopback(host):
        raise SinkOpenError(
            f"the web page on {host} would be open to everyone there", "give a token, or bind 127.0.0.1"
        )
    if token is not None and not is_token(token):
        raise SinkOpenError(
            "that token cannot be used", "take 8 to 128 letters, digits, dots, dashes, underscores or tildes"
        )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    except (OSError, OverflowError) as exc:  # OverflowError: no such port
        cause = getattr(exc, "strerror", None) or exc
        raise SinkOpenError(
            f"the web page could not be opened on {host}, port {port}: {cause}",
            "is another one running? choose another port with --port",
        ) from exc
    return listener
