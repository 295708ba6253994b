"""How a CPU's threads are shared out among the frames of a film: found by painting its beginning each way.

One frame over all threads leaves some of them idle at every layer's end; several frames at once, each over
its share, do not, and decoder and encoder find room between them. What is faster depends on processor, net
and size, so it is measured with the whole of `stylecam video` at work, and remembered.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from platformdirs import user_cache_path

from stylecam.engines.base import Engine
from stylecam.errors import StylecamError
from stylecam.film.task import Task
from stylecam.machine import describe_cpu, recall, remember
from stylecam.sinks.target import kind_of_target
from stylecam.styles import Style

Trial = Callable[[Task], float]
"""Paints a task and returns its frames a second."""

_WORTH_PIXELS = {"full": 50_000_000, "fast": 400_000_000}
"""A film of more pixels, all frames together, is worth the trial: a minute's work for two cores.

By the film alone, and never by a clock: a cluster and a run without it must decide alike.
"""

_UNTRIED = {"full": 1, "fast": 2}
"""How many lanes a film takes that is worth no trial. On two cores, with matrix units or without, two lanes
were 14 to 20% faster with fast nets at 640x360, within 7% at 1280x720; with full ones 5% up or 6% down."""

_TRIAL_S = 1.5
_ROUNDS = 2
_TIMED = 8
_FEWEST, _MOST = 16, 240
_GAIN = 1.03
"""By so much several lanes must be faster: they take more memory."""


def choose_lanes(
    task: Task,
    engine: Engine,
    style: Style,
    size_wh: tuple[int, int],
    frames: int | None,
    trial: Trial,
    say: Callable[[str], None],
) -> int:
    """Return how many frames of a film of so many `frames` are best computed at once.

    `task.lanes` where it names a number; one where that is all the engine can, or where the source cannot be
    read twice; what serves a net of this kind where the film is short; one, and a word on it, where nothing
    can be measured. Raises InferenceError where the net cannot be run.
    """
    if task.lanes is not None:
        return task.lanes
    counts = [count for count in engine.lane_counts(size_wh) if count <= (task.batch or count)]
    kind = kind_of_target(task.target)
    if len(counts) == 1 or task.source_path is None or kind == "stdout":
        return 1
    file, key = user_cache_path("stylecam") / "lanes.json", _key(task, engine, style, size_wh)
    if frames is not None and frames * size_wh[0] * size_wh[1] < _WORTH_PIXELS[style.net]:
        return min(_UNTRIED[style.net], counts[-1])
    known = recall(file).get(key)
    if known in counts:
        return int(known)
    say(f"measures whether {' or '.join(map(str, counts))} frames at once go faster (--lanes names it)")
    length = min(max(round(_TRIAL_S / _net_s(engine, size_wh)), _FEWEST), _MOST)
    try:
        with TemporaryDirectory(prefix="stylecam-") as folder:
            name = "%06d.png" if kind == "pictures" else f"trial{Path(task.target).suffix}"
            short = replace(task, target=str(Path(folder) / name), frames=min(length, task.frames or length))
            best, rates = _fastest(short, counts, trial)
    except (StylecamError, OSError) as exc:  # a full /tmp, say: the film itself may well be painted
        say(f"lanes: 1 (it could not be measured: {getattr(exc, 'message', None) or exc})")
        return 1
    with suppress(OSError):  # it is measured again the next time
        remember(file, key, best)
    measured = ", ".join(f"{lanes}: {fps:.1f} fps" for lanes, fps in rates.items())
    say(f"lanes: {best} (measured, {measured})")
    return best


def _fastest(task: Task, counts: list[int], trial: Trial) -> tuple[int, dict[int, float]]:
    """Try each number of lanes in turn; one that fails, as for want of memory, is out."""
    rates: dict[int, float] = {}
    for _ in range(_ROUNDS):
        for lanes in counts:
            try:
                rates[lanes] = max(rates.get(lanes, 0.0), trial(replace(task, lanes=lanes)))
            except StylecamError:
                if lanes == 1:
                    raise
                rates[lanes] = 0.0
    best = max(rates, key=lambda lanes: rates[lanes])
    return (best if rates[best] > _GAIN * rates[1] else 1), rates


def _key(task: Task, engine: Engine, style: Style, size_wh: tuple[int, int]) -> str:
    """Return what the answer depends on: how many threads there are, not who has said so.

    A worker of a cluster is told how many, a run by itself finds the same number: they must agree.
    """
    coding = {name: value for name, value in asdict(task.encoding).items() if value}
    what = (
        describe_cpu(), engine.threads, os.environ.get("ONEDNN_MAX_CPU_ISA"), engine.precision,
        style.net, style.card["net"], size_wh, Path(task.target).suffix, coding,
        task.smoothing > 0,
    )  # fmt: skip
    return json.dumps(what, sort_keys=True)


def _net_s(engine: Engine, size_wh: tuple[int, int]) -> float:
    """Return how long the net takes for a frame over all threads: the least of a few, for others work too."""
    frame = np.zeros((1, size_wh[1], size_wh[0], 3), np.uint8)
    engine.share_threads(1)
    engine.infer(frame)
    times_s: list[float] = []
    while len(times_s) < _TIMED and sum(times_s) < _TRIAL_S:
        began_s = time.perf_counter()
        engine.infer(frame)
        times_s.append(time.perf_counter() - began_s)
    return min(times_s)
