"""H.264 and the sound beside it, written into an open container."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from stylecam.errors import SinkOpenError
from stylecam.frames import Frame, size_of
from stylecam.sinks.sound import AnyPacket, SoundCopy

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}

_TIME_BASE = Fraction(1, 120_000)
"""Whole ticks for 24, 25, 30, 50 and 60 fps, for 24000/1001 and its kin, and for milliseconds."""

_SMALLEST_STEP = 120
"""Ticks in a millisecond, Matroska's resolution: frames closer than that would collide there."""

_FALLBACK_FPS = 30.0
_FASTSTART = {"movflags": "+faststart"}  # the index in front, so that the film plays while it loads


class Encoder:
    """One film under way: frames in, a playable file at `close`. For one thread.

    Opens the video stream at the first frame, whose size holds for all. BGR becomes limited-range
    BT.709, tagged as such; 4:2:0 where both sides are even and 4:4:4 where that would change the
    size. Raises SinkOpenError for sound that does not fit, else av.FFmpegError and OSError.
    """

    def __init__(
        self, part: Path, kind: str, *, fps: float | None, crf: int, preset: str, sound: SoundCopy | None
    ) -> None:
        self._rate = Fraction(fps or _FALLBACK_FPS).limit_denominator(1001)
        self._options = {"crf": str(crf), "preset": preset}
        self._sound = sound
        self._zero_s: float | None = None
        self._last = -_SMALLEST_STEP
        self._step = round(1 / (self._rate * _TIME_BASE))
        options = {} if kind == "matroska" else _FASTSTART
        self._output = av.open(str(part), "w", format=kind, options=options)
        try:
            if sound is not None:
                sound.check_fits(self._output.supported_codecs, part.suffix)
        except SinkOpenError:
            self.abandon()
            raise

    def encode(self, frame: Frame) -> None:
        """Encode one frame at its own time and mux what is ready, with the sound up to there."""
        if self._zero_s is None:
            self._open_streams(frame)
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.bgr), format="bgr24")
        picture = picture.reformat(
            format=self._video.pix_fmt,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            dst_colorspace=Colorspace.ITU709,
        )
        self._last = max(self._ticks(frame.timestamp_s), self._last + _SMALLEST_STEP)
        picture.pts, picture.time_base, picture.duration = self._last, _TIME_BASE, self._step
        self._mux(self._video.encode(picture))

    def close(self) -> None:
        """Flush the encoder and the sound and write the container's index."""
        if self._zero_s is not None:
            self._mux(self._video.encode(None))
            if self._sound is not None:
                end_s = float((self._last + self._step) * _TIME_BASE)
                self._sound.finish(self._output, end_s, float(1 / self._rate))
        self._output.close()

    def abandon(self) -> None:
        """Close the file handle whatever state the film is in."""
        with suppress(av.FFmpegError, OSError):  # it is thrown away in any case
            self._output.close()

    def _open_streams(self, first: Frame) -> None:
        width, height = size_of(first.bgr)
        video = self._output.add_stream("libx264", rate=self._rate, options=self._options)
        assert isinstance(video, av.VideoStream)
        video.width, video.height = width, height
        video.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        context = video.codec_context
        context.time_base = _TIME_BASE
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        self._video = video
        if self._sound is not None:
            self._sound.attach(self._output)
        # Beside its sound a picture keeps its place; a recording begins with its first frame.
        self._zero_s = first.timestamp_s if self._sound is None else -self._sound.video_start_s

    def _ticks(self, timestamp_s: float) -> int:
        return round((timestamp_s - (self._zero_s or 0.0)) / _TIME_BASE)

    def _mux(self, packets: Sequence[AnyPacket]) -> None:
        for packet in packets:
            if self._sound is not None and packet.pts is not None:
                # By the packet that comes out, not the frame that went in: the encoder holds dozens
                # back, and the muxer would have to hold their sound.
                self._sound.copy_until(self._output, float(packet.pts * packet.time_base))
            self._output.mux(packet)
