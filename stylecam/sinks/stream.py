"""A live stream over RTMP, SRT or UDP, at a constant rate."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from threading import Condition, Event, Thread
from typing import get_args
from urllib.parse import SplitResult, urlsplit

from stylecam.backoff import LONGEST_S, Backoff
from stylecam.errors import SinkOpenError, SinkWriteError
from stylecam.frames import Frame, check_size, resize, size_of
from stylecam.sinks.base import Sink
from stylecam.sinks.lipsync import LipSync
from stylecam.sinks.microphone import Microphone
from stylecam.sinks.relay import Order, Relay, Sound
from stylecam.sinks.srt import check_srt

CONTAINERS = {"rtmp": "flv", "rtmps": "flv", "srt": "mpegts", "udp": "mpegts"}
"""FFmpeg's name of the container that goes with each protocol."""

_BITS_A_PIXEL = 0.15
"""4 Mbit/s for 1280x720 at 30 fps, which is what the large services ask for."""

_FASTEST_FPS = 120.0
_LATE_S = 1.0
"""A stream that was held up for longer leaves a hole in its time line; before, it catches up."""

_LEAD_S = 0.064
"""Sound is sent as soon as it was heard, up to three AAC frames ahead: pictures wait for theirs."""

_STALE_S = 1.0
_LOOK_S = 0.005
_JOIN_S = 1.2
_KILLED_S = 0.5


class StreamSink(Sink):
    """Send H.264 and AAC to `url` (rtmp://, srt:// or udp://), exactly `fps` frames a second.

    The newest frame goes out when its turn comes, again where nothing newer has come; times count
    from each connection's first frame in steps of 1/`fps`. `size_wh` is the first frame's by
    default, made even. `bitrate` is in bits a second, `sound` "silent", "none" or "mic": that of
    `microphone`, else of one of its own, placed as LipSync says. A connection that fails or breaks is
    tried again with growing pauses; `say` is told, in this sink's own thread. `peer` names the other
    side without the secret part of the URL. Raises SinkOpenError for what can never work.
    """

    def __init__(
        self,
        url: str,
        *,
        size_wh: tuple[int, int] | None = None,
        fps: float = 30.0,
        bitrate: int | None = None,
        sound: Sound = "silent",
        microphone: Microphone | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        parts = _check_url(url)
        _check_choices(fps, bitrate, sound)
        self._own_mic = Microphone() if sound == "mic" and microphone is None else None
        self._mic = (microphone or self._own_mic) if sound == "mic" else None
        self.peer = _without_key(url)
        self.frames = 0
        self._url, self._container = _with_packet_size(url, parts), CONTAINERS[parts.scheme]
        self._size_wh = None if size_wh is None else check_size(size_wh)
        self._fps, self._bitrate, self._sound = fps, bitrate, sound
        self._say = say
        self._fresh = Condition()
        self._newest: Frame | None = None
        self._closed = Event()
        self._relay: Relay | None = None
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="stylecam-stream", daemon=True)
        self._thread.start()

    def write(self, frame: Frame) -> None:
        """Keep the frame as the newest one; never waits. Raises SinkWriteError after `close`."""
        if self._error is not None:
            raise SinkWriteError(f"the stream to {self.peer} broke off: {self._error}", "start it again")
        if self._closed.is_set():
            raise SinkWriteError(f"the stream to {self.peer} is closed already", "open another one")
        with self._fresh:
            self._newest = frame
            self._fresh.notify_all()

    def close(self) -> None:
        """End the stream, or the attempt to connect, within two seconds."""
        self._closed.set()
        with self._fresh:
            self._fresh.notify_all()
        relay = self._relay
        if relay is not None and not relay.live:
            relay.kill()  # it waits for an answer, and the thread for it
        self._thread.join(_JOIN_S)
        if self._relay is not None and self._thread.is_alive():
            self._relay.kill()  # it waits for the other side to take what was sent
            self._thread.join(_KILLED_S)
        if self._own_mic is not None:
            self._own_mic.close()

    def _run(self) -> None:
        try:
            if (first := self._wait_for_first()) is not None:
                self._keep_sending(self._order(first))
        except BaseException as exc:  # raised again by write: nobody looks at a thread
            self._error = exc

    def _wait_for_first(self) -> Frame | None:
        with self._fresh:
            self._fresh.wait_for(lambda: self._newest is not None or self._closed.is_set())
            return self._newest

    def _order(self, first: Frame) -> Order:
        width, height = self._size_wh or size_of(first.bgr)
        size_wh = (width - width % 2, height - height % 2)  # 4:2:0 has no odd sizes
        bitrate = self._bitrate or round(_BITS_A_PIXEL * size_wh[0] * size_wh[1] * self._fps)
        return Order(self._url, self._container, size_wh, self._fps, bitrate, self._sound)

    def _keep_sending(self, order: Order) -> None:
        backoff = Backoff()
        told = ""
        while not self._closed.is_set():
            began_s = time.monotonic()
            with Relay(order) as self._relay:
                trouble = "" if self._closed.is_set() else self._connect_and_send(self._relay)
            if self._closed.is_set():
                return
            if self._relay.live or trouble != told:  # the same refusal is said once
                self._say(f"{self.peer}: {trouble}; trying again until it works")
            told = trouble
            if time.monotonic() - began_s > LONGEST_S:
                backoff.reset()
            self._closed.wait(backoff.next_s())

    def _connect_and_send(self, relay: Relay) -> str:
        """Return what went wrong; "" after `close`."""
        if not relay.wait_live():
            return f"no connection ({relay.last_words()})"
        self._say(f"{self.peer}: on the air")
        self._send(relay)
        return "" if self._closed.is_set() else f"connection lost ({relay.last_words()})"

    def _wait_for_newer(self) -> None:
        """Let the frame go by that has waited for the connection: later ones will not be as old when sent."""
        old, until_s = self._newest, time.perf_counter() + _STALE_S
        while self._newest is old and time.perf_counter() < until_s and not self._closed.wait(_LOOK_S):
            pass

    def _tell(self, text: str) -> None:
        self._say(f"{self.peer}: {text}")

    def _send(self, relay: Relay) -> None:
        sync = None if self._mic is None else LipSync(self._mic, self._tell)
        if sync is not None:
            self._wait_for_newer()
        start_s = time.perf_counter()
        number = 0
        sent: Frame | None = None
        while not self._closed.is_set():
            early_s = start_s + number / self._fps - time.perf_counter()
            if early_s > 0 and self._closed.wait(early_s):
                return
            if early_s < -_LATE_S:
                number = math.ceil((time.perf_counter() - start_s) * self._fps)
            frame = self._newest
            assert frame is not None
            if sync is not None and frame is not sent:
                sync.place(number / self._fps, frame.captured_s)
            sound = () if sync is None else tuple(sync.take((number + 1) / self._fps + _LEAD_S))
            bgr = None if frame is sent else resize(frame.bgr, relay.order.size_wh)
            if not relay.send(number, bgr, sound):
                return
            sent, number, self.frames = frame, number + 1, self.frames + 1


def _without_key(url: str) -> str:
    """Return protocol, host and port: what follows, or a password before, lets anybody send in our name."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{re.split('[/?#]', rest)[0].rpartition('@')[2]}"


def _check_url(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise SinkOpenError(
            f'"{_without_key(url)}" is not an address: {exc}', "write it like rtmp://host:1935/app/key"
        ) from exc
    if parts.scheme not in CONTAINERS:
        raise SinkOpenError(
            f'no stream can be sent to "{parts.scheme}://"',
            f"use {', '.join(f'{name}://' for name in CONTAINERS)}",
        )
    if not parts.hostname:
        raise SinkOpenError(
            f'"{_without_key(url)}" names no host', f"write it like {parts.scheme}://host:port"
        )
    if port is None and CONTAINERS[parts.scheme] == "mpegts":
        raise SinkOpenError(
            f'"{_without_key(url)}" names no port', f"write it like {parts.scheme}://{parts.hostname}:9000"
        )
    if parts.scheme == "srt":
        check_srt()
    return parts


def _check_choices(fps: float, bitrate: int | None, sound: str) -> None:
    if not 1 <= fps <= _FASTEST_FPS:
        raise SinkOpenError(f"a stream at {fps:g} fps is out of range", f"use 1 to {_FASTEST_FPS:g}")
    if bitrate is not None and bitrate < 10_000:
        raise SinkOpenError(f"a stream at {bitrate} bits a second is out of range", "4000000 is usual")
    if sound not in get_args(Sound):
        raise SinkOpenError(f'sound "{sound}" is not known', f"use one of {', '.join(get_args(Sound))}")


def _with_packet_size(url: str, parts: SplitResult) -> str:
    """Let UDP carry seven whole transport packets (1316 bytes), which no usual network splits."""
    if parts.scheme != "udp" or "pkt_size=" in parts.query:
        return url
    return f"{url}{'&' if parts.query else '?'}pkt_size=1316"
