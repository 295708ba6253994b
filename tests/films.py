"""Films made from nothing: each frame carries its own number, so that a lost one is noticed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
import av.stream
import av.subtitles.stream
import av.subtitles.subtitle
import numpy as np
import pytest
from av.codec.context import Flags

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


def slow(*values: Any) -> Any:
    """One of a test's cases that runs with --all alone: another of its kind is among the fast ones."""
    return pytest.param(*values, marks=pytest.mark.slow)


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


def make_raw_film(
    path: Path,
    pictures: Iterable[av.VideoFrame],
    *,
    codec: str = "ffv1",
    rate: Fraction = Fraction(25),
    options: dict[str, str] | None = None,
    tags: dict[str, Any] | None = None,
    turn: int = 0,
) -> Path:
    """Encode frames as they are, each at the next tick of `rate` unless it has a time; FFV1 loses nothing.

    `tags` are attributes of the codec's context, `turn` the rotation in degrees that players undo.
    """
    with av.open(str(path), "w") as film:
        video = film.add_stream(codec, rate=rate, options=options or {})
        assert isinstance(video, av.VideoStream)
        video.codec_context.time_base = 1 / rate
        video.codec_context.flags |= Flags.frame_duration
        if turn:
            video.set_display_rotation(turn)
        for index, picture in enumerate(pictures):
            if index == 0:
                video.width, video.height, video.pix_fmt = picture.width, picture.height, picture.format.name
                for name, value in (tags or {}).items():
                    setattr(video.codec_context, name, value)
            if picture.pts is None:
                picture.pts, picture.time_base = index, 1 / rate
            film.mux(video.encode(picture))
        film.mux(video.encode(None))
    return path


def make_full_film(path: Path, *, seconds: float = 3.0) -> Path:
    """A film with two languages of sound, subtitles, chapters and tags; in .mkv an attachment too."""
    with av.open(str(path), "w") as film:
        film.metadata["title"] = "All of it"
        video = film.add_stream("libx264", rate=10, options={"crf": "5", "g": "10"})
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sounds = []
        for language in ("eng", "deu"):
            sound = film.add_stream("aac", rate=48_000)
            assert isinstance(sound, av.AudioStream)
            sound.metadata["language"] = language
            sounds.append(sound)
        sounds[1].disposition = av.stream.Disposition.comment
        codec = {".mp4": "mov_text", ".mov": "mov_text", ".webm": "webvtt"}.get(path.suffix, "subrip")
        lines = film.add_stream(codec)
        assert isinstance(lines, av.subtitles.stream.SubtitleStream)
        lines.metadata["language"] = "fra"
        lines.codec_context.subtitle_header = ASS_HEADER
        lines.time_base = lines.codec_context.time_base = Fraction(1, 1000)
        film.set_chapters([_chapter(0, 0.0, 1.0), _chapter(1, 1.0, seconds)])
        if path.suffix == ".mkv":
            film.add_attachment("hand.ttf", "font/ttf", b"letters")
        for index in range(round(seconds * 10)):
            picture = av.VideoFrame.from_ndarray(numbered(index), format="bgr24")
            picture.pts, picture.time_base = index, Fraction(1, 10)
            film.mux(video.encode(picture))
        film.mux(video.encode(None))
        for number, sound in enumerate(sounds):
            for block in _tone(seconds, 220 * (number + 1)):
                film.mux(sound.encode(block))
            film.mux(sound.encode(None))
        for begin_ms, text in ((500, "One"), (1500, "Two")):
            film.mux(_line(lines, begin_ms, text))
    return path


def _chapter(number: int, begin_s: float, end_s: float) -> Any:
    begin, end = round(begin_s * 1000), round(end_s * 1000)
    base = Fraction(1, 1000)
    return {
        "id": number,
        "start": begin,
        "end": end,
        "time_base": base,
        "metadata": {"title": f"Part {number}"},
    }


def _line(lines: av.subtitles.stream.SubtitleStream, begin_ms: int, text: str) -> av.Packet[Any]:
    event = av.subtitles.subtitle.SubtitleSet.create(f"0,0,Default,,0,0,0,,{text}".encode(), 0, 400)
    packet = lines.codec_context.encode_subtitle(event)
    packet.stream, packet.time_base = lines, Fraction(1, 1000)
    packet.pts = packet.dts = begin_ms
    packet.duration = 400
    return packet


ASS_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\n"
    b"Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, "
    b"Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, "
    b"MarginL, MarginR, MarginV, Encoding\n"
    b"Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1\n\n"
    b"[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)


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
