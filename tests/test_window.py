"""The window as a person uses it: on a screen of its own, with real keys, through the whole program."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from commands import tree
from films import pictures_of
from webpage import wait_for

from stylecam.frames import Pixels

ImageGrab = pytest.importorskip("PIL.ImageGrab", reason="screenshots are Pillow's")
pytestmark = [
    pytest.mark.window,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("Xvfb") and shutil.which("xdotool")), reason="no Xvfb or no xdotool"
    ),
]


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """An X server of its own, so that no other window can get the keys.

    One that goes on as it is when its last client leaves: others begin anew, and drop who comes then.
    """
    command = ["Xvfb", "-noreset", "-displayfd", "1", "-screen", "0", "640x480x24"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        yield f":{server.stdout.readline().strip()}"
        server.terminate()


@dataclass
class Live:
    """A run with a window, and a page to see what its keys have done."""

    display: str
    process: subprocess.Popen[str]
    page: httpx.Client
    window: str

    def press(self, key: str) -> None:
        self.xdo("key", key)

    def xdo(self, *command: str) -> str:
        environment = {**os.environ, "DISPLAY": self.display}
        done = subprocess.run(
            ["xdotool", *command], env=environment, timeout=30, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def state(self) -> dict[str, Any]:
        return dict(self.page.get("/api/state").json())

    def wait_for_setting(self, name: str, value: object) -> None:
        wait_for(lambda: self.state()["settings"][name] == value, f"{name} is {value}")

    def screen(self) -> Pixels:
        return np.asarray(ImageGrab.grab(xdisplay=self.display))

    def wait_for_screen(self, met: Callable[[Pixels], object], what: str) -> None:
        wait_for(lambda: met(self.screen()), what)

    def ended(self) -> int:
        return self.process.wait(60)


@contextmanager
def live(display: str, *arguments: str) -> Iterator[Live]:
    command = [sys.executable, "-c", "from stylecam.cli import run; run()", "live", "--source", "demo"]
    command += ["--sink", "window", "--sink", "web", "--port", "0", "--fade", "0", *arguments]
    environment = {**os.environ, "DISPLAY": display}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        try:
            line = ""
            while "page: " not in line:
                line = process.stderr.readline()
                assert line, "it ended before there was a page"
            url = re.sub(r"^page: ", "", line).strip()
            with httpx.Client(base_url=url, timeout=20) as page:
                run = Live(display, process, page, "")
                # A key pressed before the first picture is drawn is lost.
                wait_for(lambda: shown(run) > 1, "the window shows frames")
                mine = ("--all", "--pid", str(process.pid), "--onlyvisible", "--name", "^stylecam$")
                run.window = run.xdo("search", *mine).split()[0]
                run.xdo("windowfocus", "--sync", run.window)
                yield run
        finally:
            process.kill()


def hold(run: Live) -> None:
    """Pause, and wait until the frame that was being painted then is on the screen."""

    def stats() -> dict[str, Any]:
        return dict(run.page.get("/api/stats").json())

    def has_all() -> bool:
        now = stats()
        (window,) = (sink for sink in now["sinks"] if sink["name"] == "window")
        return bool(window["frames"] + window["dropped"] == now["frames"])

    run.press("space")
    run.wait_for_setting("paused", True)
    seen = stats()["captured"]
    wait_for(lambda: stats()["captured"] > seen + 1, "the painter has seen that")
    wait_for(has_all, "the window has what was painted")


def shown(run: Live) -> int:
    sinks = run.page.get("/api/stats").json()["sinks"]
    return int(next(sink["frames"] for sink in sinks if sink["name"] == "window"))


@pytest.fixture(scope="module")
def run(display: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    mask = folder / "mask.png"
    from stylecam.pictures import Picture, write_picture

    write_picture(mask, Picture(np.full((48, 64, 3), 255, np.uint8), None))
    with live(display, "--size", "320x240", "--mask", str(mask), "--folder", str(folder)) as started:
        yield started


@pytest.mark.shipped
def test_the_window_shows_the_picture(run: Live) -> None:
    run.wait_for_screen(lambda screen: screen[60:180, 80:240].std() > 10, "something is to be seen")
    first = run.screen()
    run.wait_for_screen(lambda screen: (screen != first).any(), "it moves")
    assert run.screen()[300:, :].max() == 0, "the window is as large as the picture"


@pytest.mark.shipped
@pytest.mark.parametrize(
    ("key", "name", "value"),
    [
        ("3", "style", 2), ("Right", "style", 3), ("Left", "style", 2), ("1", "style", 0),
        ("Left", "style", -1),
        ("9", "style", 8), ("Down", "strength", 0.9), ("Up", "strength", 1.0),
        ("c", "color", True), ("c", "color", False), ("m", "mirror", True), ("m", "mirror", False),
        ("s", "split", True), ("s", "split", False), ("f", "figures", False), ("f", "figures", True),
        ("b", "keep", "person"), ("b", "keep", "background"), ("b", "keep", "all"),
        ("space", "paused", True), ("space", "paused", False),
    ],
)  # fmt: skip
def test_keys(run: Live, key: str, name: str, value: object) -> None:
    run.press(key)
    run.wait_for_setting(
        name, run.state()["styles"][value] if isinstance(value, int) and name == "style" else value
    )


@pytest.mark.shipped
def test_capitals_are_the_same_keys(run: Live) -> None:
    run.press("shift+m")
    run.wait_for_setting("mirror", True)
    run.press("m")
    run.wait_for_setting("mirror", False)


@pytest.mark.shipped
def test_h_shows_the_keys_until_it_is_pressed_again(run: Live) -> None:
    def white(screen: Pixels) -> int:
        return int((screen[:160, :160].min(-1) > 200).sum())

    hold(run)
    before = white(run.screen())
    run.press("h")
    run.wait_for_screen(lambda screen: white(screen) > before + 200, "text in the upper left")
    run.press("h")
    run.wait_for_screen(lambda screen: white(screen) <= before + 20, "no text any more")
    run.press("space")
    run.wait_for_setting("paused", False)


@pytest.mark.shipped
def test_snapshot_and_recording(run: Live) -> None:
    def messages() -> str:
        return "\n".join(run.page.get("/api/stats").json()["messages"])

    run.press("space")
    run.wait_for_setting("paused", True)
    run.press("p")
    wait_for(lambda: "snapshot: " in messages(), "a snapshot, on pause too")
    run.press("space")
    run.wait_for_setting("paused", False)
    run.press("r")
    run.wait_for_setting("recording", True)
    wait_for(lambda: "recording into" in messages(), "a recording")
    seen = shown(run)
    wait_for(lambda: shown(run) > seen + 5, "it goes on")
    run.press("r")
    wait_for(lambda: "recorded: " in messages(), "the end of it")
    film = Path(re.findall(r"recorded: (.*)", messages())[-1])
    assert pictures_of(film)[0].shape == (240, 320, 3)
    assert list(film.parent.glob("stylecam-*.png"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="X11 is Linux's")
def test_all_events_are_left_to_qt(display: str) -> None:
    """Else one window in twenty stays black on a loaded machine, which no test can wait for."""
    code = """import ctypes; from stylecam.sinks.window import WindowSink
WindowSink()
print(ctypes.CDLL(None).XSetEventQueueOwner)"""
    environment = {**os.environ, "DISPLAY": display}
    subprocess.run([sys.executable, "-c", code], env=environment, timeout=60, check=True)


ENDS: dict[str, Callable[[Live], object]] = {
    "q": lambda run: run.press("q"),
    "Esc": lambda run: run.press("Escape"),
    "the window's cross": lambda run: close_window(run.display, int(run.window)),
}


@pytest.mark.parametrize("how", ENDS)
def test_it_ends(
    how: str, display: str, tiny_style_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with live(display, "--size", "64x48", "-s", str(tiny_style_path), "--sink", "take.mp4") as run:
        wait_for(lambda: (tmp_path / "take.mp4").exists(), "it records")
        ENDS[how](run)
        assert run.ended() == 0
    assert list(tree(tmp_path)) == ["take.mp4"]
    assert pictures_of(tmp_path / "take.mp4")


class ClientMessage(ctypes.Structure):
    """Xlib's XClientMessageEvent."""

    _fields_ = (
        ("type", ctypes.c_int), ("serial", ctypes.c_ulong), ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p), ("window", ctypes.c_ulong), ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int), ("data", ctypes.c_long * 5), ("rest", ctypes.c_long * 24),
    )  # fmt: skip


def close_window(display: str, window: int) -> None:
    """Do what a window manager does when its cross is clicked; xdotool can only tear a window down."""
    x11 = ctypes.CDLL("libX11.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = ctypes.c_ulong
    server = ctypes.c_void_p(x11.XOpenDisplay(display.encode()))
    protocols, delete = (x11.XInternAtom(server, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW"))
    event = ClientMessage(33, 0, 1, server, window, protocols, 32)
    event.data[0] = delete
    x11.XSendEvent(server, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(event))
    x11.XCloseDisplay(server)
