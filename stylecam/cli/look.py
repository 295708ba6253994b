"""Look: what styles there are, what this machine can do, how fast it is."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stylecam.arguments import (
    Backend,
    DebugFlag,
    Device,
    DeviceOption,
    EngineOption,
    JsonFlag,
    NetKind,
    NetOption,
    Precision,
    PrecisionOption,
    SizeOption,
    SmoothOption,
    StyleName,
    parse_size,
)
from stylecam.cli.program import check_not_same, command, finish, load, neural
from stylecam.console import print_json, print_table, progress, say, show
from stylecam.errors import StylecamError

if TYPE_CHECKING:
    from stylecam.styles import Style
    from stylecam.temporal import Smoother

_JUDGE_EVERY = 15
"""Every frame of a second looks nearly the same, and judging one takes longer than painting it.

The last of so many is taken: smoothing has done nothing to a film's first.
"""


@command
def styles(
    sheet: Annotated[
        Path | None, typer.Option(metavar="PHOTO", help="Draw this photograph in every style instead.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="With --sheet: where the picture goes.")
    ] = None,
    net: NetOption = NetKind.auto,
    engine: EngineOption = Backend.auto,
    device: DeviceOption = Device.auto,
    precision: PrecisionOption = Precision.auto,
    json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """List the styles there are, or draw a photograph in each of them."""
    from stylecam.styles import list_styles

    if sheet:
        if output is None:
            raise typer.BadParameter("--sheet needs a place for its picture: -o OUT.jpg")
        _draw_sheet(sheet, output, net, engine, device, precision, json)
        return

    found, damaged = list_styles()
    columns = ("style", "net", "title", "painter", "year", "licence", "file")
    rows = [
        [style.name, style.net, *(str(style.card.get(key, "")) for key in columns[2:-1]), style.path.name]
        for style in found
    ]
    if json:
        print_json({"styles": [dict(zip(columns, row, strict=True)) for row in rows]})
    else:
        print_table(("style", "painting", "full net in", "fast net in"), _by_style(found))
    if damaged:
        raise damaged[0]


def _by_style(found: list[Style]) -> list[list[str]]:
    """Return a row for each style: what it is, and the weights files of its two nets."""
    rows: dict[str, list[str]] = {}
    for style in found:
        about = ", ".join(str(style.card.get(key, "")) for key in ("title", "painter", "year"))
        row = rows.setdefault(style.name, [style.name, about, "-", "-"])
        row[2 if style.net == "full" else 3] = style.path.stem
    return list(rows.values())


@command
def doctor(json: JsonFlag = False, debug: DebugFlag = False) -> None:
    """Tell what this machine can do, and what stands in the way."""
    from stylecam.doctor import examine

    findings = []
    for finding in examine():
        findings.append(finding)
        if not json:
            show(f"{'ok ' if finding.ok else '!! '} {finding.subject:<16}{finding.value}")
    if json:
        print_json({"findings": [vars(finding) for finding in findings]})
    if not all(finding.ok for finding in findings):
        raise StylecamError("something should be mended", "see the lines marked !! above")


@command
def bench(
    style: StyleName = "starry",
    net: NetOption = NetKind.auto,
    size: SizeOption = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to measure.")] = 10,
    smooth: SmoothOption = None,
    temporal: Annotated[
        Path | None, typer.Option(metavar="CLIP", help="Measure how much this film flickers, not the speed.")
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=2, help="With --temporal: look at so many frames.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Against ONNX Runtime on the CPU, eager torch, and the ideal.")
    ] = False,
    engine: EngineOption = Backend.auto,
    device: DeviceOption = Device.auto,
    precision: PrecisionOption = Precision.auto,
    json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Time the product's own path: demo clip, net, nothing shown (at 640x480, if no --size is given)."""
    from stylecam import bench as benchmark
    from stylecam.machine import describe_cpu
    from stylecam.meter import Meter
    from stylecam.temporal import Smoother

    if frames and not temporal:
        raise typer.BadParameter(
            "--frames goes with --temporal; --seconds says how long to measure the speed"
        )
    smoother = Smoother(smooth or 0)
    if temporal:
        _measure_flicker(temporal, style, net, size, smoother, frames, engine, device, precision, json)
        return
    size_wh, meter = parse_size(size) or (640, 480), Meter()
    with ExitStack() as stack:
        found, loaded = load(stack, style, net, engine, device, precision)
        with progress("bench", None) as move:
            for meter in benchmark.bench(loaded, size_wh, seconds, smoother):
                move(meter.frames, f"{meter.recent_fps:.1f} fps")
        more: dict[str, Any] = {"net_ms": meter.percentiles("net"), "cpu": describe_cpu()}
        more["net_only_fps"] = round(benchmark.net_only_fps(loaded, size_wh, seconds / 4), 2)
        if compare:
            neural("yardstick")
            more["compare"] = benchmark.compare(found, loaded, size_wh, seconds)
    show(f"{meter.fps:.2f} fps at {size_wh[0]}x{size_wh[1]}")
    for key, value in more.items():
        show(f"{key}: {value}")
    finish(json, meter, size_wh, found, loaded, output="null", **more)


def _draw_sheet(
    photo: Path, output: Path, net: NetKind, engine: Backend, device: Device, precision: Precision, json: bool
) -> None:
    """Write one picture with the photograph and what every style makes of it."""
    from stylecam.pictures import Picture, check_picture_path, read_picture, write_picture
    from stylecam.sheet import Tile, draw_sheet, to_tile_size
    from stylecam.styles import list_styles

    check_not_same(photo, output)
    check_picture_path(output)
    small = to_tile_size(read_picture(photo).bgr)
    names = list(dict.fromkeys(style.name for style in list_styles()[0]))
    tiles = [Tile(small, photo.stem)]
    for name in names:
        with ExitStack() as stack:
            found, loaded = load(stack, name, net, engine, device, precision)
            caption = (
                f"{name}: {found.card['title']}, {found.card['painter']}" if found.card["painter"] else name
            )
            tiles.append(Tile(loaded.infer(small[None])[0], caption))
    write_picture(output, Picture(draw_sheet(tiles)))
    say(f"{output}: {len(names)} styles")
    if json:
        print_json({"styles": names, "output": str(output)})


def _measure_flicker(
    clip: Path, style: str, net: NetKind, size: str | None, smoother: Smoother, frames: int | None,
    engine: Backend, device: Device, precision: Precision, json: bool,
) -> None:  # fmt: skip
    """Print how much a stylized clip flickers, and beside it how well its frames are painted."""
    from stylecam import bench as benchmark
    from stylecam.sources import FileSource

    with ExitStack() as stack:
        stack.enter_context(FileSource(clip))  # can it be read at all? before seconds go into the net
        found, loaded = load(stack, style, net, engine, device, precision)
        judging = neural("judge")
        judge = judging.Judge(judging.load_objective(found))
        move = stack.enter_context(progress("frames", None))
        steps = benchmark.flicker(loaded, clip, parse_size(size), smoother, frames)
        for count, step in enumerate(steps, 1):
            measured, source, stylized = step
            move(count, "")
            if count % _JUDGE_EVERY == 0:
                judge.add(source, stylized)
        if count < _JUDGE_EVERY:
            judge.add(source, stylized)
    figures = {
        **measured.figures(), **judge.figures(), "frames": count, "size_wh": source.shape[1::-1],
        "style": found.name, "net": found.net, "smooth": smoother.amount, "output": "null",
        "engine": loaded.backend, "device": loaded.device, "precision": loaded.precision,
    }  # fmt: skip
    for key, value in figures.items():
        show(f"{key}: {value}")
    if json:
        print_json(figures)
