"""Where frames come from: a camera, a film, a URL or the demo clip."""

from __future__ import annotations

from pathlib import Path

from stylecam.errors import SourceOpenError
from stylecam.sources.arriving import ArrivingSource
from stylecam.sources.base import Source
from stylecam.sources.camera import CameraInfo, CameraSource, camera_hint, find_cameras, match_camera
from stylecam.sources.demo import DemoSource
from stylecam.sources.film import FileSource
from stylecam.sources.paced import PacedSource

__all__ = [
    "CameraInfo",
    "CameraSource",
    "DemoSource",
    "FileSource",
    "PacedSource",
    "Source",
    "find_cameras",
    "match_camera",
    "open_source",
]

_ARRIVING = ("rtsp://", "rtsps://", "rtmp://", "rtmps://", "rtp://", "srt://", "udp://")
"""What comes over these comes at its own pace already."""

_WEB = ("http://", "https://")


def open_source(
    name: str,
    *,
    live: bool,
    size_wh: tuple[int, int] | None = None,
    fps: float | None = None,
    pixel_format: str | None = None,
) -> Source:
    """Open "demo", anything with :// as a URL, an existing path as a film, the rest as a camera.

    A camera is a number from 0 to 99, its name or a part of that. With `live` a film is paced like
    a camera, and a stream read as it comes. `size_wh` is asked of a camera and of the demo, `fps` and
    `pixel_format` of a camera; a film keeps its size and the reader scales it. Raises SourceOpenError.
    """
    if (camera := match_camera(name)) is not None:
        return CameraSource(camera, size_wh, fps, pixel_format)
    if name != "demo" and "://" not in name and not (Path(name).suffix or Path(name).exists()):
        raise SourceOpenError(f'"{name}" is no camera and no film', camera_hint())
    source = DemoSource(size_wh) if name == "demo" else FileSource(name)
    return _as_live(source, name) if live else source


def _as_live(source: FileSource | DemoSource, name: str) -> Source:
    """Give a film the pace of a camera, and leave a stream the one that it has."""
    if isinstance(source, DemoSource) or not _arrives(source, name):
        return PacedSource(source)
    if name.startswith(_WEB) and source.is_motion_jpeg:
        return ArrivingSource(source)
    source.is_live = True  # pacing would keep the seconds that FFmpeg gathers on opening, as latency
    return source


def _arrives(source: FileSource, name: str) -> bool:
    """Tell a stream that comes at its own pace from a film, which comes as fast as it is read.

    Over HTTP that is what has no length (a film of which neither server nor container tell it passes for
    a stream too). HLS has none either while it is live, but comes as segments of some seconds, each at
    once and then nothing: paced by its times it plays evenly, as in any player.
    """
    if name.startswith(_WEB):
        return not source.has_length and ".m3u8" not in name
    return name.startswith(_ARRIVING)
