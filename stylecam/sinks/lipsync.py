"""The microphone's sound, placed so that it fits the pictures of one film or stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from statistics import median_low

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
import numpy as np
from av.container import OutputContainer

from stylecam.sinks.microphone import RATE, Microphone, Samples, number_of

_SLIP = RATE // 25
"""Sound that is off by more than 40 ms is moved; viewers notice from 45 ms on (ITU-R BT.1359)."""

_RECENT = 9
"""By the median of so many pictures: one that is late moves nothing, and a move goes all the way at once."""

_BITS = 128_000


class LipSync:
    """Cut from what `microphone` hears the sound of one film or stream, in order.

    A painted picture is shown late, by the latency; the sound of that moment was heard when the
    picture was captured. Pictures (`captured_s`) and samples are stamped by the same clock,
    `time.perf_counter()`, so the sound at a film's time t is what was heard at `captured_s` of the picture
    shown at t. Where the latency changes, the sound is moved once, by a gap or a repetition, when it is
    off by 40 ms for some pictures. While the microphone is away there is silence; `say` is told of its
    going and of its return.
    """

    def __init__(self, microphone: Microphone, say: Callable[[str], None]) -> None:
        self._microphone, self._say = microphone, say
        self._origin: int | None = None
        self._recent = deque[int](maxlen=_RECENT)
        self._taken = 0
        self._was_away = False

    def place(self, shown_s: float, captured_s: float) -> None:
        """Take note that the picture captured at `captured_s` is shown at `shown_s` of the film."""
        origin = number_of(captured_s - shown_s)
        if self._origin is None:
            self._origin = origin
        self._recent.append(origin)
        middle = median_low(self._recent)
        if len(self._recent) == _RECENT and abs(middle - self._origin) > _SLIP:
            self._origin = middle

    def take(self, until_s: float, *, whole: bool = False) -> Iterator[Samples]:
        """Yield the sound up to `until_s` of the film, a second at most at a time, as far as it was heard.

        With `whole` silence stands for what was not heard yet.
        """
        if self._origin is None:
            return
        end = round(until_s * RATE)
        end = end if whole else min(end, self._microphone.heard - self._origin)
        self._tell()
        while self._taken < end:
            count = min(end - self._taken, RATE)
            yield self._microphone.read(self._origin + self._taken, count)
            self._taken += count

    def _tell(self) -> None:
        if self._microphone.is_away != self._was_away:
            self._was_away = not self._was_away
            away = "the microphone gives no sound: silence in its place until it is back"
            self._say(away if self._was_away else "the microphone is back")


class SoundTrack:
    """The microphone's sound encoded into a recording as it grows; times in the film's seconds."""

    def __init__(self, microphone: Microphone, say: Callable[[str], None]) -> None:
        self._sync = LipSync(microphone, say)
        self.place = self._sync.place
        self._pts = 0

    def attach(self, output: OutputContainer, codec: str) -> None:
        """Add a stream of `codec`, "aac" or "libopus"."""
        audio = output.add_stream(codec, rate=RATE, layout="stereo")
        assert isinstance(audio, av.AudioStream)
        audio.bit_rate = _BITS
        self._audio = audio

    def put_until(self, output: OutputContainer, until_s: float, *, whole: bool = False) -> None:
        """Encode and mux what was heard up to there."""
        for mono in self._sync.take(until_s, whole=whole):
            output.mux(self._audio.encode(stereo(mono, self._pts)))
            self._pts += len(mono)

    def finish(self, output: OutputContainer, end_s: float) -> None:
        """Mux the rest, up to the film's end."""
        self.put_until(output, end_s, whole=True)
        output.mux(self._audio.encode(None))


def stereo(mono: Samples, pts: int) -> av.AudioFrame:
    """Return samples as an encoder takes them, the first being number `pts` of the stream."""
    block = av.AudioFrame.from_ndarray(np.stack([mono, mono]), format="fltp", layout="stereo")
    block.sample_rate, block.pts, block.time_base = RATE, pts, Fraction(1, RATE)
    return block
