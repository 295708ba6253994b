"""The visitor's camera: pictures that a page sends, and those that are refused unread."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from webpage import flat, jpeg_of, open_page
from websockets.exceptions import ConnectionClosed

from stylecam.errors import SourceError, StylecamError
from stylecam.frames import Frame
from stylecam.sources.browser import BrowserSource, jpeg_size
from stylecam.web.sockets import Cameras


def read(source: BrowserSource) -> Frame:
    frame = source.read()
    assert frame is not None
    return frame


def test_the_newest_picture_is_read() -> None:
    with BrowserSource((64, 48)) as source:
        for level in (10, 200):
            source.feed(jpeg_of(flat((level, level, level))))
        first = read(source)
        assert first.bgr.mean() == pytest.approx(200, abs=2)
        source.feed(jpeg_of(flat((0, 0, 255))))
        second = read(source)
    assert second.bgr[5, 5].tolist() == pytest.approx([0, 0, 255], abs=4)
    assert first.timestamp_s == 0.0
    assert second.timestamp_s == pytest.approx(second.captured_s - first.captured_s)
    assert (source.is_live, source.fps, source.size_wh) == (True, None, (64, 48))


@pytest.mark.parametrize("size_wh", [(64, 48), (128, 96), (200, 48), (48, 300), (17, 16)])
def test_any_shape_is_cut_to_the_size_asked_for(size_wh: tuple[int, int]) -> None:
    bgr = flat((0, 0, 0), size_wh)
    width, height = size_wh
    bgr[height // 4 : -(height // 4), width // 4 : -(width // 4)] = 255  # the middle stays in the middle
    with BrowserSource((64, 48)) as source:
        source.feed(jpeg_of(bgr))
        got = read(source).bgr
    assert got.shape == (48, 64, 3)
    assert got[24, 32].min() > 200


def header_of(width: int, height: int) -> bytes:
    """The start of a JPEG of that size, with a scan of nothing."""
    start = b"\xff\xd8\xff\xe0" + struct.pack(">H", 4) + b"ab"
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"
    return start + frame + b"\xff\xda" + struct.pack(">H", 8) + bytes(6) + b"\xff\xd9"


@pytest.mark.parametrize(
    ("jpeg", "named"),
    [
        (b"", "no JPEG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "no JPEG"),
        (b"\xff\xd8\xff", "no JPEG"),
        (b"\xff\xd8" + b"\xff\xe0\x00\x00" * 9, "no JPEG"),
        (header_of(0, 100), "no JPEG"),
        (header_of(60_000, 60_000), "60000x60000"),
        (header_of(64, 48) + b"\xff\xda" * 5000, "no JPEG"),
        (jpeg_of(flat((1, 2, 3))) + bytes(2 * 1024 * 1024), "bytes"),
    ],
)
def test_what_is_no_picture_or_too_large_is_refused_unread(jpeg: bytes, named: str) -> None:
    with BrowserSource((64, 48)) as source:
        source.feed(jpeg_of(flat((9, 9, 9))))
        with pytest.raises(SourceError, match=named) as caught:
            source.feed(jpeg)
        assert caught.value.hint
        assert read(source).bgr.mean() == pytest.approx(9, abs=2)  # the good one is still there


def test_a_damaged_picture_is_passed_over(capfd: pytest.CaptureFixture[str]) -> None:
    with BrowserSource((64, 48)) as source:
        got: list[Frame | None] = []
        reading = threading.Thread(target=lambda: got.append(source.read()))
        reading.start()
        source.feed(header_of(64, 48))
        while source._newest is not None:  # taken, found damaged
            pass
        source.feed(jpeg_of(flat((80, 80, 80))))
        reading.join(30)
    assert got[0] is not None
    assert got[0].bgr.mean() == pytest.approx(80, abs=2)
    assert capfd.readouterr().err == ""


def test_sizes_are_read_from_real_headers() -> None:
    rng = np.random.default_rng(0)
    for size_wh in [(64, 48), (17, 33), (1280, 720)]:
        bgr = rng.integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)
        assert jpeg_size(jpeg_of(bgr)) == size_wh


def test_closing_ends_a_wait() -> None:
    source = BrowserSource()
    got: list[Frame | None] = [Frame(flat((0, 0, 0)), 0, 0)]
    reading = threading.Thread(target=lambda: got.append(source.read()))
    reading.start()
    source.close()
    source.close()
    reading.join(30)
    assert got[-1] is None


def test_the_size_must_suit_the_net() -> None:
    with pytest.raises(StylecamError, match="8x8"):
        BrowserSource((8, 8))


def told(socket: Any) -> dict[str, Any]:
    return dict(json.loads(socket.recv(timeout=10)))


def test_pictures_come_over_the_socket_and_are_answered() -> None:
    with BrowserSource((64, 48)) as source, open_page(browser=source) as page:
        assert page.state()["browser"] is True
        with page.open_socket("/ws/camera") as sending:
            assert told(sending)["size_wh"] == [64, 48]
            sending.send(jpeg_of(flat((10, 20, 200))))
            assert told(sending) == {"taken": True}
            assert read(source).bgr[9, 9].tolist() == pytest.approx([10, 20, 200], abs=4)
            for bad in (b"nothing", header_of(60_000, 60_000), "text"):
                sending.send(bad)
                assert {"message", "hint"} == told(sending).keys()
            sending.send(jpeg_of(flat((250, 250, 250))))
            assert told(sending) == {"taken": True}


def test_a_message_too_large_ends_the_connection_and_no_more() -> None:
    with BrowserSource((64, 48)) as source, open_page(browser=source) as page:
        with page.open_socket("/ws/camera") as sending:
            told(sending)
            with suppress(ConnectionClosed):  # it may be closed before all of it is sent
                sending.send(bytes(3 * 1024 * 1024))
            with pytest.raises(ConnectionClosed):
                told(sending)
        with page.open_socket("/ws/camera") as sending:
            assert told(sending)["size_wh"] == [64, 48]


def test_the_newest_page_takes_over() -> None:
    with (
        BrowserSource((64, 48)) as source,
        open_page(browser=source) as page,
        page.open_socket("/ws/camera") as first,
    ):
        told(first)
        with page.open_socket("/ws/camera") as second:
            told(second)
            with pytest.raises(ConnectionClosed) as caught:
                told(first)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 4409
            second.send(jpeg_of(flat((60, 60, 60))))
            assert told(second) == {"taken": True}
        assert read(source).bgr.mean() == pytest.approx(60, abs=2)


class GoneSocket:
    """A connection that has broken a moment ago, which nobody has noticed."""

    async def close(self, code: int, reason: str) -> None:
        raise RuntimeError("Unexpected ASGI message after the connection was lost")


class NewSocket:
    """A page that leaves after its first message."""

    def __init__(self) -> None:
        self.told: list[object] = []

    async def send_json(self, message: object) -> None:
        self.told.append(message)

    async def receive(self) -> dict[str, str]:
        return {"type": "websocket.disconnect"}


def test_a_page_that_is_gone_keeps_no_other_away() -> None:
    with BrowserSource((64, 48)) as source:
        cameras = Cameras(source)
        cameras._current = GoneSocket()  # type: ignore[assignment]
        for _ in range(2):
            new = NewSocket()
            asyncio.run(cameras.take_over(new))  # type: ignore[arg-type]
            assert new.told == [{"size_wh": (64, 48), "fps": 30.0}]
            assert cameras._current is None


def test_without_such_a_source_there_is_no_camera() -> None:
    with open_page() as page, page.open_socket("/ws/camera") as sending:
        with pytest.raises(ConnectionClosed) as caught:
            told(sending)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 4404
