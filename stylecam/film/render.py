"""The walk of a film's frames: source to net to smoother to writer, each in a thread of its own."""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from stylecam.denoise import FilmDenoiser
from stylecam.engines.base import Engine
from stylecam.errors import SourceLostError
from stylecam.film.journal import Journal
from stylecam.film.paint import Painter
from stylecam.film.segments import Writer
from stylecam.film.stage import Stage
from stylecam.film.task import CHECKED, Layout, Task
from stylecam.film.work import Segment
from stylecam.frames import Frame, Pixels, resize
from stylecam.meter import Meter
from stylecam.reader import FrameReader
from stylecam.sources.base import Source
from stylecam.temporal import Smoother

_DEPTH = 4
"""Frames that may wait between two stages: enough to smooth out key frames, 100 MB each at 4K."""


class NotTheSameFilmError(SourceLostError):
    """Where a film is taken up again, its frames are not those that were painted before."""


@dataclass(frozen=True)
class Span:
    """Which segments to paint: from `first` up to, not including, `stop`; None is to the end.

    `before` is the segment before `first`, by which the place is found and checked.
    """

    first: int = 0
    stop: int | None = None
    before: Segment | None = None


def render(
    task: Task,
    source: Source,
    engine: Engine,
    writer: Writer,
    layout: Layout,
    span: Span,
    *,
    size_wh: tuple[int, int],
    journal: Journal | None,
    meter: Meter,
    busy_s: dict[str, float],
    say: Callable[[str], None],
) -> Iterator[int]:
    """Paint the segments of `span`; yield the number of frames that are through the net, after each batch.

    `source` begins as much before the span as `layout.sight` says; frames are painted at `size_wh`.
    `busy_s` gets the seconds that each stage has worked. On Ctrl-C what is under way is written to its end,
    and `writer.finish` told that it is not whole. Closes `writer`, the rest is the caller's. Raises
    StylecamError, OSError.
    """
    walk = _Walk(task, layout, span, writer)
    number = layout.first(span.first) - layout.sight(span.first)
    first = layout.first(span.first) - layout.lead_in(span.first)
    intake = _Intake(source, size_wh, FilmDenoiser(layout.period), number, keeps=task.compare)
    painter = Painter(engine, layout.batch, journal, say)
    stop = None if span.stop is None else layout.first(span.stop)
    ended = False
    with FrameReader(intake, "all", depth=layout.batch + 1, size_wh=size_wh) as reader:
        try:
            while not writer.wants_quit:
                # One frame more than the span has tells that it does not end the film.
                taken = reader.take(1 if number == stop else _wanted(number, first, layout, task.frames))
                ended = not taken
                if ended or number == stop:
                    break
                checks = walk.check(number, taken)
                originals = [intake.original() for _ in taken]
                if number >= first:
                    walk.put(number, taken, painter.paint(number, taken), originals, checks)
                    _count(meter, taken, painter.last_s)
                number += len(taken)
                busy_s.update(walk.busy_s, decode=intake.busy_s, net=painter.busy_s)
                yield number
            walk.finish(last=ended, whole=True)
            busy_s.update(walk.busy_s)
        except (KeyboardInterrupt, GeneratorExit):
            walk.finish(last=False, whole=False)
            raise
        except BaseException:
            walk.drop()
            raise


def _wanted(number: int, first: int, layout: Layout, frames: int | None) -> int:
    """Return how many frames the next batch has: none of two segments, nor of what is and is not painted."""
    left = first - number if number < first else layout.length - number % layout.length
    return min(layout.batch, left, left if frames is None else frames - number)


@dataclass(frozen=True)
class _Painted:
    number: int
    frame: Frame
    bgr: Pixels
    original: Pixels | None
    check: int | None


class _Walk:
    """What the threads of one `render` do, and remember."""

    def __init__(self, task: Task, layout: Layout, span: Span, writer: Writer) -> None:
        self._layout, self._span, self._writer = layout, span, writer
        self._amount = task.smoothing
        self._smoother, self._next = Smoother(task.smoothing), Smoother(task.smoothing)
        self._first = layout.first(span.first)
        self._smooth_s = 0.0
        self._writing: Stage[_Painted] = Stage("encode", self._write, _DEPTH)
        self._smoothing: Stage[_Painted] = Stage("smooth", self._smooth, _DEPTH)

    @property
    def busy_s(self) -> dict[str, float]:
        """How long smoothing and encoding have worked so far."""
        return {"smooth": self._smooth_s, "encode": self._writing.busy_s}

    def put(
        self,
        number: int,
        taken: list[Frame],
        painted: Pixels,
        originals: list[Pixels | None],
        checks: list[int | None],
    ) -> None:
        """Send painted frames on their way."""
        for place, each in enumerate(zip(taken, painted, originals, checks, strict=True), number):
            self._smoothing.put(_Painted(place, *each))

    def finish(self, *, last: bool, whole: bool) -> None:
        """Wait until all is written, and end the writer."""
        try:
            self._smoothing.finish()
            self._writing.finish()
            self._writer.finish(last=last, whole=whole)
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Stop the threads where they are."""
        self._smoothing.drop()
        self._writing.drop()
        self._writer.drop()

    def check(self, number: int, taken: list[Frame]) -> list[int | None]:
        """Return the checks to keep of these frames; in the lead-in, compare with those that were kept."""
        checks: list[int | None] = []
        for place, frame in enumerate(taken, number):
            back = self._layout.length - place % self._layout.length
            check = zlib.crc32(np.ascontiguousarray(frame.bgr).data) if back <= CHECKED else None
            if place < self._first and self._span.before is not None:
                self._compare_with(self._span.before, back, frame, check)
            checks.append(check)
        return checks

    def _smooth(self, item: _Painted) -> None:
        """Smooth a frame by its own segment's smoother, and let the next one's look at it."""
        began_s = time.perf_counter()
        number, source, bgr = item.number, item.frame.bgr, item.bgr
        if number % self._layout.length == 0:
            self._smoother, self._next = self._next, Smoother(self._amount)
        if self._layout.leads(number):
            self._next.smooth(source, bgr)
        if number >= self._first:
            bgr = self._smoother.smooth(source, bgr)
        self._smooth_s += time.perf_counter() - began_s
        if number >= self._first:
            self._writing.put(replace(item, bgr=bgr))

    def _write(self, item: _Painted) -> None:
        """Hand a frame to the writer, the original beside it where that is wanted."""
        frame, bgr, alpha = item.frame, item.bgr, item.frame.alpha
        if item.original is not None:
            bgr = np.hstack([item.original, bgr])
            alpha = None if alpha is None else np.hstack([alpha, alpha])
        shown = Frame(bgr, frame.timestamp_s, frame.captured_s, alpha)
        self._writer.write(item.number, shown, item.check)

    def _compare_with(self, before: Segment, back: int, frame: Frame, check: int | None) -> None:
        known = before.checks[-back] if check is not None else None
        if frame.timestamp_s != before.times_s[-back] or check != known:
            raise NotTheSameFilmError(
                f"the film is another one than was begun: its frame at {frame.timestamp_s:.3f} s has changed",
                "give the film it was begun with, or delete the folder to begin anew",
            )


class _Intake(Source):
    """Another source, each frame scaled to `size_wh`, its alpha too, and denoised, from frame `number` on.

    `busy_s` is the time that takes. With `keeps` the originals can be had, one for each frame, in order.
    """

    is_live = False

    def __init__(
        self, source: Source, size_wh: tuple[int, int], denoiser: FilmDenoiser, number: int, *, keeps: bool
    ) -> None:
        self.size_wh, self.fps = size_wh, source.fps
        self.busy_s = 0.0
        self._source, self._denoiser, self._number = source, denoiser, number
        self._originals: deque[Pixels] | None = deque() if keeps else None

    def read(self) -> Frame | None:
        """Read, scale and denoise the next frame."""
        began_s = time.perf_counter()
        frame = self._source.read()
        if frame is not None:
            alpha = frame.alpha
            if alpha is not None:
                alpha = resize(alpha[..., None], self.size_wh).reshape(self.size_wh[::-1])
            original = resize(frame.bgr, self.size_wh)
            if self._originals is not None:
                self._originals.append(original)
            frame = replace(frame, bgr=self._denoiser.denoise(self._number, original), alpha=alpha)
            self._number += 1
        self.busy_s += time.perf_counter() - began_s
        return frame

    def original(self) -> Pixels | None:
        """Return the next frame as it was before it was denoised, None where these are not kept."""
        return None if self._originals is None else self._originals.popleft()

    def close(self) -> None:
        """Nothing: the source is the caller's."""


def _count(meter: Meter, taken: list[Frame], net_s: float) -> None:
    meter.captured += len(taken)
    meter.count_batch([frame.captured_s for frame in taken], [meter.clock()] * len(taken), net_s)
