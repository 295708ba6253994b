"""Where frames come from: a camera, a film, a URL or the demo clip."""

from __future__ import annotations

from stylecam.sources.base import Source
from stylecam.sources.camera import CameraSource, find_cameras
from stylecam.sources.demo import DemoSource
from stylecam.sources.film import FileSource
from stylecam.sources.paced import PacedSource

__all__ = [
    "CameraSource",
    "DemoSource",
    "FileSource",
    "PacedSource",
    "Source",
    "find_cameras",
    "open_source",
]


def open_source(name: str, *, live: bool, size_wh: tuple[int, int] | None = None) -> Source:
    """Open "0" to "99" as a camera, "demo", anything with :// as a URL, the rest as a path.

    With `live` a film is paced like a camera. `size_wh` is asked of a camera and of the demo; a
    film keeps its size and the reader scales it. Raises SourceOpenError.
    """
    if name.isascii() and name.isdigit() and len(name) <= 2:
        return CameraSource(int(name), size_wh)
    source = DemoSource(size_wh) if name == "demo" else FileSource(name)
    return PacedSource(source) if live else source
