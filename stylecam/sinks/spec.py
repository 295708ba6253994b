"""How a sink is written on the command line: its name, and after a # its own size and rate."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from stylecam.errors import SinkOpenError
from stylecam.frames import check_size

_HINT = "write it like take.mp4#size=1280x720,fps=25,bitrate=4M; every part may be left out"
_FACTORS = {"": 1, "k": 1_000, "M": 1_000_000}


@dataclass(frozen=True)
class SinkSpec:
    """A sink's name (a kind, path or URL) and what it alone gets: None is as the others.

    `bitrate` is in bits a second.
    """

    name: str
    size_wh: tuple[int, int] | None = None
    fps: float | None = None
    bitrate: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "NAME" or "NAME#size=WxH,fps=N,bitrate=NM"; a # in a name that ends in none of these stays.

        Raises SinkOpenError.
        """
        name, hash_, own = text.rpartition("#")
        if not hash_ or "=" not in own:
            return cls(text)
        parts = dict(part.partition("=")[::2] for part in own.split(","))
        if unknown := [key for key in parts if key not in ("size", "fps", "bitrate")]:
            raise SinkOpenError(f'sink "{text}": {unknown[0]!r} is unknown', _HINT)
        return cls(name, _size(text, parts.get("size")), _rate(text, parts.get("fps")), _bits(text, parts))


def _size(text: str, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", value)
    if match is None:
        raise SinkOpenError(f'sink "{text}": {value!r} is no size', _HINT)
    return check_size((int(match[1]), int(match[2])), "size of a sink")


def _rate(text: str, value: str | None) -> float | None:
    if value is None:
        return None
    match = re.fullmatch(r"\d+(\.\d+)?", value)
    if match is None or not 0 < float(value) <= 240:
        raise SinkOpenError(f'sink "{text}": {value!r} is no rate', _HINT)
    return float(value)


def _bits(text: str, parts: dict[str, str]) -> int | None:
    if "bitrate" not in parts:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kM]?)", parts["bitrate"])
    if match is None or float(match[1]) <= 0:
        raise SinkOpenError(f'sink "{text}": {parts["bitrate"]!r} is no bitrate', _HINT)
    return round(float(match[1]) * _FACTORS[match[2]])
