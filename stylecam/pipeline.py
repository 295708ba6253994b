"""The loop: source to engine to sinks, with reading beside it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import takewhile
from typing import Literal

import numpy as np

from stylecam.engines.base import Engine
from stylecam.frames import Frame
from stylecam.meter import Meter
from stylecam.reader import FrameReader
from stylecam.sinks.base import Sink
from stylecam.sources.base import Source
from stylecam.temporal import Smoother


def run(
    source: Source,
    engine: Engine,
    sinks: Sequence[Sink],
    *,
    meter: Meter,
    batch: int = 1,
    size_wh: tuple[int, int] | None = None,
    frames: int | None = None,
    seconds: float | None = None,
    style: Sequence[float] | None = None,
    smoother: Smoother | None = None,
) -> Generator[Meter, None, None]:
    """Stylize until the source ends, a limit is reached or a sink wants to quit; yield after each batch.

    A live source drops what the net cannot keep up with, any other waits for it. `frames` counts
    frames out, `seconds` is the film's (or camera's) own time. Nothing starts before the first
    `next()`. Runs on the caller's thread, windows need that to be the main one. Closes only the
    reader it made: source, engine and sinks are the caller's. Raises StylecamError.
    """
    keep: Literal["latest", "all"] = "latest" if source.is_live else "all"
    # One batch ready while another is in the net, and one frame in the decoder's hands.
    with FrameReader(source, keep, depth=batch + 1, size_wh=size_wh) as reader:
        first_s: float | None = None
        left = frames
        while left is None or left > 0:
            taken = reader.take(batch if left is None else min(batch, left))
            if first_s is None and taken:
                first_s = taken[0].timestamp_s
            within = _within(taken, first_s, seconds)
            if within:
                _stylize(within, engine, sinks, style, smoother, meter)
                meter.captured, meter.dropped = reader.captured, reader.dropped
                yield meter
            if not taken or len(within) < len(taken) or any(sink.wants_quit for sink in sinks):
                return
            left = None if left is None else left - len(within)


def _within(taken: list[Frame], first_s: float | None, seconds: float | None) -> list[Frame]:
    if seconds is None or first_s is None:
        return taken
    end_s = first_s + seconds
    return list(takewhile(lambda frame: frame.timestamp_s < end_s, taken))


def _stylize(
    taken: list[Frame],
    engine: Engine,
    sinks: Sequence[Sink],
    style: Sequence[float] | None,
    smoother: Smoother | None,
    meter: Meter,
) -> None:
    seen = [smoother.denoise(frame.bgr) if smoother else frame.bgr for frame in taken]
    started_s = meter.clock()
    painted = engine.infer(np.stack(seen), style)
    net_s = meter.clock() - started_s
    written_s = []
    for source, bgr, frame in zip(seen, painted, taken, strict=True):
        if smoother:
            bgr = smoother.smooth(source, bgr)
        for sink in sinks:
            sink.write(Frame(bgr, frame.timestamp_s, frame.captured_s, frame.alpha))
        written_s.append(meter.clock())
    meter.count_batch([frame.captured_s for frame in taken], written_s, net_s)
