"""A microphone that a test plays."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stylecam.sinks import microphone
from stylecam.sinks.microphone import RATE, Samples


class FakeSound:
    """In place of the package sounddevice: this machine has no microphone."""

    class PortAudioError(Exception):
        pass

    def __init__(self, problem: str = "") -> None:
        self._problem = problem
        self.closed = False
        self.is_plugged = self._is_listed = True
        self.opened = self.listed = 0

    def query_devices(self, kind: str) -> None:
        assert kind == "input"
        if self._problem:
            raise self.PortAudioError(self._problem)

    def InputStream(self, *, samplerate: int, callback: Any, **_: Any) -> FakeSound:
        assert samplerate == RATE
        if not self.is_plugged or not self._is_listed:
            raise self.PortAudioError("no such device")
        self._record = callback
        self.opened += 1
        self.closed = False
        return self

    def _terminate(self) -> None:
        assert self.closed, "that ends every stream there is"

    def _initialize(self) -> None:
        self._is_listed = self.is_plugged
        self.listed += 1

    def unplug(self) -> None:
        """Be gone, and forgotten until the devices are listed anew with it."""
        self.is_plugged = self._is_listed = False

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
    monkeypatch.setattr(microphone, "_STREAMS", set())  # what other tests have left open
    return fake


def tone(first: int, count: int) -> Samples:
    """440 Hz from sample number `first` on, half as loud as can be."""
    return (np.sin(np.arange(first, first + count) * 2 * np.pi * 440 / RATE) / 2).astype(np.float32)
