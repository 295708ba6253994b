"""Painted frames of a segment that takes long, kept until it is whole."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np

from stylecam.film.stage import Stage
from stylecam.frames import Pixels
from stylecam.wholefile import sync_file

_PATIENCE_S = 4.0
_DEPTH = 2


class Journal:
    """A folder of painted frames, a file each, that the next run does not have to paint again.

    Where a segment is done within `_PATIENCE_S` nothing is written. After that every frame is, so
    that a crash loses seconds, however slow the net and however long the segment. Several processes may
    share the folder, each from its own frame `first` on.
    """

    def __init__(self, folder: Path, first: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._first, self._clock = folder, first, clock
        self._since_s = clock()
        self._stage: Stage[tuple[int, Pixels]] = Stage("journal", self._write, _DEPTH)

    def load(self, number: int, count: int) -> Pixels | None:
        """Return frames `number` and on, (count, H, W, 3), if every one of them is there and whole."""
        frames = []
        for each in range(number, number + count):
            try:
                frames.append(np.load(self._path(each)))
            except (OSError, ValueError, EOFError):
                return None
        return np.stack(frames)

    def keep(self, number: int, painted: Pixels) -> None:
        """Write frames `number` and on, if the last whole segment is a while ago. Raises OSError."""
        if self._clock() - self._since_s >= _PATIENCE_S:
            for each, bgr in enumerate(painted, number):
                self._stage.put((each, bgr))

    def forget(self, number: int) -> None:
        """Delete its own frames before `number`: a segment is whole, and the next one begins."""
        self._since_s = self._clock()
        for path in self._folder.glob("*.npy"):
            if path.stem.isdecimal() and self._first <= int(path.stem) < number:
                path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Wait until all is on the disk. Raises OSError."""
        self._stage.finish()

    def drop(self) -> None:
        """Stop writing."""
        self._stage.drop()

    def _write(self, item: tuple[int, Pixels]) -> None:
        number, bgr = item
        path = self._path(number)
        self._folder.mkdir(exist_ok=True)
        part = path.with_suffix(f".{secrets.token_hex(4)}.part")
        frame = BytesIO()
        np.save(frame, bgr)  # into a file it would say "100 requested and 50 written" of a full disk
        try:
            part.write_bytes(frame.getbuffer())
            sync_file(part)
            os.replace(part, path)
        except OSError:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:09d}.npy"
