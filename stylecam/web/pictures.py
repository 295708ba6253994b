"""The picture over plain HTTP: one JPEG, or a stream of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Response

from stylecam.web.coding import LARGEST_WH, View, parse_size
from stylecam.web.latest import Latest
from stylecam.web.stream import MjpegResponse

MOST_FPS = 60.0

Size = Annotated[str, Query(pattern=r"^\d{1,5}x\d{1,5}$", description="the largest size, as 640x480")]
Fps = Annotated[float, Query(ge=0.1, le=MOST_FPS, description="the most frames a second")]
Fit = Annotated[
    str,
    Query(
        pattern="^(contain|cover|fill)$", description="whether the picture lies within that size or fills it"
    ),
]
WHOLE = f"{LARGEST_WH[0]}x{LARGEST_WH[1]}"


def view_of(size: str, fit: str = "contain") -> View:
    """Return the view that a client's query asks for."""
    return View(parse_size(size), cover=fit != "contain")


def picture_routes(latest: Latest) -> APIRouter:
    """Return /snapshot.jpg and /stream.mjpg."""
    router = APIRouter(tags=["pictures"])

    @router.get("/snapshot.jpg", response_class=Response)
    async def snapshot(size: Size = WHOLE) -> Response:
        """Return the newest frame as JPEG."""
        jpeg = await latest.jpeg(view_of(size))
        if jpeg is None:
            raise HTTPException(503, "there is no frame yet", {"Retry-After": "1"})
        return Response(jpeg, media_type="image/jpeg")

    @router.get("/stream.mjpg", response_class=Response)
    async def stream(size: Size = WHOLE, fps: Fps = MOST_FPS) -> Response:
        """Return the frames as they come, as multipart JPEG."""
        if latest.is_full:
            raise HTTPException(503, "too many are watching already", {"Retry-After": "5"})
        return MjpegResponse(latest, view_of(size), fps)

    return router
