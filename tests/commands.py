"""Run the program as a person would: in this process, or in one of its own where signals matter."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import make_film
from platformdirs import user_data_path

from stylecam.cli import run
from stylecam.engines import openvino, ort
from stylecam.errors import InferenceError
from stylecam.frames import Frame, Pixels
from stylecam.sinks.file import FileSink

NOTED = """
import importlib, sys, time
module, _, name = sys.argv[1].partition(":")
owner_name, _, method = name.partition(".")
owner = getattr(importlib.import_module(module), owner_name)
real = getattr(owner, method)
def noted(self, *args):
    result = real(self, *args)
    print("noted", file=sys.stderr, flush=True)
    time.sleep(0.03)
    return result
setattr(owner, method, noted)
from stylecam.cli import run
run(sys.argv[2:])
"""
"""Slow a method down and tell of every call, so that a signal can be sent in the middle of the work."""


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def figures(self) -> dict[str, Any]:
        """The JSON object on the last line of stdout."""
        found = json.loads(self.out.splitlines()[-1])
        assert isinstance(found, dict)
        return found


def stylecam(*arguments: object) -> Done:
    """Run the program here."""
    out, err = StringIO(), StringIO()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            run([str(argument) for argument in arguments])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    code = ended.value.code
    return Done(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())


def stylecam_apart(*arguments: object, code: str = "", env: dict[str, str] | None = None) -> Done:
    """Run the program in a process of its own, after `code`."""
    start = f"{code}\nfrom stylecam.cli import run\nrun()"
    command = [sys.executable, "-c", start, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=env)
    return Done(done.returncode, done.stdout, done.stderr)


def interrupted(method: str, *arguments: object, number: int = signal.SIGINT, after: int = 5) -> Done:
    """Run the program and send it a signal once `method` ("module:Class.method") was called `after` times."""
    command = [sys.executable, "-c", NOTED, method, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        seen = ""
        while seen.count("noted") < after:
            line = process.stderr.readline()
            assert line, f"ended too early: {seen}"
            seen += line
        process.send_signal(number)
        try:
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
    return Done(process.returncode, out, seen + err)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything in `folder`, hidden files too: each file's bytes, None for a folder."""
    found = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in found}


def noise(size_wh: tuple[int, int] = (64, 48), seed: int = 0) -> Pixels:
    """A picture with something everywhere: a smooth one looks the same to a net at any brightness."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)


def noise_film(
    path: Path, count: int = 10, size_wh: tuple[int, int] = (64, 48), *, sound: bool = False
) -> Path:
    """A film at 10 fps of pictures that have nothing in common; its index stands in front."""
    voice = path.with_name(f"voice-{path.stem}.mp4")
    if sound:
        make_film(voice, [i / 10 for i in range(count)], sound_s=count / 10)
    with FileSink(path, fps=10, source_path=voice if sound else None, crf=5) as sink:
        for index in range(count):
            sink.write(Frame(noise(size_wh, index), index / 10, 0.0))
    voice.unlink(missing_ok=True)
    return path


def record_engine(
    monkeypatch: pytest.MonkeyPatch, *, fail_at: int | None = None, delay_s: float = 0.0
) -> list[Pixels]:
    """Note what the engines give from now on; let call number `fail_at` go wrong, or each take longer."""
    calls: list[Pixels] = []

    def noting(infer: Any) -> Any:
        def noted(self: object, frames: Pixels, style: object = None) -> Pixels:
            if len(calls) == fail_at:
                raise InferenceError("the net was lost", "find it again")
            time.sleep(delay_s)
            calls.append(infer(self, frames, style))
            return calls[-1]

        return noted

    for engine in (ort.OrtEngine, openvino.OpenVinoEngine):
        monkeypatch.setattr(engine, "infer", noting(engine.infer))
    return calls


@contextmanager
def as_user_style(weights: Path, name: str) -> Iterator[Path]:
    """Put a weights file into the user's folder under `name` for a while."""
    target = user_data_path("stylecam") / "weights" / f"{name}.onnx"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, target)
    try:
        yield target
    finally:
        target.unlink()
