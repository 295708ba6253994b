"""Frames through the net, batch by batch, within the memory there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from stylecam.engines.base import Engine
from stylecam.errors import OutOfMemoryError
from stylecam.film.journal import Journal
from stylecam.frames import Frame, Pixels


class Painter:
    """Paint batches of frames with `engine`, at most `batch` at once; half as many when memory runs out.

    What `journal` holds of an earlier run is taken from there. `say` is told of smaller batches.
    `busy_s` is the time in the net, `last_s` that of the last batch.
    """

    def __init__(
        self, engine: Engine, batch: int, journal: Journal | None, say: Callable[[str], None]
    ) -> None:
        self.batch = batch
        self.busy_s = self.last_s = 0.0
        self._engine, self._journal, self._say = engine, journal, say

    def paint(self, number: int, frames: Sequence[Frame]) -> Pixels:
        """Return frames `number` and those after it painted: (N, H, W, 3). Raises InferenceError."""
        kept = self._journal.load(number, len(frames)) if self._journal else None
        self.last_s = 0.0
        if kept is not None:
            return kept
        batch = np.stack([frame.bgr for frame in frames])
        began_s = time.perf_counter()
        painted = self._infer(batch)
        self.last_s = time.perf_counter() - began_s
        self.busy_s += self.last_s
        if self._journal:
            self._journal.keep(number, painted)
        return painted

    def _infer(self, batch: Pixels) -> Pixels:
        pieces: list[Pixels] = []
        while sum(len(piece) for piece in pieces) < len(batch):
            begin = sum(len(piece) for piece in pieces)
            piece = batch[begin : begin + self.batch]
            try:
                pieces.append(self._engine.infer(piece))
            except OutOfMemoryError:
                if len(piece) == 1:
                    raise
                self.batch = len(piece) // 2
                self._say(f"too little memory for {len(piece)} frames at once: on with {self.batch}")
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
