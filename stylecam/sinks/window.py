"""A window on the screen, with a line of figures."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from stylecam.controls import Controls
from stylecam.errors import SinkOpenError, SinkWriteError
from stylecam.frames import Frame, Pixels
from stylecam.keys import HELP, name_of, press
from stylecam.sinks.base import Sink

_TITLE = "stylecam"
_ROUND = tuple((x, y, 0) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y)
_REDRAW_S = 0.5
"""A picture that stays is drawn again so often, for its figures: each time takes from the net."""

_HINT = 'record to a file instead (a name ending in .mp4), or use "null"'


class WindowSink(Sink):
    """Show frames; what its keys do is in `keys`. q, Esc or closing the window sets `wants_quit`.

    Make, write and close it on the main thread: macOS and Qt allow no other. `figures` gives the lines that
    are drawn into a corner. Raises SinkOpenError where there is no display.
    """

    on_main_thread = True

    def __init__(self, controls: Controls | None = None, figures: Callable[[], str] | None = None) -> None:
        if problem := display_problem():
            raise SinkOpenError(f"no window could be opened: {problem}", _HINT)
        self._controls, self._figures = controls, figures
        self._quit = self._closed = self._help = False
        _let_qt_have_all_events()
        try:
            cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        except cv2.error as exc:
            raise SinkOpenError(
                "no window could be opened: this OpenCV was built without a screen",
                "uninstall opencv-python-headless and reinstall opencv-python, or " + _HINT,
            ) from exc
        self._size_known = False
        self._shown: Pixels | None = None
        self._shown_s = 0.0

    def write(self, frame: Frame) -> None:
        """Show a frame and look at the keyboard; one that stays is drawn anew for a key, or now and then."""
        try:
            self._show(frame.bgr)
        except cv2.error as exc:
            raise SinkWriteError("the window refused a frame", _HINT) from exc

    @property
    def wants_quit(self) -> bool:
        """True once q or Esc was pressed or the window was closed."""
        return self._quit

    def close(self) -> None:
        """Take the window off the screen."""
        if self._closed:
            return
        self._closed = True
        try:
            cv2.destroyWindow(_TITLE)
            cv2.waitKey(1)  # the window goes away only when events are handled
        except cv2.error:  # the person has closed it already
            pass

    def _show(self, bgr: Pixels) -> None:
        self._quit = self._quit or (self._size_known and not _is_visible())
        if self._quit or self._closed:  # imshow would open a new window
            return
        if not self._size_known:
            cv2.resizeWindow(_TITLE, bgr.shape[1], bgr.shape[0])
            self._size_known = True
        now_s = time.perf_counter()
        if bgr is not self._shown or now_s - self._shown_s > _REDRAW_S:
            cv2.imshow(_TITLE, self._labelled(bgr))
            self._shown, self._shown_s = bgr, now_s
        while key := name_of(cv2.waitKeyEx(1)):  # every key that was pressed since the last frame
            self._press(key)
        self._quit = self._quit or not _is_visible()

    def _labelled(self, bgr: Pixels) -> Pixels:
        wanted = self._controls is None or self._controls.settings.figures
        if self._figures is not None and wanted:
            bgr = with_text(bgr, self._figures().splitlines())
        return with_text(bgr, HELP, at_top=True) if self._help else bgr

    def _press(self, key: str) -> None:
        self._shown = None
        if key == "h":
            self._help = not self._help
        elif key == "q":
            self._quit = True
        elif self._controls is not None:
            press(self._controls, key)


def _let_qt_have_all_events() -> None:
    """Let Qt find the system's own libX11-xcb in place of the one that opencv-python brings.

    The latter tells libX11 to leave all events to Qt in a field that lies elsewhere since libX11 1.8. So
    libX11 takes some, and where those say that the window is there, it stays black: one start in twenty,
    under load.
    """
    if sys.platform.startswith("linux"):
        with suppress(OSError):  # a system without it
            ctypes.CDLL("libX11-xcb.so.1", mode=ctypes.RTLD_GLOBAL)


def _is_visible() -> bool:
    try:
        return cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) >= 1
    except cv2.error:  # some backends raise for a window that is gone
        return False


def with_text(bgr: Pixels, lines: Sequence[str], at_top: bool = False) -> Pixels:
    """Return a copy with lines of text in the lower (or upper) left corner, legible on any ground."""
    scale = _fitting(max(0.4, bgr.shape[0] / 900), lines, bgr.shape[1])
    step = round(32 * scale)
    first = step if at_top else bgr.shape[0] - round(14 * scale) - step * (len(lines) - 1)
    shown = bgr.copy()
    for row, line in enumerate(lines):
        place = (round(12 * scale), first + row * step)
        # The ground is the same letters, moved: thicker ones are wider in some versions of OpenCV.
        for across, down, level in (*_ROUND, (0, 0, 255)):
            at, colour = (place[0] + across, place[1] + down), (level, level, level)
            cv2.putText(shown, line, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
    return np.asarray(shown, np.uint8)


def _fitting(scale: float, lines: Sequence[str], width: int) -> float:
    """Return that scale of the letters, or the smaller one at which every line lies within `width` pixels."""
    widest = max((cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, 1, 1)[0][0] for line in lines), default=0)
    return min(scale, max(0.25, width / (widest + 24)))


def display_problem() -> str:
    """Return why no window can be opened, or "" where one can.

    Without an X server OpenCV aborts the whole process. opencv-python for Linux brings Qt with its
    X11 plugin alone, hence DISPLAY and not WAYLAND_DISPLAY, which Wayland desktops set beside it.
    """
    if not sys.platform.startswith("linux"):
        return ""
    display = os.environ.get("DISPLAY", "")
    if not display:
        return "there is no display (DISPLAY is not set)"
    return "" if _x_answers(display) else f'nobody answers at display "{display}"'


def _x_answers(display: str) -> bool:
    """Tell whether a local X server listens; one on another machine gets the benefit of the doubt."""
    host, _, number = display.rpartition(":")
    if host not in ("", "unix"):
        return True
    path = Path("/tmp/.X11-unix") / f"X{number.split('.')[0]}"
    # A leading NUL is Linux's abstract namespace, where servers without that folder listen.
    return any(_listens(name) for name in (str(path), f"\0{path}"))


def _listens(unix_socket: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(unix_socket)
        except OSError:
            return False
        return True
