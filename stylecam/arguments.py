"""The options that several commands share, and how a size is written."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

import typer

from stylecam.frames import check_size

T = TypeVar("T")


class NetKind(StrEnum):
    """Which of a style's nets to use."""

    auto = "auto"
    full = "full"
    fast = "fast"


class TrainedKind(StrEnum):
    """Which of the two nets to train."""

    full = "full"
    fast = "fast"


class Backend(StrEnum):
    """The library that runs the net."""

    auto = "auto"
    onnxruntime = "onnxruntime"
    openvino = "openvino"
    torchscript = "torchscript"


class Device(StrEnum):
    """Where the net runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Precision(StrEnum):
    """What the net computes in."""

    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"
    int8 = "int8"


class TrainedPrecision(StrEnum):
    """What a training computes in."""

    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


class Format(StrEnum):
    """What an exported net is written as."""

    onnx = "onnx"
    torchscript = "torchscript"
    pt2 = "pt2"


class AtEnd(StrEnum):
    """What a live run does when its source is lost or has ended."""

    auto = "auto"
    wait = "wait"
    end = "end"


class Keep(StrEnum):
    """What a live run paints."""

    all = "all"
    person = "person"
    background = "background"


class StreamSound(StrEnum):
    """What a stream carries beside the picture; of the microphone, recordings as well."""

    silent = "silent"
    mic = "mic"
    none = "none"


class Preset(StrEnum):
    """What the slow path does where nothing else is said."""

    reference = "reference"
    classic = "classic"


class Loss(StrEnum):
    """The form of the slow path's objective."""

    trainer = "trainer"
    tutorial = "tutorial"
    paper = "paper"


class Optimizer(StrEnum):
    """What lowers the slow path's objective."""

    lbfgs = "lbfgs"
    adam = "adam"


class Start(StrEnum):
    """The picture an optimisation begins with."""

    content = "content"
    noise = "noise"
    style = "style"
    fast = "fast"
    previous = "previous"


def parse_size(text: str | None, option: str = "--size") -> tuple[int, int] | None:
    """Return (width, height) of "640x480", None of None; a usage error where it is written otherwise."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)[xX*](\d+)", text)
    if match is None:
        raise typer.BadParameter(f"a size is written like 640x480, not {text!r}", param_hint=option)
    return check_size((int(match[1]), int(match[2])))


def parse_long_side(text: str | None) -> dict[str, int | str]:
    """Return {"size": ...} of "512" or "none", {} of None; a usage error where it is written otherwise."""
    if text is None or text == "none":
        return {} if text is None else {"size": text}
    if not text.isdecimal():
        raise typer.BadParameter(f"a long side is a number or none, not {text!r}", param_hint="--size")
    return {"size": check_size((int(text), int(text)))[0]}


def parse_bitrate(text: str | None) -> int | None:
    """Return bits per second of "800k" or "4M", None of None; a usage error where it is written otherwise."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kM]?)", text)
    if match is None or not float(match[1]):
        raise typer.BadParameter(
            f"a bitrate is written like 800k or 4M, not {text!r}", param_hint="--bitrate"
        )
    return round(float(match[1]) * {"": 1, "k": 1_000, "M": 1_000_000}[match[2]])


def parse_time(text: str | None, option: str) -> float | None:
    """Return seconds of "90", "1:30" or "0:01:30.5", None of None; else a usage error."""
    if text is None:
        return None
    if re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", text) is None:
        raise typer.BadParameter(f"a time is written like 90 or 1:30.5, not {text!r}", param_hint=option)
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def parse_list(text: str | None, kind: Callable[[str], T], option: str) -> tuple[T, ...] | None:
    """Return the values of "a,b,c", None of None; a usage error where one of them is no `kind`."""
    if text is None:
        return None
    try:
        return tuple(kind(part.strip()) for part in text.split(","))
    except ValueError as exc:
        raise typer.BadParameter(f"{text!r} is no list like 10,200", param_hint=option) from exc


StyleName: TypeAlias = Annotated[
    str, typer.Option("--style", "-s", help='A style that "stylecam styles" lists, or a weights file.')
]
NetOption: TypeAlias = Annotated[
    NetKind,
    typer.Option("--net", help="full paints best, fast runs faster; auto: full on a GPU."),
]
EngineOption: TypeAlias = Annotated[
    Backend, typer.Option("--engine", help="What runs the net. auto: ONNX Runtime on CUDA, else OpenVINO.")
]
DeviceOption: TypeAlias = Annotated[Device, typer.Option("--device", help="auto: CUDA where it works.")]
PrecisionOption: TypeAlias = Annotated[
    Precision,
    typer.Option("--precision", help="auto: half precision wherever it is faster. int8: CPUs, faster still."),
]
JsonFlag: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print the figures as one JSON object, the last line of stdout.")
]
DebugFlag: TypeAlias = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
SizeOption: TypeAlias = Annotated[
    str | None, typer.Option("--size", metavar="WxH", help="Scale the frames first, e.g. 640x480.")
]
SmoothOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--smooth",
        metavar="0..1",
        help="How much of the last frame to carry over, against flicker; 0 paints each by itself.",
    ),
]
Output: TypeAlias = Annotated[Path, typer.Option("--output", "-o", help="Where the result goes.")]
