"""The web page's server as an ASGI application, put together from its routes."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

import stylecam
from stylecam.errors import ControlError
from stylecam.web.access import Access, Guard
from stylecam.web.liverun import LiveRun
from stylecam.web.pages import page_routes
from stylecam.web.pictures import picture_routes
from stylecam.web.sockets import socket_routes
from stylecam.web.state import state_routes, style_routes

_LARGEST_BODY = 16 * 1024
_ABOUT = """
Watch and steer a live run. Errors have a `message` and a `hint`, in JSON. Where a token is asked for, give it
as `Authorization: Bearer …` or as `?token=…`, or open the link once in a browser. A request that changes
something comes from this server's own pages, or from a program that sends no `Origin`.

Beside these there are three WebSockets, for which `Origin` has to be this server's own. `/ws/frames` takes
`size`, `fps` and `fit` and sends binary messages: the frame's number and the length of its JPEG, 32 bits
each, big-endian, then the JPEG, then, for a frame with alpha, a PNG whose alpha counts. Answer each with
any text: the newest frame follows only then. `/ws/state` sends what `/api/state` gives, and the figures
as `stats`, on every change and once a second. `/ws/camera` is there with `--source browser`: send a JPEG
of the `size_wh` in its first message, wait for the answer, send the next.
"""
_HINTS = {
    404: "see /docs for what there is",
    422: "see /docs for what it takes",
    429: "wait a moment",
    503: "try again in a moment",
}


def make_app(run: LiveRun, access: Access) -> FastAPI:
    """Return the application that shows and steers `run` to whom `access` lets in."""
    app = FastAPI(
        title="stylecam",
        version=stylecam.__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        max_body_size=_LARGEST_BODY,
    )
    app.add_middleware(Guard, access=access)
    app.add_exception_handler(ControlError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse)
    app.add_exception_handler(HTTPException, _refuse)
    app.include_router(page_routes())
    app.include_router(picture_routes(run.latest))
    app.include_router(state_routes(run))
    app.include_router(style_routes(run))
    app.include_router(socket_routes(run))
    return app


async def _refuse(_request: Request, exc: Exception) -> JSONResponse:
    """Give errors one form; a body that is too large is refused before, with a plain 413."""
    if isinstance(exc, ControlError):
        return JSONResponse({"message": exc.message, "hint": exc.hint}, 422)
    if isinstance(exc, HTTPException):
        body = {"message": str(exc.detail), "hint": _HINTS.get(exc.status_code, _HINTS[404])}
        return JSONResponse(body, exc.status_code, exc.headers)
    assert isinstance(exc, RequestValidationError)
    first = exc.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return JSONResponse({"message": f"{where}: {first['msg']}", "hint": _HINTS[422]}, 422)
