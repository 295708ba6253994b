"""Thumbnails of every style, made of what the camera sees."""

from __future__ import annotations

import time

from stylecam.errors import StylecamError
from stylecam.frames import Pixels, fit_long_side, resize, size_of
from stylecam.live.looks import Looks

_LONG_SIDE = 192
_EVERY_FRAMES = 6
_FRESH_S = 60.0
_WANTED_S = 15.0


class Previews:
    """Paint small frames in one style after the other, a few a second, while somebody asks for them.

    `get` from any thread, `work` in the painter's.
    """

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        self._made: dict[str, tuple[Pixels, float]] = {}
        self._asked_s = float("-inf")
        self._frames = 0

    def get(self, name: str) -> Pixels | None:
        """Return a small BGR picture in that style, None while there is none yet."""
        self._asked_s = time.monotonic()
        made = self._made.get(name)
        return made[0] if made else None

    def work(self, bgr: Pixels) -> None:
        """Make the next one out of a frame, where it is time for one and its net is ready."""
        self._frames += 1
        now_s = time.monotonic()
        if self._frames % _EVERY_FRAMES or now_s - self._asked_s > _WANTED_S:
            return
        due = [
            name
            for name in self._looks.names
            if now_s - self._made.get(name, (bgr, -_FRESH_S))[1] >= _FRESH_S
        ]
        if not due:
            return
        small = resize(bgr, fit_long_side(size_of(bgr), min(_LONG_SIDE, max(size_of(bgr)))))
        name = due[self._frames // _EVERY_FRAMES % len(due)]  # one that is not ready yet holds up no other
        try:
            painted = self._looks.preview(name, small)
        except StylecamError:  # said when the style itself is chosen
            self._made[name] = (small, now_s)
            return
        if painted is not None:
            self._made[name] = (painted, now_s)
