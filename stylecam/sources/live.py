"""Sources of live runs: opened as asked for, and again where they are to be waited for."""

from __future__ import annotations

from collections.abc import Callable

from stylecam.sources.base import Source
from stylecam.sources.film import is_url
from stylecam.sources.opening import open_aside

BROWSER = "browser"
_BROWSER_SIZE = (640, 480)


def open_live_source(
    name: str,
    *,
    size_wh: tuple[int, int] | None = None,
    fps: float | None = None,
    pixel_format: str | None = None,
    at_end: str = "auto",
    say: Callable[[str], None] = lambda text: None,
) -> Source:
    """Open a camera, film, URL, "demo", or "browser" for the page's camera, paced like a camera.

    `size_wh`, `fps` and `pixel_format` (FOURCC) are asked of a camera. With `at_end` "wait" a source that
    was lost or has ended is opened again until it comes back, "auto" does so for cameras and URLs.
    Ctrl-C ends the wait for a URL that does not answer. Raises SourceOpenError.
    """
    from stylecam.sources import CameraSource, open_source

    if name == BROWSER:
        from stylecam.sources.browser import BrowserSource

        return BrowserSource(size_wh or _BROWSER_SIZE)

    def open_once() -> Source:
        source = open_source(name, live=True, size_wh=size_wh, fps=fps, pixel_format=pixel_format)
        if isinstance(source, CameraSource):
            say(f"{source.title} gives {source.given}")
        return source

    def open_whole() -> Source:
        if at_end == "wait" or (at_end == "auto" and (is_camera(name) or is_url(name))):
            from stylecam.sources.reconnect import ReconnectingSource

            return ReconnectingSource(open_once, say=say)
        return open_once()

    return open_aside(open_whole, name, say) if is_url(name) else open_whole()


def is_camera(name: str) -> bool:
    """Tell whether a name means somebody's camera, one at the page included."""
    from stylecam.sources.camera import match_camera

    return name == BROWSER or match_camera(name) is not None
