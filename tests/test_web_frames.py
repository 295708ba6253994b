"""Frames over WebSocket and MJPEG: the newest wins, and a client that does not read costs nothing."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import cv2
import numpy as np
import pytest
from commands import noise
from webpage import Page, decoded, flat, grey, level_of, open_page, read_message, wait_for
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from stylecam.frames import Frame, Pixels
from stylecam.web import coding


@pytest.fixture
def page() -> Iterator[Page]:
    with open_page() as opened:
        yield opened


@pytest.fixture(scope="module")
def shared() -> Iterator[Page]:
    with open_page() as opened:
        opened.sink.write(grey(100, (640, 480)))
        yield opened


def read_until_silent(watching: ClientConnection) -> list[int]:
    """The numbers of all frames that come without an answer to the first of them."""
    numbers: list[int] = []
    while True:
        try:
            numbers.append(read_message(watching.recv(timeout=0.5 if numbers else 10)).number)
        except TimeoutError:
            return numbers


def test_a_frame_comes_as_it_is(page: Page) -> None:
    page.sink.write(Frame(flat((10, 100, 200)), 0.0, 0.0))
    with page.open_socket("/ws/frames") as watching:
        message = read_message(watching.recv(timeout=10))
        assert (message.number, message.mask) == (1, b"")
        assert decoded(message.jpeg)[20, 20].tolist() == pytest.approx([10, 100, 200], abs=4)


def test_alpha_comes_beside_the_picture(page: Page) -> None:
    alpha = np.zeros((480, 640), np.uint8)
    alpha[:, 320:] = 255
    alpha[:, :64] = 100
    page.sink.write(Frame(flat((10, 100, 200), (640, 480)), 0.0, 0.0, alpha))
    with page.open_socket("/ws/frames?size=320x320") as watching:
        message = read_message(watching.recv(timeout=10))
    mask = decoded(message.mask, cv2.IMREAD_UNCHANGED)
    assert mask.shape == (*decoded(message.jpeg).shape[:2], 4) == (240, 320, 4)
    assert [mask[9, x, 3] for x in (5, 100, 200)] == [100, 0, 255]


@pytest.mark.parametrize(
    ("query", "shape"),
    [("", (480, 640)), ("?size=320x1000", (240, 320)), ("?size=99999x99999", (480, 640)),
     ("?size=1x1", (12, 16)), ("?size=320x320&fit=cover", (320, 427)),
     ("?size=320x320&fit=fill", (320, 427))],
)  # fmt: skip
def test_a_client_gets_the_size_it_asks_for(shared: Page, query: str, shape: tuple[int, int]) -> None:
    with shared.open_socket(f"/ws/frames{query}") as watching:
        assert decoded(read_message(watching.recv(timeout=10)).jpeg).shape[:2] == shape


@pytest.mark.parametrize("query", ["size=axb", "fps=0", "fps=1e9", "fps=nan", "fit=wide", "size=1x123456"])
def test_a_client_cannot_ask_for_anything(shared: Page, query: str) -> None:
    with pytest.raises(InvalidStatus, match="403"), shared.open_socket(f"/ws/frames?{query}"):
        pass


def test_no_frame_follows_before_the_last_is_taken(page: Page) -> None:
    with page.open_socket("/ws/frames") as watching:
        for level in range(1, 100):
            page.sink.write(grey(level))
        seen = read_until_silent(watching)
        assert len(seen) <= 2
        page.sink.write(grey(200))
        watching.send("taken")
        # On a busy machine the second one may come only now.
        while (newest := read_message(watching.recv(timeout=10))).number < 100:
            seen.append(newest.number)
        assert len(seen) <= 2
    assert level_of(newest.jpeg) == pytest.approx(200, abs=2)


def test_answers_too_many_open_nothing(page: Page) -> None:
    with page.open_socket("/ws/frames") as watching:
        for _ in range(50):
            watching.send("taken")
        page.sink.write(grey(1))
        first = watching.recv(timeout=10)
        for level in range(2, 20):
            page.sink.write(grey(level))
            time.sleep(0.005)
        assert read_message(first).number == 1
        assert len(read_until_silent(watching)) <= 2


def test_a_client_that_stops_reading_slows_nobody(page: Page) -> None:
    count = 60
    with page.open_socket("/ws/frames") as stuck, page.open_socket("/ws/frames") as quick:
        for number in range(1, count + 1):
            page.sink.write(Frame(noise((320, 240), number), number / 30, 0.0))
            while read_message(quick.recv(timeout=10)).number < number:
                quick.send("taken")
            quick.send("taken")
        kept = read_until_silent(stuck)  # what has waited for it all that time
    assert len(kept) <= 2


def test_frames_are_encoded_only_for_those_who_watch(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[bytes] = []
    real = coding.to_jpeg

    def noted(bgr: Pixels, view: coding.View) -> bytes:
        encoded.append(real(bgr, view))
        return encoded[-1]

    monkeypatch.setattr(coding, "to_jpeg", noted)
    for level in range(1, 50):
        page.sink.write(grey(level))
    assert not encoded
    with page.open_socket("/ws/frames") as one, page.open_socket("/ws/frames") as other:
        assert {read_message(each.recv(timeout=10)).number for each in (one, other)} == {49}
    assert len(encoded) == 1


def test_too_many_watchers_are_turned_away(page: Page) -> None:
    page.sink.write(grey(100))
    with ExitStack() as opened:
        for _ in range(16):
            opened.enter_context(page.open_socket("/ws/frames")).recv(timeout=10)
        late = opened.enter_context(page.open_socket("/ws/frames"))
        with pytest.raises(ConnectionClosed) as caught:
            late.recv(timeout=10)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1013
        page.refused(page.http.get("/stream.mjpg"), 503)
    wait_for(lambda: page.sink._latest.watchers == 0, "those who left are forgotten")


def parts(page: Page, path: str = "/stream.mjpg") -> Iterator[bytes]:
    with page.http.stream("GET", path) as answer:
        assert answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=stylecam-frame"
        yield from answer.iter_raw()


def test_the_boundary_follows_each_frame_at_once(page: Page) -> None:
    page.sink.write(grey(50))
    seen = b""
    stream = parts(page)
    while seen.count(b"--stylecam-frame\r\n") < 2:  # the second one is there without a second frame
        seen += next(stream)
    head, _, rest = seen.partition(b"\r\n\r\n")
    assert head.startswith(b"--stylecam-frame\r\nContent-Type: image/jpeg\r\nContent-Length: ")
    length = int(head.rpartition(b" ")[2])
    assert level_of(rest[:length]) == pytest.approx(50, abs=2)
    assert rest[length:].startswith(b"\r\n--stylecam-frame\r\n")
    stream.close()  # type: ignore[attr-defined]


def test_the_newest_frame_is_repeated(page: Page) -> None:
    page.sink.write(grey(50))
    seen = b""
    for piece in parts(page):
        seen += piece
        if seen.count(b"Content-Length") == 3:
            return


@pytest.mark.slow
def test_an_mjpeg_client_that_stops_reading_costs_little(page: Page) -> None:
    large = Frame(noise((640, 480)), 0.0, 0.0)
    size = len(cv2.imencode(".jpg", large.bgr, (cv2.IMWRITE_JPEG_QUALITY, 85))[1])
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        stuck.connect(("127.0.0.1", int(page.origin.rpartition(":")[2])))
        host = page.origin.removeprefix("http://")
        stuck.sendall(f"GET /stream.mjpg HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        wait_for(lambda: page.sink._latest.watchers == 1, "the stream begins")
        with page.open_socket("/ws/frames?size=64x48") as quick:
            for number in range(1, 121):
                page.sink.write(Frame(large.bgr, number / 30, 0.0))
                while read_message(quick.recv(timeout=10)).number < number:
                    quick.send("taken")
                quick.send("taken")
        page.sink.write(grey(0))
        waiting, stuck_s = 0, time.monotonic()
        stuck.settimeout(10)
        while time.monotonic() < stuck_s + 20:
            data = stuck.recv(1 << 20)
            waiting += len(data)
            if len(data) < 4096 and waiting > size:  # the flat picture: what was behind has been read
                break
    assert waiting < 12 * size  # of the 120 frames that passed by


def test_the_state_is_told_on_change_and_with_figures(page: Page) -> None:
    with page.open_socket("/ws/state") as told:
        first = json.loads(told.recv(timeout=10))
        assert first["stats"] == page.stats
        page.controls.change(style="scream")
        while (state := json.loads(told.recv(timeout=10)))["version"] == first["version"]:
            pass
        assert state["settings"]["style"] == "scream"
        page.stats["fps"] = 12.5
        while json.loads(told.recv(timeout=10))["stats"]["fps"] != 12.5:  # without a change, every second
            pass
