"""Where frames go: a window, a page, a film, a stream, a virtual camera, or nowhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from stylecam.controls import Controls
from stylecam.errors import SinkOpenError
from stylecam.frames import Pixels
from stylecam.sinks.base import Sink
from stylecam.sinks.spec import SinkSpec

if TYPE_CHECKING:
    from stylecam.sinks.microphone import Microphone

__all__ = ["SINKS", "LiveLinks", "Sink", "SinkSpec", "kind_of", "open_live_sink", "open_sink"]

SINKS = {
    "null": "stylecam.sinks.null:NullSink",
    "window": "stylecam.sinks.window:WindowSink",
    "web": "stylecam.sinks.web:WebSink",
    "virtualcam": "stylecam.sinks.virtualcam:VirtualCamSink",
    "stream": "stylecam.sinks.stream:StreamSink",
    "file": "stylecam.sinks.file:FileSink",
}
"""Kind to "module:Class", imported on demand."""

STREAMS = ("rtmp://", "rtmps://", "srt://", "udp://")
_FALLBACK_FPS = 30.0
_FASTEST_FPS = 240.0
"""Films without a rate claim others: 1000 for milliseconds."""


@dataclass(frozen=True)
class LiveLinks:
    """What the sinks of a live run share with it.

    `figures` is a line or two for people, `stats` all figures for programs, `previews` a small picture in a
    style; `page` holds where the page is served, as WebSink's keywords, `sound` what
    streams carry beside the picture, and recordings too where there is a `microphone`.
    """

    controls: Controls
    stats: Callable[[], Mapping[str, Any]]
    figures: Callable[[], str]
    previews: Callable[[str], Pixels | None]
    say: Callable[[str], None]
    page: Mapping[str, Any]
    sound: str = "silent"
    microphone: Microphone | None = None


def kind_of(name: str) -> str:
    """Return the kind of sink that a name means: a kind itself, a stream's URL, or a film's path.

    Raises SinkOpenError.
    """
    if name in SINKS and name not in ("file", "stream"):
        return name
    if name.startswith(STREAMS):
        return "stream"
    if "://" in name:
        known = ", ".join(STREAMS)
        raise SinkOpenError(f'sink "{name}" is no address that can be streamed to', f"known: {known}")
    if Path(name).suffix:
        return "file"
    known = ", ".join(sorted(SINKS.keys() - {"file", "stream"}))
    raise SinkOpenError(
        f'sink "{name}" is not known', f"use one of {known}, a name ending in .mp4, or an rtmp:// address"
    )


def open_sink(name: str, *, fps: float | None, source_path: Path | None = None) -> Sink:
    """Open "window" or "null", or a film where the name has a suffix (.mp4, .mov, .mkv).

    `fps` is a film's nominal rate, `source_path` the film whose sound it gets. Raises SinkOpenError.
    """
    kind = kind_of(name)
    return _class(kind)(Path(name), fps=fps, source_path=source_path) if kind == "file" else _class(kind)()


def open_live_sink(spec: SinkSpec, links: LiveLinks, *, fps: float | None) -> Sink:
    """Open any sink for a live run at `fps`, where it has no rate of its own. Raises SinkOpenError."""
    usual = fps if fps is not None and 1 <= fps <= _FASTEST_FPS else _FALLBACK_FPS
    kind, rate = kind_of(spec.name), spec.fps or usual
    if kind == "file":
        return _open_recording(spec, links, rate)
    make = _class(kind)
    if kind == "window":
        return make(links.controls, links.figures)
    if kind == "web":
        return make(links.controls, links.stats, previews=links.previews, **links.page)
    if kind == "virtualcam":
        return make(size_wh=spec.size_wh, fps=rate)
    if kind == "stream":
        return make(
            spec.name, size_wh=spec.size_wh, fps=rate, bitrate=spec.bitrate,
            sound=links.sound, microphone=links.microphone, say=links.say,
        )  # fmt: skip
    return make()


def _open_recording(spec: SinkSpec, links: LiveLinks, fps: float) -> Sink:
    from stylecam.sinks.recording import RecordingSink

    sink = RecordingSink(
        Path(spec.name), fps=fps, bitrate=spec.bitrate, microphone=links.microphone,
        say=lambda text: links.say(f"{spec.name}: {text}"),
    )  # fmt: skip
    for note in sink.notes:
        links.say(f"{spec.name}: {note}")
    return sink


def _class(kind: str) -> Callable[..., Sink]:
    module, _, cls = SINKS[kind].partition(":")
    return cast(Callable[..., Sink], getattr(import_module(module), cls))
