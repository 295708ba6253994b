from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from stylecam.interrupt import deferred_interrupt, interruptible, note_interrupts, was_interrupted

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


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


@pytest.mark.parametrize("number", SIGNALS)
def test_noted_it_breaks_nothing_off(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    note_interrupts()
    assert not was_interrupted()
    for _ in range(3):
        signal.raise_signal(number)
    assert was_interrupted()
    assert capfd.readouterr().err.count("closing; ") == 1


@pytest.mark.parametrize("number", SIGNALS)
def test_where_it_may_break_something_off_two_at_once_do_so_once(number: signal.Signals) -> None:
    note_interrupts()
    with pytest.raises(KeyboardInterrupt), interruptible():  # noqa: PT012
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)
            done = True
    assert done
    signal.raise_signal(number)
    assert was_interrupted()


def test_one_noted_before_breaks_off_at_once() -> None:
    note_interrupts()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruptible():
        pytest.fail("nobody asked for this any more")


IMPORTED = """
import signal
signal.raise_signal(signal.SIGINT)
whole = True
"""


def test_an_import_is_not_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imported_for_a_while.py").write_text(IMPORTED)
    monkeypatch.syspath_prepend(tmp_path)
    note_interrupts()
    whole = False
    with pytest.raises(KeyboardInterrupt), interruptible():  # noqa: PT012
        whole = import_module("imported_for_a_while").whole
        for _ in range(600):
            time.sleep(0.1)
    assert whole


def test_what_a_shell_has_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    note_interrupts()
    signal.raise_signal(signal.SIGINT)
    assert not was_interrupted()


HANGS = """
import signal
from stylecam import interrupt
interrupt._PATIENCE_S = 0
interrupt.note_interrupts()
while True:
    signal.raise_signal(signal.SIGINT)
"""


def test_what_hangs_in_its_end_can_be_ended() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGINT
