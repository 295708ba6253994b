"""One film's picture track, decoded, with what is damaged repaired."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import cast

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
from av.codec import CodecContext
from av.codec.context import ThreadType
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from stylecam.packets import joined

_ONE_EACH = ("h264", "hevc", "av1", "mpeg2video", "prores")
"""Every packet of these shows a picture, but for fields that are stored apart; VP8 has packets that do not.

FFmpeg's HEVC decoder drops a picture that it cannot begin to decode, and reports no error.
"""

_TRUST = 64
"""Packets whose pictures may still be on their way: more than any codec reorders or threads hold."""


class Decoder:
    """The decoded frames of `video`, in the order they are shown. For one thread.

    Where a packet's picture does not come, the last good one comes in its place, with the lost one's time,
    noted in `damaged` (stream time in seconds): if the decoder reports damage, and without a word from it
    where every packet should show a picture. Where pictures are reordered and their packets' times know
    nothing of that, as in AVI, they take these times one after another, as they come.
    `lost` holds the error that ended the film early, `ends_s` the stream time at which the last of
    the packets ends, in seconds. `check_whole` may raise, and is called where damage would be no wonder
    if the file had shrunk: before a damaged packet is believed, and at the end.
    """

    def __init__(
        self, film: InputContainer, video: av.VideoStream, check_whole: Callable[[], None] = lambda: None
    ) -> None:
        self.damaged: list[Fraction] = []
        self.lost: Exception | None = None
        self.ends_s: Fraction | None = None
        self._film, self._video, self._check_whole = film, video, check_whole
        self._codec = _decoder_of(video)
        self._expected: list[int] = []  # a heap of the times of packets without a picture yet
        self._errors = 0
        self._is_one_each = self._codec.codec.canonical_name in _ONE_EACH
        self._leads: set[int] = set()  # by how much packets are decoded before they are shown
        self._is_timed = True
        self._good: av.VideoFrame | None = None

    def frames(self) -> Iterator[av.VideoFrame]:
        """Yield each frame; one that is repeated is the same object with another `pts`."""
        for packet in self._packets():
            for frame in self._decode(packet):
                yield from self._repaired(frame)
        # What was lost at the very end, with nothing after it.
        yield from self._repeats(None)

    def _packets(self) -> Iterator[av.Packet[av.VideoStream] | None]:
        packets = joined(self._film, self._video)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as exc:
                self.lost = exc
                packet = None
            if packet is None or not packet.size or packet.is_corrupt:
                self._check_whole()
            if packet is None or not packet.size:
                yield None  # flushes the decoder
                return
            if packet.pts is not None:
                ends_s = (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base)
                self.ends_s = max(ends_s, self.ends_s or ends_s)
            yield packet

    def _decode(self, packet: av.Packet[av.VideoStream] | None) -> list[av.VideoFrame]:
        if packet is not None:
            self._errors += packet.is_corrupt
            if packet.pts is not None and not packet.is_discard:
                heapq.heappush(self._expected, packet.pts)
                self._leads.add(packet.pts - (packet.pts if packet.dts is None else packet.dts))
            if len(self._expected) > _TRUST and not self._is_lost(self._expected[0]):
                heapq.heappop(self._expected)  # a packet that shows nothing, as VP8 has them
        frames: list[av.VideoFrame] = []
        while True:
            try:
                return frames + self._codec.decode(packet)
            except av.EOFError:
                return frames
            except av.FFmpegError:
                self._errors += 1
                if packet is not None:
                    return frames
                # A flush that fails for one frame still has those after it to give.
                if self._errors > 10 * _TRUST:
                    return frames

    def _repaired(self, frame: av.VideoFrame) -> Iterator[av.VideoFrame]:
        frame.time_base = self._video.time_base
        # What is reordered is decoded earlier than it is shown, some of it more than the rest.
        is_reordered = frame.pict_type == PictureType.B and self._codec.has_b_frames
        self._is_timed &= not is_reordered or len(self._leads) > 1
        self._is_one_each &= self._is_timed and frame.pts is not None and not frame.interlaced_frame
        if not self._is_timed and self._expected:
            frame.pts = heapq.nsmallest(1 + self._errors, self._expected)[-1]  # the lost ones were before
        if frame.pts is None:
            frame.pts = frame.dts
        if frame.is_corrupt and self._good is not None:
            self._errors += 1  # stays among the expected, to be repeated with the next good one
            return
        yield from self._repeats(frame)
        self._good = frame
        yield frame

    def _repeats(self, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """Yield the last good frame for each that should have come before `frame` (None: the end)."""
        until = None if frame is None else frame.pts
        while self._expected and (frame is None or (until is not None and self._expected[0] <= until)):
            pts = heapq.heappop(self._expected)
            if pts == until or not self._is_lost(pts):
                continue
            self._errors -= bool(self._errors and frame is not None)  # at the end nobody knows how many
            stand_in = self._good or frame
            if stand_in is None:
                continue
            self.damaged.append(pts * Fraction(self._video.time_base or 0))
            own_pts, stand_in.pts = stand_in.pts, pts
            yield stand_in
            stand_in.pts = own_pts

    def _is_lost(self, pts: int) -> bool:
        """Tell whether a picture that does not come is damage; HEVC leaves out those that lean on a cut."""
        after_good = self._good is not None and self._good.pts is not None and self._good.pts < pts
        return self._errors > 0 or (self._is_one_each and after_good)


def _decoder_of(video: av.VideoStream) -> VideoCodecContext:
    """Return the stream's own decoder; FFmpeg's for VP8 and VP9 leaves out alpha, libvpx has it."""
    codec = video.codec_context
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(codec.name)
    if name is not None and video.metadata.get("alpha_mode") == "1":
        codec = cast(VideoCodecContext, CodecContext.create(name, "r"))
    codec.thread_type = ThreadType.AUTO
    return codec
