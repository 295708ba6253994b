"""Keep an encoder from putting itself before everything else. Linux; elsewhere nothing is done."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """Give threads that turn real-time in here (SCHED_FIFO) their ordinary place back, this one among them.

    SVT-AV1, run as root (in a container, say), raises the thread that opens it and all of its own to the
    highest priority there is. The net's threads then wait for cores that nobody gives them, and so does
    whatever this thread starts later.
    """
    before = _real_time()
    try:
        yield
    finally:
        for thread in _real_time() - before:
            with suppress(OSError):  # it has ended meanwhile
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def _real_time() -> set[int]:
    """Return this process's threads that are before all others, by their number in the kernel."""
    if sys.platform != "linux":
        return set()
    found = set()
    for thread in map(int, os.listdir("/proc/self/task")):
        with suppress(OSError):
            if os.sched_getscheduler(thread) in (os.SCHED_FIFO, os.SCHED_RR):
                found.add(thread)
    return found
