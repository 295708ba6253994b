"""Stylize films."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

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
    parse_bitrate,
    parse_size,
    parse_time,
)
from stylecam.cli.films import Opening, is_finished, on_cluster, one_by_one, one_shard
from stylecam.cli.program import chosen_smoothing, command, figures_of, load
from stylecam.console import print_json, progress, say

if TYPE_CHECKING:
    from stylecam.film.run import FilmRun
    from stylecam.film.task import Task

T = TypeVar("T")

TimeOption = Annotated[
    str | None, typer.Option(metavar="TIME", help="As 90 or 1:30.5, from the first frame.")
]


@command
def video(
    films: Annotated[
        list[str],
        typer.Argument(
            metavar="IN", help="Films or folders of them, a URL, pictures (frames/%06d.png), or - for stdin."
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="A film (.mp4, .mov, .mkv, .webm, .gif, .y4m), a folder of PNGs (out/), or - for y4m; "
            "for several films a folder.",
        ),
    ],
    style: StyleName = "starry",
    size: SizeOption = None,
    smooth: SmoothOption = None,
    start: TimeOption = None,
    end: TimeOption = None,
    fps: Annotated[
        str | None, typer.Option(help="Another rate, as 25 or 30000/1001: frames repeated or left out.")
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Put the original on the left.")] = False,
    codec: Annotated[
        str, typer.Option(help="h264, hevc, av1, vp9, prores, png, or an encoder's name. auto: by container.")
    ] = "auto",
    crf: Annotated[int | None, typer.Option(help="The encoder's quality: less is better.")] = None,
    preset: Annotated[str | None, typer.Option(help="The encoder's preset, as medium.")] = None,
    bitrate: Annotated[
        str | None, typer.Option(help="Bits per second, as 800k or 4M, in place of --crf.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run was ended.")] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what each stage achieved, as JSON.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Do the I-th of N shares, for an array of jobs.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Paint on a Ray cluster; local starts one here.")
    ] = None,
    cores: Annotated[
        int | None, typer.Option(min=1, help="With --cluster: CPU cores for each worker. [default: up to 16]")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Frames given to the net together; auto: by device and size.")
    ] = None,
    lanes: Annotated[
        int | None,
        typer.Option(
            min=1, help="On a CPU: frames computed at once, each by its share of the threads; auto: measured."
        ),
    ] = None,
    net: NetOption = NetKind.auto,
    engine: EngineOption = Backend.auto,
    device: DeviceOption = Device.auto,
    precision: PrecisionOption = Precision.auto,
    json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Stylize a film: every frame at its own time, sound and subtitles as they were."""
    from stylecam.film.several import check_spared, parse_shard, plan_films, shard_of
    from stylecam.film.task import Task
    from stylecam.sinks.codecs import Encoding
    from stylecam.sources.resample import parse_fps

    share = _usage(parse_shard, shard)
    if shard and cluster:
        raise typer.BadParameter("--shard and --cluster both share the work out: give one of them")
    pairs, smoothing = plan_films(films, output), chosen_smoothing(smooth)
    if report and (len(pairs) > 1 or shard or cluster):
        raise typer.BadParameter("--report is of one film, painted here")
    for source, target in pairs:
        check_spared(source, target)
    tasks = [
        Task(
            source, target, parse_size(size), smoothing,
            Encoding(codec, crf, preset, parse_bitrate(bitrate)), parse_time(start, "--start") or 0.0,
            parse_time(end, "--end"), None if fps is None else parse_fps(fps), frames, compare, batch, lanes,
        )
        for source, target in pairs
    ]  # fmt: skip
    if cluster:
        from stylecam.film.cluster import Choice

        named = str(Path(style).resolve()) if Path(style).is_file() else style
        choice = Choice(named, net.value, engine.value, device.value, precision.value)
        figures = on_cluster(tasks, cluster, cores, choice, resume=resume)
    else:
        with ExitStack() as stack:
            opening = partial(load, stack, style, net, engine, device, precision)
            if len(tasks) > 1:
                figures = one_by_one(shard_of(tasks, share), opening, _one, resume=resume)
            elif resume and is_finished(tasks[0]):
                figures = {"frames": 0, "output": tasks[0].target}
            elif share:
                figures = one_shard(tasks[0], share, opening)
            else:
                figures = _one(tasks[0], opening, report, resume=resume)
    if json:
        print_json(figures, to_stderr=output == "-")


def _usage(parse: Callable[[str | None], T], text: str | None) -> T:
    try:
        return parse(text)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc


def _one(task: Task, opening: Opening, report: Path | None, *, resume: bool) -> dict[str, Any]:
    """Stylize one film; the net is opened once it is clear that this film can be."""
    from stylecam.film.report import check_report
    from stylecam.film.run import FilmRun

    if report is not None:
        check_report(report, task)
    with FilmRun(task, say, resume=resume) as run, ExitStack() as stack:
        found, loaded = opening()
        move = stack.enter_context(progress(Path(task.source).name, run.frame_count))
        for done in stack.enter_context(closing(run.run(loaded, found))):
            move(done, f"{run.meter.recent_fps:.1f} fps")
        _conclude(run, task.target)
        figures = figures_of(run.meter, run.output_wh, found, loaded) | _outcome(run)
        if report is not None:
            _write_report(report, figures, run)
    return figures


def _conclude(run: FilmRun, output: str) -> None:
    outcome = run.outcome
    if outcome.missing_s:
        say(
            f"warning: {run.task.source} breaks off {outcome.missing_s:.1f} s before its end; "
            "what was there is stylized"
        )
    pace = f", {run.meter.fps:.1f} fps" if outcome.frames > outcome.resumed else ", painted before"
    say(f"{'stdout' if output == '-' else output}: {outcome.frames} frames{pace}")


def _outcome(run: FilmRun) -> dict[str, Any]:
    outcome = run.outcome
    return {
        "frames": outcome.frames, "resumed": outcome.resumed, "damaged": len(outcome.damaged),
        "missing_s": outcome.missing_s, "output": run.task.target,
    }  # fmt: skip


def _write_report(path: Path, figures: dict[str, Any], run: FilmRun) -> None:
    from stylecam.film.report import write_report

    write_report(path, figures, run)
    say(f"{path}: the report")
