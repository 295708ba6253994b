"""The pages and their parts: a fixed list of files, so that no request names a path."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from stylecam.web.reference import reference_page

_FOLDER = Path(__file__).parent / "static"
_PARTS = (
    "page.css", "page.js", "frames.js", "camera.js", "charts.js",
    "overlay.css", "overlay.js", "reference.css", "icon.svg",
)  # fmt: skip
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def page_routes() -> APIRouter:
    """Return the control page, the overlay, the API's reference and the files that they load."""
    router = APIRouter(include_in_schema=False)
    pages = {name: (_FOLDER / name).read_text(encoding="utf-8") for name in ("page.html", "overlay.html")}

    @router.get("/")
    async def control_page(request: Request) -> Response:
        return _page(pages["page.html"], request)

    @router.get("/overlay")
    async def overlay(request: Request) -> Response:
        # OBS puts the person's own style sheet into the page, and other pages may hold it in a frame.
        return _page(pages["overlay.html"], request, styles="'self' 'unsafe-inline'", frames="*")

    @router.get("/docs")
    async def reference(request: Request) -> Response:
        return _page(reference_page(request.app.openapi()), request)

    for name in _PARTS:
        _add_part(router, name)
    return router


def _add_part(router: APIRouter, name: str) -> None:
    content, media_type = (_FOLDER / name).read_bytes(), _TYPES[Path(name).suffix]

    @router.get(f"/{name}")
    async def part() -> Response:
        return Response(content, media_type=media_type)


def _page(html: str, request: Request, *, styles: str = "'self'", frames: str = "'none'") -> Response:
    """Return a page that loads nothing from elsewhere and talks to this server alone."""
    host = request.headers["host"]  # looked at already; some browsers do not count ws: as 'self'
    policy = (
        f"default-src 'none'; script-src 'self'; style-src {styles}; img-src 'self' blob: data:; "
        f"connect-src 'self' ws://{host} wss://{host}; media-src blob:; base-uri 'none'; "
        f"form-action 'none'; frame-ancestors {frames}"
    )
    headers = {"Content-Security-Policy": policy, "Permissions-Policy": "camera=(self), microphone=()"}
    return HTMLResponse(html, headers=headers)
