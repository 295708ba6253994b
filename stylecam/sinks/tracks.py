"""Everything of a film but its pictures, carried into another film."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Disposition, Stream
from av.subtitles.stream import SubtitleStream

from stylecam.errors import SinkOpenError
from stylecam.filenames import ffmpeg_name
from stylecam.packets import Joints, demux, joined
from stylecam.sinks.codecs import CONTAINERS, Container
from stylecam.sinks.sound import EncodedSound
from stylecam.sinks.subtitles import TEXTS, ConvertedSubtitles
from stylecam.sinks.track import AnyPacket, CopiedTrack, Cut, Track, content_tags, label, span_of

if TYPE_CHECKING:
    from av.container.core import Chapter

_CONTAINER_TAGS = ("encoder", "major_brand", "minor_version", "compatible_brands")
_FAILURES = 100
"""So many times in a row may a film's reader fail before the rest of its tracks is given up."""

_TICK = Fraction(1, av.time_base)


class Tracks:
    """Sound, subtitles, chapters, attachments, cover and tags of `path`. Raises SinkOpenError.

    Tracks are copied where the container takes them, else encoded anew or left out, and `notes`
    says so. They keep their place beside the picture, which begins at `video_start_s` (seconds from
    the start of the film's container). For one thread.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._film = av.open(ffmpeg_name(path), metadata_errors="replace")
        except (av.FFmpegError, OSError) as exc:
            raise SinkOpenError(f'the sound of "{path}" cannot be read: {exc}', "check the file") from exc
        self.notes: list[str] = []
        self._path = path
        self._tracks: dict[int, Track] = {}
        self._start_s = (self._film.start_time or 0) * _TICK
        covers = [video.disposition & Disposition.attached_pic for video in self._film.streams.video]
        self._video = next(
            (v for v, cover in zip(self._film.streams.video, covers, strict=True) if not cover), None
        )
        begins = None if self._video is None else _seconds(self._video.start_time, self._video.time_base)
        self.video_start_s = Fraction(0) if begins is None else begins - self._start_s
        self._cut = Cut(self._start_s)
        self._packets: Iterator[AnyPacket] = iter(())
        self._waiting: AnyPacket | None = None
        self._damaged: dict[int, list[float]] = {}

    def plan_for(self, suffix: str) -> None:
        """Decide what becomes of each track in a film that is to end in `suffix`, before there is one."""
        container = CONTAINERS[suffix]
        for stream in [*self._film.streams.audio, *self._film.streams.subtitles]:
            track = self._plan(stream, container, suffix)
            if track is not None:
                self._tracks[stream.index] = track
        if self._film.streams.attachments and container.kind != "matroska":
            self.notes.append(f"attachments are left out: {suffix} has no place for them")
        if self._covers() and container.kind not in ("mp4", "matroska"):
            self.notes.append(f"the cover picture is left out: {suffix} has no place for it")
        self.notes += [f"the data of track {stream.index} left out" for stream in self._data()]

    def options(self, kind: str) -> dict[str, str]:
        """Return what a container (FFmpeg's name) is to be opened with, so that it holds all tags.

        Names like com.apple.quicktime.make go into a list of keys, which FFmpeg writes in place of the
        ordinary tags of .mp4: only where there are such names, for fewer programs look there.
        """
        keyed = kind in ("mp4", "mov") and any("." in name for name in self._tags())
        return {"movflags": "+faststart+use_metadata_tags"} if keyed else {}

    def lost_tags(self, film: Path) -> list[str]:
        """Return the names of the tags that did not get into a finished film."""
        with av.open(ffmpeg_name(film), metadata_errors="replace") as finished:
            kept = {name.lower() for name in finished.metadata}
        return sorted(name for name in self._tags() if name.lower() not in kept)

    def attach(self, output: OutputContainer, cut_at_s: Fraction | None, end_s: float | None) -> None:
        """Add all streams, tags and chapters to `output`, before its first packet.

        With `cut_at_s`, seconds after the first picture, the film begins there.
        """
        if cut_at_s is not None:
            zero_s = self._start_s + self.video_start_s + cut_at_s
            self._cut = Cut(zero_s, float(zero_s))
        for track in self._tracks.values():
            track.attach(output)
        output.metadata.update(self._tags())
        output.set_chapters(self._chapters(end_s))
        self._attach_files(output)
        output.mux(self._attach_covers(output))
        sources = [track.source for track in self._tracks.values()]
        if sources:
            self._packets = self._joined(sources)
            self._waiting = next(self._packets, None)

    def label_video(self, video: av.VideoStream) -> None:
        """Give the new pictures the language, title and timecode of the old."""
        if self._video is not None:
            label(video, self._video)

    def begins_at_s(self, first_s: Fraction) -> Fraction:
        """Return the time, in the new film, of a picture that comes `first_s` after the source's first."""
        return self._start_s + self.video_start_s + first_s - self._cut.zero_s

    def copy_until(self, output: OutputContainer, until_s: float) -> None:
        """Mux what begins before `until_s` of the new film; sound never runs ahead of the picture."""
        until_s += float(self._cut.zero_s)
        while self._waiting is not None and span_of(self._waiting)[0] < until_s:
            self._put(output, self._waiting)
            self._waiting = next(self._packets, None)

    def whole_end_s(self, last_s: float, frame_s: float) -> float | None:
        """Return when the source's picture ends, in the new film's seconds, if it came through whole.

        That is when a picture at `last_s` is its last one, give or take half of `frame_s`, and it ends
        `frame_s` later where the container does not say when; None if not.
        """
        if self._video is None:
            return None
        least_s = last_s + float(self._cut.zero_s) - frame_s / 2
        begins_s, ends_s = last_span(self._path, self._video.index, least_s)
        ahead_s = last_s - (begins_s - float(self._cut.zero_s))
        if ahead_s < -frame_s / 2:
            return None
        # Of the last packet how long it lasts is to be trusted: MPEG-PS miscounts times after seeking.
        lasts_s = ends_s - begins_s or frame_s
        return last_s + lasts_s if ahead_s <= frame_s / 2 else ends_s - float(self._cut.zero_s)

    def finish(self, output: OutputContainer, end_s: float) -> None:
        """Mux what is left, up to `end_s` of the new film."""
        self.copy_until(output, end_s)
        for track in self._tracks.values():
            output.mux(track.flush())
        for index, times_s in self._damaged.items():
            self.notes.append(
                f"damaged packets of track {index}: {len(times_s)} left out, the first at {times_s[0]:.3f} s"
            )

    def close(self) -> None:
        """Close the film it all comes from."""
        self._film.close()

    def _joined(self, sources: Sequence[Stream]) -> Iterator[AnyPacket]:
        """Yield the packets of these tracks by one clock, the picture's."""
        if self._video is None:
            yield from self._demuxed(sources)
            return
        joints = Joints(self._video)
        for packet in self._demuxed([*sources, self._video]):
            yield from (moved for moved in joints.put(packet) if moved.stream.index in self._tracks)
        yield from joints.rest()

    def _demuxed(self, sources: Sequence[Stream]) -> Iterator[AnyPacket]:
        """Yield the packets of these tracks, those after what cannot be read too."""
        failures = 0
        while failures < _FAILURES:
            try:
                for packet in self._film.demux(*sources):
                    if packet.size:  # at the end FFmpeg gives an empty one per stream, for decoders
                        failures = 0
                        yield packet
                return
            except av.InvalidDataError:
                failures += 1

    def _put(self, output: OutputContainer, packet: AnyPacket) -> None:
        """Hand a packet to its track; one that is damaged costs itself alone."""
        index, at_s = packet.stream.index, span_of(packet)[0] - float(self._start_s)
        try:
            output.mux(self._tracks[index].put(packet, self._cut))
        except (av.FFmpegError, ValueError) as exc:
            if isinstance(exc, (OSError, MemoryError)):  # not the packet's fault: a full disk
                raise
            self._damaged.setdefault(index, []).append(at_s)

    def _plan(self, stream: Stream, container: Container, suffix: str) -> Track | None:
        name = _codec_of(stream)
        if name and _is_held(stream, container.kind):
            return CopiedTrack(stream)
        what = f"the {name or 'unknown'} {'sound' if stream.type == 'audio' else 'subtitles'}"
        if isinstance(stream, AudioStream) and container.sound and name:
            self.notes.append(f"{what} of track {stream.index} encoded as {container.sound}, for {suffix}")
            return EncodedSound(stream, container.sound)
        if isinstance(stream, SubtitleStream) and container.subtitles and name in TEXTS:
            self.notes.append(f"{what} of track {stream.index} turned into {container.subtitles}")
            return ConvertedSubtitles(stream, container.subtitles)
        self.notes.append(f"{what} of track {stream.index} left out: {suffix} cannot hold it")
        return None

    def _tags(self) -> dict[str, str]:
        """Return the film's own tags."""
        tags = content_tags(self._film.metadata)
        return {name: tags[name] for name in tags if name.lower() not in _CONTAINER_TAGS}

    def _data(self) -> list[Stream]:
        """Return the tracks of neither pictures, sound nor text, which nobody carries over.

        Chapters and timecodes have such a track in .mp4 too; they are written anew.
        """
        chapters = bool(self._film.chapters())
        found = [stream for stream in self._film.streams if stream.type == "data"]
        return [
            stream for stream in found
            if "timecode" not in stream.metadata and not (chapters and stream.name == "bin_data")
        ]  # fmt: skip

    def _covers(self) -> list[av.VideoStream]:
        return [v for v in self._film.streams.video if v.disposition & Disposition.attached_pic]

    def _attach_files(self, output: OutputContainer) -> None:
        if output.format.name == "matroska":
            for file in self._film.streams.attachments:
                name = file.metadata.get("filename", f"attachment-{file.index}")
                output.add_attachment(name, file.mimetype or "application/octet-stream", file.data)

    def _attach_covers(self, output: OutputContainer) -> list[AnyPacket]:
        """Add the cover pictures, which Matroska keeps as files; return what is to be muxed first."""
        packets: list[AnyPacket] = []
        for cover in self._covers():
            picture = _first_packet(self._path, cover.index)
            suffix = {"mjpeg": "jpeg", "png": "png"}.get(_codec_of(cover))
            if picture is None or suffix is None:
                continue
            if output.format.name == "matroska":
                output.add_attachment(f"cover.{suffix}", f"image/{suffix}", bytes(picture))
            elif output.format.name == "mp4":
                picture.stream = output.add_stream_from_template(cover)
                picture.stream.disposition = Disposition.attached_pic
                packets.append(picture)
        return packets

    def _chapters(self, end_s: float | None) -> list[Chapter]:
        """Return the chapters in the new film's time, without those that lie outside of it."""
        first_s = float(self._cut.zero_s - self._start_s)
        last_s = math.inf if end_s is None else float(self.video_start_s) + end_s
        kept: list[Chapter] = []
        for chapter in self._film.chapters():
            base = chapter["time_base"] or Fraction(1, 1000)
            begin_s = max(float(chapter["start"] * base) - float(self._start_s), first_s)
            until_s = min(float(chapter["end"] * base) - float(self._start_s), last_s)
            if begin_s < until_s:
                moved: Chapter = {**chapter}
                moved["start"] = round(Fraction(begin_s - first_s) / base)
                moved["end"] = round(Fraction(until_s - first_s) / base)
                kept.append(moved)
        return kept


def _is_held(stream: Stream, kind: str) -> bool:
    """Tell whether a container (FFmpeg's name) takes a track as it is.

    Its list of codecs holds some that it refuses when its header is written, as .mov does FLAC and Opus.
    """
    try:
        with av.open(BytesIO(), "w", format=kind) as output:
            CopiedTrack(stream).attach(output)
            output.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def last_span(path: Path, index: int, least_s: float) -> tuple[float, float]:
    """Return when the last packet of a stream begins and ends, by looking at the end of the file.

    The whole is read where that one begins before `least_s`: a film that is joined from several counts anew.
    """
    spans: list[tuple[float, float]] = []
    for seeks in (True, False):
        with suppress(av.FFmpegError, OSError), av.open(ffmpeg_name(path)) as film:
            if seeks and film.duration:
                film.seek(film.duration + (film.start_time or 0))
            stream = film.streams[index]
            packets = demux(film, stream) if seeks else joined(film, stream)
            spans = [span_of(packet) for packet in packets if packet.size and not packet.is_discard]
        if max(spans, default=(-math.inf, 0.0))[0] >= least_s:
            break
    return max(spans, default=(math.inf, math.inf))


def _first_packet(path: Path, index: int) -> AnyPacket | None:
    with av.open(ffmpeg_name(path)) as film:
        return next((packet for packet in film.demux(film.streams[index]) if packet.size), None)


def _codec_of(stream: Stream) -> str:
    context = stream.codec_context
    return "" if context is None else context.codec.canonical_name


def _seconds(ticks: int | None, time_base: Fraction | None) -> Fraction | None:
    return None if ticks is None or time_base is None else ticks * Fraction(time_base)
