"""Films painted by many processes and machines at once, with Ray. Needs the extra `cluster`.

A film is cut into parts, each painted by whichever worker is free; when all are there, one worker takes the
film up like any that was left in the middle: it paints what is missing, as a rule nothing, and joins. What
travels is paths, so films and targets must lie where every machine sees them under the same name.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from stylecam.errors import BackendMissingError, ClusterError, SinkOpenError, StylecamError
from stylecam.film.parts import Part, cut
from stylecam.film.run import FilmRun
from stylecam.film.task import Task
from stylecam.sinks.target import STDOUT
from stylecam.sources.opened import STDIN

LOCAL = "local"
_ANSWER_S = 5.0
_MOST_CORES = 16
"""Cores a worker has at most by default: a net on more gains little from each."""


@dataclass(frozen=True)
class Choice:
    """Which net a worker opens in what, in the command line's words, and how many threads compute.

    0 leaves that to Ray. Other numbers of threads add up in another order, and a picture may then differ
    by a level or two.
    """

    style: str
    net: str = "auto"
    engine: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0


@dataclass
class Done:
    """What became of one film: how many frames it has, or why there is none."""

    task: Task
    frames: int = 0
    size_wh: tuple[int, int] = (0, 0)
    notes: list[str] = field(default_factory=list)
    error: StylecamError | None = None


class Worker:
    """One engine, in a process of its own; what Ray calls an actor."""

    def __init__(self, choice: Choice) -> None:
        from stylecam.engines import on_gpu, open_engine
        from stylecam.styles import find_style

        self._error: StylecamError | None = None
        if choice.threads:
            os.environ["OMP_NUM_THREADS"] = str(choice.threads)  # in place of what Ray has set
        try:
            gpu = on_gpu(choice.engine, choice.device)
            self._style = find_style(choice.style, choice.net, on_gpu=gpu)
            self._engine = open_engine(self._style, choice.engine, choice.device, choice.precision)
        except StylecamError as exc:  # Ray would make text of it
            self._error = exc

    def figures(self) -> dict[str, str] | StylecamError:
        """Return what was chosen, by the names that every command's figures have, or why nothing could be."""
        if self._error is not None:
            return self._error
        engine, style = self._engine, self._style
        return {
            "engine": engine.backend, "device": engine.device, "precision": engine.precision,
            "style": style.name, "net": style.net, "choice": engine.choice,
        }  # fmt: skip

    def share_threads(self, task: Task) -> int:
        """Return how many frames of a film to compute at once; 1 where that cannot be found out."""
        try:
            with FilmRun(task, _nobody, resume=True) as run:
                run.share_threads(self._engine, self._style)
        except StylecamError:  # whoever paints the film will meet it again
            return 1
        return self._engine.lanes

    def paint(self, task: Task, part: Part) -> tuple[Task, int, str]:
        """Paint a part; return its film, how many frames it has, and what went wrong, if anything did."""
        try:
            with FilmRun(task, _nobody, resume=True) as run:
                for _ in run.paint_part(self._engine, self._style, part):
                    pass
        except StylecamError as exc:  # whoever finishes the film will meet it again
            return task, 0, exc.message
        return task, len(part.times_s), ""

    def finish(self, task: Task) -> Done:
        """Paint what is missing of a film, and join it."""
        done = Done(task)
        try:
            with FilmRun(task, done.notes.append, resume=True) as run:
                with closing(run.run(self._engine, self._style)) as steps:
                    for _ in steps:
                        pass
                done.frames, done.size_wh = run.outcome.frames, run.output_wh
                done.notes = run.notes
        except StylecamError as exc:
            done.error = exc
        return done


@dataclass(frozen=True)
class Crew:
    """A pool of so many workers, the figures of one, and what tells how many lanes a film is painted in.

    One worker finds that out for all: parts of one film painted in other lanes could be told apart.
    """

    pool: Any
    workers: int
    figures: dict[str, str]
    lanes_of: Callable[[Task], int]


@contextmanager
def connected(address: str, choice: Choice, cores: int | None, say: Callable[[str], None]) -> Iterator[Crew]:
    """Give workers that have opened the net.

    There is a worker for each GPU or each group of `cores` that the cluster at `address` has; "local" starts
    a cluster on this machine. A worker that dies is started anew, and what it was at is done
    again. Raises BackendMissingError without Ray, ClusterError, and what keeps a worker from opening the net.
    """
    try:
        ray: Any = import_module("ray")
        util: Any = import_module("ray.util")
    except ModuleNotFoundError as exc:
        raise BackendMissingError(
            "--cluster needs the package ray", "pip install 'stylecam[cluster]'"
        ) from exc
    is_there = _check_there(address)
    own = {"include_dashboard": False} if address == LOCAL else {}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a film is nobody else's business
    try:
        ray.init(address, **own, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError) as exc:
        raise _not_let_in(address, exc) if is_there else _nobody_at(address) from exc
    try:
        choice = replace(choice, threads=choice.threads or _own_threads())
        groups, each = _groups(ray.nodes(), cores, wants_gpu=choice.device != "cpu")
        say(f"cluster: {len(groups)} workers on {len(ray.nodes())} machines, {each}")
        workers = [
            ray.remote(Worker).options(
                **resources, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD"
            ).remote(choice)
            for resources in groups
        ]  # fmt: skip
        figures = ray.get(workers[0].figures.remote())
        if isinstance(figures, StylecamError):
            raise figures
        share = workers[0].share_threads.remote
        yield Crew(util.ActorPool(workers), len(workers), figures, lambda task: ray.get(share(task)))
    finally:
        ray.shutdown()


def settled(task: Task) -> Task:
    """Return the same task with names that hold in every folder. Raises SinkOpenError for stdout."""
    if task.target == STDOUT or task.source == STDIN:
        raise SinkOpenError("a cluster takes no pipe", "give the names of files")
    slash = "/" if task.target.endswith(("/", "\\")) else ""
    path = task.source_path
    source = task.source if path is None else str(path.resolve())
    return replace(task, source=source, target=str(Path(task.target).absolute()) + slash)


def paint_all(
    tasks: Sequence[Task], pool: Any, say: Callable[[str], None], *, workers: int, resume: bool
) -> Iterator[tuple[int, int, Done | None]]:
    """Paint every film; yield frames done and frames there will be, and each film when it is finished.

    One that fails does not stop the others.
    """
    parts_left: dict[str, int] = {}
    uncut: set[str] = set()
    total = done = 0
    for task in tasks:
        try:
            with FilmRun(task, say, resume=resume) as run:
                parts = cut(task, run.source.fps, workers)
                total += sum(len(part.times_s) for part in parts) or run.frame_count or 0
        except StylecamError as exc:
            yield done, total, Done(task, error=exc)
            continue
        parts_left[task.target] = len(parts)
        for part in parts:
            pool.submit(lambda worker, job: worker.paint.remote(*job), (task, part))
        if not parts:
            say(f"{task.source} cannot be cut: one worker paints all of it")
            uncut.add(task.target)
            pool.submit(_finish, task)
    while pool.has_next():
        came = pool.get_next_unordered()
        if isinstance(came, Done):
            done += came.frames if came.task.target in uncut else 0
            yield done, total, came
            continue
        task, frames, problem = came
        if problem:
            say(f"{task.source}: {problem}")
        done += frames
        parts_left[task.target] -= 1
        if not parts_left[task.target]:
            pool.submit(_finish, task)
        yield done, total, None


def _finish(worker: Any, task: Task) -> Any:
    return worker.finish.remote(task)


def _check_there(address: str) -> bool:
    """Tell whether the address names a place where somebody listens; False where it names none.

    Raises ClusterError where nobody does: Ray itself would try for minutes.
    """
    found = re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d+)", address)
    if found is None:  # "local", "auto"
        return False
    try:
        socket.create_connection((found[1], int(found[2])), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as exc:
        raise _nobody_at(address) from exc
    return True


def _not_let_in(address: str, exc: Exception) -> ClusterError:
    cause = (str(exc) or type(exc).__name__).splitlines()[0]
    return ClusterError(
        f'the Ray cluster at "{address}" cannot be joined: {cause}',
        "where it asks for a token: RAY_AUTH_MODE=token, and the head's ~/.ray/auth_token everywhere; "
        "Ray and Python must be the same on all machines",
    )


def _nobody_at(address: str) -> ClusterError:
    return ClusterError(
        f'no Ray cluster answers at "{address}"', "ray start --head begins one, --cluster local too"
    )


def _own_threads() -> int:
    """Return how many threads a run without a cluster has here, up to what a worker makes use of.

    With as many, however few cores a worker has, the pictures are the same; on cores that are shared, two
    workers of two threads were found as fast as two of one.
    """
    import psutil

    own = os.environ.get("OMP_NUM_THREADS", "")
    return int(own) if own else min(psutil.cpu_count(logical=False) or 1, _MOST_CORES)


def _groups(
    nodes: Sequence[dict[str, Any]], cores: int | None, *, wants_gpu: bool
) -> tuple[list[dict[str, int]], str]:
    """Return what each worker takes of the machines that are up, and that in words."""
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = sum(int(each.get("GPU", 0)) for each in resources)
    if wants_gpu and gpus:
        return [{"num_gpus": 1, "num_cpus": 1}] * gpus, "a graphics card each"
    groups: list[dict[str, int]] = []
    for each in resources:
        there = int(each.get("CPU", 0))
        size = min(cores or _MOST_CORES, there)
        groups += [{"num_cpus": size}] * (there // size if size else 0)
    if not groups:
        raise ClusterError("the cluster has no core to work on", "add a machine to it with ray start")
    return groups, f"up to {max(group['num_cpus'] for group in groups)} cores each"


def _nobody(text: str) -> None: ...
