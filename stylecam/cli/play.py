"""Stylize: a camera, a film, photographs."""

from __future__ import annotations

from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from stylecam.cli.program import command, finish, load, load_smoother, percentiles
from stylecam.console import progress, say
from stylecam.errors import SinkOpenError, SourceLostError

if TYPE_CHECKING:
    from stylecam.meter import Meter


@command
def live(
    style: StyleName = "starry",
    source: Annotated[
        str, typer.Option(help="A camera's number, a film, a URL, or demo for the built-in clip.")
    ] = "0",
    sink: Annotated[
        list[str] | None, typer.Option(help="window, null or a film to record (.mp4 .mov .mkv); repeatable.")
    ] = None,
    size: SizeOption = None,
    smooth: SmoothOption = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop after so many seconds.")] = None,
    net: NetOption = NetKind.auto,
    engine: EngineOption = Backend.auto,
    device: DeviceOption = Device.auto,
    precision: PrecisionOption = Precision.auto,
    json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Stylize a camera (or a film played like one) as it happens. Press q in the window to quit."""
    from stylecam import pipeline
    from stylecam.meter import Meter
    from stylecam.sinks import open_sink
    from stylecam.sources import open_source

    size_wh, meter, names = parse_size(size), Meter(), sink or ["window"]
    for name in names:
        _check_not_same(Path(source), Path(name))
    with ExitStack() as stack:
        found, loaded = load(stack, style, net, engine, device, precision)
        camera = stack.enter_context(open_source(source, live=True, size_wh=size_wh))
        sinks = [stack.enter_context(open_sink(name, fps=camera.fps, meter=meter)) for name in names]
        move = stack.enter_context(progress("live", None))
        smoother = load_smoother(smooth)
        steps = pipeline.run(
            camera, loaded, sinks, meter=meter, size_wh=size_wh, seconds=seconds, smoother=smoother
        )
        with suppress(KeyboardInterrupt), closing(steps):
            for _ in steps:
                move(meter.frames, _live_figures(meter))
    latency_ms = percentiles(meter, "latency")
    more = {"captured": meter.captured, "dropped": meter.dropped, "latency_ms": latency_ms}
    say(f"{meter.frames} frames, {_live_figures(meter)}")
    finish(json, meter, size_wh or camera.size_wh, found, loaded, output=names, **more)


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
        _check_not_same(film, output)
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


def _live_figures(meter: Meter) -> str:
    return f"{meter.recent_fps:.1f} fps, {meter.recent_latency_ms:.0f} ms, {meter.dropped} dropped"


def _check_not_same(film: Path, output: Path) -> None:
    if film.resolve() == output.resolve():
        raise SinkOpenError(f"{film} would be overwritten", "choose another name with -o")
