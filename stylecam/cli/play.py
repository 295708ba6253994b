"""Stylize photographs."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

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
    Output,
    Precision,
    PrecisionOption,
    StyleName,
)
from stylecam.cli.program import command, finish, load
from stylecam.console import progress, say


@command
def image(
    pictures: Annotated[list[Path], typer.Argument(metavar="IN", help="Pictures, or folders of them.")],
    output: Output,
    style: StyleName = "starry",
    size: Annotated[
        int | None, typer.Option(metavar="LONG_SIDE", help="Scale the longer side to so many px.")
    ] = None,
    net: NetOption = NetKind.auto,
    engine: EngineOption = Backend.auto,
    device: DeviceOption = Device.auto,
    precision: PrecisionOption = Precision.auto,
    json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Stylize photographs, turned the right way up, transparency kept."""
    from stylecam.meter import Meter
    from stylecam.photos import plan_photos, stylize_photos

    pairs, meter, photos = plan_photos(pictures, output), Meter(), []
    with ExitStack() as stack:
        found, loaded = load(stack, style, net, engine, device, precision)
        move = stack.enter_context(progress("pictures", len(pairs)))
        for photo in stylize_photos(pairs, loaded, long_side=size, meter=meter):
            photos.append(photo)
            move(len(photos), photo.source.name)
            if photo.error and len(pairs) > 1:
                say(f"failed: {photo.error.message}")
            for warning in photo.warnings:
                say(f"{photo.source}: {warning}")
    failed = [photo for photo in photos if photo.error]
    sizes = [photo.size_wh for photo in photos if not photo.error]
    if failed and failed[0].error:
        if len(pairs) > 1:
            say(f"{len(failed)} of {len(pairs)} pictures failed")
        raise failed[0].error
    say(f"{output}: {len(photos)} pictures" if len(photos) > 1 else f"{photos[0].output}")
    finish(json, meter, sizes[-1], found, loaded, output=[str(photo.output) for photo in photos])
