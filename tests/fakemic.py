"""A microphone that a test plays."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stylecam.sinks.microphone import RATE, Samples


class FakeSound:
    """In place of the package sounddevice: this machine has no microphone."""

    class PortAudioError(Exception):
        pass

    def __init__(self, problem: str = "") -> None:
        self._problem = problem
        self.closed = False

    def query_devices(self, kind: str) -> None:
        assert kind == "input"
        if self._problem:
            raise self.PortAudioError(self._problem)

    def InputStream(self, *, samplerate: int, callback: Any, **_: Any) -> FakeSound:
        assert samplerate == RATE
        self._record = callback
        return self

    def hear(self, samples: Samples, age_s: float) -> None:
        """Be a block whose first sample was heard `age_s` ago; 0 is a device that does not say."""
        times = SimpleNamespace(currentTime=7.0 + age_s, inputBufferAdcTime=7.0)
        self._record(samples[:, None], len(samples), times, None)

    def start(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def fake_sound(monkeypatch: pytest.MonkeyPatch) -> FakeSound:
    fake = FakeSound()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return fake


def tone(first: int, count: int) -> Samples:
    """440 Hz from sample number `first` on, half as loud as can be."""
    return (np.sin(np.arange(first, first + count) * 2 * np.pi * 440 / RATE) / 2).astype(np.float32)
