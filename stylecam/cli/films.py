"""Stylize many films, a share of one, or films on a cluster: what `stylecam video` does beyond one film."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from stylecam.cli.program import figures_of
from stylecam.console import progress, say
from stylecam.errors import SinkOpenError, StylecamError

if TYPE_CHECKING:
    from stylecam.engines.base import Engine
    from stylecam.film.cluster import Choice
    from stylecam.film.task import Task
    from stylecam.styles import Style

Opening: TypeAlias = "Callable[[], tuple[Style, Engine]]"


class Painting(Protocol):
    """What stylizes one film and returns its figures."""

    def __call__(
        self, task: Task, opening: Opening, report: Path | None, *, resume: bool
    ) -> dict[str, Any]: ...


def one_by_one(tasks: list[Task], opening: Opening, paint: Painting, *, resume: bool) -> dict[str, Any]:
    """Stylize several films with one engine; one that fails does not stop the others."""
    opened: list[tuple[Style, Engine]] = []

    def once() -> tuple[Style, Engine]:
        opened.extend([] if opened else [opening()])
        return opened[0]

    done: list[dict[str, Any]] = []
    failed: list[StylecamError] = []
    for task in tasks:
        if resume and is_finished(task):
            continue
        try:
            done.append(paint(task, once, None, resume=resume))
        except StylecamError as exc:
            failed.append(exc)
            say(f"failed: {exc.message}")
    _raise_first(failed, len(tasks))
    return _together(done)


def one_shard(task: Task, share: tuple[int, int], opening: Opening) -> dict[str, Any]:
    """Paint every so many-th part of one film; who has the last word joins them."""
    from stylecam.film.parts import cut
    from stylecam.film.run import FilmRun
    from stylecam.film.several import shard_of

    with FilmRun(task, say, resume=True) as run:
        parts = cut(task, run.source.fps, share[1])
        if not parts:
            raise SinkOpenError(f"{task.source} cannot be cut into shares", "leave --shard out")
        mine = shard_of(parts, share)
        found, loaded = opening()
        total = sum(len(part.times_s) for part in mine)
        painted = 0
        with progress(f"shard {share[0] + 1}/{share[1]}", total) as move:
            for part in mine:
                for number in run.paint_part(loaded, found, part):
                    move(painted + number, f"{run.meter.recent_fps:.1f} fps")
                painted += len(part.times_s)
        figures = figures_of(run.meter, run.output_wh, found, loaded)
    say(
        f"shard {share[0] + 1} of {share[1]}: {painted} frames are painted; when all shards are, "
        "--resume without --shard makes the film"
    )
    return figures | {"frames": painted, "output": task.target}


def on_cluster(
    tasks: list[Task], address: str, cores: int | None, choice: Choice, *, resume: bool
) -> dict[str, Any]:
    """Stylize films on all machines of a Ray cluster."""
    import time

    from stylecam.film.cluster import connected, paint_all, settled

    if resume:
        tasks = [task for task in tasks if not is_finished(task)]
    if not tasks:
        return _together([])
    tasks = [settled(task) for task in tasks]
    with connected(address, choice, cores, say) as crew:
        chosen, workers = crew.figures, crew.workers
        say(f"{chosen['style']} ({chosen['net']} net): {chosen.pop('choice')}")
        tasks = [replace(task, lanes=crew.lanes_of(task)) for task in tasks]
        began_s, finished = time.perf_counter(), []
        with progress("cluster", None) as move:
            for done, total, film in paint_all(tasks, crew.pool, say, workers=workers, resume=resume):
                rate = done / (time.perf_counter() - began_s)
                move(done, f"{done} of {total} frames, {rate:.1f} fps")
                if film is not None:
                    finished.append(film)
                    say(
                        f"failed: {film.error.message}"
                        if film.error
                        else f"{film.task.target}: {film.frames} frames"
                    )
        wall_s = time.perf_counter() - began_s
    _raise_first([film.error for film in finished if film.error], len(tasks))
    frames = sum(film.frames for film in finished)
    return {
        "frames": frames, "fps": round(frames / wall_s, 2), "wall_s": round(wall_s, 3),
        "size_wh": finished[-1].size_wh if finished else None, **chosen,
        "output": [film.task.target for film in finished], "workers": workers,
    }  # fmt: skip


def is_finished(task: Task) -> bool:
    """Tell whether a film is there, and not what a run left that was broken off; if so, say it."""
    from stylecam.film.work import Work
    from stylecam.sinks.target import kind_of_target

    target = Path(task.target)
    finished = kind_of_target(task.target) == "film" and target.is_file() and not Work(target).folder.exists()
    if finished:
        say(f"{task.target} is finished already")
    return finished


def _raise_first(failed: list[StylecamError], count: int) -> None:
    if failed:
        if count > 1:
            say(f"{len(failed)} of {count} films failed")
        raise failed[0]


def _together(done: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of several films as those of one."""
    if not done:
        return {"frames": 0, "output": []}
    frames, wall_s = (sum(each[key] for each in done) for key in ("frames", "wall_s"))
    return done[-1] | {
        "frames": frames, "wall_s": round(wall_s, 3), "fps": round(frames / wall_s, 2) if wall_s else 0.0,
        "damaged": sum(each["damaged"] for each in done), "resumed": sum(each["resumed"] for each in done),
        "missing_s": max(each["missing_s"] for each in done), "output": [each["output"] for each in done],
    }  # fmt: skip
