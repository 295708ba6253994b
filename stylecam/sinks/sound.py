"""Sound that a container cannot hold as it is, encoded anew."""

from __future__ import annotations

from fractions import Fraction
from typing import cast

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer

from stylecam.sinks.track import AnyPacket, Cut, Track, label

_BITS_PER_CHANNEL = 96_000
_RATES = {
    "aac": (44_100, 48_000, 32_000, 96_000, 88_200, 24_000, 22_050, 16_000, 8_000),
    "libopus": (48_000,),
}
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
"""What both AAC and Opus take; anything else becomes stereo."""


class EncodedSound(Track):
    """Decode a track and encode it as `codec`, "aac" or "libopus"; a cut falls between decoded blocks."""

    def __init__(self, source: AudioStream, codec: str) -> None:
        super().__init__(source)
        self._sound, self._codec = source, codec

    def attach(self, output: OutputContainer) -> None:
        """Add a stream of the new codec, of the same rate and layout where it knows them."""
        rates = _RATES[self._codec]
        rate = self._sound.rate if self._sound.rate in rates else 48_000
        layout = _LAYOUTS.get(self._sound.channels, "stereo")
        self._target = cast(AudioStream, output.add_stream(self._codec, rate=rate, layout=layout))
        self._target.bit_rate = _BITS_PER_CHANNEL * self._target.channels
        label(self._target, self._sound)
        self._rate = rate
        self._resampler = AudioResampler(self._target.format, layout, rate)

    def put(self, packet: AnyPacket, cut: Cut) -> list[AnyPacket]:
        """Decode, resample, encode. A damaged block raises: it is silence then, and the clock goes on."""
        packets: list[AnyPacket] = []
        for block in packet.decode():
            if isinstance(block, AudioFrame) and (block.time or 0.0) >= cut.begin_s:
                block.pts = _shifted(block, cut)
                packets += self._encode(self._resampler.resample(block))
        return packets

    def flush(self) -> list[AnyPacket]:
        """Encode what the resampler and the encoder still hold."""
        return [*self._encode(self._resampler.resample(None)), *self._target.encode(None)]

    def _encode(self, blocks: list[AudioFrame]) -> list[AnyPacket]:
        return [packet for block in blocks for packet in self._target.encode(block)]


def _shifted(block: AudioFrame, cut: Cut) -> int | None:
    if block.pts is None or block.time_base is None:
        return None
    return block.pts - round(cut.zero_s / Fraction(block.time_base))
