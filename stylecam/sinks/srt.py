"""SRT, by the ffmpeg program: the FFmpeg inside PyAV's packages is built without it."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from functools import cache
from threading import Thread

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av

from stylecam.errors import SinkOpenError

_NULL_PACKET = b"\x47\x1f\xff\x10" + bytes([255]) * 184
"""A transport packet that says nothing: the program connects only once something comes."""

_CONNECTED = "Output #0"
_GOODBYE_S = 0.5


@cache
def pyav_knows_srt() -> bool:
    """Tell whether PyAV was built with SRT, as one built from its sources may be."""
    try:
        av.open("srt://")
    except av.FFmpegError as exc:  # fails in any case: there is no host in it
        return not isinstance(exc, av.ProtocolNotFoundError)
    return True


def check_srt() -> None:
    """Raise SinkOpenError where neither PyAV nor an ffmpeg program can send SRT."""
    if pyav_knows_srt():
        return
    program = shutil.which("ffmpeg")
    command = [program or "", "-hide_banner", "-protocols"]
    known = "" if program is None else subprocess.run(command, capture_output=True, text=True).stdout
    if "srt" not in known.split():
        raise SinkOpenError(
            "no stream can be sent over SRT: the package av was built without it, and there is no "
            "ffmpeg program that knows it",
            "install FFmpeg (Debian, Ubuntu, Homebrew, winget: ffmpeg), or use rtmp:// or udp://",
        )


class SrtPipe:
    """A file to write an MPEG transport stream into, sent to `url` by the ffmpeg program.

    The constructor waits until the other side has accepted, or raises ConnectionError; so does
    `write` once it is gone.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        command = ["ffmpeg", "-hide_banner", "-nostats", "-f", "data", "-i", "pipe:0"]
        command += ["-map", "0", "-c", "copy", "-f", "data", url]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        self._words = ""
        self.write(_NULL_PACKET)
        self._wait_until_connected()
        Thread(target=self._listen, name="stylecam-srt", daemon=True).start()

    def write(self, data: bytes) -> int:
        """Send some packets. Raises ConnectionError."""
        assert self._process.stdin is not None
        try:
            rest = memoryview(data)
            while len(rest):
                rest = rest[self._process.stdin.write(rest) :]
        except OSError as exc:
            raise ConnectionError(self._words or "the other side is gone") from exc
        return len(data)

    def close(self) -> None:
        """Send what is left and say goodbye."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _wait_until_connected(self) -> None:
        while line := self._read_line():
            if line.startswith(_CONNECTED):
                return
        raise ConnectionError(self._words or "no answer")

    def _listen(self) -> None:
        while self._read_line():
            pass

    def _read_line(self) -> str:
        assert self._process.stderr is not None
        line = self._process.stderr.readline().decode(errors="replace")
        if line.startswith(self._url):  # its last words: the address, a colon, and what is wrong
            self._words = line.removeprefix(self._url).strip(" :\n")
        return line
