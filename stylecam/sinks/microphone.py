"""The microphone, for recordings and streams: an optional package, sounddevice, over PortAudio."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from threading import Event, Lock, Thread
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stylecam.backoff import Backoff
from stylecam.errors import SinkOpenError

RATE = 48_000
"""Samples a second."""

Samples: TypeAlias = NDArray[np.float32]
"""(N,) float32, one channel, -1..1."""

_KEPT = 30 * RATE
"""Samples kept: the picture they belong to is painted meanwhile."""

_SLACK = RATE // 50
"""Blocks whose time stamps are off by less than 20 ms follow each other without a gap."""

_OLDEST_S = 2.0

_PATIENCE = RATE
"""A device that gives nothing for a second is away. Not every system tells: on some the blocks just stop."""

_JOIN_S = 2.0

_STREAMS = set[Any]()
_PORTAUDIO = Lock()
"""Held while a stream is opened or closed, or devices are listed anew: that ends every stream there is."""


class Microphone:
    """The default microphone, recording since it was made, for any number of sinks at once.

    Each sample has a number: the `time.perf_counter()` at which it was heard, the clock of a
    frame's `captured_s`, times `RATE`. The device fills it in a thread of its own; any thread reads.
    One that is unplugged is silence until it, or another one, is there; it is looked for after pauses that
    grow, `wait` pausing for so many seconds and returning True to give up (by default after `close`).
    Raises SinkOpenError.
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, wait: Callable[[float], bool] | None = None
    ) -> None:
        self._device = check_microphone()
        self._clock = clock
        self._closed = Event()
        self._wait = wait or self._closed.wait
        self._lock = Lock()
        self._ring: Samples = np.zeros(_KEPT, np.float32)
        self._begin = self._end = number_of(clock())
        self._stream = _open_stream(self._device, self._keep)
        self._watcher = Thread(target=self._watch, name="stylecam-microphone", daemon=True)
        self._watcher.start()

    @property
    def is_away(self) -> bool:
        """Whether it has given nothing for a second."""
        return number_of(self._clock()) - self._end > _PATIENCE

    @property
    def heard(self) -> int:
        """The number that the next sample will have; while it is away silence is heard."""
        return number_of(self._clock()) if self.is_away else self._end

    def read(self, begin: int, count: int) -> Samples:
        """Return `count` samples from number `begin` on: silence where none was, or 30 s ago."""
        numbers = np.arange(begin, begin + count)
        with self._lock:
            is_kept = (numbers >= max(self._begin, self._end - _KEPT)) & (numbers < self._end)
            return np.where(is_kept, self._ring[numbers % _KEPT], np.float32(0))

    def close(self) -> None:
        """Give the device back. May be called twice."""
        self._closed.set()
        self._watcher.join(_JOIN_S)
        if not self._watcher.is_alive():  # else a driver does not answer, and would not answer this either
            _close_stream(self._stream)

    def _keep(self, block: NDArray[np.float32], count: int, times: Any, *_: object) -> None:
        """Take a block, `times` saying by the device's clock when its first sample was heard."""
        age_s = times.currentTime - times.inputBufferAdcTime
        if not 0 < age_s < _OLDEST_S:  # some systems do not tell: it has just come to its end
            age_s = count / RATE
        at = number_of(self._clock() - age_s)
        with self._lock:
            if self._begin == self._end:
                self._begin = self._end = at
            if abs(at - self._end) <= _SLACK:
                at = self._end
            self._ring[np.arange(max(self._end, at - _KEPT), at) % _KEPT] = 0
            self._ring[np.arange(at, at + count) % _KEPT] = block[:, 0]
            self._end = at + count

    def _watch(self) -> None:
        """Open it anew whenever it is away; in a thread of its own."""
        backoff = Backoff()
        while not self._wait(backoff.next_s()):
            if not self.is_away:
                backoff.reset()
                continue
            _close_stream(self._stream)
            _list_anew(self._device)
            with suppress(SinkOpenError):
                self._stream = _open_stream(self._device, self._keep)


def number_of(heard_s: float) -> int:
    """Return the number of the sample that is heard at `heard_s` of `time.perf_counter()`."""
    return round(heard_s * RATE)


def check_microphone() -> Any:
    """Return the package that records. Raises SinkOpenError without it, PortAudio or a microphone."""
    try:
        device: Any = import_module("sounddevice")  # optional
    except ImportError as exc:
        raise SinkOpenError(
            "the microphone cannot be used: the package sounddevice is not installed",
            'pip install ".[mic]", or send silence',
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


def _open_stream(device: Any, callback: Callable[..., None]) -> Any:
    with _PORTAUDIO:
        try:
            # The time stamps make up for the latency, and long blocks are not lost beside a busy net.
            stream = device.InputStream(
                samplerate=RATE, channels=1, dtype="float32", latency="high", callback=callback
            )
            try:
                stream.start()
            except BaseException:
                stream.close()
                raise
        except (device.PortAudioError, ValueError) as exc:
            raise _unopened(exc) from exc
        _STREAMS.add(stream)
        return stream


def _close_stream(stream: Any) -> None:
    with _PORTAUDIO:
        stream.close()  # it ignores errors
        _STREAMS.discard(stream)


def _list_anew(device: Any) -> None:
    """Have PortAudio look which devices there are: it does so when it begins, and never again.

    The package has these two functions for that purpose, and no others.
    """
    with _PORTAUDIO:
        if not _STREAMS:
            with suppress(device.PortAudioError):
                device._terminate()
            with suppress(device.PortAudioError):
                device._initialize()


def _unopened(exc: BaseException) -> SinkOpenError:
    return SinkOpenError(
        f"the microphone cannot be used: {exc}",
        "plug one in and allow this program to record, or send silence",
    )
