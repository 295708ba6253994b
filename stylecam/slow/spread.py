"""References carried along the flow to the frames around them: to begin the next one, or to make a film."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from stylecam.frames import Frame, Pixels, resize, size_of
from stylecam.slow.keyframes import frames_of
from stylecam.temporal import Flow, FlowFinder, grey, shrink, visible, warp

_UNLIKE = 24.0
"""A pixel whose grey is further than this from the reference's own frame (of 255) is another thing: light
may change a little over a second, which is more than from frame to frame."""

_RIM = 1.0
"""So far beyond the reference's edge, in pixels of the small frames, its edge still stands for it."""

_CUT = 0.5
"""Where a step keeps less than this share of what was still seen, a new scene has begun."""

Weights: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class Carried:
    """Where a frame's pixels lay in the reference: `flow`, small, and `trust` (H, W) 0..1 in it."""

    flow: NDArray[np.float16]
    trust: Weights

    def bring(self, reference: Pixels) -> tuple[Pixels, Weights]:
        """Return the reference as it looks in this frame, and the trust, at the reference's size."""
        size_wh = size_of(reference)
        scale = np.float32(size_wh[0] / self.flow.shape[1])
        flow = cv2.resize(self.flow.astype(np.float32), size_wh) * scale
        trust = np.clip(cv2.resize(self.trust, size_wh), 0, 1)
        return np.asarray(warp(reference, flow), np.uint8), np.asarray(trust, np.float32)


class Track:
    """Follow one frame through those after it (or, given backwards, before it).

    Flow is added up from step to step; a pixel is lost, for good, where a step does not lead back or
    where it no longer looks as it did. Frames are grey, (H, W) uint8, all of one size.
    """

    def __init__(self, anchor: Pixels) -> None:
        self.anchor = self._before = anchor
        self._finder = FlowFinder()
        self._flow: Flow = np.zeros((*anchor.shape, 2), np.float32)
        self._seen = np.ones(anchor.shape, np.float32)

    def follow(self, now: Pixels) -> Carried:
        """Take in the next frame and tell what of the anchor is still to be seen in it."""
        if self._seen.any():
            step, back = self._finder.find(now, self._before), self._finder.find(self._before, now)
            self._flow = np.asarray(step + warp(self._flow, step, cv2.INTER_LINEAR), np.float32)
            seen = np.asarray(warp(self._seen, step, cv2.INTER_LINEAR)) > 0.5
            unlike = cv2.absdiff(now, warp(self.anchor, self._flow, cv2.INTER_LINEAR))
            kept = seen & self._found_again(step, back) & (unlike <= _UNLIKE)
            left = kept.astype(np.float32)
            # After a cut a few patches always match something.
            self._seen = left if left.sum() > _CUT * self._seen.sum() else np.zeros_like(left)
        self._before = now
        return self.here()

    def _found_again(self, step: Flow, back: Flow) -> NDArray[np.bool_]:
        """Return what one step back shows, as far as it lies in the anchor, give or take `_RIM`.

        By a hundredth of a pixel the outermost places lie beyond the picture: they go by their
        neighbours, or a rim of the net's would flicker around every film.
        """
        inner = visible(step, back)[1:-1, 1:-1]
        height, width = step.shape[:2]
        x, y = np.arange(width) + self._flow[..., 0], np.arange(height)[:, None] + self._flow[..., 1]
        inside = (x >= -_RIM) & (y >= -_RIM) & (x <= width - 1 + _RIM) & (y <= height - 1 + _RIM)
        return np.asarray(np.pad(inner, 1, mode="edge") & inside, np.bool_)

    def here(self) -> Carried:
        """Return what is known at the newest frame."""
        # Soft edges, inwards, so that no seam shows.
        trust = cv2.blur(cv2.erode(self._seen, np.ones((5, 5))), (5, 5))
        return Carried(self._flow.astype(np.float16), np.asarray(trust, np.float32))


class Carrier:
    """Bring each reference to the next keyframe of its film, reading the film once, in order."""

    def __init__(self, film: Path) -> None:
        self._frames = enumerate(frames_of(film))
        self._index, self._newest = -1, np.zeros((1, 1), np.uint8)

    def carry(self, reference: Pixels, start: int, end: int, instead: Pixels) -> Pixels:
        """Return the reference of frame `start` as frame `end` shows it, `instead` where it does not."""
        track = Track(self._grey_of(start))
        while self._index < end:
            carried = track.follow(self._grey_of(self._index + 1))
        moved, trust = carried.bring(reference)
        return _blend([(moved, trust)], instead)

    def _grey_of(self, index: int) -> Pixels:
        while self._index < index:
            self._index, frame = next(self._frames)
            self._newest = _small_grey(frame.bgr)
        return self._newest


def spread(
    film: Path,
    references: Sequence[tuple[int, Pixels]],
    paint: Callable[[Pixels], Pixels],
    size_wh: tuple[int, int],
) -> Iterator[Frame]:
    """Give every frame of a film as its references paint it, `paint` (the fast net) where flow fails.

    `references` are frame numbers, rising, and pictures of `size_wh`. Between two of them the one
    fades into the other. In memory are the small grey frames and flows from one to the next.
    """
    ahead, frames = frames_of(film), enumerate(frames_of(film))
    greys: deque[Pixels] = deque()
    edges = [(-1, None), *references, (None, None)]
    for (start, left), (end, right) in pairwise(edges):
        count = None if end is None else end - max(start or 0, 0)
        track: Track | None = None
        coming = _looked_back(ahead, greys, count) if right is not None else None
        for place, (_, frame) in enumerate(islice(frames, count)):
            small = _small_grey(frame.bgr)
            candidates = []
            if left is not None:
                track = track or Track(small)
                carried = track.follow(small) if place else track.here()
                candidates.append(_weighed(carried, left, 1 - place / count if count else 1.0))
            if coming is not None and right is not None:
                share = place / count if count and left is not None else 1.0
                candidates.append(_weighed(coming[place], right, share))
            bgr = resize(frame.bgr, size_wh)
            yield replace(frame, bgr=_blend_weighed(candidates, paint(bgr)))


def _looked_back(ahead: Iterator[Frame], greys: deque[Pixels], count: int | None) -> list[Carried]:
    """Return, for each of the next `count` frames, what the keyframe after them shows of it.

    `greys` holds the keyframe that was read last, and is left holding this one.
    """
    assert count is not None
    greys.extend(_small_grey(frame.bgr) for frame in islice(ahead, count + 1 - len(greys)))
    track = Track(greys[-1])
    found = [track.follow(greys[place]) for place in range(len(greys) - 2, -1, -1)]
    keyframe = greys.pop()
    greys.clear()
    greys.append(keyframe)
    return found[::-1]


def _weighed(carried: Carried, reference: Pixels, share: float) -> tuple[Pixels, Weights, float]:
    return (*carried.bring(reference), share)


def _blend_weighed(candidates: Sequence[tuple[Pixels, Weights, float]], instead: Pixels) -> Pixels:
    """Return the mean of the candidates by trust and share; `instead` where none is trusted."""
    whole = np.zeros(instead.shape, np.float32)
    weight = np.full(instead.shape[:2], 1e-6, np.float32)
    cover = np.zeros(instead.shape[:2], np.float32)
    for bgr, trust, share in candidates:
        whole += bgr * (trust * share)[..., None]
        weight += trust * share
        if share > 0:
            cover = np.maximum(cover, trust)
    blended = instead + cover[..., None] * (whole / weight[..., None] - instead)
    return np.asarray(np.rint(np.clip(blended, 0, 255)), np.uint8)


def _blend(candidates: Sequence[tuple[Pixels, Weights]], instead: Pixels) -> Pixels:
    return _blend_weighed([(bgr, trust, 1.0) for bgr, trust in candidates], instead)


def _small_grey(bgr: Pixels) -> Pixels:
    return grey(shrink(bgr))
