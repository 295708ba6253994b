from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
import pytest
from commands import NOTED, Done, interrupted, noise_film, record_engine, stylecam, stylecam_apart, tree
from fakemic import FakeSound, fake_sound  # noqa: F401
from films import pictures_of, times_of

from stylecam.sinks.microphone import RATE

COMMON = {
    "frames", "fps", "wall_s", "size_wh", "engine", "device", "precision", "style", "net", "output",
}  # fmt: skip
LIVE = {"captured", "dropped", "latency_ms", "net_ms", "net_size_wh", "audio_delay_ms", "sinks", "recordings"}
ONE_FRAME = "stylecam.live.painter:Painter.paint"
SMALL_DEMO = ("--source", "demo", "--size", "64x48")

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.fixture
def tiny(tiny_style_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small net's weights file; the working folder is empty, so that whatever is left there is seen."""
    monkeypatch.chdir(tmp_path)
    return tiny_style_path


def succeeded(done: Done) -> Done:
    assert (done.code, "error:" in done.err) == (0, False), done.err
    return done


def recorded(figures: dict[str, Any]) -> int:
    """How many frames the film has got at least: where one was late, the one before is there again."""
    (film,) = (sink for sink in figures["sinks"] if sink["name"].endswith(".mp4"))
    return int(film["frames"])


def test_the_demo_for_a_while(tiny: Path, tmp_path: Path) -> None:
    done = succeeded(stylecam("live", *SMALL_DEMO, "--sink", "null", "--seconds", 0.4, "-s", tiny, "--json"))
    figures = done.figures
    assert figures.keys() == COMMON | LIVE
    assert figures["latency_ms"].keys() == {"p50", "p95"}
    assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["p95"]
    # The clip has 30 frames a second; what was late is dropped, what was captured is accounted for.
    assert 0 < figures["frames"] <= 12
    assert figures["captured"] >= figures["frames"] + figures["dropped"]
    assert (figures["size_wh"], figures["output"]) == ([64, 48], ["null"])
    assert tree(tmp_path) == {}


def test_a_film_is_played_like_a_camera_into_two_sinks(tiny: Path, tmp_path: Path) -> None:
    film = noise_film(tmp_path / "in.mp4", 8)
    done = succeeded(
        stylecam("live", "--source", film, "--sink", "null", "--sink", "out.mp4", "-s", tiny, "--json")
    )
    figures = done.figures
    assert figures["output"] == ["null", "out.mp4"]
    assert figures["captured"] == 8
    assert figures["frames"] == 8 - figures["dropped"]
    assert 8 >= len(pictures_of(Path("out.mp4"))) >= recorded(figures) > 0
    assert figures["wall_s"] >= times_of(film)[-1]
    assert sorted(tree(tmp_path)) == ["in.mp4", "out.mp4"]


def test_a_recording_has_one_rate_whatever_was_dropped(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = noise_film(tmp_path / "in.mp4", 10)
    calls = record_engine(monkeypatch, delay_s=0.25)
    done = succeeded(stylecam("live", "--source", film, "--sink", "out.mp4", "-s", tiny, "--json"))
    assert done.figures["dropped"] > 0
    assert done.figures["frames"] == len(calls) == 10 - done.figures["dropped"]
    times_s = times_of(Path("out.mp4"))
    assert times_s == pytest.approx([number / 10 for number in range(len(times_s))])
    assert len(times_s) > len(calls)


@pytest.mark.parametrize(("options", "rate"), [((), 30), (("--fps", 12), 12), (("--fps", "source"), 30)])
def test_a_recording_has_the_rate_that_is_held_else_the_sources(
    tiny: Path, options: tuple[object, ...], rate: int
) -> None:
    sinks = "--sink", "run.mp4", "--sink", "own.mp4#fps=7"
    succeeded(stylecam("live", *SMALL_DEMO, *sinks, *options, "--seconds", 0.5, "-s", tiny))
    for name, fps in [("run.mp4", rate), ("own.mp4", 7)]:
        with av.open(name) as film:
            assert film.streams.video[0].average_rate == fps


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupt_ends_it_well(tiny: Path, tmp_path: Path, number: int) -> None:
    arguments = (*SMALL_DEMO, "--sink", "out.mp4", "--sink", "null", "-s", tiny, "--json")
    done = succeeded(interrupted(ONE_FRAME, "live", *arguments, number=number))
    assert "Traceback" not in done.err
    assert len(pictures_of(Path("out.mp4"))) >= recorded(done.figures) > 0
    assert list(tree(tmp_path)) == ["out.mp4"]


IN_AN_IMPORT = """
import os, signal, sys
class Impatient:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["IMPORTED"]:
            os.environ["IMPORTED"] = ""
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Impatient())
"""


@posix
@pytest.mark.parametrize("module", ["typer", "stylecam.cli.slow", "numpy", "openvino", "stylecam.sinks"])
def test_an_interrupt_before_it_has_begun(tiny: Path, tmp_path: Path, module: str) -> None:
    arguments = (*SMALL_DEMO, "--sink", "out.mp4", "-s", tiny, "--json")
    env = {**os.environ, "IMPORTED": module}
    done = succeeded(stylecam_apart("live", *arguments, code=IN_AN_IMPORT, env=env))
    assert "Traceback" not in done.err
    assert done.figures["frames"] == 0
    assert tree(tmp_path) == {}


@posix
@pytest.mark.parametrize("module", ["typer", "stylecam.styles"])
def test_an_interrupt_before_another_command_has_begun(module: str) -> None:
    done = stylecam_apart("styles", code=IN_AN_IMPORT, env={**os.environ, "IMPORTED": module})
    assert (done.code, done.out, done.err.splitlines()[-1]) == (130, "", "interrupted")
    assert "Traceback" not in done.err


IN_THE_END = """
import atexit, signal
from stylecam.reader import FrameReader
from stylecam.sinks.recording import RecordingSink
def impatient(real):
    def closed(self):
        signal.raise_signal(signal.SIGINT)
        real(self)
        signal.raise_signal(signal.SIGINT)
    return closed
for owner in (FrameReader, RecordingSink):
    owner.close = impatient(owner.close)
atexit.register(signal.raise_signal, signal.SIGINT)
"""


@posix
def test_further_interrupts_break_no_closing_off(tiny: Path, tmp_path: Path) -> None:
    arguments = (*SMALL_DEMO, "--sink", "out.mp4", "--sink", "null", "-s", tiny, "--seconds", 1, "--json")
    done = succeeded(stylecam_apart("live", *arguments, code=IN_THE_END))
    assert "Traceback" not in done.err
    assert done.err.count("closing; ") == 1
    assert len(pictures_of(Path("out.mp4"))) >= recorded(done.figures) > 0
    assert list(tree(tmp_path)) == ["out.mp4"]


@posix
@pytest.mark.slow
@pytest.mark.parametrize("gap_s", [0, 0.003, 0.1])
def test_two_interrupts_close_together(tiny: Path, gap_s: float) -> None:
    arguments = ("live", *SMALL_DEMO, "--sink", "null", "-s", str(tiny), "--json")
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", NOTED, ONE_FRAME, *arguments], stdout=-1, stderr=-1, text=True
        ) as process:
            assert process.stderr is not None
            while "noted" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            time.sleep(gap_s)
            process.send_signal(signal.SIGINT)
            try:
                out, err = process.communicate(timeout=60)
            finally:
                process.kill()
        assert "Traceback" not in err
        assert succeeded(Done(process.returncode, out, err)).figures["frames"]


def test_an_error_on_the_way_keeps_what_was_recorded(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_engine(monkeypatch, fail_at=3)
    done = stylecam("live", *SMALL_DEMO, "--sink", "out.mp4", "-s", tiny)
    assert done.code == 1
    assert done.err.splitlines()[-2:] == ["error: the net was lost", "hint: find it again"]
    assert list(tree(tmp_path)) == ["out.mp4"]
    assert pictures_of(Path("out.mp4"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only X11 lacks a display")
def test_no_display_is_an_error_and_no_abort(tiny: Path, tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = stylecam_apart("live", *SMALL_DEMO, "-s", tiny, env=env)
    assert done.code == 1
    assert "error: no window could be opened" in done.err
    assert "hint: " in done.err
    assert tree(tmp_path) == {}


def test_a_microphone_needs_a_sink_that_keeps_sound(tiny: Path, tmp_path: Path) -> None:
    done = stylecam("live", *SMALL_DEMO, "--sink", "null", "--sound", "mic", "-s", tiny)
    assert done.code == 1
    assert "error: --sound mic goes into streams and recordings, and no sink makes one" in done.err
    assert tree(tmp_path) == {}


def test_a_recording_has_the_sound_of_the_microphone(
    tiny: Path, fake_sound: FakeSound  # noqa: F811
) -> None:  # fmt: skip
    options = "--sink", "take.mkv", "--sink", "null", "--sound", "mic", "--seconds", 0.5, "-s", tiny
    succeeded(stylecam("live", *SMALL_DEMO, *options))
    with av.open("take.mkv") as film:
        assert [stream.codec_context.name for stream in film.streams.audio] == ["aac"]
        sound_s = sum(block.samples for block in film.decode(audio=0)) / RATE
    with av.open("take.mkv") as film:
        # A machine in a hurry may record a frame or two: the sound lasts as long as those.
        rate = film.streams.video[0].average_rate or 0
        assert sound_s > 0
        assert sound_s * rate == pytest.approx(sum(1 for _ in film.decode(video=0)), abs=0.1 * rate)
    assert fake_sound.closed


def test_the_figures_name_latency_and_the_delay_for_the_sound(tiny: Path) -> None:
    done = succeeded(stylecam("live", *SMALL_DEMO, "--sink", "null", "--seconds", 0.2, "-s", tiny, "--json"))
    told = re.search(r"fps, (\d+) ms \(p95 (\d+)\), audio delay (\d+) ms, \d+ dropped, ", done.err)
    assert told
    assert int(told[1]) <= int(told[2])
    assert int(told[3]) == pytest.approx(int(told[1]), abs=5)
    (null,) = done.figures["sinks"]
    assert null["latency_ms"]["p50"] == pytest.approx(null["audio_delay_ms"], abs=5.1)
