from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stylecam.interrupt import deferred_interrupt, interrupt_on_terminate

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert signal.getsignal(signal.SIGINT) == before[0]
    signal.signal(signal.SIGTERM, before[1])


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_is_noted_the_second_interrupts(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), deferred_interrupt() as interrupted:  # noqa: PT012
        assert not interrupted()
        signal.raise_signal(number)
        assert interrupted()
        signal.raise_signal(number)
        pytest.fail("the second one was swallowed")


@pytest.mark.parametrize("number", SIGNALS)
def test_what_was_there_before_is_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with deferred_interrupt():
        assert signal.getsignal(number) != before
        signal.raise_signal(number)
    assert signal.getsignal(number) == before


AFTER_TWO_ENGINES = """
import signal, sys
from pathlib import Path
from stylecam.engines import open_engine
from stylecam.styles import read_style
style = read_style(Path(sys.argv[1]))
first, second = open_engine(style, "openvino"), open_engine(style, "openvino")
first.close()
del first
second.close()
del second
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("alive")
"""


def test_ctrl_c_after_one_engine_has_taken_the_place_of_another(tiny_style_path: Path) -> None:
    command = [sys.executable, "-c", AFTER_TWO_ENGINES, str(tiny_style_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


def test_sigterm_is_like_ctrl_c() -> None:
    interrupt_on_terminate()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
