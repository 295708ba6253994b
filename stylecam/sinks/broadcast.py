"""The process behind a stream: frames from a pipe, encoded and sent. Started by a Relay."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
from fractions import Fraction
from io import BufferedReader

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
import numpy as np

from stylecam.frames import Pixels
from stylecam.sinks.encoder import tag_bt709, to_bt709
from stylecam.sinks.lipsync import stereo
from stylecam.sinks.microphone import RATE, Samples
from stylecam.sinks.relay import HEAD, LIVE, Order
from stylecam.sinks.srt import SrtPipe, pyav_knows_srt

_KEY_FRAMES_S = 2
_SOUND_BITRATE = 128_000

_LEAD = 3 * 1024
"""Samples that the sound is ahead: a picture is sent once the sound up to it has left the encoder."""


class Broadcast:
    """One connection. Opens it, or raises av.FFmpegError and OSError; for one thread."""

    def __init__(self, order: Order) -> None:
        self._rate = Fraction(order.fps).limit_denominator(1001)
        # Nobody can seek in a live FLV, so its length is not to be filled in at the end.
        options = {"flvflags": "no_duration_filesize"} if order.container == "flv" else {}
        by_program = order.url.startswith("srt://") and not pyav_knows_srt()
        self._pipe = SrtPipe(order.url) if by_program else None
        self._output = av.open(self._pipe or order.url, "w", format=order.container, options=options)
        self._video = self._add_video(order)
        self._is_silent = order.sound == "silent"
        self._audio = None if order.sound == "none" else self._add_audio()
        self._samples = 0
        self._output.start_encoding()

    def send(self, number: int, bgr: Pixels, sound: Samples | None = None) -> None:
        """Encode a picture as frame `number`, and the `sound` that follows the last; send what is ready.

        A silent stream makes its silence itself.
        """
        if self._is_silent:
            end = round((number + 1) / self._rate * RATE) + _LEAD
            sound = np.zeros(max(0, end - self._samples), np.float32)
        self._send_sound(sound)
        picture = to_bt709(bgr, "yuv420p")
        picture.pts, picture.time_base = number, 1 / self._rate
        self._output.mux(self._video.encode(picture))

    def close(self) -> None:
        """Send what the encoders still hold and say goodbye."""
        self._output.mux(self._video.encode(None))
        if self._audio is not None:
            self._output.mux(self._audio.encode(None))
        self._output.close()
        if self._pipe is not None:
            self._pipe.close()

    def _add_video(self, order: Order) -> av.VideoStream:
        distance = round(_KEY_FRAMES_S * order.fps)
        options = {
            "preset": "veryfast",
            "tune": "zerolatency",  # no B frames, no look-ahead: what goes in comes out
            "sc_threshold": "0",  # a cut makes no key frame, so that they come at even distances
            "keyint_min": str(distance),
            "maxrate": str(order.bitrate),
            "bufsize": str(order.bitrate),
        }
        video = self._output.add_stream("libx264", rate=self._rate, options=options)
        assert isinstance(video, av.VideoStream)
        video.width, video.height = order.size_wh
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = 1 / self._rate
        video.codec_context.gop_size = distance
        video.codec_context.bit_rate = order.bitrate
        tag_bt709(video)
        return video

    def _add_audio(self) -> av.AudioStream:
        audio = self._output.add_stream("aac", rate=RATE)
        assert isinstance(audio, av.AudioStream)
        audio.codec_context.bit_rate = _SOUND_BITRATE
        return audio

    def _send_sound(self, sound: Samples | None) -> None:
        if self._audio is None or sound is None or not len(sound):
            return
        block = stereo(sound, self._samples)
        self._samples += len(sound)
        self._output.mux(self._audio.encode(block))


def main() -> None:
    """Carry out the order on stdin, then send the frames that follow, until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; on Windows Ctrl-C reaches all
    with open(sys.stdin.fileno(), "rb", closefd=False) as pipe:
        order = Order(**json.loads(pipe.readline()))
        try:
            broadcast = Broadcast(order)
            _tell(LIVE)
            _send_frames(broadcast, pipe, (order.size_wh[1], order.size_wh[0], 3))
        except (av.FFmpegError, OSError) as exc:
            _tell(getattr(exc, "strerror", None) or str(exc) or type(exc).__name__)
        else:
            with suppress(av.FFmpegError, OSError):  # nobody is left to tell
                broadcast.close()


def _send_frames(broadcast: Broadcast, pipe: BufferedReader, shape: tuple[int, int, int]) -> None:
    pixels: Pixels = np.zeros(shape, np.uint8)
    while len(head := pipe.read(HEAD.size)) == HEAD.size:
        number, is_new, count = HEAD.unpack(head)
        sound = np.frombuffer(pipe.read(4 * count), np.float32)
        if is_new and pipe.readinto(pixels.data.cast("B")) < pixels.size:
            return
        broadcast.send(number, pixels, sound)


def _tell(line: str) -> None:
    with suppress(OSError):
        sys.stdout.write(" ".join(line.split()) + "\n")
        sys.stdout.flush()
