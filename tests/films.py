"""Films made from nothing: each frame carries its own number, so that a lost one is noticed."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
import numpy as np

from stylecam.frames import Frame, Pixels

TIME_BASE = Fraction(1, 90_000)
BARS_BGR = [
    (255, 255, 255),
    (0, 255, 255),
    (255, 255, 0),
    (0, 255, 0),
    (255, 0, 255),
    (0, 0, 255),
    (255, 0, 0),
]


def numbered(index: int, size_wh: tuple[int, int] = (64, 48)) -> Pixels:
    """A flat grey whose level tells the frame's number (up to 30), in steps codecs keep apart."""
    return np.full((size_wh[1], size_wh[0], 3), 8 * index, np.uint8)


def number_of(bgr: Pixels) -> int:
    return round(float(bgr.mean()) / 8)


def bars(size_wh: tuple[int, int] = (224, 64)) -> Pixels:
    """Seven colour bars above a grey ramp."""
    width, height = size_wh
    picture = np.empty((height, width, 3), np.uint8)
    picture[: height // 2] = np.array(BARS_BGR, np.uint8)[np.arange(width) * 7 // width]
    picture[height // 2 :] = np.linspace(0, 255, width).astype(np.uint8)[None, :, None]
    return picture


def frames(count: int, fps: float = 10.0, size_wh: tuple[int, int] = (64, 48)) -> list[Frame]:
    return [Frame(numbered(i, size_wh), i / fps, 0.0) for i in range(count)]


def make_film(
    path: Path,
    times_s: Sequence[float],
    *,
    size_wh: tuple[int, int] = (64, 48),
    sound_s: float = 0.0,
    tracks: int = 1,
    codec: str = "aac",
) -> Path:
    with av.open(str(path), "w") as film:
        video = film.add_stream("libx264", rate=10, options={"crf": "5", "preset": "ultrafast"})
        assert isinstance(video, av.VideoStream)
        video.width, video.height = size_wh
        video.pix_fmt = "yuv420p" if not (size_wh[0] % 2 or size_wh[1] % 2) else "yuv444p"
        video.codec_context.time_base = TIME_BASE
        sounds = [film.add_stream(codec, rate=48_000) for _ in range(tracks if sound_s else 0)]
        for index, time_s in enumerate(times_s):
            picture = av.VideoFrame.from_ndarray(numbered(index, size_wh), format="bgr24")
            picture.pts, picture.time_base = round(time_s / TIME_BASE), TIME_BASE
            film.mux(video.encode(picture))
        film.mux(video.encode(None))
        for number, sound in enumerate(sounds):
            assert isinstance(sound, av.AudioStream)
            for block in _tone(sound_s, 220 * (number + 1)):
                film.mux(sound.encode(block))
            film.mux(sound.encode(None))
    return path


def _tone(seconds: float, hertz: int) -> list[av.AudioFrame]:
    blocks = []
    for start in range(0, round(seconds * 48_000), 1024):
        wave = np.sin(2 * np.pi * hertz * (start + np.arange(1024)) / 48_000).astype(np.float32) / 2
        block = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
        block.sample_rate, block.pts, block.time_base = 48_000, start, Fraction(1, 48_000)
        blocks.append(block)
    return blocks


def pictures_of(path: Path) -> list[Pixels]:
    with av.open(str(path)) as film:
        return [np.asarray(f.to_ndarray(format="bgr24"), np.uint8) for f in film.decode(video=0)]


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as film:
        return [float(f.time) for f in film.decode(video=0) if f.time is not None]


def sound_of(path: Path, track: int = 0) -> list[tuple[float, bytes]]:
    """Each packet's time in seconds and its bytes."""
    with av.open(str(path)) as film:
        packets = [p for p in film.demux(film.streams.audio[track]) if p.size]
        return [(float((p.pts or 0) * p.time_base), bytes(p)) for p in packets]
