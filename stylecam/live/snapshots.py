"""Frames kept as pictures, because somebody asked for it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from stylecam.controls import Controls
from stylecam.errors import StylecamError
from stylecam.frames import Frame
from stylecam.live.names import new_path
from stylecam.pictures import Picture, write_picture


class Snapshots:
    """Write the frame that is shown into `folder` as a PNG when `controls` ask for it, beside the work.

    One is written after the other, so that no two take the same name, and none is begun while the last is
    under way: what is asked for meanwhile is kept as one picture after it. For the painter's thread;
    the program does not end before the last one is written.
    """

    def __init__(self, controls: Controls, folder: Path, say: Callable[[str], None]) -> None:
        self._controls, self._folder, self._say = controls, folder, say
        self._writer = ThreadPoolExecutor(1, "stylecam-snapshot")
        self._under_way: Future[None] | None = None

    def keep(self, shown: Frame) -> None:
        """Keep `shown` if a snapshot was asked for and none is being written."""
        if (self._under_way is None or self._under_way.done()) and self._controls.take_snapshots():
            self._under_way = self._writer.submit(self._write, shown)

    def finish(self, shown: Frame) -> None:
        """Keep `shown` if a snapshot was asked for, after the one that is being written."""
        if self._under_way is not None:
            wait([self._under_way])
        self.keep(shown)

    def _write(self, frame: Frame) -> None:
        path = new_path(self._folder, ".png")
        try:
            write_picture(path, Picture(frame.bgr, frame.alpha))
            self._say(f"snapshot: {path}")
        except StylecamError as exc:
            self._say(f"no snapshot: {exc.message}")
