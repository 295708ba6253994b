"""Opening what may not answer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread

from stylecam.sources.base import Source

_MOMENT_S = 1.0

_SLICE_S = 0.2
"""Longest uninterrupted wait after that: on Windows a wait does not let Ctrl-C through."""


def open_aside(open_: Callable[[], Source], url: str, say: Callable[[str], None]) -> Source:
    """Return what `open_` gives or raise what it raises; it runs in a thread, so that Ctrl-C ends the wait.

    FFmpeg cannot be interrupted while it waits for a sender: then the thread is left to it. `say` is told
    what is waited for once that takes longer than a moment. Not for cameras: macOS asks for the right to
    use one in the main thread alone.
    """
    opened: Future[Source] = Future()
    Thread(target=_open, args=(open_, opened), name="stylecam-opening", daemon=True).start()
    if not wait([opened], _MOMENT_S).done:
        say(f"waiting for a picture from {_host_of(url)}")
        while not wait([opened], _SLICE_S).done:
            pass
    return opened.result()


def _open(open_: Callable[[], Source], opened: Future[Source]) -> None:
    try:
        opened.set_result(open_())
    except BaseException as exc:  # raised again by whoever waits: nobody looks at a thread
        opened.set_exception(exc)


def _host_of(url: str) -> str:
    """Leave out what may be secret, for the page shows messages too: a password, path and query."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('/')[0].partition('?')[0]}"
