"""Frames that come whenever they come, on a time line of one rate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from stylecam.frames import Frame

_NEAR = 0.75
"""A frame goes into the next slot if it is nearer to it than this: nearest alone, a 30 fps camera whose times
tremble by 3 ms would lose two frames a second, and two others would be shown twice."""

_LONGEST_S = 10.0
"""A live run repeats a picture that stays every now and then; only a program that slept leaves more."""


class Slots:
    """Show in each slot, 1/`rate` seconds long, what a viewer saw then: the newest frame up to there.

    Slots count from the first frame's time. A frame goes into one by its `timestamp_s`; of several in one
    slot the newest stays, and one stays until the next comes. One that is late goes into the last slot there
    is. A gap of more than ten seconds is cut down to that, so that no frame takes long to make up for.
    """

    def __init__(self, rate: Fraction) -> None:
        self._rate = rate
        self._zero_s = 0.0
        self._slot = 0
        self._shown: Frame | None = None

    def put(self, frame: Frame) -> Iterator[Frame]:
        """Take a frame; give those before its slot that were not given yet, their times being the slots'."""
        if self._shown is None:
            self._zero_s, self._shown = frame.timestamp_s, frame
            return
        slot = self._find(frame.timestamp_s)
        while self._slot < slot:
            yield from self.rest()
            self._slot += 1
        self._shown = frame

    def rest(self) -> Iterator[Frame]:
        """Give the last slot, which the next frame would have ended."""
        if self._shown is not None:
            yield replace(self._shown, timestamp_s=float(self._slot / self._rate))

    def _find(self, timestamp_s: float) -> int:
        place, following = (timestamp_s - self._zero_s) * float(self._rate), self._slot + 1
        slot = following if abs(place - following) < _NEAR else math.floor(place + 0.5)
        longest = self._slot + math.ceil(_LONGEST_S * self._rate)
        if slot > longest:
            self._zero_s += float((slot - longest) / self._rate)
        return min(max(slot, self._slot), longest)
