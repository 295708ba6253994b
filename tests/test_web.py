"""The page's API: what it tells, what it changes, and what it refuses."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
from webpage import STYLES, Page, decoded, flat, grey, level_of, no_previews, open_page

from stylecam.errors import SinkOpenError
from stylecam.sinks.web import WebSink
from stylecam.web import state


@pytest.fixture(scope="module")
def shared() -> Iterator[Page]:
    with open_page() as page:
        yield page


@pytest.fixture
def page(shared: Page) -> Page:
    """A page whose settings are as they were at the start."""
    shared.controls.change(style="starry", strength=1.0, mirror=False, recording=False, paused=False)
    return shared


def test_the_state_is_read_and_changed(page: Page) -> None:
    state = page.state()
    assert state["settings"] == page.controls.to_dict()
    assert (state["styles"], state["has_mask"], state["browser"]) == (list(STYLES), False, False)
    assert state["ranges"]["strength"] == [0.0, 1.0]
    answer = page.http.patch("/api/state", json={"strength": 0.25, "style": "starry:0.5,wave:0.5"})
    assert answer.status_code == 200
    assert answer.json()["settings"]["strength"] == 0.25
    assert page.controls.settings.style == "starry:0.5,wave:0.5"
    assert page.state()["version"] == state["version"] + 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"strength": 1.5}, "strength 1.5"),
        ({"strength": "much"}, "much"),
        ({"strength": float("nan")}, "nan"),
        ({"strength": 10**400}, "out of range"),
        ({"style": "../../etc/passwd"}, "passwd"),
        ({"style": "starry:-1"}, "starry:-1"),
        ({"mirror": 1}, "mirror"),
        ({"keep": "person"}, "person"),
        ({"speed": 3}, "speed"),
        ({"self": 3}, "self"),
        ([1, 2], "body"),
    ],
)
def test_bad_values_change_nothing_and_are_named(page: Page, changes: object, named: str) -> None:
    before = page.controls.version
    body = json.dumps(changes).encode()
    answer = page.http.patch("/api/state", content=body, headers={"Content-Type": "application/json"})
    assert named in page.refused(answer, 422)["message"]
    assert page.controls.version == before


def test_one_bad_value_among_good_ones_changes_none(page: Page) -> None:
    page.refused(page.http.patch("/api/state", json={"mirror": True, "fade_s": 99}), 422)
    assert page.controls.settings.mirror is False


def test_a_body_may_not_be_large(page: Page) -> None:
    assert page.http.patch("/api/state", json={"style": "x" * 20_000}).status_code == 413
    pieces = (b"x" * 1000 for _ in range(100))
    assert page.http.patch("/api/state", content=pieces).status_code == 413


def test_styles_and_their_previews(page: Page) -> None:
    page.previews.clear()
    styles = page.http.get("/api/styles").json()
    assert [style["name"] for style in styles] == list(STYLES)
    assert styles[1]["ready"] is False
    page.refused(page.http.get(styles[1]["preview"]), 503)
    page.previews["wave"] = flat((200, 100, 50), (640, 480))
    assert page.http.get("/api/styles").json()[1]["ready"] is True
    answer = page.http.get(styles[1]["preview"])
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert decoded(answer.content).shape == (240, 320, 3)
    assert decoded(answer.content)[100, 100].tolist() == pytest.approx([200, 100, 50], abs=4)
    page.refused(page.http.get("/api/styles/none/preview.jpg"), 404)


def test_stats_are_those_of_the_run(page: Page) -> None:
    assert page.http.get("/api/stats").json() == page.stats


def test_the_run_is_ended() -> None:
    with open_page() as page:
        assert page.http.get("/api/quit").status_code == 405
        assert not page.controls.wants_quit
        assert page.http.post("/api/quit").status_code == 202
        assert page.controls.wants_quit


def test_a_snapshot_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "_PAUSE_S", 3600)
    with open_page() as page:
        assert page.controls.take_snapshots() is False
        assert page.http.post("/api/snapshot").status_code == 202
        page.refused(page.http.post("/api/snapshot"), 429)
        assert page.controls.take_snapshots() is True
        assert page.controls.take_snapshots() is False


def test_the_newest_frame_as_jpeg() -> None:
    with open_page() as page:
        page.refused(page.http.get("/snapshot.jpg"), 503)
        for level in (40, 200):
            page.sink.write(grey(level, (640, 480)))
        answer = page.http.get("/snapshot.jpg")
        assert level_of(answer.content) == pytest.approx(200, abs=2)
        assert answer.headers["Cache-Control"] == "no-store"
        small = page.http.get("/snapshot.jpg", params={"size": "320x9999"})
        assert decoded(small.content).shape == (240, 320, 3)
        for bad in ("0x", "axb", "-1x5", "1" * 9 + "x5"):
            page.refused(page.http.get("/snapshot.jpg", params={"size": bad}), 422)


def test_pages_name_nothing_outside(page: Page) -> None:
    for path in ("/", "/overlay", "/docs"):
        answer = page.http.get(path)
        assert answer.status_code == 200
        assert "//" not in answer.text.replace('xmlns="http://', "").replace("<!-- ", "")
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert page.http.get("/").headers["X-Frame-Options"] == "DENY"
    assert "X-Frame-Options" not in page.http.get("/overlay").headers
    assert "/api/state" in page.http.get("/docs").text
    assert "/api/state" in page.http.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    "path", ["/page.py", "/../app.py", "/static/page.js", "/page.js/../app.py", "/%2e%2e/app.py"]
)
def test_no_path_reaches_the_disk(page: Page, path: str) -> None:
    with socket.create_connection(("127.0.0.1", int(page.origin.rpartition(":")[2]))) as raw:
        host = page.origin.removeprefix("http://")
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 404")


def test_a_port_in_use_is_said(page: Page) -> None:
    port = int(page.origin.rpartition(":")[2])
    with pytest.raises(SinkOpenError, match=rf"port {port}") as caught:
        WebSink(page.controls, dict, previews=no_previews, port=port)
    assert "--port" in caught.value.hint
    with pytest.raises(SinkOpenError, match="99999"):
        WebSink(page.controls, dict, previews=no_previews, port=99999)


def test_closing_frees_the_port_at_once() -> None:
    with open_page() as page:
        port = int(page.origin.rpartition(":")[2])
        page.sink.write(grey(10))
        with page.open_socket("/ws/frames") as watching:
            watching.recv(timeout=10)
            page.sink.close()
            page.sink.close()
        page.sink.write(grey(20))  # after the end, as a loop that has not heard of it might
    with open_page(port=port) as again:
        assert again.state()["settings"]["style"] == "starry"
