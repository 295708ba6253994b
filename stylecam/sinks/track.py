"""A track of a film, carried packet by packet into another film."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
from av.container import OutputContainer
from av.stream import Stream

AnyPacket: TypeAlias = "av.Packet[Any]"

_OWN_TAGS = ("encoder", "duration", "bps", "number_of_", "_statistics", "rotate", "alpha_mode")
"""What a writer says of its own work, not of the content; each container's writer adds it anew."""


@dataclass(frozen=True)
class Cut:
    """Which part is kept, in seconds of the source's container: `zero_s` becomes the new film's 0.

    What ends before `begin_s` is left out.
    """

    zero_s: Fraction = Fraction(0)
    begin_s: float = -math.inf


_QUICKTIME_LANGUAGES = {
    "deu": "ger", "nld": "dut", "swe": "sve", "ell": "gre",
    "isl": "ice", "zho": "chi", "sqi": "alb", "mkd": "mac",
}  # fmt: skip
"""QuickTime's own codes, where FFmpeg's .mov writer would drop those of ISO 639-2."""


class Track(ABC):
    """One track on its way. `attach`, then `put` for each packet, then `flush`."""

    def __init__(self, source: Stream) -> None:
        self.source = source

    @abstractmethod
    def attach(self, output: OutputContainer) -> None:
        """Add a stream for it to `output`, before that has its first packet."""

    @abstractmethod
    def put(self, packet: AnyPacket, cut: Cut) -> list[AnyPacket]:
        """Take one packet of the source; return what is to be muxed.

        Raises av.FFmpegError for a damaged one, ValueError for one of another rate or layout.
        """

    def flush(self) -> list[AnyPacket]:
        """Return what is still held back, once the last packet is in."""
        return []


class CopiedTrack(Track):
    """Bit for bit. In containers with edit lists the sound keeps the packet that a cut goes through."""

    def attach(self, output: OutputContainer) -> None:
        """Add a stream like the source's."""
        self._copy = output.add_stream_from_template(self.source)
        label(self._copy, self.source)
        self._edits = output.format.name in ("mp4", "mov")

    def put(self, packet: AnyPacket, cut: Cut) -> list[AnyPacket]:
        """Give the packet its new time."""
        begin_s, end_s = span_of(packet)
        if (end_s if self._edits else begin_s) <= cut.begin_s and begin_s < cut.begin_s:
            return []
        shift = round(cut.zero_s / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        packet.stream = self._copy
        return [packet]


def label(copy: Stream, source: Stream) -> None:
    """Give `copy` the language, title and role of `source`."""
    copy.metadata.update(content_tags(source.metadata))
    language = copy.metadata.get("language", "")
    if copy.container.format.name == "mov" and language in _QUICKTIME_LANGUAGES:
        copy.metadata["language"] = _QUICKTIME_LANGUAGES[language]
    copy.disposition = source.disposition


def content_tags(metadata: dict[str, str]) -> dict[str, str]:
    """Return the tags that speak of the content."""
    return {key: value for key, value in metadata.items() if not key.lower().startswith(_OWN_TAGS)}


def span_of(packet: AnyPacket) -> tuple[float, float]:
    """Return when a packet begins and ends, in seconds of its container."""
    ticks = packet.dts if packet.pts is None else packet.pts
    begin_s = float((ticks or 0) * packet.time_base)
    return begin_s, begin_s + float((packet.duration or 0) * packet.time_base)
