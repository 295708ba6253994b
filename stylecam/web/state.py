"""The API's settings, styles and figures."""

from __future__ import annotations

import time
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Body, HTTPException, Response

from stylecam.errors import ControlError
from stylecam.web.coding import View, to_jpeg
from stylecam.web.liverun import LiveRun

_PREVIEW = View((320, 320))
_PAUSE_S = 0.2
"""So long after a snapshot no other is asked for: each is a file on the disk."""

_EXAMPLE = {"style": "starry:0.6,wave:0.4", "strength": 0.8, "mirror": True}


def state_routes(run: LiveRun) -> APIRouter:
    """Return the routes under /api/state, /api/stats, /api/snapshot and /api/quit."""
    router = APIRouter(tags=["state"])
    asked_s = [-_PAUSE_S]

    @router.get("/api/state")
    async def read_state() -> dict[str, Any]:
        """Return the settings, and what they may be."""
        return run.state()

    @router.patch("/api/state")
    async def change_state(changes: Annotated[dict[str, Any], Body(examples=[_EXAMPLE])]) -> dict[str, Any]:
        """Change some of the settings: all that are given, or none where one is wrong."""
        _change(run, changes)
        return run.state()

    @router.get("/api/stats")
    async def read_stats() -> dict[str, Any]:
        """Return the figures of the run: rates, latencies, losses, and each sink's."""
        return dict(run.stats())

    @router.post("/api/snapshot", status_code=202)
    async def ask_snapshot() -> dict[str, bool]:
        """Ask for the next frame to be kept as a PNG, in the folder that was chosen at the start."""
        if time.monotonic() - asked_s[0] < _PAUSE_S:
            raise HTTPException(429, "a snapshot was asked for a moment ago")
        asked_s[0] = time.monotonic()
        run.controls.ask_snapshot()
        return {"asked": True}

    @router.post("/api/quit", status_code=202)
    async def end_run() -> dict[str, bool]:
        """End the run: recordings are closed and kept, streams and the virtual camera go off the air."""
        run.controls.quit()
        return {"ending": True}

    return router


def style_routes(run: LiveRun) -> APIRouter:
    """Return the routes under /api/styles."""
    router = APIRouter(tags=["styles"])

    @router.get("/api/styles")
    async def list_styles() -> list[dict[str, Any]]:
        """Return the styles to choose from, in the order of their keys, and which have a preview by now."""
        return [
            {
                "name": name,
                "preview": f"/api/styles/{quote(name, safe='')}/preview.jpg",
                "ready": run.previews(name) is not None,
            }
            for name in run.controls.styles
        ]

    @router.get("/api/styles/{name}/preview.jpg", response_class=Response)
    async def show_preview(name: str) -> Response:
        """Return a small picture of the camera in that style, as JPEG."""
        if name not in run.controls.styles:
            raise HTTPException(404, "there is no such style")
        bgr = run.previews(name)
        if bgr is None:
            raise HTTPException(503, "there is no preview of that style yet", {"Retry-After": "2"})
        jpeg = await run.latest.run(lambda: to_jpeg(bgr, _PREVIEW))
        return Response(jpeg, media_type="image/jpeg")

    return router


def _change(run: LiveRun, changes: dict[str, Any]) -> None:
    known = run.controls.to_dict()
    unknown = [name for name in changes if name not in known]
    if unknown:  # looked at here too: "self" would be no setting but a clash of arguments
        raise ControlError(f"there is no setting {unknown[0][:40]!r}", f"known: {', '.join(known)}")
    try:
        run.controls.change(**changes)
    except OverflowError as exc:
        raise ControlError("that number is out of range", "see the ranges in /api/state") from exc
