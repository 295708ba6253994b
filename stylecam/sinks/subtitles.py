"""Text subtitles, turned into the form another container holds."""

from __future__ import annotations

from fractions import Fraction
from typing import cast

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
from av.container import OutputContainer
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

from stylecam.sinks.track import AnyPacket, Cut, Track, label, span_of

TEXTS = ("ass", "mov_text", "ssa", "subrip", "text", "webvtt")
"""Subtitles made of letters, by FFmpeg's names; all others are pictures."""

_MILLISECOND = Fraction(1, 1000)


class ConvertedSubtitles(Track):
    """Decode each subtitle to ASS, FFmpeg's common form, and encode that as `codec`."""

    def __init__(self, source: SubtitleStream, codec: str) -> None:
        super().__init__(source)
        self._subtitles, self._codec = source, codec

    def attach(self, output: OutputContainer) -> None:
        """Add a stream of the new codec."""
        self._subtitles.codec_context.open(strict=False)  # the header is there only then
        self._target = cast(SubtitleStream, output.add_stream(self._codec))
        context = self._target.codec_context
        context.subtitle_header = self._subtitles.codec_context.subtitle_header
        self._target.time_base = context.time_base = _MILLISECOND
        label(self._target, self._subtitles)

    def put(self, packet: AnyPacket, cut: Cut) -> list[AnyPacket]:
        """Convert one subtitle; one that the cut goes through begins with the film."""
        begin_s, end_s = span_of(packet)
        if end_s <= cut.begin_s:
            return []
        try:
            decoded = self._subtitles.codec_context.decode2(packet)
        except av.FFmpegError:
            return []
        texts = [rect.ass for rect in decoded.rects if isinstance(rect, AssSubtitle)] if decoded else []
        begin_s = max(begin_s, cut.begin_s) - float(cut.zero_s)
        return [self._encoded(text, begin_s, end_s - float(cut.zero_s)) for text in texts]

    def _encoded(self, text: bytes, begin_s: float, end_s: float) -> AnyPacket:
        begin, end = round(begin_s * 1000), round(end_s * 1000)
        packet = self._target.codec_context.encode_subtitle(SubtitleSet.create(text, 0, end - begin))
        packet.stream, packet.time_base = self._target, _MILLISECOND
        packet.pts = packet.dts = begin
        packet.duration = end - begin
        return packet
