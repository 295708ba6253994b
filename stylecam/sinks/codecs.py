"""Containers and encoders: what fits where, with which options, and what opens on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from fractions import Fraction

# SVT-AV1 writes to stderr by itself; 1 keeps it to errors. It looks when it is opened.
os.environ.setdefault("SVT_LOG", "1")

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
from av.codec import CodecContext
from av.video.codeccontext import VideoCodecContext

from stylecam.errors import SinkOpenError
from stylecam.sinks.priority import ordinary_priority

AUTO = "auto"
_PROBE_WH = (256, 256)
"""Smaller than this some NVENC generations refuse."""


@dataclass(frozen=True)
class Encoding:
    """How pictures are compressed; what is None is left to `DEFAULTS`, or to `LIVE` where it is `live`.

    `codec` is auto, a format (h264, hevc, av1, vp9, prores, png) or one encoder's name (libx264, ...).
    `crf` and `preset` are the encoder's own, `bitrate` is in bits per second and replaces `crf`.
    """

    codec: str = AUTO
    crf: int | None = None
    preset: str | None = None
    bitrate: int | None = None
    live: bool = False


@dataclass(frozen=True)
class Container:
    """A kind of film: FFmpeg's name, and the formats it takes, its own choice first.

    `sound` and `subtitles` are what a track is turned into that cannot be copied; "" is nothing.
    """

    kind: str
    formats: tuple[str, ...]
    sound: str = "aac"
    subtitles: str = "mov_text"
    vp9_alpha: bool = False


CONTAINERS = {
    ".mp4": Container("mp4", ("h264", "hevc", "av1", "vp9")),
    ".mov": Container("mov", ("h264", "hevc", "prores", "av1", "vp9", "png")),
    ".mkv": Container(
        "matroska", ("h264", "hevc", "av1", "vp9", "prores"), subtitles="subrip", vp9_alpha=True
    ),
    ".webm": Container("webm", ("vp9", "av1"), sound="libopus", subtitles="webvtt", vp9_alpha=True),
    ".gif": Container("gif", ("gif",), sound="", subtitles=""),
    ".y4m": Container("yuv4mpegpipe", ("y4m",), sound="", subtitles=""),
}

_ENCODERS = {
    "h264": ("h264_nvenc", "libx264"),
    "hevc": ("hevc_nvenc", "libx265"),
    "av1": ("av1_nvenc", "libsvtav1"),
    "vp9": ("libvpx-vp9",),
    "prores": ("prores_ks",),
    "png": ("png",),
    "gif": ("gif",),
    "y4m": ("wrapped_avframe",),
}
_FORMAT_OF = {encoder: name for name, encoders in _ENCODERS.items() for encoder in encoders}


@dataclass(frozen=True)
class _Defaults:
    """An encoder's own words for quality and preset ("" where it has none), and what is taken."""

    quality: str = ""
    crf: int = 0
    preset_word: str = ""
    preset: str = ""
    fixed: tuple[tuple[str, str], ...] = ()


_THREADS = ("threads", "8")
"""What these write depends on it in the last bits: with a fixed one, a film can be resumed on any machine.

On two cores, 1, 2, 3 and 8 threads made `stylecam video` as fast as each other, within 3%.
"""

_X265_BLOCK = 64
"""With "cutree" x265 (4.2) writes past its memory in some smaller pictures, as 34x20, and aborts."""

_NVENC = _Defaults("cq", 19, "preset", "p5", (("rc", "vbr"),))
DEFAULTS = {
    # Fast presets: what is left of the processor is the net's.
    # Its macroblock tree (core 165) reads memory that nobody wrote: the same frames come out otherwise now
    # and then, and a resumed film would not be the same. Without it crf 17 looks as 18 did.
    "libx264": _Defaults("crf", 17, "preset", "veryfast", (("x264-params", "mbtree=0"), _THREADS)),
    "libx265": _Defaults("crf", 20, "preset", "fast", (("x265-params", "log-level=none:frame-threads=2"),)),
    "libsvtav1": _Defaults("crf", 24, "preset", "8"),
    "libvpx-vp9": _Defaults("crf", 24, "cpu-used", "4", (("row-mt", "1"), ("deadline", "good"), _THREADS)),
    "prores_ks": _Defaults(preset_word="profile", preset="hq", fixed=(("vendor", "apl0"),)),
    "png": _Defaults(fixed=(("compression_level", "1"),)),
    "h264_nvenc": _NVENC,
    "hevc_nvenc": _NVENC,
    "av1_nvenc": _NVENC,
    "gif": _Defaults(),
    "wrapped_avframe": _Defaults(),
}

_NO_DELAY = (("bf", "0"), ("sc_threshold", "0"))
"""FFmpeg ends a fragmented film after the frame decoded last, so that one must be shown last."""

LIVE = DEFAULTS | {
    # What goes in comes out at once, and is on the disk whatever happens next; the cores are the net's. A
    # painted 1280x720 takes a quarter of the processor's time that "veryfast" at crf 20 does, for 0.1 dB more
    # and 14% more bytes. A picture that stays is skipped: with rate control's usual curve (qcomp 0.6) x264
    # spends 49 KB on each repetition, at an even one 0.2 KB.
    "libx264": _Defaults(
        "crf", 23, "preset", "ultrafast",
        (("tune", "zerolatency"), ("x264-params", "mbtree=0:qcomp=1"), ("threads", "2"), *_NO_DELAY),
    ),
    # A ninth of the time that "good" takes, for films of the same size and 0.1 dB less.
    "libvpx-vp9": _Defaults(
        "crf", 24, "cpu-used", "8",
        (("row-mt", "1"), ("deadline", "realtime"), ("lag-in-frames", "0"), ("threads", "2")),
    ),
    "h264_nvenc": replace(_NVENC, fixed=(*_NVENC.fixed, *_NO_DELAY)),
}  # fmt: skip
"""For films of what happens now: one picture is worth much less than the next one in time."""


@dataclass(frozen=True)
class Plan:
    """The encoder that was found, its options, and a word on the choice ("" where there is none).

    `keeps_alpha` says whether it writes transparency into this container.
    """

    encoder: str
    options: dict[str, str]
    bitrate: int
    tag: str
    note: str = ""
    keeps_alpha: bool = False

    def options_with(self, size_wh: tuple[int, int], *, alpha: bool) -> dict[str, str]:
        """Return the encoder's options, those among them that transparency or a small size asks for."""
        if self.encoder == "libx265" and min(size_wh) < _X265_BLOCK:
            return {**self.options, "x265-params": self.options["x265-params"] + ":cutree=0"}
        if alpha and self.encoder == "libvpx-vp9":
            return {**self.options, "auto-alt-ref": "0"}  # libvpx refuses both together
        if alpha and self.encoder == "prores_ks" and not self.options["profile"].startswith("4444"):
            return {**self.options, "profile": "4444"}
        return dict(self.options)

    def pixel_format(self, size_wh: tuple[int, int], *, alpha: bool) -> str:
        """Return FFmpeg's name of how pixels are stored: the size stays exact, odd or not."""
        if self.encoder == "prores_ks":
            return "yuva444p10le" if alpha else "yuv422p10le"
        if self.encoder == "gif":
            return "pal8"
        if self.encoder == "png":
            return "rgba" if alpha else "rgb24"
        if self.encoder == "libvpx-vp9":
            return "yuva420p" if alpha else "yuv420p"
        if self.encoder == "wrapped_avframe":
            return "yuv444p"
        # x264 cuts odd sides in 4:2:0, and x265 refuses them; AV1 takes any size.
        odd = (size_wh[0] % 2 or size_wh[1] % 2) and "av1" not in self.encoder
        return "yuv444p" if odd else "yuv420p"


def plan_encoding(container: Container, suffix: str, wanted: Encoding) -> Plan:
    """Choose an encoder that opens here. Raises SinkOpenError.

    A format takes the graphics card's NVENC where that opens, and says so; an encoder that is named
    is used or is an error.
    """
    if wanted.crf is not None and wanted.bitrate is not None:
        raise SinkOpenError("--crf and --bitrate exclude each other", "leave one of them out")
    name = container.formats[0] if wanted.codec == AUTO else wanted.codec
    if name not in _ENCODERS and name not in _FORMAT_OF:
        known = ", ".join(n for n in _ENCODERS if n not in ("gif", "y4m"))
        raise SinkOpenError(f'codec "{name}" is not known', f"use {known}, or an encoder's name as libx264")
    if _FORMAT_OF.get(name, name) not in container.formats:
        raise SinkOpenError(
            f"{name} does not fit into {suffix}", f"{suffix} takes {', '.join(container.formats)}"
        )
    causes = []
    for encoder in _ENCODERS.get(name, (name,)):
        plan = _plan(encoder, container, wanted)
        cause = _probe(plan)
        if not cause:
            return plan
        causes.append(f"{encoder}: {cause}")
    raise SinkOpenError(
        f"no encoder for {name} opens ({'; '.join(causes)})", "look at --codec, --crf, --preset, --bitrate"
    )


def _plan(encoder: str, container: Container, wanted: Encoding) -> Plan:
    own = (LIVE if wanted.live else DEFAULTS)[encoder]
    nvenc = encoder.endswith("_nvenc")
    options = dict(own.fixed)
    for value, word, option in [
        (wanted.crf, own.quality, "--crf"),
        (wanted.preset, own.preset_word, "--preset"),
        (wanted.bitrate, own.quality, "--bitrate"),
    ]:
        if value is not None and not word:
            raise SinkOpenError(f"{option} means nothing to {encoder}", f"leave {option} out")
    if own.quality and wanted.bitrate is None:
        options[own.quality] = str(own.crf if wanted.crf is None else wanted.crf)
    if own.preset_word:
        # x264's names for speed mean nothing to NVENC; a preset that does not open falls to x264.
        options[own.preset_word] = wanted.preset or own.preset
    hevc = _FORMAT_OF[encoder] == "hevc" and container.kind in ("mp4", "mov")
    note = f"encoded by the graphics card ({encoder})" if nvenc else ""
    keeps_alpha = encoder in ("prores_ks", "png", "gif") or (encoder == "libvpx-vp9" and container.vp9_alpha)
    return Plan(encoder, options, wanted.bitrate or 0, "hvc1" if hevc else "", note, keeps_alpha)


def _probe(plan: Plan) -> str:
    """Return why the encoder does not open with these options, "" where it does."""
    try:
        context = CodecContext.create(plan.encoder, "w")
        assert isinstance(context, VideoCodecContext)
        context.width, context.height = _PROBE_WH
        context.pix_fmt = plan.pixel_format(_PROBE_WH, alpha=False)
        context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
        context.bit_rate = plan.bitrate
        context.options = dict(plan.options)
        with ordinary_priority():
            context.open()
    except (av.FFmpegError, ValueError) as exc:
        return getattr(exc, "strerror", None) or str(exc)
    return ""
