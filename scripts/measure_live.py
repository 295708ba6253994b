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
    net's. The net's are those of the painter's thread inside the engine's `infer`, and all of the engine's
    own threads, which are those that work when it is called by itself, with the run on pause.
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
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from threading import Thread, get_native_id
from typing import Any

import numpy as np

import stylecam.live.run
import stylecam.sources.demo
from stylecam.cli import run as run_command
from stylecam.frames import Frame, Pixels
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
        self.engine, self.infer_cpu_s = run.painter.looks.now.engine, 0.0
        self._paint, self._write, self._infer = run.painter.paint, self.outlet.sink.write, self.engine.infer
        self.engine.infer = self.infer  # type: ignore[method-assign]
        run.painter.paint = self.paint  # type: ignore[method-assign]
        self.outlet.sink.write = self.write  # type: ignore[method-assign]

    def paint(self, frame: Frame) -> Frame:
        """Paint, and note in which style."""
        done = self._paint(frame)
        self.painted.append((frame.timestamp_s, self.run.painter.looks.now.style.name))
        return done

    def infer(self, frames: Pixels, style: Sequence[float] | None = None) -> Pixels:
        """Infer, and note how much processor time that took in this thread."""
        began_s = time.thread_time()
        done = self._infer(frames, style)
        self.infer_cpu_s += time.thread_time() - began_s
        return done

    def write(self, frame: Frame) -> None:
        """Write, and note when that was done; a window shows a frame again until there is a new one."""
        self._write(frame)
        if not self.written or frame.captured_s != self.written[-1][1]:
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
        before, began_s, cpu_s = Totals(look), time.perf_counter(), time.process_time()
        if options.rival:
            figures |= with_rival(look)
        elif options.minutes:
            time.sleep(max(0.0, 60 - SETTLE_S))
            figures["rss_mb"] = [rss_mb()]
            time.sleep(60 * options.minutes - 60)
            figures["rss_mb"].append(rss_mb())
        else:
            time.sleep(options.seconds)
        after, span_s, cpu_s = Totals(look), time.perf_counter() - began_s, time.process_time() - cpu_s
        took_s = [took for at, took in list(received) if at >= began_s] or look.latencies_s(began_s)
    net_ms = run.painter.meter.net_p50_ms
    latency = {f"p{part}": round(percentile_ms(took_s, part), 1) for part in (50, 95)}
    figures |= {
        "fps": round((after.frames - before.frames) / span_s, 2),
        "client_fps": round(len(took_s) / span_s, 2) if received else None,
        "dropped": after.dropped - before.dropped, "net_ms": round(net_ms, 1), "latency_ms": latency,
        "latency_in_nets": {part: round(ms / net_ms, 2) for part, ms in latency.items()},
        "cpu": round(cpu_s / span_s, 3),
    }  # fmt: skip
    if not options.rival:
        here = run.painter.controls.settings.style
        switches = []
        for style in [*(name for name in run.painter.controls.styles if name != here), here]:
            switches.append(round(look.switch_s(style) * 1000))
            time.sleep(1)
        figures["switch_ms"] = [median(switches), max(switches)] if switches[1:] else None
        of_net = sum(after.threads[each] - before.threads.get(each, 0.0) for each in threads_of_net(look))
        figures["cpu_not_net"] = round(1 - (of_net + after.infer_s - before.infer_s) / cpu_s, 3)
    return figures


class Totals:
    """What has been counted until now: frames, and processor seconds in all and by thread."""

    def __init__(self, look: Onlooker) -> None:
        self.frames, self.dropped = look.outlet.meter.frames, look.run.dropped
        self.infer_s = look.infer_cpu_s
        self.threads: dict[str, float] = {}
        for thread in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # it has ended
                self.threads[thread.name] = int((thread / "schedstat").read_text().split()[0]) / 1e9


def threads_of_net(look: Onlooker) -> list[str]:
    """Return the engine's own threads, by letting it work alone."""
    size_wh = look.run.painter.net_size_wh
    assert size_wh is not None
    frames = np.random.default_rng(0).integers(0, 256, (1, size_wh[1], size_wh[0], 3), np.uint8)
    look.run.painter.controls.change(paused=True)
    time.sleep(1)
    before, began_s = Totals(look).threads, time.perf_counter()
    for _ in range(20):
        look.engine.infer(frames)
    busy_s, after = time.perf_counter() - began_s, Totals(look).threads
    here = str(get_native_id())
    return [each for each in after if each != here and after[each] - before.get(each, 0) > busy_s / 4]


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

    class Watched(LiveRun):
        def steps(self) -> Generator[None, None, None]:
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
        print(json.dumps({"sink": options.sink, **figures}))


if __name__ == "__main__":
    watch(sys.argv[2]) if sys.argv[1:2] == ["--watch"] else main()
