"""A film's sound, copied packet for packet into another film."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
from av.audio.stream import AudioStream
from av.container import OutputContainer

from stylecam.errors import SinkOpenError

AnyPacket: TypeAlias = "av.Packet[Any]"


class SoundCopy:
    """Every audio track of `path`, to be muxed as the picture goes. Raises SinkOpenError.

    Times are seconds from the start of that film's container, so a track that begins before or
    after the picture still does; `video_start_s` is where the picture begins.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._film = av.open(str(path))
        except (av.FFmpegError, OSError) as exc:
            raise SinkOpenError(f'the sound of "{path}" cannot be read: {exc}', "check the file") from exc
        self._path = path
        self._tracks = list(self._film.streams.audio)
        self._copies: dict[int, AudioStream] = {}
        self._start_s = (self._film.start_time or 0) / av.time_base
        self._packets = self._demux()
        self._waiting = next(self._packets, None) if self._tracks else None
        video = self._film.streams.video[0] if self._film.streams.video else None
        begins = None if video is None else _seconds(video.start_time, video.time_base)
        self.video_start_s = 0.0 if begins is None else begins - self._start_s
        lasts = None if video is None else _seconds(video.duration, video.time_base)
        self._video_end_s = math.inf if lasts is None else self.video_start_s + lasts

    def check_fits(self, codecs: set[str], suffix: str) -> None:
        """Raise SinkOpenError where the target's container cannot hold one of the tracks."""
        for track in self._tracks:
            codec = track.codec_context.codec.canonical_name
            if codec not in codecs:
                raise SinkOpenError(
                    f'the {codec} sound of "{self._path}" does not fit into {suffix}',
                    "write to a name ending in .mkv, which holds any sound",
                )

    def attach(self, output: OutputContainer) -> None:
        """Add a stream to `output` for each track, before its first packet."""
        for track in self._tracks:
            copy = output.add_stream_from_template(track)
            copy.metadata.update(track.metadata)
            self._copies[track.index] = copy

    def copy_until(self, output: OutputContainer, end_s: float) -> None:
        """Mux what begins before `end_s`; sound never runs ahead of the picture."""
        while self._waiting is not None and self._begins_s(self._waiting) < end_s:
            self._mux(output, self._waiting)
            self._waiting = next(self._packets, None)

    def finish(self, output: OutputContainer, end_s: float, frame_s: float) -> None:
        """Mux what is left of the sound up to the end of the last picture at `end_s`.

        A film that came through whole keeps all of its sound, also what outlasts the picture.
        """
        is_whole = end_s > self._video_end_s - frame_s / 2
        self.copy_until(output, math.inf if is_whole else end_s)

    def close(self) -> None:
        """Close the film the sound comes from."""
        self._film.close()

    def _demux(self) -> Iterator[AnyPacket]:
        # At the end FFmpeg gives one empty packet per stream, which only a decoder needs.
        return (packet for packet in self._film.demux(*self._tracks) if packet.size)

    def _begins_s(self, packet: AnyPacket) -> float:
        ticks = packet.dts if packet.pts is None else packet.pts
        return (_seconds(ticks, packet.time_base) or 0.0) - self._start_s

    def _mux(self, output: OutputContainer, packet: AnyPacket) -> None:
        shift = round(self._start_s / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        packet.stream = self._copies[packet.stream.index]
        output.mux(packet)


def _seconds(ticks: int | None, time_base: object) -> float | None:
    return None if ticks is None or time_base is None else float(ticks * time_base)  # type: ignore[operator]
