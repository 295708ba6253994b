"""A web page with a run behind it that a test plays: real server, real connections, no net."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import cv2
import httpx
import numpy as np
from websockets.sync.client import ClientConnection, connect

from stylecam.controls import Controls, Settings
from stylecam.frames import Frame, Pixels
from stylecam.sinks.web import WebSink
from stylecam.web.liverun import CameraFeed

STYLES = ("starry", "wave", "scream")


def flat(colour_bgr: tuple[int, int, int], size_wh: tuple[int, int] = (64, 48)) -> Pixels:
    return np.full((size_wh[1], size_wh[0], 3), colour_bgr, np.uint8)


def grey(level: int, size_wh: tuple[int, int] = (64, 48)) -> Frame:
    """A frame that tells its number by how bright it is."""
    return Frame(flat((level, level, level), size_wh), level / 10, 0.0)


def level_of(jpeg: bytes) -> int:
    return round(float(decoded(jpeg).mean()))


def decoded(picture: bytes, flags: int = cv2.IMREAD_COLOR) -> Pixels:
    pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), flags)
    assert pixels is not None
    return np.asarray(pixels, np.uint8)


def jpeg_of(bgr: Pixels) -> bytes:
    return bytes(cv2.imencode(".jpg", bgr)[1].tobytes())


def wait_for(met: Callable[[], object], what: str) -> None:
    """Wait until `met`; only a hang makes this fail, never a slow machine."""
    deadline = time.monotonic() + 60
    while not met():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


@dataclass
class Message:
    """A frame as it came over the WebSocket."""

    number: int
    jpeg: bytes
    mask: bytes


def read_message(data: Any) -> Message:
    assert isinstance(data, bytes)
    number, length = struct.unpack(">II", data[:8])
    return Message(number, data[8 : 8 + length], data[8 + length :])


@dataclass
class Page:
    """A sink, and clients of it."""

    sink: WebSink
    controls: Controls
    http: httpx.Client
    origin: str
    stats: dict[str, Any] = field(default_factory=dict)
    previews: dict[str, Pixels] = field(default_factory=dict)

    def open_socket(self, path: str, **headers: str) -> ClientConnection:
        """Open a WebSocket as a page of this server would."""
        return self.open_foreign_socket(path, self.origin, **headers)

    def open_foreign_socket(self, path: str, origin: str | None, **headers: str) -> ClientConnection:
        url = self.origin.replace("http", "ws", 1) + path
        return connect(url, origin=origin, additional_headers=headers, max_size=None, compression=None)  # type: ignore[arg-type]

    def state(self) -> dict[str, Any]:
        return dict(self.http.get("/api/state").json())

    def refused(self, answer: httpx.Response, status: int) -> dict[str, Any]:
        """Check that an answer is an error of the form that every one has."""
        assert answer.status_code == status, answer.text
        body = json.loads(answer.text)
        assert body["message"]
        assert body["hint"]
        return dict(body)


def no_previews(style: str) -> Pixels | None:
    return None


def figures() -> dict[str, Any]:
    return {
        "fps": 29.9,
        "latency_ms": {"p50": 31.0, "p95": 44.0},
        "captured": 100,
        "dropped": 3,
        "frames": 97,
        "size_wh": [640, 480],
        "net_size_wh": [640, 480],
        "net": "fast",
        "style": "starry",
        "engine": "openvino",
        "device": "cpu",
        "precision": "bf16",
        "recording_s": None,
        "target_fps": 30.0,
        "governor": None,
        "audio_delay_ms": 90.0,
        "sinks": [
            {
                "name": "web",
                "frames": 97,
                "dropped": 0,
                "fps": 29.9,
                "error": None,
                "latency_ms": {"p50": 31.0, "p95": 44.0},
                "audio_delay_ms": 30.0,
            },
            {
                "name": "take.mp4",
                "frames": 95,
                "dropped": 2,
                "fps": 29.9,
                "error": None,
                "latency_ms": {"p50": 91.0, "p95": 120.0},
                "audio_delay_ms": 90.0,
            },
        ],
        "messages": [],
    }


@contextmanager
def open_page(
    *,
    token: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    browser: CameraFeed | None = None,
    has_mask: bool = False,
) -> Iterator[Page]:
    """Serve a page on a free port of this machine."""
    controls = Controls(Settings("starry"), STYLES, has_mask=has_mask)
    stats, previews = figures(), dict[str, Pixels]()
    with WebSink(
        controls, lambda: stats, previews=previews.get, host=host, port=port, token=token, browser=browser
    ) as sink:
        origin = sink.url.partition("/?")[0].rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with httpx.Client(base_url=origin, headers=headers, timeout=10) as http:
            yield Page(sink, controls, http, origin, stats, previews)
