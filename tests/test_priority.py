from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from films import numbered, pictures_of

from stylecam.frames import Frame
from stylecam.sinks.codecs import Encoding
from stylecam.sinks.encoder import Encoder
from stylecam.sinks.priority import ordinary_priority

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process see and lower this")
root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root's threads can turn real-time"
)


def policies() -> set[int]:
    """How the kernel treats this process's threads."""
    found = set()
    for thread in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):  # it has ended meanwhile
            found.add(os.sched_getscheduler(int(thread)))
    return found


@linux
@root
def test_av1_leaves_every_thread_where_it_was(tmp_path: Path) -> None:
    seen = []
    encoder = Encoder(tmp_path / "out.mkv", ".mkv", fps=25, encoding=Encoding("av1"))
    for index in range(12):
        encoder.encode(Frame(numbered(index), index / 25, 0.0))
        seen.append(policies())
    encoder.close()
    assert len(pictures_of(tmp_path / "out.mkv")) == 12
    assert seen == [{os.SCHED_OTHER}] * 12
    child = "import os; print(os.sched_getscheduler(0))"
    assert int(subprocess.check_output([sys.executable, "-c", child])) == os.SCHED_OTHER


@linux
@root
def test_who_was_real_time_before_stays_so() -> None:
    policy = []

    def work() -> None:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        with ordinary_priority():
            pass
        policy.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert policy == [os.SCHED_FIFO]
