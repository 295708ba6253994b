"""Look: what styles there are, what this machine can do, how fast it is."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated, Any

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
    StyleName,
    parse_size,
)
from stylecam.cli.program import command, finish, load, neural, percentiles
from stylecam.console import print_json, print_table, progress, show
from stylecam.errors import StylecamError


@command
def styles(json: JsonFlag = False, debug: DebugFlag = False) -> None:
    """List the styles there are."""
    from stylecam.styles import list_styles

    found, damaged = list_styles()
    columns = ("style", "net", "title", "painter", "year", "licence")
    rows = [
        [style.name, style.net, *(str(style.card.get(key, "")) for key in columns[2:])] for style in found
    ]
    if json:
        print_json({"styles": [dict(zip(columns, row, strict=True)) for row in rows]})
    else:
        print_table(columns, rows)
    if damaged:
        raise damaged[0]


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
    size: SizeOption = "640x480",
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to measure.")] = 10,
    compare: Annotated[
        bool, typer.Option("--compare", help="Against ONNX Runtime on the CPU, eager torch, and the ideal.")
    ] = False,
    engine: EngineOption = Backend.auto,
    device: DeviceOption = Device.auto,
    precision: PrecisionOption = Precision.auto,
    json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Time the product's own path: demo clip, net, nothing shown."""
    from stylecam import bench as benchmark
    from stylecam.doctor import describe_cpu
    from stylecam.meter import Meter

    size_wh, meter = parse_size(size), Meter()
    assert size_wh is not None
    with ExitStack() as stack:
        found, loaded = load(stack, style, net, engine, device, precision)
        with progress("bench", None) as move:
            for meter in benchmark.bench(loaded, size_wh, seconds):
                move(meter.frames, f"{meter.recent_fps:.1f} fps")
        more: dict[str, Any] = {"net_ms": percentiles(meter, "net"), "cpu": describe_cpu()}
        more["net_only_fps"] = round(benchmark.net_only_fps(loaded, size_wh, seconds / 4), 2)
        if compare:
            neural("yardstick")
            more["compare"] = benchmark.compare(found, loaded, size_wh, seconds)
    show(f"{meter.fps:.2f} fps at {size}")
    for key, value in more.items():
        show(f"{key}: {value}")
    finish(json, meter, size_wh, found, loaded, output="null", **more)
