"""Where frames go: a window, a film, or nowhere."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from stylecam.errors import SinkOpenError
from stylecam.meter import Meter
from stylecam.sinks.base import Sink

__all__ = ["SINKS", "Sink", "open_sink"]

SINKS = {
    "null": "stylecam.sinks.null:NullSink",
    "window": "stylecam.sinks.window:WindowSink",
    "file": "stylecam.sinks.file:FileSink",
}
"""Name to "module:Class", imported on demand; "file" goes by any name that has a suffix."""


def open_sink(
    name: str, *, fps: float | None, source_path: Path | None = None, meter: Meter | None = None
) -> Sink:
    """Open "window" or "null", or a film where the name has a suffix (.mp4, .mov, .mkv).

    `fps` is a film's nominal rate, `source_path` the film whose sound it gets, `meter` what the
    window shows. Raises SinkOpenError.
    """
    if name == "null":
        return _class(name)()
    if name == "window":
        return _class(name)(meter)
    if Path(name).suffix:
        return _class("file")(Path(name), fps=fps, source_path=source_path)
    known = ", ".join(sorted(SINKS.keys() - {"file"}))
    raise SinkOpenError(f'sink "{name}" is not known', f"use one of {known}, or a name ending in .mp4")


def _class(name: str) -> Callable[..., Sink]:
    module, _, cls = SINKS[name].partition(":")
    return cast(Callable[..., Sink], getattr(import_module(module), cls))
