"""Measure what a film costs: `stylecam video` from end to end, against net and processor alone.

    .venv/bin/python scripts/measure_video.py clip.mp4 --frames 120

For each net and size it prints the rate of the net by itself, what the processor would allow if no core ever
waited (cores over the CPU seconds that net, decoding, denoising, smoothing and encoding take for a frame,
each measured apart), and, for each number of lanes, the rate of the command as a person runs it (its
--report). A long film takes the faster number by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stylecam.bench import net_only_fps
from stylecam.denoise import FilmDenoiser
from stylecam.engines import open_engine
from stylecam.frames import Frame, resize
from stylecam.sinks.codecs import Encoding
from stylecam.sinks.encoder import Encoder
from stylecam.sinks.file import FileSink
from stylecam.sources.pyav import FilmSource
from stylecam.styles import find_style
from stylecam.temporal import DEFAULT_SMOOTHING, Smoother

SIZES = ((640, 360), (1280, 720))
PERIOD = 24
"""The denoiser's in a film of 30 frames a second."""


def cpu_s(work: Callable[[], object]) -> float:
    """Return the CPU seconds, of all threads, that `work` takes."""
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


def cut(clip: Path, target: Path, size_wh: tuple[int, int], frames: int) -> None:
    """Write the first frames of a clip at a size."""
    with FilmSource(clip) as source, FileSink(target, fps=source.fps, time_base=source.time_base) as sink:
        for _ in range(frames):
            frame = source.read()
            if frame is None:
                break
            sink.write(Frame(resize(frame.bgr, size_wh), frame.timestamp_s, 0.0))


def apart(film: Path, net: str, seconds: float) -> dict[str, float]:
    """Return the net's rate by itself, and the CPU seconds a frame takes in each stage."""
    style = find_style(net=net)
    frames: list[Frame] = []

    def decode() -> None:
        with FilmSource(film) as source:
            frames.extend(iter(source.read, None))

    costs = {"decode": cpu_s(decode) / len(frames)}
    frames = frames[:48]
    with open_engine(style) as engine:
        fps = net_only_fps(engine, (frames[0].bgr.shape[1], frames[0].bgr.shape[0]), seconds)
        painted = [engine.infer(frame.bgr[None])[0] for frame in frames]
        costs["net"] = cpu_s(lambda: [engine.infer(frame.bgr[None]) for frame in frames]) / len(frames)
    denoiser, smoother, smooth = FilmDenoiser(PERIOD), Smoother(DEFAULT_SMOOTHING), list[Any]()
    seen = cpu_s(lambda: [denoiser.denoise(number, frame.bgr) for number, frame in enumerate(frames)])
    costs["denoise"] = seen / len(frames)
    pairs = list(zip(frames, painted, strict=True))
    costs["smooth"] = cpu_s(lambda: smooth.extend(smoother.smooth(f.bgr, p) for f, p in pairs)) / len(frames)

    def encode() -> None:
        with tempfile.TemporaryDirectory() as folder:
            encoder = Encoder(Path(folder) / "x.mp4", ".mp4", fps=30, encoding=Encoding())
            for frame, bgr in zip(frames, smooth, strict=True):
                encoder.encode(Frame(bgr, frame.timestamp_s, 0.0))
            encoder.close()

    costs["encode"] = cpu_s(encode) / len(frames)
    return {"net_fps": fps} | {f"{name}_cpu_ms": 1000 * cost for name, cost in costs.items()}


def end_to_end(film: Path, net: str, lanes: int) -> dict[str, Any]:
    """Run the command in a process of its own; return its report."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "stylecam", "video", str(film), "-o", f"{folder}/out.mp4"]
        command += ["--net", net, "--lanes", str(lanes), "--report", str(report)]
        subprocess.run(command, check=True, capture_output=True)
        figures: dict[str, Any] = json.loads(report.read_text())
    return figures


def judged(report: dict[str, Any], lanes: int, net_fps: float, allowed_fps: float) -> dict[str, Any]:
    """Return the rate of a run, against the net's by itself (in one lane) and what the processor allows."""
    return {
        "lanes": lanes, "fps": report["fps"], "over_net": round(report["fps"] / net_fps, 3),
        "over_allowed": round(report["fps"] / allowed_fps, 3),
        "stages": {name: stage["fps"] for name, stage in report["stages"].items()},
        "peak_memory_mb": report["peak_memory_mb"],
    }  # fmt: skip


def main() -> None:
    """Print a line of JSON for each net and size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("clip", type=Path)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long the net alone is timed")
    parser.add_argument("--nets", nargs="+", default=["fast", "full"])
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 2], help="frames computed at once")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for net in options.nets:
        for size_wh in SIZES:
            with tempfile.TemporaryDirectory() as folder:
                film = Path(folder) / "in.mp4"
                cut(options.clip, film, size_wh, options.frames)
                before = apart(film, net, options.seconds)
                reports = {lanes: end_to_end(film, net, lanes) for lanes in options.lanes}
                after = apart(film, net, options.seconds)
            net_fps = (before["net_fps"] + after["net_fps"]) / 2
            costs_ms = {name: round((before[name] + after[name]) / 2, 1) for name in before if "cpu" in name}
            allowed = cores * 1000 / sum(costs_ms.values())
            print(
                json.dumps(
                    {
                        "net": net, "size_wh": size_wh, "net_fps": round(net_fps, 2),
                        "allowed_fps": round(allowed, 2), **costs_ms,
                    }
                ),
                flush=True,
            )  # fmt: skip
            for lanes, report in reports.items():
                print(json.dumps(judged(report, lanes, net_fps, allowed)), flush=True)


if __name__ == "__main__":
    main()
