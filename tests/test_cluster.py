"""Films on a real Ray cluster, started on this machine."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import Done, stylecam, stylecam_apart, tree
from painting import assert_same, moving_film

from stylecam.errors import ClusterError
from stylecam.film.cluster import Choice, connected

pytest.importorskip("ray")
import psutil  # it comes with the same extra

pytestmark = pytest.mark.slow


def painted(film: Path, target: Path, style: Path, *more: object) -> Done:
    return stylecam_apart("video", film, "-o", target, "--style", style, "--json", *more)


def test_two_actors_make_the_same_film(tmp_path: Path, tiny_style_path: Path) -> None:
    film = moving_film(tmp_path / "in.mp4", 480, sound=True)
    alone, shared = tmp_path / "alone.mp4", tmp_path / "shared.mp4"
    assert painted(film, alone, tiny_style_path).code == 0
    done = painted(film, shared, tiny_style_path, "--cluster", "local", "--cores", 1)
    assert done.code == 0, done.err
    assert done.figures["frames"] == 480
    assert done.figures["workers"] >= 2
    assert_same(alone, shared)
    assert sorted(tree(tmp_path)) == ["alone.mp4", "in.mp4", "shared.mp4"]


def test_a_folder_on_a_cluster(tmp_path: Path, tiny_style_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in "bc":
        moving_film(folder / f"{name}.mp4", 100)
    (folder / "a.mp4").write_text("no film")
    done = painted(folder, out, tiny_style_path, "--cluster", "local", "--cores", 1)
    assert done.code == 1
    assert "1 of 3 films failed" in done.err
    assert "hint:" in done.err
    assert sorted(tree(out)) == ["b.mp4", "c.mp4"]
    again = painted(folder, out, tiny_style_path, "--cluster", "local", "--cores", 1, "--resume")
    assert again.code == 1
    assert "b.mp4: " not in again.err


def test_an_actor_that_is_killed_costs_its_segment(tmp_path: Path, tiny_style_path: Path) -> None:
    film = moving_film(tmp_path / "in.mp4", 960, size_wh=(320, 240), sound=True)
    alone, shared = tmp_path / "alone.mp4", tmp_path / "shared.mp4"
    assert painted(film, alone, tiny_style_path).code == 0
    command = [
        sys.executable, "-m", "stylecam", "video", str(film), "-o", str(shared), "--style",
        str(tiny_style_path), "--cluster", "local", "--cores", "1",
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        actor = _at_work(process, tmp_path / ".shared.mp4.stylecam")
        actor.kill()
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert_same(alone, shared)
    assert sorted(tree(tmp_path)) == ["alone.mp4", "in.mp4", "shared.mp4"]


def _at_work(process: subprocess.Popen[str], work: Path) -> psutil.Process:
    """Return an actor in the middle of painting: some of the film is there, and not the whole."""
    end_s = time.monotonic() + 300
    while time.monotonic() < end_s:
        assert process.poll() is None, process.stderr and process.stderr.read()
        if list(work.glob("*.json")):
            for child in psutil.Process(process.pid).children(recursive=True):
                if "Worker.paint" in " ".join(child.cmdline()):
                    return child
        time.sleep(0.02)
    raise AssertionError("no actor was seen at work")


def test_nobody_at_that_address(tmp_path: Path, tiny_style_path: Path) -> None:
    film = moving_film(tmp_path / "in.mp4", 24)
    before = tree(tmp_path)
    for address in ("127.0.0.1:9", "ray://127.0.0.1:9"):
        done = painted(film, tmp_path / "out.mp4", tiny_style_path, "--cluster", address)
        assert done.code == 1
        assert "error: no Ray cluster answers" in done.err
        assert "hint:" in done.err
    assert tree(tmp_path) == before


def test_a_cluster_that_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ray 2.60 does without the token that its head asks for; the place itself is there."""

    def refuse(*_: object, **more: object) -> None:
        raise ConnectionError("Failed to connect to Ray cluster\n(and why)")

    monkeypatch.setattr("ray.init", refuse)
    with socket.create_server(("127.0.0.1", 0)) as there:
        address = f"127.0.0.1:{there.getsockname()[1]}"
        with (
            pytest.raises(ClusterError, match=f'"{address}" cannot be joined: Failed to connect') as caught,
            connected(address, Choice("starry"), None, lambda _: None),
        ):
            pass
    assert "RAY_AUTH_MODE=token" in caught.value.hint


def test_a_style_that_is_not_there_ends_it(tmp_path: Path) -> None:
    film = moving_film(tmp_path / "in.mp4", 24)
    done = stylecam("video", film, "-o", tmp_path / "out.mp4", "--style", "nobody", "--cluster", "local")
    assert done.code == 1
    assert "nobody" in done.err
    assert sorted(tree(tmp_path)) == ["in.mp4"]
