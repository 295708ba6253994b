"""A film cut into parts that are painted apart from each other, by other processes or machines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av

from stylecam.filenames import ffmpeg_name
from stylecam.film.task import CHECKED, Layout, Task, segment_length
from stylecam.packets import joined
from stylecam.sinks.target import has_one_rate, highest_rate, kind_of_target
from stylecam.temporal import Smoother

_MOST_SEGMENTS = 15
"""Half a minute of film: what is lost at most when a machine is."""

_ROUNDS = 4
"""So many parts for each worker, that none waits long for the last one."""


@dataclass(frozen=True)
class Part:
    """Segments `first` up to, not including, `stop` of a film; `last` if it ends with them.

    `times_s` are the times of their frames, `before_s` those of the segment before, in which reading begins.
    """

    first: int
    stop: int
    last: bool
    times_s: list[float]
    before_s: list[float]

    def begins_s(self, layout: Layout) -> float | None:
        """Return the time of the frame that reading begins with, None at the film's beginning."""
        return self.before_s[-layout.sight(self.first)] if self.before_s else None

    def times_of(self, segment: int, length: int) -> list[float]:
        """Return the times of one segment's frames."""
        begin = (segment - self.first) * length
        return self.times_s[begin : begin + length]

    def from_segment(self, segment: int, length: int) -> Part:
        """Return what is left of this part once the segments before that one are done."""
        if segment == self.first:
            return self
        rest = self.times_s[(segment - self.first) * length :]
        return replace(self, first=segment, times_s=rest, before_s=self.times_of(segment - 1, length))


def cut(task: Task, fps: float | None, workers: int) -> list[Part]:
    """Return the parts of a film of nominally `fps`, several for each worker; none if it cannot be cut.

    That is the case where frames are repeated or left out, and for what is no file. A part begins close
    behind one of the film's key frames where there is one nearby, so that little is decoded for nothing.
    Times are read from the container: whoever paints a part has to compare.
    """
    path = task.source_path
    if path is None or task.fps or kind_of_target(task.target) != "film" or has_one_rate(task.target):
        return []
    highest = highest_rate(task.target)
    if highest is not None and fps is not None and fps >= highest:
        return []
    frames, length = _frames(path, task), segment_length(fps)
    times_s = [time_s for time_s, _ in frames]
    count = math.ceil(len(times_s) / length)
    size = min(max(1, math.ceil(count / (workers * _ROUNDS))), _MOST_SEGMENTS)
    lead = max(Smoother(task.smoothing).memory, CHECKED)
    behind_keys = {math.ceil((number + lead) / length) for number, (_, is_key) in enumerate(frames) if is_key}
    edges = [0, *(_edge(even, size, behind_keys) for even in range(size, count, size)), count]
    return [_part(times_s, length, first, stop, count) for first, stop in pairwise(edges) if first < stop]


def _edge(even: int, size: int, behind_keys: set[int]) -> int:
    """Return the segment nearest to `even` that begins behind a key frame, less than half a part away."""
    near = range(even - (size - 1) // 2, even + (size - 1) // 2 + 1)
    return min(behind_keys.intersection(near), key=lambda segment: abs(segment - even), default=even)


def _part(times_s: Sequence[float], length: int, first: int, stop: int, count: int) -> Part:
    begin = first * length
    own, before = list(times_s[begin : stop * length]), list(times_s[max(0, begin - length) : begin])
    return Part(first, stop, stop == count, own, before)


def _frames(path: Path, task: Task) -> list[tuple[float, bool]]:
    """Return each frame's time in seconds, and whether it is a key frame."""
    with av.open(ffmpeg_name(path)) as film:
        video = film.streams.video[0]
        tick = Fraction(video.time_base or 1)
        shown = (p for p in joined(film, video) if p.size and not p.is_discard)
        packets = sorted((p.pts, p.is_keyframe) for p in shown if p.pts is not None)
        start = video.start_time
    zero = start if start is not None else min((pts for pts, _ in packets), default=0)
    start_s = Fraction(str(task.start_s))
    end_s = math.inf if task.end_s is None else Fraction(str(task.end_s))
    frames = ((Fraction((pts - zero) * tick), is_key) for pts, is_key in packets)
    return [(float(time_s), is_key) for time_s, is_key in frames if start_s <= time_s < end_s][: task.frames]
