"""Who may use the page: a foreign Host or Origin, or no token, changes and shows nothing."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import httpx
import pytest
from starlette.requests import HTTPConnection
from webpage import Page, grey, no_previews, open_page
from websockets.exceptions import InvalidStatus

from stylecam.controls import Controls, Settings
from stylecam.errors import SinkOpenError
from stylecam.sinks.web import WebSink
from stylecam.web import link_qr, make_token
from stylecam.web.access import Access
from stylecam.web.links import is_loopback, lan_address, page_url

FOREIGN_ORIGINS = ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost", "file://"]
SOCKETS = ["/ws/frames", "/ws/state", "/ws/camera"]
TOKEN = make_token()


@pytest.fixture(scope="module")
def shared() -> Iterator[Page]:
    with open_page() as page:
        page.sink.write(grey(100))
        yield page


@pytest.fixture(scope="module")
def locked() -> Iterator[Page]:
    with open_page(token=TOKEN) as page:
        page.sink.write(grey(100))
        yield page


def test_own_origin_or_none_may_change(shared: Page) -> None:
    for headers in (
        {"Origin": shared.origin},
        {"Sec-Fetch-Site": "same-origin", "Origin": shared.origin},
        {},
    ):
        before = shared.controls.version
        assert shared.http.patch("/api/state", json={"mirror": True}, headers=headers).status_code == 200
        assert shared.controls.version == before + 1


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_a_foreign_origin_changes_nothing(shared: Page, origin: str) -> None:
    before = shared.controls.version
    headers = {"Origin": origin}
    shared.refused(shared.http.patch("/api/state", json={"mirror": True}, headers=headers), 403)
    shared.refused(shared.http.post("/api/snapshot", headers=headers), 403)
    shared.refused(shared.http.post("/api/quit", headers=headers), 403)
    assert shared.controls.version == before
    assert shared.controls.take_snapshots() is shared.controls.wants_quit is False


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize("origin", [*FOREIGN_ORIGINS, None])
def test_a_foreign_origin_opens_no_socket(shared: Page, path: str, origin: str | None) -> None:
    with pytest.raises(InvalidStatus) as caught, shared.open_foreign_socket(path, origin):
        pass
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", "a@127.0.0.1:{port}"]
)
def test_a_foreign_host_sees_and_changes_nothing(shared: Page, host: str) -> None:
    port = shared.origin.rpartition(":")[2]
    headers = {"Host": host.format(port=port)}
    before = shared.controls.version
    for path in ("/", "/api/state", "/snapshot.jpg", "/page.js"):
        shared.refused(shared.http.get(path, headers=headers), 421)
    shared.refused(shared.http.patch("/api/state", json={"mirror": True}, headers=headers), 421)
    assert shared.controls.version == before


def test_every_name_of_this_machine_is_ours(shared: Page) -> None:
    port = shared.origin.rpartition(":")[2]
    for name in ("localhost", "LOCALHOST", "[::1]", "127.0.0.1"):
        assert shared.http.get("/api/state", headers={"Host": f"{name}:{port}"}).status_code == 200


def test_other_sites_may_link_here_but_not_take_pictures(shared: Page) -> None:
    cross = {"Sec-Fetch-Site": "cross-site"}
    image = {**cross, "Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors"}
    shared.refused(shared.http.get("/snapshot.jpg", headers=image), 403)
    shared.refused(shared.http.get("/stream.mjpg", headers=image), 403)
    shared.refused(shared.http.get("/", headers={**cross, "Sec-Fetch-Dest": "iframe"}), 403)
    assert shared.http.get("/", headers={**cross, "Sec-Fetch-Dest": "document"}).status_code == 200
    assert shared.http.get("/overlay", headers={**cross, "Sec-Fetch-Dest": "iframe"}).status_code == 200
    assert shared.http.get("/snapshot.jpg").headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Cookie": "stylecam=wrong"},
        {"Authorization": f"Basic {TOKEN}"},
    ],
)
def test_without_the_token_nothing_is_seen_or_changed(locked: Page, given: dict[str, str]) -> None:
    before = locked.controls.version
    with httpx.Client(base_url=locked.origin, headers=given) as stranger:
        for path in (
            "/",
            "/overlay",
            "/page.js",
            "/snapshot.jpg",
            "/stream.mjpg",
            "/api/state",
            "/docs",
            "/openapi.json",
        ):
            locked.refused(stranger.get(path), 401)
        locked.refused(stranger.patch("/api/state", json={"mirror": True}), 401)
        locked.refused(stranger.post("/api/quit"), 401)
        assert not locked.controls.wants_quit
        locked.refused(stranger.get("/", params={"token": "wrong"}), 401)
    for path in SOCKETS:
        with pytest.raises(InvalidStatus) as caught, locked.open_socket(path, **given):
            pass
        assert caught.value.response.status_code == 401
    assert locked.controls.version == before


def test_the_token_is_taken_from_header_link_and_cookie(locked: Page) -> None:
    assert locked.sink.url == f"{locked.origin}/?token={TOKEN}"
    with httpx.Client(base_url=locked.origin) as visitor:
        assert visitor.get("/api/state", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200
        opened = visitor.get(locked.sink.url)
        assert opened.status_code == 200
        cookie = opened.headers["Set-Cookie"]
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
        assert TOKEN not in opened.text
        assert visitor.get("/snapshot.jpg").status_code == 200  # by the cookie from now on
        assert visitor.patch("/api/state", json={"strength": 0.5}).status_code == 200
    with locked.open_socket("/ws/state", Cookie=cookie.partition(";")[0]) as told:
        assert f"/overlay?token={TOKEN}" in str(told.recv(timeout=10))
    with locked.open_socket(f"/ws/frames?token={TOKEN}") as frames:
        assert frames.recv(timeout=10)


def test_the_token_does_not_replace_the_other_checks(locked: Page) -> None:
    locked.refused(
        locked.http.patch("/api/state", json={"mirror": True}, headers={"Origin": "http://evil.example"}), 403
    )
    locked.refused(locked.http.get("/api/state", headers={"Host": "evil.example"}), 421)


@pytest.mark.parametrize(
    ("host", "token", "named"),
    [
        ("0.0.0.0", None, "0.0.0.0"),
        ("192.0.2.1", None, "192.0.2.1"),
        ("127.0.0.1", "short", "token"),
        ("127.0.0.1", "with space", "token"),
    ],
)
def test_any_address_but_loopback_needs_a_token(host: str, token: str | None, named: str) -> None:
    with pytest.raises(SinkOpenError, match=re.escape(named)) as caught:
        WebSink(
            Controls(Settings("starry"), ["starry"]),
            dict,
            previews=no_previews,
            host=host,
            port=0,
            token=token,
        )
    assert caught.value.hint


def asked_for(host: str) -> HTTPConnection:
    headers = [(b"host", host.encode()), (b"authorization", f"Bearer {TOKEN}".encode())]
    return HTTPConnection(
        {"type": "http", "method": "GET", "path": "/", "headers": headers, "query_string": b""}
    )


@pytest.mark.parametrize(
    ("host", "welcome"),
    [("192.168.1.20:8423", True), ("192.168.1.20", True), ("[fe80::1]:8423", True),
     ("studio.local:8423", True), ("localhost:8423", True),
     ("evil.example:8423", False), ("192.168.1.20.evil.example", False)],
)  # fmt: skip
def test_an_open_address_answers_to_numbers_and_its_own_name(host: str, welcome: bool) -> None:
    refusal = Access("studio.local", 8423, TOKEN).refusal(asked_for(host))
    assert (refusal is None) == welcome


@pytest.mark.parametrize(("host", "found"), [("0.0.0.0", "192.168.1.20"), ("::", "2001:db8:7::20")])
def test_the_link_names_an_address_that_a_phone_reaches(
    monkeypatch: pytest.MonkeyPatch, host: str, found: str
) -> None:
    asked: list[tuple[str, int]] = []

    class Probe:
        def __init__(self, family: int, kind: int) -> None:
            assert kind == socket.SOCK_DGRAM  # anything else would send

        def __enter__(self) -> Probe:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def connect(self, address: tuple[str, int]) -> None:
            if not asked:
                asked.append(address)
                raise OSError(101, "Network is unreachable")

        def getsockname(self) -> tuple[str, int]:
            return found, 40_000

    monkeypatch.setattr(socket, "socket", Probe)
    assert is_loopback(lan_address(host))  # there is no network
    assert lan_address(host) == found
    shown = f"[{found}]" if ":" in found else found
    assert page_url(host, 8423, "abcdefgh") == f"http://{shown}:8423/?token=abcdefgh"


@pytest.mark.skipif(is_loopback(lan_address("0.0.0.0")), reason="this machine is in no network")
def test_that_link_opens_the_page() -> None:
    with open_page(host="0.0.0.0", token=TOKEN) as page:
        assert not is_loopback(httpx.URL(page.sink.url).host)
        assert httpx.get(page.sink.url).status_code == 200


def test_links_and_their_qr_code() -> None:
    assert page_url("::1", 80) == "http://[::1]:80/"
    assert make_token() != make_token()
    lines = link_qr("http://192.168.1.20:8423/?token=" + make_token()).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines) in range(len(lines[0]) // 2, len(lines[0]) // 2 + 2)  # square, two rows a line
    assert link_qr("http://a/") != link_qr("http://b/")
