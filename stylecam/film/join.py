"""Segments made one film, with the sound and all else beside them: nothing is encoded again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
from av.container import OutputContainer

from stylecam.filenames import ffmpeg_name
from stylecam.film.segments import packet_times
from stylecam.frames import Frame
from stylecam.sinks.codecs import CONTAINERS, Encoding
from stylecam.sinks.encoder import Encoder, nominal_rate, smallest_step, ticking, whole_options
from stylecam.sinks.track import AnyPacket
from stylecam.sinks.tracks import Tracks
from stylecam.sources.pyav import FilmSource


@dataclass(frozen=True)
class Piece:
    """A segment's file, and its frames' times."""

    path: Path
    times_s: list[float]


@dataclass(frozen=True)
class Timing:
    """A film's nominal rate, the tick of its times, and which part of its source it is."""

    fps: float | None
    time_base: Fraction
    starts_late: bool
    end_s: float | None


def join(target: Path, pieces: Sequence[Piece], film: Timing, tracks: Tracks | None) -> None:
    """Write the film of all pieces to `target`, whose suffix says the container.

    `tracks` have been planned for it. Raises av.FFmpegError, OSError.
    """
    if pieces[0].path.suffix != target.suffix.lower():
        _encode(target, pieces, film)
    else:
        _Joining(target, pieces, film, tracks).run()


def _encode(target: Path, pieces: Sequence[Piece], film: Timing) -> None:
    """Read lossless segments and write what cannot be joined."""
    suffix = target.suffix.lower()
    encoder = Encoder(target, suffix, fps=film.fps, encoding=Encoding(), time_base=film.time_base)
    try:
        for piece in pieces:
            with FilmSource(piece.path) as source:
                for time_s in piece.times_s:
                    frame = source.read()
                    if frame is None:
                        raise OSError(f"{piece.path} is damaged")
                    encoder.encode(Frame(frame.bgr, time_s, 0.0, frame.alpha))
        encoder.close()
    finally:
        encoder.abandon()


class _Joining:
    def __init__(self, target: Path, pieces: Sequence[Piece], film: Timing, tracks: Tracks | None) -> None:
        self._target, self._pieces, self._film, self._tracks = target, pieces, film, tracks
        self._kind = CONTAINERS[target.suffix.lower()].kind
        self._rate = nominal_rate(film.fps)
        self._tick = ticking(self._kind, self._rate, film.time_base)

    def run(self) -> None:
        """Mux everything."""
        options = whole_options(self._kind, self._tracks)
        with av.open(ffmpeg_name(self._target), "w", format=self._kind, options=options) as output:
            video = self._add_video(output)
            ticks = self._ticks(self._attach(output))
            last_s = float(ticks[-1] * self._tick)
            frame_s = float(1 / self._rate)
            whole_s = self._tracks.whole_end_s(last_s, frame_s) if self._tracks else None
            end_s = last_s + frame_s if whole_s is None else whole_s
            end = max(ticks[-1] + 1, round(Fraction(end_s) / self._tick))
            for packet in self._packets(ticks, end):
                packet.stream = video
                if self._tracks is not None:
                    self._tracks.copy_until(output, float((packet.pts or 0) * self._tick))
                output.mux(packet)
            if self._tracks is not None:
                self._tracks.finish(output, end_s if whole_s is None else math.inf)

    def _add_video(self, output: OutputContainer) -> av.VideoStream:
        with av.open(ffmpeg_name(self._pieces[0].path)) as first:
            source = first.streams.video[0]
            video = output.add_stream_from_template(source, opaque=True)
            assert isinstance(video, av.VideoStream)
            if self._kind in ("mp4", "mov"):
                video.codec_context.codec_tag = source.codec_context.codec_tag
            video.codec_context.framerate = self._rate
            if source.metadata.get("alpha_mode") == "1":
                # VP9 keeps alpha beside its pictures, of which FFmpeg's decoder says nothing.
                video.pix_fmt = "yuva420p"
        video.time_base = self._tick
        return video

    def _attach(self, output: OutputContainer) -> Fraction:
        """Add the other tracks; return when the first picture comes, in the new film's seconds."""
        if self._tracks is None:
            return Fraction(0)
        first_s = round(Fraction(self._pieces[0].times_s[0]) / self._tick) * self._tick
        video = output.streams.video[0]
        self._tracks.label_video(video)
        self._tracks.attach(output, first_s if self._film.starts_late else None, self._film.end_s)
        return self._tracks.begins_at_s(first_s)

    def _ticks(self, begins_s: Fraction) -> list[int]:
        """Return the time of every frame of the film, rising, in ticks."""
        zero = round(Fraction(self._pieces[0].times_s[0]) / self._tick) - round(begins_s / self._tick)
        least = smallest_step(self._kind, self._tick)
        ticks: list[int] = []
        for piece in self._pieces:
            for time_s in piece.times_s:
                own = round(Fraction(time_s) / self._tick) - zero
                ticks.append(own if not ticks else max(own, ticks[-1] + least))
        return ticks

    def _packets(self, ticks: list[int], end: int) -> Iterator[AnyPacket]:
        """Yield every picture's packet in the order of decoding, with its time in the film.

        Each segment was encoded for itself, so decoding times are laid anew: the times of showing, in
        order, all of them so much earlier that no picture is shown before it is decoded. So decoding takes
        as long as showing does, which is what .mp4 and .mov call a track's length.
        """
        shown = self._order()
        early = max(ticks[place] - ticks[number] for place, number in enumerate(shown))
        place = 0
        for piece in self._pieces:
            with av.open(ffmpeg_name(piece.path)) as film:
                for packet in film.demux(video=0):
                    if not packet.size or packet.pts is None:
                        continue
                    packet.pts, packet.dts = ticks[shown[place]], ticks[place] - early
                    packet.duration = _after(ticks, shown[place], end) - packet.pts
                    packet.time_base = self._tick
                    place += 1
                    if place == len(ticks) and self._kind in ("mp4", "mov"):
                        packet.duration = end - ticks[-1]  # what is decoded last is seldom shown last
                    yield packet

    def _order(self) -> list[int]:
        """Return the number in the film of each picture, in the order of decoding."""
        order: list[int] = []
        for piece in self._pieces:
            times = packet_times(piece.path)
            ranks = {pts: rank for rank, pts in enumerate(sorted(times), len(order))}
            if len(ranks) != len(piece.times_s):
                raise OSError(f"{piece.path} is damaged; delete it and the .json beside it")
            order += [ranks[pts] for pts in times]
        return order


def _after(ticks: list[int], number: int, end: int) -> int:
    return ticks[number + 1] if number + 1 < len(ticks) else end
