"""The styles of a live run: their nets opened beside the work, one faded into the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stylecam.engines.base import Engine
from stylecam.errors import StylecamError
from stylecam.frames import Pixels, size_of
from stylecam.live.compose import blend
from stylecam.styles import Style, find_style, list_styles, parse_mix, read_style

OpenEngine = Callable[[Style], Engine]


@dataclass(frozen=True)
class Look:
    """A style in an engine: `mix` weighs the styles of a net of several, None for a net of one."""

    style: Style
    engine: Engine
    mix: tuple[float, ...] | None

    def paint(self, bgr: Pixels) -> Pixels:
        """Return (H, W, 3) painted."""
        return _paint(self.engine, bgr, self.mix)


class Looks:
    """Paint in any style there is, without ever stopping to load one.

    The style asked for first is opened at once (by the caller, as `first`), any other in a thread beside the
    work while the old one goes on; nets are kept open. For the painter's thread, `close` after it has ended.
    """

    def __init__(self, first: Style, engine: Engine, open_engine: OpenEngine, names: Sequence[str]) -> None:
        self._open_engine = open_engine
        self.names = tuple(names)
        self._engines: dict[Path, Engine] = {first.path: engine}
        self._coming: dict[Path, Future[Engine]] = {}
        self._styles: dict[tuple[str, str], Style] = {(first.name, first.net): first}
        self._several: list[Style] = []
        self._opener = ThreadPoolExecutor(1, "stylecam-open")
        self._now = self._shown = Look(first, engine, first.mix)
        self._before: Look | None = None
        self._fade_at_s = 0.0

    @property
    def now(self) -> Look:
        """The look of the last frame, the newer one while two are faded."""
        return self._now

    def choose(self, name: str, net: str, size_wh: tuple[int, int], now_s: float) -> bool:
        """Take that style from now on, or as soon as it is open and ready for frames of that size.

        Tells whether it is the one shown. A change in the middle of a fade begins at what is shown then.

        Raises StylecamError where it cannot be opened; what was chosen before stays.
        """
        found = self._find(name, net)
        if found.path == self._now.style.path and found.mix == self._now.mix:
            return True
        engine = self._opened(found)
        if engine is None or not _prepare(engine, size_wh, found.mix):
            return False
        self._before, self._fade_at_s = self._shown, now_s
        self._now = Look(found, engine, found.mix)
        return True

    def paint(self, bgr: Pixels, now_s: float, fade_s: float) -> Pixels:
        """Return (H, W, 3) BGR painted in the chosen style, or between the last one and it."""
        before, share = self._before, (now_s - self._fade_at_s) / fade_s if fade_s else 1.0
        if before is None or share >= 1 or before.style.net != self._now.style.net:
            # Between nets of two kinds the governor steps: in a hurry, and hardly to be seen.
            self._before, self._shown = None, self._now
            return self._now.paint(bgr)
        if before.engine is self._now.engine and before.mix and self._now.mix:
            mix = (1 - share) * np.asarray(before.mix) + share * np.asarray(self._now.mix)
            self._shown = replace(self._now, mix=tuple(mix.tolist()))
            return self._shown.paint(bgr)
        self._shown = self._now
        return blend(before.paint(bgr), self._now.paint(bgr), share)

    def preview(self, name: str, bgr: Pixels) -> Pixels | None:
        """Return a small frame in any style, None while its net is being opened or compiled."""
        found = self._find(name, self._now.style.net)
        engine = self._opened(found)
        if engine is None or not _prepare(engine, size_of(bgr), found.mix):
            return None
        return Look(found, engine, found.mix).paint(bgr)

    def prepare(self, net: str, size_wh: tuple[int, int]) -> bool:
        """Make the chosen style ready for frames of that size, beside the work; tell whether it is.

        Raises StylecamError where it cannot be.
        """
        found = self._find(self._now.style.name, net)
        engine = self._opened(found)
        return engine is not None and _prepare(engine, size_wh, found.mix)

    def close(self) -> None:
        """Close every net."""
        self._opener.shutdown(wait=True, cancel_futures=True)
        for coming in self._coming.values():
            if not coming.cancelled() and coming.exception() is None:
                coming.result().close()
        for engine in self._engines.values():
            engine.close()

    def _find(self, name: str, net: str) -> Style:
        key = (name, net)
        if key not in self._styles:
            weights = parse_mix(name)
            if len(weights) > 1:  # as many as a slider has places: each is made anew out of one file
                return self._find_several(weights, net).mixed(weights)
            self._styles[key] = find_style(name, net)
        return self._styles[key]

    def _find_several(self, weights: Mapping[str, float], net: str) -> Style:
        for known in self._several:
            if known.net == net and set(weights) <= set(known.styles):
                return known
        self._several.append(read_style(find_style(",".join(weights), net).path))
        return self._several[-1]

    def _opened(self, style: Style) -> Engine | None:
        if style.path in self._engines:
            return self._engines[style.path]
        if style.path not in self._coming:
            self._coming[style.path] = self._opener.submit(self._open_engine, style)
        coming = self._coming[style.path]
        if not coming.done():
            return None
        del self._coming[style.path]
        self._engines[style.path] = coming.result()
        return self._engines[style.path]


def _paint(engine: Engine, bgr: Pixels, mix: tuple[float, ...] | None) -> Pixels:
    painted: Pixels = engine.infer(bgr[None], mix)[0]
    return painted


def _prepare(engine: Engine, size_wh: tuple[int, int], mix: tuple[float, ...] | None) -> bool:
    return engine.prepare((1, size_wh[1], size_wh[0], 3), mix)


def names_for(first: Style) -> list[str]:
    """Return the styles to choose from: all that have a net of that kind, the first one among them."""
    names = {style.name for style in list_styles()[0] if style.net == first.net}
    return sorted(names if first.mix is not None else names | {first.name})


def kinds_of(name: str) -> list[str]:
    """Return the kinds of net a style has, "full" and "fast"."""
    kinds = []
    for kind in ("full", "fast"):
        with suppress(StylecamError):
            find_style(name, kind)
            kinds.append(kind)
    return kinds
