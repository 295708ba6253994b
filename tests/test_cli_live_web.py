"""The live command with its page, as a person runs it: over HTTP, in a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import cv2
import httpx
import numpy as np
import pytest
from commands import stylecam, tree
from films import pictures_of


@pytest.fixture
def tiny(tiny_style_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tiny_style_path


def line_with(stream: IO[str], word: str) -> str:
    while line := stream.readline():
        if word in line:
            return line
    pytest.fail(f"it ended before it said {word!r}")


@contextmanager
def running(*arguments: object) -> Iterator[httpx.Client]:
    """Run `stylecam live` with a page on a free port; give a client for it; end it by Ctrl-C."""
    command = [sys.executable, "-c", "from stylecam.cli import run; run()", "live", "--sink", "web"]
    command += ["--port", "0", "--size", "64x48", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            url = re.sub(r"^page: ", "", line_with(process.stderr, "page: ")).strip()
            link = httpx.URL(url)
            known = {"Authorization": f"Bearer {link.params['token']}"} if "token" in link.params else {}
            with httpx.Client(base_url=str(link.copy_with(query=None)), headers=known, timeout=20) as client:
                yield client
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
            assert process.returncode == 0
        finally:
            process.kill()


def until(client: httpx.Client, path: str) -> httpx.Response:
    """Ask until there is an answer: the first frame may still be on its way."""
    deadline = time.monotonic() + 30
    while (answer := client.get(path)).status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert answer.status_code == 200, answer.text
    return answer


def recording_for(client: httpx.Client, frames: int) -> dict[str, Any]:
    """Wait until a recording has so many frames; return the run's figures."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        stats = dict(client.get("/api/stats").json())
        if any(sink["name"].endswith(".mp4") and sink["frames"] >= frames for sink in stats["sinks"]):
            return stats
        time.sleep(0.05)
    pytest.fail("there is no recording")


posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@posix
def test_the_page_changes_records_and_keeps(tiny: Path, tmp_path: Path) -> None:
    with running("--source", "demo", "-s", tiny, "--folder", tmp_path) as client:
        shown = cv2.imdecode(
            np.frombuffer(until(client, "/snapshot.jpg").content, np.uint8), cv2.IMREAD_COLOR
        )
        assert shown is not None
        assert shown.shape == (48, 64, 3)
        assert client.patch("/api/state", json={"strength": 0.25}).json()["settings"]["strength"] == 0.25
        refused = client.patch("/api/state", json={"strength": 2})
        assert refused.status_code == 422
        assert client.patch("/api/state", json={"recording": True}).status_code == 200
        client.post("/api/snapshot")
        stats = recording_for(client, 5)
        assert stats["latency_ms"]["p50"] > 0
        assert any("recording into" in text for text in stats["messages"])
    names = sorted(tree(tmp_path))
    assert [Path(name).suffix for name in names] == [".mp4", ".png"]
    assert pictures_of(tmp_path / names[0])


@posix
def test_another_machine_needs_the_token(tiny: Path) -> None:
    with running("--source", "demo", "-s", tiny, "--host", "0.0.0.0") as client:
        for headers in ({}, {"Authorization": "Bearer not-the-right-one"}):
            assert httpx.get(f"{client.base_url}api/state", headers=headers).status_code in (401, 403)
            changed = httpx.patch(f"{client.base_url}api/state", json={"split": True}, headers=headers)
            assert changed.status_code in (401, 403)
        assert client.get("/api/state").json()["settings"]["split"] is False
        assert client.patch("/api/state", json={"split": True}).status_code == 200


def test_a_rate_is_held_and_said(tiny: Path) -> None:
    arguments = ("--source", "demo", "--size", "64x48", "--sink", "null", "-s", tiny, "--json")
    done = stylecam("live", *arguments, "--fps", 5, "--seconds", 0.5)
    assert done.code == 0
    assert done.figures["net_size_wh"] == [64, 48]
    wrong = stylecam("live", *arguments, "--fps", "fast")
    assert wrong.code == 1
    assert "error: rate 'fast'" in wrong.err


def test_two_sinks_of_their_own_sizes(tiny: Path, tmp_path: Path) -> None:
    done = stylecam(
        "live", "--source", "demo", "--size", "64x48", "-s", tiny, "--seconds", 0.5, "--json",
        "--sink", "small.mp4#size=32x16,fps=5", "--sink", "null",
    )  # fmt: skip
    assert done.code == 0
    assert {picture.shape for picture in pictures_of(tmp_path / "small.mp4")} == {(16, 32, 3)}
    small, whole = done.figures["sinks"]
    assert 0 < small["frames"] <= 4
    assert small["frames"] <= whole["frames"]


def test_the_picture_options_reach_the_picture(tiny: Path, tmp_path: Path) -> None:
    arguments = ("live", "--source", "demo", "--size", "64x48", "-s", tiny, "--seconds", 0.3, "--no-mirror")
    stylecam(*arguments, "--sink", "as-it-is.mp4", "--strength", 0)
    stylecam(*arguments, "--sink", "painted.mp4")
    first = [pictures_of(tmp_path / f"{name}.mp4")[0].astype(int) for name in ("as-it-is", "painted")]
    assert np.abs(first[0] - first[1]).mean() > 10


def test_one_page_is_enough(tiny: Path) -> None:
    done = stylecam(
        "live", "--source", "demo", "-s", tiny, "--sink", "web", "--sink", "web#size=64x48", "--port", 0
    )
    assert (done.code, "the page is asked for twice" in done.err) == (1, True)


@posix
@pytest.mark.slow
@pytest.mark.parametrize("own", ["", "#size=320x180"])
def test_the_pages_camera_needs_a_page_and_no_screen(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    command = [sys.executable, "-c", "from stylecam.cli import run; run()", "live", "--source", "browser"]
    command += ["--port", "0", "-s", str(tiny), *(["--sink", f"web{own}"] if own else [])]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        url = line_with(process.stderr, "page: ").removeprefix("page: ").strip()
        assert httpx.get(f"{url}api/state", timeout=20).json()["browser"] is True
        assert httpx.post(f"{url}api/quit", timeout=20).status_code == 202
        assert process.wait(60) == 0
