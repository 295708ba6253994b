"""The process that encodes and sends a stream, seen from the one that makes the frames."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from threading import Event, Thread
from types import TracebackType
from typing import Literal, Self, TypeAlias

import numpy as np

from stylecam.frames import Pixels
from stylecam.sinks.microphone import Samples

Sound: TypeAlias = Literal["silent", "none", "mic"]

HEAD = struct.Struct("<Q?I")
"""Stands before each frame: its number, whether pixels follow or the last ones hold, how many samples do."""

LIVE = "live"
"""The process answers this once the other side has accepted, or else in a line what is wrong."""

_START = "import sys; sys.path[:] = {!r}; from stylecam.sinks.broadcast import main; main()"
"""It finds modules where this process does: with -m alone it would look into the current folder first."""

_PATIENCE_S = 10.0
"""How long the other side may take for an answer, or for the next frame."""

_LAST_S = 0.8
_LOOK_S = 0.5
_PIPE_BYTES = 1 << 20  # Linux alone has a choice; elsewhere it is ignored


@dataclass(frozen=True)
class Order:
    """What is to be sent, and where to: `size_wh` even, `bitrate` in bits a second."""

    url: str
    container: str
    size_wh: tuple[int, int]
    fps: float
    bitrate: int
    sound: Sound


class Relay:
    """One attempt to send: a process (`stylecam.sinks.broadcast`) that connects, encodes and sends.

    A process and not a thread because PyAV connects, and says goodbye, with Python's lock held: a
    server that does not answer would stop the camera, the net and every other sink for seconds.
    `live` tells whether the other side has accepted. One thread uses it; any may call `kill`.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.live = False
        self._moved_s = time.monotonic()
        self._words = ""
        self._stalled = False
        self._ended = Event()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START.format(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            pipesize=_PIPE_BYTES,
            start_new_session=True,  # Ctrl-C is ours to answer; ignored on Windows
        )
        Thread(target=self._watch, name="stylecam-stream-watch", daemon=True).start()
        # Through the pipe, not as an argument: everybody may read those, and a URL holds the key.
        self._write(json.dumps(asdict(order)).encode() + b"\n")

    def wait_live(self) -> bool:
        """Wait until the other side has accepted; False when it has not, or after `kill`."""
        assert self._process.stdout is not None
        self.live = self._read_line() == LIVE
        self._moved_s = time.monotonic()
        return self.live

    def send(self, number: int, bgr: Pixels | None, sound: Sequence[Samples] = ()) -> bool:
        """Send a frame, or the last one again, as number `number`; False once the process has ended.

        Before it goes the microphone's `sound` that has come since the last one, where that is wanted.
        """
        samples = np.concatenate([np.zeros(0, np.float32), *sound])
        sent = self._write(HEAD.pack(number, bgr is not None, len(samples)) + samples.tobytes())
        if sent and bgr is not None:
            sent = self._write(np.ascontiguousarray(bgr).data.cast("B"))
        self._moved_s = time.monotonic()
        return sent

    def last_words(self) -> str:
        """Return why it ended."""
        if self._stalled:
            return f"no answer for {_PATIENCE_S:g} s"
        return self._words or self._read_line() or "the process that sends has ended"

    def kill(self) -> None:
        """End it at once, and with it any wait for it."""
        self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let it say goodbye, but not for long."""
        self._ended.set()
        with suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(_LAST_S if self.live else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode(errors="replace").strip()
        if line != LIVE:
            self._words = line
        return line

    def _write(self, data: bytes | memoryview) -> bool:
        assert self._process.stdin is not None
        try:
            rest = memoryview(data)
            while len(rest):
                rest = rest[self._process.stdin.write(rest) :]
        except OSError:  # broken pipe: it has ended, and said why
            return False
        return True

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_S):
            if time.monotonic() - self._moved_s > _PATIENCE_S:
                self._stalled = True
                self._process.kill()
                return
