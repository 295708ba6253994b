"""Stylize films and photographs."""

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
    SizeOption,
    SmoothOption,
    StyleName,
    parse_size,
)
from stylecam.cli.program import check_not_same, command, finish, load, load_smoother
from stylecam.console import progress, say
from stylecam.errors import SourceLostError


@command
def video(
    film: Annotated[Path, typer.Argument(metavar="IN", help="The film to stylize.")],
    output: Output,
    style: StyleName = "starry",
    size: SizeOption = None,
    smooth: SmoothOption = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Frames that go through the net at once; 1 on a CPU, 4 on CUDA.")
    ] = None,
    net: NetOption = NetKind.auto,
    engine: EngineOption = Backend.auto,
    device: DeviceOption = Device.auto,
    precision: PrecisionOption = Precision.auto,
    json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Stylize a film: every frame at its own time, the sound as it was."""
    from stylecam import pipeline
    from stylecam.meter import Meter
    from stylecam.sinks.file import FileSink
    from stylecam.sources import FileSource

    size_wh = parse_size(size)
    with ExitStack() as stack:
        reel = stack.enter_context(FileSource(film))
        check_not_same(film, output)
        writer = stack.enter_context(FileSink(output, fps=reel.fps, source_path=film))
        found, loaded = load(stack, style, net, engine, device, precision)
        meter = Meter()
        move = stack.enter_context(progress(film.name, frames or reel.frame_count))
        batch = batch or (4 if loaded.device == "cuda" else 1)
        for _ in pipeline.run(
            reel, loaded, [writer], meter=meter, batch=batch, size_wh=size_wh, frames=frames,
            smoother=load_smoother(smooth),
        ):  # fmt: skip
            move(meter.frames, f"{meter.recent_fps:.1f} fps")
        if not meter.frames:
            raise SourceLostError(
                f'not one frame of "{film}" could be decoded', "check that it plays in a player"
            )
    if reel.missing_s:
        say(f"warning: {film} breaks off {reel.missing_s:.1f} s before its end; what was there is stylized")
    say(f"{output}: {meter.frames} frames, {meter.fps:.1f} fps")
    finish(json, meter, size_wh or reel.size_wh, found, loaded, output=str(output), missing_s=reel.missing_s)


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
