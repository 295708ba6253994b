"""The product's own path, timed: demo clip, reader, engine, null sink."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from stylecam.engines import open_engine
from stylecam.engines.base import Engine
from stylecam.frames import Pixels, fit_long_side
from stylecam.meter import Meter
from stylecam.pipeline import run
from stylecam.reader import FrameReader
from stylecam.sinks.null import NullSink
from stylecam.sources import FileSource
from stylecam.sources.demo import DemoSource
from stylecam.styles import Style
from stylecam.temporal import Flicker, Smoother

WARM_UP_FRAMES = 3
ROUNDS = 3


def bench(
    engine: Engine, size_wh: tuple[int, int], seconds: float, smoother: Smoother | None = None
) -> Iterator[Meter]:
    """Stylize the demo clip as fast as it goes for about `seconds`; the last Meter has the figures.

    Decoding, scaling and every hand-over are in it, as in `stylecam video`; the first frames,
    in which the net is compiled, are not.
    """
    with DemoSource(size_wh) as source, NullSink() as sink:
        for _ in run(source, engine, [sink], meter=Meter(), frames=WARM_UP_FRAMES):
            pass
        meter = Meter()
        with closing(run(source, engine, [sink], meter=meter, smoother=smoother)) as running:
            for _ in running:
                yield meter
                if meter.wall_s >= seconds:
                    return


def flicker(
    engine: Engine, clip: Path, size_wh: tuple[int, int] | None, smoother: Smoother, frames: int | None = None
) -> Iterator[tuple[Flicker, Pixels, Pixels]]:
    """Stylize a clip and measure how much it flickers; `size_wh` None is its own size, at most 640 px long.

    Gives the measurement so far with each frame, as the clip has it and as it came out.
    """
    found = Flicker()
    with FileSource(clip) as source:
        size_wh = size_wh or fit_long_side(source.size_wh, min(640, max(source.size_wh)))
        with FrameReader(source, "all", size_wh=size_wh) as reader:
            for frame in islice(reader, frames):
                seen = smoother.denoise(frame.bgr)
                stylized = smoother.smooth(seen, engine.infer(seen[None])[0])
                found.add(frame.bgr, stylized)
                yield found, frame.bgr, stylized


def net_only_fps(engine: Engine, size_wh: tuple[int, int], seconds: float) -> float:
    """Return the rate of the net by itself, on one frame over and over: what no pipeline can pass."""
    frame = np.random.default_rng(0).integers(0, 256, (1, size_wh[1], size_wh[0], 3), np.uint8)
    times_s: list[float] = []
    engine.infer(frame)
    while sum(times_s) < seconds:
        began_s = time.perf_counter()
        engine.infer(frame)
        times_s.append(time.perf_counter() - began_s)
    return 1 / median(times_s)


def compare(style: Style, engine: Engine, size_wh: tuple[int, int], seconds: float) -> dict[str, Any]:
    """Time `engine`, ONNX Runtime on the CPU and torch's eager fp32 in turn, several rounds; needs torch.

    Ratios are of medians over the rounds, so they hold on a machine whose speed drifts. `net_over_ideal`
    is the net's time over its floating-point operations at the rate of a 4096 x 4096 x 4096 matrix
    product on the same cores, in bf16 where these multiply in it.
    """
    from stylecam.neural import yardstick

    eager = yardstick.EagerNet(style, size_wh)
    rates: dict[str, list[float]] = {"engine": [], "onnxruntime_cpu": [], "torch_eager_fp32": []}
    net_s, tflops = [], []
    with open_engine(style, "onnxruntime", "cpu") as ort:
        for _ in range(ROUNDS):
            measured = _last(bench(engine, size_wh, seconds / ROUNDS))
            rates["engine"].append(measured.fps)
            net_s.append(measured.net_p50_ms / 1000)
            rates["onnxruntime_cpu"].append(_last(bench(ort, size_wh, seconds / ROUNDS)).fps)
            rates["torch_eager_fp32"].append(1 / eager.seconds())
            tflops.append(yardstick.matmul_tflops())
    fps = {name: median(values) for name, values in rates.items()}
    gflop = yardstick.net_gflop(style, size_wh)
    return {
        "fps": {name: round(value, 2) for name, value in fps.items()},
        "times_onnxruntime_cpu": round(fps["engine"] / fps["onnxruntime_cpu"], 2),
        "times_torch_eager_fp32": round(fps["engine"] / fps["torch_eager_fp32"], 2),
        "net_gflop": round(gflop, 1),
        "matmul_tflops": round(median(tflops), 2),
        "matmul_precision": yardstick.matmul_precision(),
        "net_over_ideal": round(median(net_s) / (gflop / 1000 / median(tflops)), 2),
    }


def _last(meters: Iterator[Meter]) -> Meter:
    *_, last = meters
    return last
