"""A live run with a camera and sinks that a test plays, and a real net."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from stylecam.controls import Controls, Settings
from stylecam.engines import open_engine
from stylecam.errors import SinkWriteError
from stylecam.frames import Frame, Pixels
from stylecam.live.governor import Governor
from stylecam.live.looks import Looks
from stylecam.live.painter import Painter
from stylecam.live.run import LiveRun, Messages
from stylecam.sinks import Sink
from stylecam.sources import Source
from stylecam.styles import Style

SIZE = (64, 48)
Make = Callable[..., LiveRun]


class Camera(Source):
    """Give numbered frames at a rate, `count` of them or while `more()`, then end or fail."""

    is_live = True

    def __init__(
        self,
        count: int = 20,
        fps: float = 200,
        fail: Exception | None = None,
        more: Callable[[], bool] = lambda: True,
    ) -> None:
        self.size_wh, self.fps = SIZE, fps
        self._count, self._fail, self._more = count, fail, more
        self._next = 0

    def read(self) -> Frame | None:
        time.sleep(1 / (self.fps or 1))
        if self._next == self._count or not self._more():
            if self._fail:
                raise self._fail
            return None
        self._next += 1
        bgr = np.full((SIZE[1], SIZE[0], 3), self._next % 200, np.uint8)
        return Frame(bgr, self._next / 200, time.perf_counter())

    def close(self) -> None:
        pass


class Keeper(Sink):
    """Keep what comes, where a `gate` is closed not before it opens, failing after `fail_at` frames."""

    def __init__(
        self,
        gate: threading.Event | None = None,
        fail_at: int | None = None,
        error: Exception | None = None,
    ) -> None:
        self.kept: list[Frame] = []
        self.offered = threading.Event()
        self.threads: set[str] = set()
        self.on_main_thread = False
        self._gate, self._fail_at = gate, fail_at
        self._error = error or SinkWriteError("the disk is full", "make room")

    def write(self, frame: Frame) -> None:
        if len(self.kept) == self._fail_at:
            raise self._error
        self.offered.set()
        if self._gate is not None:
            assert self._gate.wait(60)
        self.threads.add(threading.current_thread().name)
        self.kept.append(frame)

    def close(self) -> None:
        pass


@contextmanager
def live_runs(style: Style, folder: Path) -> Iterator[Make]:
    """Give what makes runs in that style; their nets are closed with it."""
    looks: list[Looks] = []

    def build(
        source: Source, sinks: Sequence[Sink], governor: Governor | None = None, **more: Any
    ) -> LiveRun:
        found = Looks(style, open_engine(style, "onnxruntime", "cpu"), open_engine, [style.name])
        looks.append(found)
        controls = Controls(Settings(style.name, smooth=0.0, **more.pop("settings", {})), [style.name])
        messages = Messages(lambda text: None)
        painter = Painter(found, controls, say=messages, governor=governor, folder=folder)
        run = LiveRun(source, painter, messages=messages, **more)
        for number, sink in enumerate(sinks):
            run.attach(f"sink{number}", sink)
        return run

    yield build
    for found in looks:
        found.close()


def finish(run: LiveRun) -> LiveRun:
    for _ in run.steps():
        pass
    return run


def paint_one(run: LiveRun, bgr: Pixels, **settings: Any) -> Pixels:
    run.painter.controls.change(**settings)
    shown = run.painter.paint(Frame(bgr, 0.0, time.perf_counter())).bgr
    run.painter.follow_up()
    return shown
