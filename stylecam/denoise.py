"""Temporal noise reduction before the net: what stands still goes in just as it went in before.

A net makes strokes out of next to nothing: a change of a tenth of a level that a sensor or a codec leaves
on a still wall comes out more than ten times as large. What does not change at all stays as it is painted.
"""

from __future__ import annotations

import cv2
import numpy as np

from stylecam.frames import Pixels, size_of

CELL = 8
"""Side of the squares of a frame that are held or let through, in pixels."""

_DOUBTFUL, _NEW = 4, 8
"""Mean difference (of 255) from what went in before, from which on a square is doubtful, or new."""

_STANDS_OUT = 20
"""Difference of 2 x 2 pixels alone that makes their square new: a glint in an eye, a hair."""

_PART = 0.25
"""So much of what is doubtful is taken on: an average over time, which is what noise needs."""

_BESIDE = np.ones((3, 3), np.uint8)


class Denoiser:
    """A motion-adaptive recursive filter; one for each film. Nothing is held that is off by much.

    Differences are taken between means of 2 x 2 pixels, so that the noise of single ones counts for half.
    3 to 4 ms on one core at 1280 x 720.
    """

    def __init__(self) -> None:
        self._before: tuple[Pixels, Pixels] | None = None

    def denoise(self, bgr: Pixels) -> Pixels:
        """Return the frame (H, W, 3) uint8 BGR to paint in the place of `bgr`. Call in order."""
        held, halved = bgr, _halve(bgr)
        if self._before is not None and self._before[0].shape == bgr.shape:
            held = _let_through(bgr, self._before[0], *_classify(halved, self._before[1]))
            if held is not bgr:
                halved = _halve(held)
        self._before = held, halved
        return held


class FilmDenoiser:
    """A `Denoiser` for films painted in parts: a frame depends on no more than the last `memory` frames.

    Two of them take turns. Each begins anew after `memory` frames, unseen, while the other one counts for
    all, and what either has held comes and goes little by little: if it began anew at once, all that stands
    still would jump. `period` is half of that memory; 0 holds nothing. Frames are numbered from the film's
    first.
    """

    def __init__(self, period: int) -> None:
        self.period = period
        self._turns = [Denoiser(), Denoiser()]

    @property
    def memory(self) -> int:
        """How many frames before one have to be seen for it to come out as it does in the whole film."""
        return 2 * self.period

    def denoise(self, number: int, bgr: Pixels) -> Pixels:
        """Return frame `number` as it is to be painted. Call in order, from any frame on."""
        if not self.period:
            return bgr
        turn, place = divmod(number, self.period)
        if not place:
            self._turns[turn % 2] = Denoiser()
        young, old = (self._turns[(turn + age) % 2].denoise(bgr) for age in (0, 1))
        share = 1.0 if not turn else place / self.period
        return np.asarray(cv2.addWeighted(young, share, old, 1 - share, 0), np.uint8)


def _halve(bgr: Pixels) -> Pixels:
    width, height = size_of(bgr)
    size_wh = max(1, width // 2), max(1, height // 2)
    return np.asarray(cv2.resize(bgr, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def _classify(halved: Pixels, before: Pixels) -> tuple[Pixels, Pixels]:
    """Return masks (rows, columns), 255 where a square of `CELL` px or one beside it is new, or doubtful."""
    blue, green, red = cv2.split(cv2.absdiff(halved, before))
    difference = cv2.max(cv2.max(blue, green), red)
    size_wh = tuple(max(1, side * 2 // CELL) for side in size_of(halved))
    unlike, outstanding = (
        cv2.resize(each, size_wh, interpolation=cv2.INTER_AREA)
        for each in (difference, cv2.inRange(difference, _STANDS_OUT, 255))
    )
    unlike = cv2.max(unlike, outstanding)  # one of a square's 16 makes 255 / 16 of it
    new, doubtful = (cv2.dilate(cv2.inRange(unlike, least, 255), _BESIDE) for least in (_NEW, _DOUBTFUL))
    return np.asarray(new), np.asarray(cv2.max(doubtful, cv2.dilate(new, _BESIDE)))


def _let_through(bgr: Pixels, before: Pixels, new: Pixels, doubtful: Pixels) -> Pixels:
    """Return `before` with what is new of `bgr`, and a part of what is doubtful."""
    if new.min():
        return bgr
    held = before.copy()
    size_wh = size_of(bgr)
    for mask, source in (doubtful, cv2.addWeighted(bgr, _PART, before, 1 - _PART, 0)), (new, bgr):
        cv2.copyTo(source, cv2.resize(mask, size_wh, interpolation=cv2.INTER_NEAREST), held)
    return held
