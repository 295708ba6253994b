"""Pictures compressed, and all other tracks beside them, written into an open container."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import cv2  # before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation

from stylecam.filenames import ffmpeg_name
from stylecam.frames import Frame, Pixels, resize, size_of
from stylecam.sinks.codecs import CONTAINERS, Encoding, Plan, plan_encoding
from stylecam.sinks.lipsync import SoundTrack
from stylecam.sinks.palette import Palette
from stylecam.sinks.priority import ordinary_priority
from stylecam.sinks.track import AnyPacket
from stylecam.sinks.tracks import Tracks

_TIME_BASE = Fraction(1, 120_000)
"""Whole ticks for 24, 25, 30, 50 and 60 fps, for 24000/1001 and its kin, and for milliseconds."""

_COARSEST = Fraction(1, 10_000)
"""A film's own tick is divided until it is this fine, so that pictures can be placed beside sound."""

_FALLBACK_FPS = 30.0
_X265_DELAY = 2
"""Frames after which x265 knows by how much decoding runs ahead; a shorter film has no B-frames."""

_WHOLE = {
    # The index in front, so that the film plays while it loads.
    "mp4": {"movflags": "+faststart"},
    "mov": {"movflags": "+faststart"},
}
_GROWING = {
    # Fragments that play as they are; at the end they become an ordinary film.
    "mp4": {"movflags": "+hybrid_fragmented+frag_keyframe+delay_moov", "frag_duration": "500000"},
    "mov": {"movflags": "+hybrid_fragmented+frag_keyframe+delay_moov", "frag_duration": "500000"},
    "matroska": {"cluster_time_limit": "500"},
    "webm": {"cluster_time_limit": "500"},
}
"""For a film that must play however it ends: half a second, in FFmpeg's µs and ms, is lost at most."""

_KEY_FRAMES_S = 2
_PRECISE = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.FULL_CHR_H_INT
)


def to_bt709(bgr: Pixels, pix_fmt: str) -> av.VideoFrame:
    """Return a picture as limited-range BT.709 in FFmpeg's `pix_fmt`, for a stream tagged by `tag_bt709`.

    `bgr` is (H, W, 3), or (H, W, 4) with alpha last.
    """
    layout = "bgr24" if bgr.shape[2] == 3 else "bgra"
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(bgr), format=layout)
    return picture.reformat(
        format=pix_fmt,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        dst_colorspace=Colorspace.ITU709,
        interpolation=_PRECISE,
    )


def to_y4m(bgr: Pixels, pix_fmt: str) -> av.VideoFrame:
    """Return a picture for y4m, which cannot state its matrix: the one that players take for its size."""
    small = bgr.shape[1] < 1280 and bgr.shape[0] <= 576
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(bgr), format="bgr24").reformat(
        format=pix_fmt,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        dst_colorspace=Colorspace.ITU601 if small else Colorspace.ITU709,
        interpolation=_PRECISE,
    )


def to_rgb(bgr: Pixels, pix_fmt: str) -> av.VideoFrame:
    """Return a picture as it is, its channels in FFmpeg's order `pix_fmt`, "rgb24" or "rgba"."""
    code = cv2.COLOR_BGR2RGB if pix_fmt == "rgb24" else cv2.COLOR_BGRA2RGBA
    return av.VideoFrame.from_ndarray(np.asarray(cv2.cvtColor(bgr, code), np.uint8), format=pix_fmt)


def tag_bt709(video: av.VideoStream) -> None:
    """Say in the stream which colours it has; players guess BT.601 for small pictures."""
    context = video.codec_context
    context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709


def nominal_rate(fps: float | None) -> Fraction:
    """Return frames per second as the fraction that is meant: 23.976 is 24000/1001."""
    return Fraction(fps or _FALLBACK_FPS).limit_denominator(1001)


def ticking(kind: str, rate: Fraction, time_base: Fraction | None) -> Fraction:
    """Return the tick in seconds that a container (FFmpeg's name) counts a film's times in."""
    if kind == "yuv4mpegpipe":
        return 1 / rate
    if kind == "gif":
        return Fraction(1, 100)
    time_base = time_base or _TIME_BASE
    return time_base / math.ceil(time_base / _COARSEST)


def smallest_step(kind: str, tick: Fraction) -> int:
    """Return how many ticks frames lie apart at least: Matroska counts whole milliseconds.

    Players take 10 ms in a GIF for 100.
    """
    if kind == "gif":
        return 2
    least_s = Fraction(1, 1000) if kind in ("matroska", "webm") else tick
    return math.ceil(least_s / tick)


def whole_options(kind: str, tracks: Tracks | None) -> dict[str, str]:
    """Return what a film that is written in one go is opened with, in a container by FFmpeg's name."""
    return _WHOLE.get(kind, {}) | (tracks.options(kind) if tracks else {})


class Encoder:
    """One film under way: frames in, a playable film at `close`. For one thread.

    `suffix` says which container, `target` where it goes. Opens the streams at the first frame, whose
    size holds for all, and so does whether it has alpha. Colours become limited-range BT.709, tagged as
    such. Frames keep their times, in ticks of `time_base`. With `start_s` > 0 the film begins with
    its first frame, else where the source of `tracks` does. If the `encoding` is live, frames must come
    at the constant rate `fps`; all that is on the disk plays at any moment, but for the last second, and
    there is a key frame every two. `notes` says what could not be kept and what was chosen. `plan` is what
    `plan_encoding` made of the rest. `sound` goes into a film that has no `tracks`. Raises SinkOpenError
    for what does not fit, else av.FFmpegError and OSError.
    """

    def __init__(
        self,
        target: Path | BinaryIO,
        suffix: str,
        *,
        fps: float | None,
        encoding: Encoding,
        tracks: Tracks | None = None,
        time_base: Fraction | None = None,
        start_s: float = 0.0,
        end_s: float | None = None,
        plan: Plan | None = None,
        sound: SoundTrack | None = None,
    ) -> None:
        container = CONTAINERS[suffix]
        self._suffix, self._kind = suffix, container.kind
        self._rate = nominal_rate(fps)
        self._time_base = ticking(container.kind, self._rate, time_base)
        self._smallest = smallest_step(container.kind, self._time_base)
        self._tracks, self._is_part, self._end_s = tracks, start_s > 0, end_s
        self._plan = plan or plan_encoding(container, suffix, encoding)
        self._notes = [self._plan.note] if self._plan.note else []
        self._held: Frame | None = None
        self._painted: Frame | None = None
        self._zero = 0
        self._last = -1
        self._count = 0
        self._live = encoding.live
        self._sound = sound if container.sound else None
        if sound is not None and self._sound is None:
            self._notes.append(f"no sound: {suffix} holds none")
        name = ffmpeg_name(target) if isinstance(target, Path) else target
        options = whole_options(container.kind, tracks)
        if self._live:
            options = {"flush_packets": "1", **_GROWING.get(container.kind, {})}
        self._output = av.open(name, "w", format=container.kind, options=options)
        if tracks is not None:
            tracks.plan_for(suffix)

    @property
    def notes(self) -> list[str]:
        """What was chosen, and what could not be kept, a line each."""
        return [*self._notes, *(self._tracks.notes if self._tracks else [])]

    def encode(self, frame: Frame) -> None:
        """Take one frame; encode the one before, whose end is known now, with the sound up to there.

        One with the pixels of the one before is that picture for longer: it has no sound of its own.
        """
        is_new = self._held is None or not _is_same(frame, self._held)
        if self._held is None:
            self._open_streams(frame)
        else:
            self._encode(self._held, self._ticks(frame.timestamp_s))
        if self._sound is not None and is_new:
            self._sound.place(float(self._ticks(frame.timestamp_s) * self._time_base), frame.captured_s)
        self._held = frame

    def close(self) -> None:
        """Encode the last frame, flush the encoder and the sound, and write the container's index."""
        if self._held is not None:
            frame_s = float(1 / self._rate)
            last = max(self._ticks(self._held.timestamp_s), self._last + self._smallest)
            last_s = float(last * self._time_base)
            # A film that came through whole ends as its source does, and keeps all of its sound.
            whole_s = self._tracks.whole_end_s(last_s, frame_s) if self._tracks else None
            end_s = last_s + frame_s if whole_s is None else whole_s
            end = max(last + 1, round(Fraction(end_s) / self._time_base))
            self._encode(self._held, end)
            packets = self._video.encode(None)
            if packets and self._kind in ("mp4", "mov"):
                # There a track is as long as what is decoded last, which is seldom what is shown last.
                packets[-1].duration = round((end - last) * self._time_base / packets[-1].time_base)
            if self._count <= _X265_DELAY and self._plan.encoder == "libx265":
                for packet in packets:  # it reads memory it never wrote, for want of a third frame
                    packet.dts = packet.pts
            self._mux(packets)
            if self._sound is not None:
                self._sound.finish(self._output, float(end * self._time_base))
            if self._tracks is not None:
                self._tracks.finish(self._output, end_s if whole_s is None else math.inf)
        self._output.close()

    def abandon(self) -> None:
        """Close the file handle whatever state the film is in."""
        with suppress(av.FFmpegError, OSError):  # it is thrown away in any case
            self._output.close()

    def _encode(self, frame: Frame, end: int) -> None:
        if self._painted is None or not _is_same(frame, self._painted):
            self._painted, self._picture = frame, self._paint(self._pixels(frame))
        picture = self._picture
        self._last = max(self._ticks(frame.timestamp_s), self._last + self._smallest)
        picture.pts, picture.time_base = self._last, self._time_base
        picture.duration = max(1, end - self._last)
        self._count += 1
        with ordinary_priority() if self._count == 1 else nullcontext():  # the first one opens it
            packets = self._video.encode(picture)
        self._mux(packets)

    def _open_streams(self, first: Frame) -> None:
        self._size_wh = size_of(first.bgr)
        self._alpha = first.alpha is not None and self._plan.keeps_alpha
        if not self._alpha and first.alpha is not None:
            self._notes.append(f"transparency is lost: {self._plan.encoder} in {self._suffix} has none")
        options = self._plan.options_with(self._size_wh, alpha=self._alpha)
        video = self._output.add_stream(self._plan.encoder, rate=self._rate, options=options)
        assert isinstance(video, av.VideoStream)
        video.width, video.height = self._size_wh
        video.pix_fmt = self._plan.pixel_format(self._size_wh, alpha=self._alpha)
        video.bit_rate = self._plan.bitrate
        video.codec_context.time_base = self._time_base
        video.codec_context.flags |= Flags.frame_duration  # else every packet lasts one nominal step
        if self._live:
            video.codec_context.gop_size = max(1, math.floor(_KEY_FRAMES_S * self._rate))
        if self._plan.tag:
            video.codec_context.codec_tag = self._plan.tag
        self._video, self._paint = video, self._painter(video)
        if self._sound is not None:
            self._sound.attach(self._output, CONTAINERS[self._suffix].sound)
        first_s = self._exact(first.timestamp_s)
        begins_s = Fraction(0)
        if self._tracks is not None:
            self._tracks.label_video(video)
            self._tracks.attach(self._output, first_s if self._is_part else None, self._end_s)
            begins_s = self._tracks.begins_at_s(first_s)
        # Beside its sound a picture keeps its place; a recording begins with its first frame.
        self._zero = round(first_s / self._time_base) - round(begins_s / self._time_base)
        self._last = round(begins_s / self._time_base) - self._smallest

    def _painter(self, video: av.VideoStream) -> Callable[[Pixels], av.VideoFrame]:
        pix_fmt = video.pix_fmt or "yuv420p"
        if pix_fmt == "pal8":
            return Palette(self._size_wh, alpha=self._alpha).paint
        if pix_fmt.startswith("rgb"):
            return lambda pixels: to_rgb(pixels, pix_fmt)
        if self._kind == "yuv4mpegpipe":
            video.codec_context.color_range = ColorRange.MPEG
            return lambda pixels: to_y4m(pixels, pix_fmt)
        tag_bt709(video)
        return lambda pixels: to_bt709(pixels, pix_fmt)

    def _pixels(self, frame: Frame) -> Pixels:
        if not self._alpha:
            return frame.bgr
        opaque = np.full(frame.bgr.shape[:2], 255, np.uint8)
        alpha = opaque if frame.alpha is None else resize(frame.alpha[..., None], self._size_wh)
        return np.dstack([frame.bgr, alpha])

    def _exact(self, timestamp_s: float) -> Fraction:
        return round(Fraction(timestamp_s) / self._time_base) * self._time_base

    def _ticks(self, timestamp_s: float) -> int:
        return round(Fraction(timestamp_s) / self._time_base) - self._zero

    def _mux(self, packets: Sequence[AnyPacket]) -> None:
        for packet in packets:
            if self._sound is not None and packet.pts is not None:
                self._sound.put_until(self._output, float(packet.pts * packet.time_base))
            if self._tracks is not None and packet.pts is not None:
                # By the packet that comes out, not the frame that went in: the encoder holds dozens
                # back, and the muxer would have to hold their sound.
                self._tracks.copy_until(self._output, float(packet.pts * packet.time_base))
            self._output.mux(packet)


def _is_same(one: Frame, other: Frame) -> bool:
    return one.bgr is other.bgr and one.alpha is other.alpha
