"""Another frame rate: frames repeated or left out, never blended."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from stylecam.errors import SourceOpenError
from stylecam.sources.colour import Shown

_NTSC = 1001
_HIGHEST = 1000


def parse_fps(text: str) -> Fraction:
    """Return frames per second from "25", "30000/1001" or "29.97", which means the former.

    Raises SourceOpenError.
    """
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError) as exc:
        raise _bad_rate(text) from exc
    if not 0 < rate <= _HIGHEST:
        raise _bad_rate(text)
    ntsc = Fraction(math.ceil(rate) * 1000, _NTSC)
    return ntsc if rate.denominator != 1 and abs(rate - ntsc) < Fraction(1, 200) else rate


def at_constant_rate(
    pictures: Iterator[Shown], rate: Fraction, first_s: Fraction | None = None
) -> Iterator[Shown]:
    """Yield a picture for each tick of `rate` from the first one's time on: the newest there is by then.

    A picture whose time lies within half a tick counts for it, so that a film of that rate, with
    times rounded by its container, comes out as it is. Where `pictures` begin later than the film,
    `first_s` is the time of its first one.
    """
    held = next(pictures, None)
    if held is None or held.time_s is None:
        return
    first_s = held.time_s if first_s is None else first_s
    tick, gap = math.floor((held.time_s - first_s) * rate + Fraction(1, 2)), Fraction(1)
    for shown in pictures:
        assert shown.time_s is not None
        until = math.floor((shown.time_s - first_s) * rate + Fraction(1, 2))
        gap = (shown.time_s - first_s) * rate - tick if until > tick else gap
        while tick < until:
            yield replace(held, time_s=first_s + tick / rate)
            tick += 1
        held = shown
    # How long the last one is shown nobody says: as long as the one before.
    for more in range(max(1, math.floor(gap + Fraction(1, 2)))):
        yield replace(held, time_s=first_s + (tick + more) / rate)


def _bad_rate(text: str) -> SourceOpenError:
    return SourceOpenError(f'"{text}" is no frame rate', "give frames per second, as 25, 29.97 or 30000/1001")
