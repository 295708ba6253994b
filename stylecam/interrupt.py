"""Ctrl-C that waits for a good moment."""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_SAME_S = 1.0
"""Signals so close together are one wish: GNU timeout sends two, and so do impatient people."""

_AGAIN_S = 0.05
_PATIENCE_S = 10.0
_CLOSING = b"closing; if that hangs, Ctrl-C ends it at once after %d s\n" % _PATIENCE_S

_pressed_s: list[float] = []
"""When Ctrl-C was pressed, or SIGTERM came, which clusters end a job by."""

_raised_s: list[float] = []
"""When that became KeyboardInterrupt."""


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether Ctrl-C was pressed; a second Ctrl-C interrupts at once.

    For work that must not stop in the middle, such as an optimiser's step. SIGTERM counts as Ctrl-C.
    Main thread only.
    """
    pressed = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        for each in before:
            signal.signal(each, signal.default_int_handler)

    before = {each: signal.signal(each, note) for each in _SIGNALS}
    try:
        yield lambda: pressed
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def note_interrupts() -> None:
    """Let Ctrl-C and SIGTERM be noted from now on, to the end of the process, and break nothing off.

    KeyboardInterrupt inside a lock leaves it held, inside an import it leaves half a module. The process
    ends as they ask where it has gone on for 10 s nevertheless and one more comes.
    """
    _pressed_s.clear()
    _raised_s.clear()
    _handle(_note)
    # Python's own end gives up our handlers, and a signal would kill. Registered first, it runs last.
    atexit.register(_handle, signal.SIG_IGN)


def was_interrupted() -> bool:
    """Tell whether a signal was noted."""
    return bool(_pressed_s)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt in here; it does at once, where one was noted before."""
    _handle(_raise)
    try:
        check_interrupt()
        yield
    finally:
        _handle(_note)


@contextmanager
def held_interrupt() -> Iterator[None]:
    """Let Ctrl-C wait, inside of `interruptible`, until what is done in here is done.

    For what would leave something behind, such as a new file that nobody knows of yet.
    """
    _handle(_note)
    try:
        yield
    finally:
        _handle(_raise)
    check_interrupt()


def check_interrupt() -> None:
    """Raise KeyboardInterrupt if a signal was noted: one raised while an import cleans up is lost."""
    if _pressed_s:
        _raised_s.append(time.monotonic())
        raise KeyboardInterrupt


def _handle(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    with suppress(ValueError):  # not on the main thread, as in some tests
        for each in _SIGNALS:
            if signal.getsignal(each) != signal.SIG_IGN:  # as a shell's background jobs have it
                signal.signal(each, handler)


def _note(number: int, frame: FrameType | None) -> None:
    _pressed_s.append(time.monotonic())
    if _pressed_s[-1] - _pressed_s[0] > _PATIENCE_S:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    if len(_pressed_s) == 2:
        with suppress(OSError):  # past sys.stderr, which may be in the middle of a line, holding its lock
            os.write(2, _CLOSING)


def _raise(number: int, frame: FrameType | None) -> None:
    now_s = time.monotonic()
    _pressed_s.append(now_s)
    if _raised_s and now_s - _raised_s[-1] <= _SAME_S:
        return
    if _is_importing(frame):
        _thread.start_new_thread(_again, (number,))
    else:
        _raised_s.append(now_s)
        raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    """Tell whether an import is under way: broken off, it may leave a lock held that all others want."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _again(number: int) -> None:
    time.sleep(_AGAIN_S)
    if signal.getsignal(number) == _raise:
        _thread.interrupt_main(signal.Signals(number))
