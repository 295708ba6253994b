"""A film's packets, at times that can be relied on where its container has none, or begins anew."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
from av.container import InputContainer
from av.stream import Stream

from stylecam.filenames import ffmpeg_name

AnyPacket: TypeAlias = "av.Packet[Any]"

_BACK_S = Fraction(1, 10)
"""What goes back less far does not begin anew; FFmpeg draws the line there too."""

_AHEAD = 100
"""Packets of sound that may come before the first picture of what begins anew."""


def demux(film: InputContainer, *streams: Stream) -> Iterator[AnyPacket]:
    """Yield the packets of `streams`; of those that `lack_times` as if decoded in the order of showing."""
    for packet in film.demux(*streams):
        if packet.dts is not None and lack_times(packet.stream):
            packet.pts = packet.dts
        yield packet


def joined(film: InputContainer, video: Stream) -> Iterator[AnyPacket]:
    """Yield the packets of `video` by one clock, as `Joints` has it."""
    joints = Joints(video)
    for packet in demux(film, video):
        yield from joints.put(packet)


def begins_anew(path: Path, index: int) -> bool:
    """Tell whether the times of a picture track jump back; reads the whole file, some 300 MB a second."""
    with av.open(ffmpeg_name(path)) as film:
        joints = Joints(film.streams[index])
        for packet in demux(film, film.streams[index]):
            joints.put(packet)
            if joints.count:
                return True
    return False


class Joints:
    """Put recordings whose files were joined, each with a clock of its own, one behind another.

    Where the times of `video` jump back, the picture goes on without a gap, and what is beside it moves by as
    much, though a packet of sound may come before the first picture there. For one thread.
    """

    def __init__(self, video: Stream) -> None:
        self._video = video.index
        self._shifts_s = [Fraction(0)]  # one for each recording
        self._ends_s = Fraction(0)
        self._numbers: dict[int, int] = {}  # the recording that each stream is in, by the stream's index
        self._came_s: dict[int, Fraction] = {}
        self._gone_s: dict[int, Fraction] = {}
        self._held: list[AnyPacket] = []

    @property
    def count(self) -> int:
        """How many times the picture has begun anew."""
        return len(self._shifts_s) - 1

    def put(self, packet: AnyPacket) -> list[AnyPacket]:
        """Take the film's next packet; return those whose place is known now, at new times."""
        if packet.dts is None:  # Matroska's first ones, and what flushes a decoder
            return [packet]
        at_s, index = packet.dts * Fraction(packet.time_base), packet.stream.index
        if at_s < self._came_s.get(index, at_s) - _BACK_S and packet.stream.type != "subtitle":
            self._numbers[index] = self._numbers.get(index, 0) + 1
        self._came_s[index] = at_s
        if self._numbers.get(index, 0) < len(self._shifts_s):
            return self._moved(packet)
        if index == self._video:
            self._shifts_s.append(self._ends_s - _shown_s(packet, at_s))
            held, self._held = self._held, []
            return [moved for one in [*held, packet] for moved in self._moved(one)]
        self._held.append(packet)
        return self.rest() if len(self._held) > _AHEAD else []

    def rest(self) -> list[AnyPacket]:
        """Return what waits for a picture that will not come: its own times jump, not the film's."""
        held, self._held = self._held, []
        for packet in held:
            self._numbers[packet.stream.index] = self.count
        return [moved for packet in held for moved in self._moved(packet)]

    def _moved(self, packet: AnyPacket) -> list[AnyPacket]:
        """Give a packet its new times; return none for sound that the recording before it goes on over."""
        index = packet.stream.index
        # Subtitles are too far apart to tell by their own times.
        number = self._numbers.get(self._video if packet.stream.type == "subtitle" else index, 0)
        shift = round(self._shifts_s[min(number, self.count)] / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = (packet.dts or 0) + shift
        at_s = packet.dts * Fraction(packet.time_base)
        if index == self._video:
            lasts_s = (packet.duration or 0) * packet.time_base or at_s - self._gone_s.get(index, at_s)
            self._ends_s = max(self._ends_s, _shown_s(packet, at_s) + lasts_s)
        elif number and at_s <= self._gone_s.get(index, at_s - 1):
            return []
        self._gone_s[index] = at_s
        return [packet]


def _shown_s(packet: AnyPacket, decoded_s: Fraction) -> Fraction:
    return decoded_s if packet.pts is None else packet.pts * Fraction(packet.time_base)


def lack_times(stream: Stream) -> bool:
    """Tell whether FFmpeg makes up when pictures are shown: AVI does not say it of H.264's."""
    context = stream.codec_context
    return (
        context is not None and context.codec.canonical_name == "h264"
        and stream.container.format.name == "avi"
    )  # fmt: skip
