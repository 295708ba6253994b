"""Measure a live run from the inside: rates, latency, CPU, memory, style switches, the governor. Linux.

    python scripts/measure_live.py CLIP --size 1280x720 --sink null        # or window, or web
    python scripts/measure_live.py CLIP --size 640x480 --minutes 10
    python scripts/measure_live.py CLIP --size 640x480 --fps 30 --rival

It runs `stylecam live` in this process, with CLIP played over and over like a camera, and looks on from a
thread. What it does not know goes on to `stylecam live`, such as --style wave. One JSON object comes out:

fps, dropped: at the sink, and what the camera gave and nobody painted, over the time measured, which begins
    three seconds after the first frame.
net_ms: the net's p50, in this run. latency_ms: p50 and p95 from the frame's capture until the sink has
    taken it; with web until a client in a process of its own has the whole message of /ws/frames (what
    /overlay reads). latency_in_nets: the same, divided by the net's p50.
cpu: seconds of processor time a second of the whole process. cpu_not_net: the share of them that is not the
    net's, whose are taken as frames times the processor time for a frame of the same engine by
    itself, back to back, right after the run.
first_frame_s: from the start of the process (imports and all) until the sink has taken a frame.
switch_ms: from a change of style until the sink has a frame that is painted in it; median and longest.
rss_mb: resident memory after the first minute and at the end, with --minutes.
rungs: with --rival, which has a busy process take the last core for 20 seconds after 15: when the governor
    stepped where, in seconds; fps_each_s the rate at the sink.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

import numpy as np

import stylecam.live.run
import stylecam.sources.demo
from stylecam.cli import run as run_command
from stylecam.engines import open_engine
from stylecam.frames import Frame
from stylecam.meter import percentile_ms

SETTLE_S, RIVAL_AFTER_S, RIVAL_S, AFTERWARDS_S = 3.0, 15, 20, 45
KEPT = 4096
LiveRun = stylecam.live.run.LiveRun
Figures = dict[str, Any]


class Onlooker:
    """Note when frames leave `run`'s painter and its first sink, in bounded memory."""

    def __init__(self, run: LiveRun) -> None:
        self.run, self.outlet = run, run.outlets[0]
        self.painted: deque[tuple[float, str]] = deque(maxlen=KEPT)
        self.written: deque[tuple[float, float, float]] = deque(maxlen=KEPT)
        self._paint, self._write = run.painter.paint, self.outlet.sink.write
        run.painter.paint = self.paint  # type: ignore[method-assign]
        self.outlet.sink.write = self.write  # type: ignore[method-assign]

    def paint(self, frame: Frame) -> Frame:
        """Paint, and note in which style."""
        done = self._paint(frame)
        self.painted.append((frame.timestamp_s, self.run.painter.looks.now.style.name))
        return done

    def write(self, frame: Frame) -> None:
        """Write, and note when that was done."""
        self._write(frame)
        self.written.append((frame.timestamp_s, frame.captured_s, time.perf_counter()))

    def latencies_s(self, since_s: float) -> list[float]:
        """From capture to the sink, of the newest frames since then."""
        return [end - begin for _, begin, end in list(self.written) if end >= since_s]

    def switch_s(self, style: str) -> float:
        """Change the style and wait for it at the sink."""
        began_s = time.perf_counter()
        self.run.painter.controls.change(style=style)
        while True:
            new = {at for at, name in list(self.painted) if name == style}
            if found := [end for at, _, end in list(self.written) if at in new and end >= began_s]:
                return found[0] - began_s
            time.sleep(0.002)


def measure(look: Onlooker, options: argparse.Namespace) -> Figures:
    """Look on for a while; return the figures."""
    run, meter = look.run, look.outlet.meter
    while not meter.frames:
        time.sleep(0.001)
    figures: Figures = {"first_frame_s": round(process_age_s(), 2)}
    with web_client(look) as received:
        time.sleep(SETTLE_S)
        began_s, cpu_s, frames, painted, dropped = totals(look)
        if options.rival:
            figures |= with_rival(look)
        elif options.minutes:
            time.sleep(max(0.0, 60 - SETTLE_S))
            figures["rss_mb"] = [rss_mb()]
            time.sleep(60 * options.minutes - 60)
            figures["rss_mb"].append(rss_mb())
        else:
            time.sleep(options.seconds)
        now_s, cpu_end_s, frames_end, painted_end, dropped_end = totals(look)
        took_s = [took for at, took in list(received) if at >= began_s] or look.latencies_s(began_s)
    net_ms = run.painter.meter.net_p50_ms
    latency = {f"p{part}": round(percentile_ms(took_s, part), 1) for part in (50, 95)}
    figures |= {
        "fps": round((frames_end - frames) / (now_s - began_s), 2),
        "client_fps": round(len(took_s) / (now_s - began_s), 2) if received else None,
        "dropped": dropped_end - dropped, "net_ms": round(net_ms, 1), "latency_ms": latency,
        "latency_in_nets": {part: round(ms / net_ms, 2) for part, ms in latency.items()},
        "cpu": round((cpu_end_s - cpu_s) / (now_s - began_s), 3),
        "painted": painted_end - painted, "cpu_s": cpu_end_s - cpu_s, "shape": run.painter.net_size_wh,
    }  # fmt: skip
    if not options.rival:
        here = run.painter.controls.settings.style
        switches = []
        for style in [*(name for name in run.painter.controls.styles if name != here), here]:
            switches.append(round(look.switch_s(style) * 1000))
            time.sleep(1)
        figures["switch_ms"] = [median(switches), max(switches)] if switches[1:] else None
    return figures


def totals(look: Onlooker) -> tuple[float, float, int, int, int]:
    """Return the time, the process's CPU seconds, frames at the sink, frames painted, frames dropped."""
    frames = look.run.painter.meter.frames
    return time.perf_counter(), time.process_time(), look.outlet.meter.frames, frames, look.run.dropped


def with_rival(look: Onlooker) -> Figures:
    """Take a core away for a while; return what the governor did about it."""
    governor = look.run.painter.governor
    assert governor is not None, "--rival needs --fps"
    rungs, rival, began_s = [(0.0, str(governor.rung))], None, time.perf_counter()
    fps: list[int] = []
    frames = look.outlet.meter.frames
    while (now_s := time.perf_counter() - began_s) < RIVAL_AFTER_S + RIVAL_S + AFTERWARDS_S:
        if str(governor.rung) != rungs[-1][1]:
            rungs.append((round(now_s, 2), str(governor.rung)))
        if now_s >= len(fps) + 1:
            fps.append(look.outlet.meter.frames - frames)
            frames = look.outlet.meter.frames
        if rival is None and now_s >= RIVAL_AFTER_S:
            rival = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            os.sched_setaffinity(rival.pid, {max(os.sched_getaffinity(0))})
        if rival is not None and now_s >= RIVAL_AFTER_S + RIVAL_S:
            rival.kill()
        time.sleep(0.01)
    return {"rungs": rungs, "fps_each_s": fps}


@contextmanager
def web_client(look: Onlooker) -> Iterator[deque[tuple[float, float]]]:
    """Give (when, latency) of each frame that a client of the page has got; none where there is no page."""
    received: deque[tuple[float, float]] = deque(maxlen=KEPT)
    url = getattr(look.outlet.sink, "url", None)
    if url is None:
        yield received
        return
    first = look.outlet.sink._latest.number  # type: ignore[attr-defined]
    captured: dict[int, float] = {}
    write = look.outlet.sink.write

    def numbered(frame: Frame) -> None:
        nonlocal first
        first += 1
        captured[first] = frame.captured_s
        captured.pop(first - KEPT, None)
        write(frame)

    look.outlet.sink.write = numbered  # type: ignore[method-assign]
    command = [sys.executable, __file__, "--watch", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None

        def read() -> None:
            for line in client.stdout or ():
                number, at = line.split()
                if int(number) in captured:
                    received.append((float(at), float(at) - captured[int(number)]))

        Thread(target=read, daemon=True).start()
        yield received
        client.kill()


def watch(url: str) -> None:
    """Be that client: print each frame's number and when it was there."""
    from websockets.sync.client import connect

    origin = url.partition("/?")[0].rstrip("/")
    frames = f"{origin.replace('http', 'ws', 1)}/ws/frames"
    with connect(frames, additional_headers={"Origin": origin}, max_size=None, compression=None) as socket:
        while True:
            message = socket.recv(decode=False)
            print(int.from_bytes(message[:4]), time.perf_counter(), flush=True)
            socket.send("taken")


def net_cpu_s(run: LiveRun, count: int = 40) -> float:
    """Return the CPU seconds that the run's engine takes for a frame when nothing else goes on."""
    look, size_wh = run.painter.looks.now, run.painter.net_size_wh
    assert size_wh is not None
    frames = np.random.default_rng(0).integers(0, 256, (1, size_wh[1], size_wh[0], 3), np.uint8)
    engine = look.engine
    with open_engine(look.style, engine.backend, engine.device, engine.precision) as alone:
        for _ in range(5):
            alone.infer(frames)
        began_s = time.process_time()
        for _ in range(count):
            alone.infer(frames)
        return (time.process_time() - began_s) / count


def process_age_s() -> float:
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")


def rss_mb() -> float:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmRSS"))
    return round(int(line.split()[1]) / 1000, 1)


def main() -> None:
    """Run, look on, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--sink", default="null")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--rival", action="store_true")
    options, rest = parser.parse_known_args()
    stylecam.sources.demo.CLIP = options.clip
    figures: Figures = {}
    runs: list[LiveRun] = []

    class Watched(LiveRun):
        def steps(self) -> Generator[None, None, None]:
            runs.append(self)
            look = Onlooker(self)

            def note() -> None:
                try:
                    figures.update(measure(look, options))
                finally:
                    self.painter.controls.quit()

            Thread(target=note, daemon=True).start()
            yield from super().steps()

    stylecam.live.run.LiveRun = Watched  # type: ignore[misc]
    with suppress(SystemExit):
        run_command(["live", "--source", "demo", "--sink", options.sink, "--fade", "0", "--port", "0", *rest])
    if figures:
        cpu_s, painted = figures.pop("cpu_s"), figures.pop("painted")
        if not options.rival:
            figures["cpu_not_net"] = round(1 - painted * net_cpu_s(runs[0]) / cpu_s, 3)
        print(json.dumps({"sink": options.sink, **figures}))


if __name__ == "__main__":
    watch(sys.argv[2]) if sys.argv[1:2] == ["--watch"] else main()
