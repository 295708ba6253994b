"""Who may talk to the page: Host, Origin and token, looked at before any route sees a request."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from stylecam.web.links import is_loopback, to_address

EMBEDDABLE = "/overlay"
"""The one page that may stand inside another one: OBS and its kin show it."""

_OVERLAY_PARTS = ("/overlay.css", "/overlay.js", "/frames.js", "/icon.svg")
"""What the overlay loads, which holds no secret: in another site's frame no cookie brings its token along."""

_SAFE = ("GET", "HEAD", "OPTIONS")
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Refusal:
    """Why a request goes no further: an HTTP status, and words for the person."""

    status: int
    message: str
    hint: str

    def to_response(self) -> JSONResponse:
        """Return it in the form that every error of the API has."""
        return JSONResponse({"message": self.message, "hint": self.hint}, self.status)


@dataclass(frozen=True)
class Access:
    """What a request must show to the server that is bound to `host` and `port`.

    A name in Host that is not ours is a foreign site whose name was pointed at this machine (DNS
    rebinding). A foreign Origin is another site's page that uses the visitor's browser.
    """

    host: str
    port: int
    token: str | None = None

    @property
    def cookie(self) -> str:
        """The name of the cookie that carries the token; browsers do not keep ports apart, names do."""
        return f"stylecam-{self.port}"

    def refusal(self, asked: HTTPConnection) -> Refusal | None:
        """Return why `asked` is refused, None where it is welcome."""
        if not self._is_our_host(asked.headers.getlist("host")):
            return Refusal(
                421, "this server does not answer to that name", "open the link it was started with"
            )
        if not self._is_our_page(asked):
            return Refusal(403, "another site may not do that", "open the control page itself")
        is_open = asked.scope["type"] == "http" and asked.scope["path"] in _OVERLAY_PARTS
        if self.token is not None and not is_open and not self._has_token(asked):
            return Refusal(401, "the token is missing or wrong", "open the link that the terminal shows")
        return None

    def gives_token(self, asked: HTTPConnection) -> bool:
        """Tell whether the right token stands in the link, to be kept as a cookie."""
        return self.token is not None and _equal(asked.query_params.get("token", ""), self.token)

    def _is_our_host(self, hosts: list[str]) -> bool:
        try:
            (host,) = hosts
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:  # none, several, or a port that is no number
            return False
        if parts.netloc != host or parts.username is not None:
            return False
        if is_loopback(self.host):
            return port == self.port and name in ("localhost", "127.0.0.1", "::1", self.host.lower())
        # An address cannot be pointed elsewhere, whatever port a container or router maps to ours.
        return to_address(name) is not None or name in ("localhost", self.host.lower())

    def _is_our_page(self, asked: HTTPConnection) -> bool:
        origin = asked.headers.get("origin")
        if asked.scope["type"] == "websocket":  # every browser names the page that opens one
            return origin is not None and self._is_same(origin, asked)
        if asked.scope["method"] not in _SAFE:
            return origin is None or self._is_same(origin, asked)
        if asked.headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
            return True
        # A link on another site may lead here; its pictures and frames may not come from here.
        whole_page = asked.headers.get("sec-fetch-dest", "document") == "document"
        return whole_page or asked.scope["path"] == EMBEDDABLE

    def _is_same(self, origin: str, asked: HTTPConnection) -> bool:
        scheme, _, host = origin.lower().partition("://")
        return scheme in ("http", "https") and host == asked.headers["host"].lower()

    def _has_token(self, asked: HTTPConnection) -> bool:
        scheme, _, bearer = asked.headers.get("authorization", "").partition(" ")
        given = (
            bearer.strip() if scheme.lower() == "bearer" else "",
            asked.cookies.get(self.cookie, ""),
            asked.query_params.get("token", ""),
        )
        return any(_equal(each, self.token or "") for each in given)


class Guard:
    """ASGI middleware: refuse what `access` refuses, and give every answer its security headers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        asked = HTTPConnection(scope)
        refusal = self._access.refusal(asked)
        if scope["type"] == "websocket":
            if refusal is None:
                return await self._app(scope, receive, send)
            return await WebSocket(scope, receive, send).send_denial_response(refusal.to_response())
        answer = self._app if refusal is None else refusal.to_response()
        return await answer(scope, receive, self._with_headers(send, asked))

    def _with_headers(self, send: Send, asked: HTTPConnection) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if asked.scope["path"] != EMBEDDABLE:
                    headers.setdefault("X-Frame-Options", "DENY")
                if message["status"] < 400 and self._access.gives_token(asked):
                    headers.append("Set-Cookie", self._cookie())
            await send(message)

        return send_with_headers

    def _cookie(self) -> str:
        return f"{self._access.cookie}={self._access.token}; Path=/; HttpOnly; SameSite=Strict"


def _equal(given: str, wanted: str) -> bool:
    """Compare in a time that does not depend on where the two differ."""
    return secrets.compare_digest(given.encode(), wanted.encode())
