"""The microphone, for streams: an optional package, sounddevice, over PortAudio."""

from __future__ import annotations

from importlib import import_module
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stylecam.errors import SinkOpenError

RATE = 48_000
"""Samples a second."""

Samples: TypeAlias = NDArray[np.float32]
"""(N,) float32, one channel, -1..1."""

_FILL = RATE // 20
"""Samples gathered before any is given, so that the device's blocks leave no gaps: 50 ms."""

_MOST = RATE // 4
"""Samples kept at most: what is older makes the sound late, and the clocks drift apart."""


class Microphone:
    """The default microphone, recording since it was made. Raises SinkOpenError.

    The device fills it in a thread of its own; one thread takes.
    """

    def __init__(self) -> None:
        device = check_microphone()
        self._lock = Lock()
        self._waiting: Samples = np.zeros(0, np.float32)
        self._filling = True
        try:
            self._stream = device.InputStream(
                samplerate=RATE, channels=1, dtype="float32", latency="low", callback=self._keep
            )
            self._stream.start()
        except device.PortAudioError as exc:
            raise _unopened(exc) from exc

    def take(self, count: int) -> Samples:
        """Return exactly `count` samples, at once: silence stands where the device was late."""
        with self._lock:
            needed = count + (_FILL if self._filling else 0)
            self._filling = len(self._waiting) < needed
            if self._filling:
                return np.zeros(count, np.float32)
            taken, self._waiting = self._waiting[:count], self._waiting[count:]
            return taken

    def close(self) -> None:
        """Give the device back."""
        self._stream.close()

    def _keep(self, block: NDArray[np.float32], *_: object) -> None:
        with self._lock:
            self._waiting = np.concatenate([self._waiting, block[:, 0]])[-_MOST:]


def check_microphone() -> Any:
    """Return the package that records. Raises SinkOpenError without it, PortAudio or a microphone."""
    try:
        device: Any = import_module("sounddevice")  # optional
    except ImportError as exc:
        raise SinkOpenError(
            "the microphone cannot be used: the package sounddevice is not installed",
            "pip install sounddevice, or send silence",
        ) from exc
    except OSError as exc:  # the Linux package has no PortAudio in it; those for Windows and macOS do
        raise SinkOpenError(
            "the microphone cannot be used: the library PortAudio is not installed",
            "install libportaudio2 (Debian, Ubuntu) or portaudio (other Linux systems), or send silence",
        ) from exc
    try:
        device.query_devices(kind="input")
    except (device.PortAudioError, ValueError) as exc:
        raise _unopened(exc) from exc
    return device


def _unopened(exc: BaseException) -> SinkOpenError:
    return SinkOpenError(
        f"the microphone cannot be used: {exc}",
        "plug one in and allow this program to record, or send silence",
    )
