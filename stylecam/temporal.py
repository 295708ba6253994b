"""Steadiness from frame to frame: optical flow, how much a film flickers, and how to make it less."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import fmean
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from stylecam.denoise import Denoiser
from stylecam.errors import StylecamError
from stylecam.frames import Pixels, fit_long_side, size_of

Flow: TypeAlias = NDArray[np.float32]
"""(H, W, 2) float32: for each pixel of this frame, how many px right and down it lay in the frame before."""

Numbers: TypeAlias = NDArray[np.uint8 | np.float32]

DEFAULT_SMOOTHING = 0.1
"""With the denoising it took 4 to 29% off the flicker of two clips and put 0 to 3% on the objective.

0.05, hardly more than the denoising, took 3 to 28% off and put at most 1% on; 0.2 took 6 to 33% off, but put
5 to 6% on where things move. (Starry's, composition's and scream's fast nets.)
"""

STILL_PX = 0.25
"""Where the flow is shorter than this, nothing moves."""

_DOUBT = 1.0
"""By so much (of 255) must a movement explain a place better than standing still, to be believed."""


class FlowFinder:
    """Dense inverse search (Kroeger et al. 2016) from each frame to the one before."""

    def __init__(self, preset: int = cv2.DISOPTICAL_FLOW_PRESET_MEDIUM) -> None:
        self._dis = cv2.DISOpticalFlow.create(preset)

    def find(self, now: Pixels, before: Pixels) -> Flow:
        """Return the flow from grey frame `now` (H, W) to `before`, along which that becomes this."""
        return np.asarray(self._dis.calc(now, before, None), np.float32)  # type: ignore[call-overload]


def warp(before: Numbers, flow: Flow, interpolation: int = cv2.INTER_CUBIC) -> Numbers:
    """Return `before` (H, W) or (H, W, C) as it looks once everything has moved along `flow`."""
    places = cv2.add(_grid(flow.shape[0], flow.shape[1]), flow)
    moved = cv2.remap(before, places, None, interpolation, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(moved)


def visible(flow: Flow, back: Flow) -> NDArray[np.bool_]:
    """Return (H, W): True where this frame's pixels were to be seen in the frame before.

    `back` is the flow the other way. Where going there and back does not lead home, something was
    covered (Sundaram et al. 2010, sec. 4, with the constants of Ruder et al. 2016, sec. 4.1).
    """
    there = warp(back, flow, cv2.INTER_LINEAR)
    apart = np.square(flow + there).sum(-1)
    allowed = 0.01 * (np.square(flow).sum(-1) + np.square(there).sum(-1)) + 0.5
    height, width = flow.shape[:2]
    place = _grid(height, width) + flow
    inside = ((place >= 0) & (place <= (width - 1, height - 1))).all(-1)
    return np.asarray((apart <= allowed) & inside, np.bool_)


@lru_cache(maxsize=4)
def _grid(height: int, width: int) -> Flow:
    """Return each pixel's own place, (H, W, 2), x first; not to be written to."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.dstack([x, y])


def stands_still(now: Pixels, before: Pixels, flow: Flow) -> NDArray[np.bool_]:
    """Return (H, W): True where no movement at all explains grey frame `now` as well as `flow` does."""
    unlike, unmoved = cv2.absdiff(now, warp(before, flow, cv2.INTER_LINEAR)), cv2.absdiff(now, before)
    return np.asarray(cv2.subtract(cv2.blur(unmoved, (5, 5)), cv2.blur(unlike, (5, 5))) <= _DOUBT)


def grey(bgr: Pixels) -> Pixels:
    """Return a frame's luminance, (H, W) uint8."""
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.uint8)


@dataclass
class Flicker:
    """How much a stylized film flickers, beyond what its source does.

    All are mean absolute differences, of 255. `warp_error` compares each stylized frame with the one
    before, moved along the source's flow, where that was visible; `source_error` does the same with the
    source itself; `share` is the part of the frames on which both look. `still_error` and `still_source`
    look only where nothing moves. `detail` is the stylized frames' mean absolute Laplacian after a
    Gaussian blur of 1 px: dividing by it, neither a blur nor a static pattern can win.
    """

    warp_errors: list[float] = field(default_factory=list)
    source_errors: list[float] = field(default_factory=list)
    still_errors: list[float] = field(default_factory=list)
    still_sources: list[float] = field(default_factory=list)
    details: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    _before: tuple[Pixels, Pixels] | None = None
    _finder: FlowFinder = field(default_factory=FlowFinder)

    def add(self, source: Pixels, stylized: Pixels) -> None:
        """Take in the next frame of the film, both (H, W, 3) uint8 BGR."""
        if self._before is not None:
            self._compare(source, stylized, *self._before)
        self._before = source, stylized

    def _compare(self, source: Pixels, stylized: Pixels, old_source: Pixels, old_stylized: Pixels) -> None:
        now, before = grey(source), grey(old_source)
        flow, back = self._finder.find(now, before), self._finder.find(before, now)
        # On a plain wall or table the flow is a guess, drawn along from what moves nearby: there the
        # source does not tell which painting would be the steady one.
        guessed = stands_still(now, before, flow) & (np.square(flow).sum(-1) >= STILL_PX**2)
        seen = visible(flow, back) & ~guessed
        if not seen.any():  # a cut
            return
        source_error, warp_error = (
            _differences(source, old_source, flow),
            _differences(stylized, old_stylized, flow),
        )
        self.source_errors.append(float(source_error[seen].mean()))
        self.warp_errors.append(float(warp_error[seen].mean()))
        still = seen & (np.square(flow).sum(-1) < STILL_PX**2)
        if still.any():
            self.still_sources.append(float(source_error[still].mean()))
            self.still_errors.append(float(warp_error[still].mean()))
        blurred = cv2.GaussianBlur(stylized.astype(np.float32), (0, 0), 1.0)
        self.shares.append(float(seen.mean()))
        self.details.append(float(np.abs(cv2.Laplacian(blurred, cv2.CV_32F)).mean()))

    @property
    def ratio(self) -> float:
        """(warp_error - source_error) / detail: 0 is as steady as the source. Raises StylecamError."""
        if not self.details:
            raise StylecamError(
                "flicker cannot be measured: no two frames of the film show the same scene",
                "name a longer film, or one with fewer cuts",
            )
        return (fmean(self.warp_errors) - fmean(self.source_errors)) / max(fmean(self.details), 1e-6)

    def figures(self) -> dict[str, float]:
        """Return every mean by name, and `warp_ratio`."""
        lists = {
            "warp_error": self.warp_errors, "source_error": self.source_errors,
            "still_error": self.still_errors, "still_source": self.still_sources,
            "detail": self.details, "share": self.shares,
        }  # fmt: skip
        means = {name: round(fmean(values), 3) for name, values in lists.items() if values}
        return {"warp_ratio": round(self.ratio, 3), **means}


def _differences(now: Pixels, before: Pixels, flow: Flow) -> NDArray[np.float32]:
    moved = warp(before.astype(np.float32), flow)
    return np.asarray(np.abs(now.astype(np.float32) - moved).mean(-1), np.float32)


FLOW_SIDE = 320
"""Long side of the frames on which a film is followed while it runs, in pixels."""

_UNLIKE = 12.0
"""A pixel whose grey is further than this from what the flow foretold (of 255) has been covered."""

_TRUST = np.clip(2 - np.arange(256, dtype=np.float32) * np.float32(2 / _UNLIKE), 0, 1)
"""By that difference, full weight up to half of the limit and none beyond it; soft, so that no edge shows."""

_CUT = 0.5
"""Where more than this share of a frame is unlike what was foretold, it begins a new scene."""

_TILE = 40
"""Side of the tiles of a followed frame in which what moves is warped, and what stands still is left out."""

_ENLARGING = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

_STRONGEST = 0.9
"""At `amount` 1 so much of the last output stays: all of it would never take in a change of light."""


def check_smoothing(amount: float) -> None:
    """Raise StylecamError where there is no smoothing of such an amount."""
    if not 0 <= amount <= 1:
        raise StylecamError(f"smoothing {amount:g} is out of range", "it lies between 0 and 1")


class Smoother:
    """Keep a film from flickering: denoise what goes into the net, and blend what comes out of it.

    Each stylized frame takes on what the last one looked like, moved along the source's flow.
    `amount` 0..1 says how much; 0 does nothing, to what goes in neither. Where the source does not look as
    the flow foretells (something was covered, or has changed), the new frame stands alone. It costs a few
    milliseconds at 1280 x 720: flow is found at `FLOW_SIDE`, and what stands still needs no warping. One for
    each film.
    """

    def __init__(self, amount: float) -> None:
        check_smoothing(amount)
        self.amount = amount
        self._share = amount * _STRONGEST
        self._finder = FlowFinder(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._denoiser = Denoiser()
        self._before: Pixels | None = None
        self._last: Pixels | None = None

    @property
    def memory(self) -> int:
        """How many frames back the output still depends on, to within 1/64 of a pixel's value."""
        return math.ceil(math.log(1 / 64) / math.log(self._share)) if self.amount else 0

    def denoise(self, source: Pixels) -> Pixels:
        """Return what is to be stylized in the place of `source`, (H, W, 3) uint8 BGR. Call in order."""
        return self._denoiser.denoise(source) if self.amount else source

    def smooth(self, source: Pixels, stylized: Pixels) -> Pixels:
        """Return the stylized frame to show: (H, W, 3) uint8 BGR, of the size of both. Call in order.

        `source` is what was stylized.
        """
        if not self.amount:
            return stylized
        now = grey(shrink(source))
        if self._before is not None and self._last is not None and self._last.shape == stylized.shape:
            stylized = self._blend(now, self._before, stylized, self._last)
        self._before, self._last = now, stylized
        return stylized

    def _blend(self, now: Pixels, before: Pixels, stylized: Pixels, last: Pixels) -> Pixels:
        flow, moves, unlike = self._follow(now, before)
        if cv2.countNonZero(cv2.inRange(unlike, 0, _UNLIKE)) < (1 - _CUT) * unlike.size:
            return stylized
        trusted = cv2.erode(cv2.LUT(unlike, _TRUST * self._share), np.ones((3, 3)))
        weight = np.asarray(cv2.blur(trusted, (3, 3)), np.float32)
        blended = np.asarray(cv2.addWeighted(last, self._share, stylized, 1 - self._share, 0), np.uint8)
        stirring = cv2.bitwise_or(moves, cv2.inRange(weight, 0, self._share * 0.99))
        across, down = stylized.shape[1] / now.shape[1], stylized.shape[0] / now.shape[0]
        flow = np.asarray(flow * (across, down), np.float32)
        for rows, columns in _stirring_parts(np.asarray(stirring, np.uint8)):
            part = _scaled(rows, down), _scaled(columns, across)
            blended[part] = _blend_moving(stylized, last, flow, weight, part)
        return blended

    def _follow(self, now: Pixels, before: Pixels) -> tuple[Flow, Pixels, Pixels]:
        """Return the flow, where it is not nought (255), and how far each pixel is from what it foretells."""
        flow = self._finder.find(now, before)
        moves = (~stands_still(now, before, flow)).view(np.uint8) * np.uint8(255)
        # A hundredth of a pixel of flow on a quiet background would blur it, a little each time.
        flow = np.asarray(cv2.bitwise_and(flow, flow, mask=moves), np.float32)
        return flow, moves, np.asarray(cv2.absdiff(now, warp(before, flow, cv2.INTER_LINEAR)), np.uint8)


def _stirring_parts(stirring: Pixels) -> Iterator[tuple[slice, slice]]:
    """Give, tile by tile, the rows and columns of the smallest rectangle around what is not 0 in (H, W)."""
    for top in range(0, stirring.shape[0], _TILE):
        for left in range(0, stirring.shape[1], _TILE):
            x, y, width, height = cv2.boundingRect(stirring[top : top + _TILE, left : left + _TILE])
            if width:
                yield slice(top + y, top + y + height), slice(left + x, left + x + width)


def _scaled(places: slice, scale: float) -> slice:
    return slice(round(places.start * scale), round(places.stop * scale))


def _blend_moving(
    stylized: Pixels, last: Pixels, flow: Flow, weight: Flow, where: tuple[slice, slice]
) -> NDArray[np.generic]:
    """Return one part of a blend: `last` moved along the coarse flow, in px of the frame, by a weight."""
    there = stylized[where]
    # Not a part resized: parts that meet have to agree on what lies between them.
    lookup = np.zeros((2, 3))
    for axis, start in enumerate((where[1].start, where[0].start)):
        step = flow.shape[1 - axis] / stylized.shape[1 - axis]
        lookup[axis, axis], lookup[axis, 2] = step, (start + 0.5) * step - 0.5

    def enlarged(coarse: Flow) -> Flow:
        large = cv2.warpAffine(
            coarse, lookup, size_of(there), flags=_ENLARGING, borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(large, np.float32)

    places = cv2.add(_grid(*stylized.shape[:2])[where], enlarged(flow))
    moved = cv2.remap(last, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    share = enlarged(weight)
    return np.asarray(cv2.blendLinear(moved, there, share, 1 - share))


def shrink(bgr: Pixels, long_side: int = FLOW_SIDE) -> Pixels:
    """Return a frame at the size at which it is followed: its long side `long_side` px, or as it is."""
    size_wh = fit_long_side(size_of(bgr), min(long_side, max(size_of(bgr))))
    return np.asarray(cv2.resize(bgr, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
