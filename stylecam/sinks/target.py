"""Where a stylized film goes, by its name: a film, numbered pictures, or stdout."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from stylecam.errors import SinkOpenError
from stylecam.sinks.codecs import Encoding
from stylecam.sinks.file import FileSink
from stylecam.sinks.numbered import DEFAULT_NAME, NumberedSink
from stylecam.sinks.pipe import PipeSink

STDOUT = "-"


class Origin(Protocol):
    """What a target asks of its source; FilmSource has it."""

    fps: float | None

    @property
    def path(self) -> Path | None:
        """The file to copy sound from."""

    @property
    def time_base(self) -> Fraction:
        """The tick of its times, in seconds."""


def has_one_rate(target: str) -> bool:
    """Tell whether frames go out without times, so that the source has to come at a constant rate."""
    return target == STDOUT or target.lower().endswith(".y4m")


def open_target(
    target: str,
    source: Origin,
    encoding: Encoding,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> FileSink | NumberedSink | PipeSink:
    """Open "-" (y4m to stdout), "out/%06d.png" or a folder (its name ends in /, or it exists), or a film.

    `start_s` and `end_s` are the part of `source` that comes. Raises SinkOpenError.
    """
    path = Path(target)
    is_folder = target.endswith(("/", "\\")) or (path.is_dir() and not path.suffix)
    if target == STDOUT or is_folder or "%" in path.name:
        if encoding != Encoding():
            raise SinkOpenError(
                f'"{target}" has no codec to choose', "leave --codec, --crf, --preset and --bitrate out"
            )
        if target == STDOUT:
            return PipeSink(sys.stdout.buffer, fps=source.fps)
        return NumberedSink(path / DEFAULT_NAME if is_folder else path)
    return FileSink(
        path, fps=source.fps, source_path=source.path, codec=encoding.codec, crf=encoding.crf,
        preset=encoding.preset, bitrate=encoding.bitrate, time_base=source.time_base,
        start_s=start_s, end_s=end_s,
    )  # fmt: skip
