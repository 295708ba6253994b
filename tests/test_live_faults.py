"""What goes wrong around a live run, in a process of its own: nothing recorded is lost, nobody hangs."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import Done, noise, noise_film, stylecam_apart, tree
from films import pictures_of, times_of

from stylecam.frames import Frame
from stylecam.sinks.file import FileSink

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
FAST_FPS = 120


@pytest.fixture
def tiny(tiny_style_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tiny_style_path


@pytest.fixture
def fast(tmp_path: Path) -> Path:
    """A film of four seconds with so many frames in each that a recording soon has something to keep."""
    with FileSink(tmp_path / "fast.mkv", fps=FAST_FPS, preset="ultrafast") as sink:
        for index in range(4 * FAST_FPS):
            sink.write(Frame(noise((32, 16), index), index / FAST_FPS, 0.0))
    return sink.path


@contextmanager
def live(*arguments: object, code: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run `stylecam live`, after `code`, beside the test, which ends it in its own way."""
    start = f"{code}\nfrom stylecam.cli import run\nrun()"
    command = [sys.executable, "-c", start, "live", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until_larger(path: Path, size: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not (path.exists() and path.stat().st_size > size):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{path} does not grow"
        time.sleep(0.01)


@posix
@pytest.mark.parametrize("suffix", [".mp4", pytest.param(".mkv", marks=pytest.mark.slow)])
def test_a_run_that_is_killed_leaves_a_film_that_plays(tiny: Path, fast: Path, suffix: str) -> None:
    take = Path(f"take{suffix}")
    with live("--source", fast, "--sink", take, "--at-end", "wait", "-s", tiny) as process:
        wait_until_larger(take, 4000, process)
        process.kill()
        process.wait()
    assert pictures_of(take)
    assert times_of(take) == sorted(set(times_of(take)))


FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))"


@posix
def test_a_full_disk_ends_a_run_that_only_records(tiny: Path, fast: Path) -> None:
    arguments = ("--source", fast, "--at-end", "wait", "--sink", "take.mp4", "-s", tiny, "--json")
    done = stylecam_apart("live", *arguments, code=FULL)
    assert done.code == 1
    assert done.err.splitlines()[-2] == (
        'error: recording "take.mp4" broke off: File too large; it plays up to there'
    )
    (take,) = done.figures["sinks"]
    assert "File too large" in take["error"]
    assert pictures_of(Path("take.mp4"))


@posix
@pytest.mark.slow
def test_a_full_disk_ends_the_recording_and_nothing_else(tiny: Path, fast: Path) -> None:
    sinks = ("--sink", "take.mp4", "--sink", "null")
    with live("--source", fast, "--at-end", "wait", *sinks, "-s", tiny, "--json", code=FULL) as process:
        assert process.stderr is not None
        said = ""
        while "take.mp4 has stopped: recording" not in said:
            said = process.stderr.readline()
            assert said
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    done = Done(process.returncode, out, err)
    assert done.code == 0, "it went on until it was told to end"
    take, null = done.figures["sinks"]
    assert "File too large" in take["error"]
    assert null["error"] is None
    assert null["frames"]
    assert pictures_of(Path("take.mp4"))


def test_an_older_take_is_not_overwritten(tiny: Path, fast: Path, tmp_path: Path) -> None:
    Path("take.mp4").write_text("the best one")
    before = tree(tmp_path)
    done = stylecam_apart("live", "--source", fast, "--sink", "take.mp4", "-s", tiny)
    assert done.code == 1
    assert 'error: recording "take.mp4" exists already' in done.err
    assert tree(tmp_path) == before


@posix
@pytest.mark.slow
def test_a_film_that_is_taken_away_and_brought_back(tiny: Path, tmp_path: Path) -> None:
    film, elsewhere = noise_film(tmp_path / "in.mp4", 5), tmp_path / "elsewhere.mp4"
    with live("--source", film, "--at-end", "wait", "--sink", "take.mkv", "-s", tiny) as process:
        assert process.stderr is not None
        seen = ""
        while "waiting for it to come back" not in seen:
            seen = process.stderr.readline()
            assert seen
        film.rename(elsewhere)
        time.sleep(0.6)  # the first attempts fail
        elsewhere.rename(film)
        while "the source is back" not in seen:
            seen = process.stderr.readline()
            assert seen
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0
    times = times_of(Path("take.mkv"))
    assert times == sorted(set(times))


def interrupted_at(moment_s: float, number: int, *arguments: object) -> Done:
    """Send a signal so many seconds after the first word; what was said before is only loading."""
    with live(*arguments) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        time.sleep(moment_s)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    return Done(process.returncode, out, first + err)


PRESSED_AS_THE_FILE_IS_MADE = """
import signal
from stylecam.sinks import recording
make = recording._open_new
def made(path):
    file = make(path)
    signal.raise_signal(signal.SIGINT)
    return file
recording._open_new = made
"""


def test_ctrl_c_as_a_recording_is_opened(tiny: Path, fast: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    arguments = ("--source", fast, "--sink", "take.mp4", "-s", tiny)
    done = stylecam_apart("live", *arguments, code=PRESSED_AS_THE_FILE_IS_MADE)
    assert done.code == 0, done.err
    assert tree(tmp_path) == before


@posix
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_at_any_moment(tiny: Path, fast: Path, number: int) -> None:
    moments = random.Random(number)
    for attempt in range(15):
        take = Path(f"take{attempt}.mp4")
        at_s = moments.uniform(0, 4)
        done = interrupted_at(at_s, number, "--source", fast, "--sink", take, "--sink", "null", "-s", tiny)
        said = f"after {at_s:.3f} s: {done.err}"
        if number == signal.SIGKILL:
            assert done.code in (-9, 0), said
            begun = take.exists() and b"moof" in take.read_bytes()
            assert not begun or pictures_of(take), said
        else:
            assert done.code == 0, said
            assert "Traceback" not in done.err, said
            frames = re.search(r"(\d+) frames, ", done.err)
            assert take.exists() == bool(frames and int(frames[1])), said
            assert not take.exists() or pictures_of(take), said
