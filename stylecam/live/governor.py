"""Holding a frame rate: which net works at which size, decided by how long the last frames took."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

from stylecam.errors import StylecamError

SCALES = (1.0, 0.75, 0.5625, 0.42, 0.32)
"""Sides of the frames that the net sees, of the size asked for: about 1.8 times fewer pixels each."""

FULL_COST = 9.0
"""How many times the fast net's time the full net takes: between 12, of two grids, and 7, of one (no AMX)."""

_BUSY = 0.92
"""A step down aims at this share of the time there is for a frame."""

_EASY = 0.75
"""A step up must leave at least the rest of this."""

_LATE_FRAMES = 4
_EASY_S = 3.0
_LONGEST_WAIT_S = 60.0
_SMALLEST_SIDE = 64


@dataclass(frozen=True)
class Rung:
    """One way to paint a frame: a kind of net ("full" or "fast") and the size it works at."""

    net: str
    size_wh: tuple[int, int]

    @property
    def cost(self) -> float:
        """The work, in pixels of the fast net."""
        return self.size_wh[0] * self.size_wh[1] * (FULL_COST if self.net == "full" else 1.0)

    def __str__(self) -> str:
        return f"{self.net} net at {self.size_wh[0]}x{self.size_wh[1]}"


def make_ladder(size_wh: tuple[int, int], nets: Sequence[str]) -> tuple[Rung, ...]:
    """Return the rungs for frames of that size, dearest first; `nets` are those there may be.

    The full net is not scaled down as far where there is a fast one: that paints better than the full
    one at a quarter of the size.
    """
    rungs: list[Rung] = []
    for net in ("full", "fast"):
        if net in nets:
            scales = SCALES[:2] if net == "full" and "fast" in nets else SCALES
            rungs += [Rung(net, _scaled(size_wh, scale)) for scale in scales]
    return tuple(dict.fromkeys(r for r in rungs if r.size_wh == size_wh or min(r.size_wh) >= _SMALLEST_SIDE))


def _scaled(size_wh: tuple[int, int], scale: float) -> tuple[int, int]:
    if scale == 1:
        return size_wh
    width, height = (max(16, 8 * round(side * scale / 8)) for side in size_wh)  # whole cells of either net
    return width, height


class Governor:
    """Choose a rung of `ladder` so that a frame takes at most 1 / `fps` seconds. For one thread.

    It goes down as soon as some frames in a row were late, as many rungs as their time tells; it goes up by
    one rung after a while of ease. Where that turned out to be too much it waits twice as long
    before the next attempt. While the rung it aims at is not ready it takes the nearest that is,
    rather a cheaper one than a dearer one.
    """

    def __init__(self, ladder: Sequence[Rung], fps: float, start: int = 0) -> None:
        self.ladder = tuple(ladder)
        self.fps = fps
        self.index = self._aim = start
        self._late = 0
        self._is_first = True
        self._easy_since_s: float | None = None
        self._typical_s: float | None = None
        self._wait_s = _EASY_S
        self._rose_at_s = -_LONGEST_WAIT_S

    @property
    def rung(self) -> Rung:
        """What the next frame is painted by."""
        return self.ladder[self.index]

    @property
    def likely(self) -> tuple[Rung, ...]:
        """The rungs to be made ready: the one aimed at, those below, the nearest first, and one above.

        Not where that is another kind of net: it is opened when there is time for it.
        """
        aim, below = self.ladder[self._aim], self.ladder[self.index + 1 :]
        above = [rung for rung in self.ladder[: self.index][-1:] if rung.net == self.rung.net]
        return tuple(rung for rung in dict.fromkeys((aim, *below, *above)) if rung != self.rung)

    def observe(
        self, took_s: float, now_s: float, is_ready: Callable[[Rung], bool] = lambda rung: True
    ) -> bool:
        """Take in how long a frame took, at a time in seconds; tell whether the rung is another now.

        A rung's first frame tells nothing: its net may have been compiled meanwhile.
        """
        if self._is_first:
            self._is_first = False
            return False
        if self._typical_s is None:
            self._typical_s = took_s
        self._typical_s += 0.25 * (took_s - self._typical_s)
        limit_s = 1 / self.fps
        self._late = self._late + 1 if took_s > limit_s else 0
        if self._late >= _LATE_FRAMES:
            self._aim = self._find_lower(self._typical_s, limit_s)
        elif self._aim > self.index and not self._late:
            self._aim = self.index  # it is low enough after all
        elif self._aim == self.index and self._may_rise(self._typical_s, limit_s, now_s):
            self._aim = self.index - 1
        return self._go(self._find_nearest(is_ready), now_s)

    def _find_lower(self, typical_s: float, limit_s: float) -> int:
        per_cost_s = typical_s / self.rung.cost
        below = range(self.index + 1, len(self.ladder))
        fits = (i for i in below if per_cost_s * self.ladder[i].cost <= _BUSY * limit_s)
        return next(fits, len(self.ladder) - 1)

    def _may_rise(self, typical_s: float, limit_s: float, now_s: float) -> bool:
        if self.index == 0:
            return False
        above = self.ladder[self.index - 1]
        if typical_s * above.cost / self.rung.cost > _EASY * limit_s:
            self._easy_since_s = None
            return False
        if self._easy_since_s is None:
            self._easy_since_s = now_s
        return now_s - self._easy_since_s >= self._wait_s

    def _find_nearest(self, is_ready: Callable[[Rung], bool]) -> int:
        """Return the rung aimed at, else the next one below that is ready, else above; the present one is."""
        order = chain(range(self._aim, len(self.ladder)), range(self._aim - 1, -1, -1))
        return next(i for i in order if i == self.index or is_ready(self.ladder[i]))

    def _go(self, index: int, now_s: float) -> bool:
        if index == self.index:
            return False
        if index < self.index:
            self._rose_at_s = now_s
        elif now_s - self._rose_at_s < self._wait_s + _EASY_S:
            self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
        self.index, self._late = index, 0
        self._easy_since_s = self._typical_s = None
        self._is_first = True
        return True


def open_governor(
    wanted: str | None, source_fps: float | None, size_wh: tuple[int, int], net: str, nets: Sequence[str]
) -> Governor | None:
    """Return what holds the rate `wanted`: a number, "source" for the source's own, None for no governor.

    It starts with `net` at the size asked for; `nets` are the kinds there may be. Raises StylecamError.
    """
    if wanted is None:
        return None
    if wanted == "source" and not source_fps:
        raise StylecamError("this source does not say its rate", "name one, such as --fps 30")
    try:
        fps = float(source_fps or 0) if wanted == "source" else float(wanted)
    except ValueError:
        fps = math.nan
    if not 1 <= fps <= 240:
        raise StylecamError(f"rate {wanted!r} is out of range", "give a number from 1 to 240, or source")
    ladder = make_ladder(size_wh, nets)
    return Governor(ladder, fps, ladder.index(Rung(net, size_wh)))
