"""The pages in a real browser: Chromium without a screen, its fake camera, real connections."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from webpage import Page, decoded, flat, grey, open_page, wait_for

from stylecam.frames import Frame, Pixels
from stylecam.sources.browser import BrowserSource
from stylecam.web import make_token

playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the PATH"),
]

CAMERA_WH = (320, 240)
LEFT_BGR, RIGHT_BGR = (40, 60, 220), (200, 120, 30)


def make_camera_film(path: Path) -> Path:
    """A second of a still picture, as the raw film that Chromium takes for a camera."""
    width, height = CAMERA_WH
    bgr = flat(LEFT_BGR, CAMERA_WH)
    bgr[:, width // 2 :] = RIGHT_BGR
    frame = b"FRAME\n" + cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420).tobytes()
    path.write_bytes(f"YUV4MPEG2 W{width} H{height} F30:1 Ip A1:1 C420mpeg2\n".encode() + 30 * frame)
    return path


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    film = make_camera_film(tmp_path_factory.mktemp("camera") / "camera.y4m")
    options = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",  # says yes where a person would be asked
        f"--use-file-for-fake-video-capture={film}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--no-sandbox")  # Chromium has none for root
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    """A fresh tab; whatever goes wrong in its scripts fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda line: wrong.append(line.text) if "Content Security" in line.text else None)
    yield opened
    context.close()
    assert not wrong


def shown(tab: Any, x: float, y: float) -> list[int]:
    """The RGBA of a canvas's pixel, at these parts of its width and height."""
    script = """([x, y]) => {
        const canvas = document.getElementById("picture");
        const at = (part, whole) => Math.floor(part * (whole - 1));
        const paper = canvas.getContext("2d");
        return [...paper.getImageData(at(x, canvas.width), at(y, canvas.height), 1, 1).data];
    }"""
    return list(tab.evaluate(script, [x, y]))


def see_through(tab: Any) -> Pixels:
    """What is on the screen as BGRA, on no ground."""
    seen = decoded(tab.screenshot(omit_background=True), cv2.IMREAD_UNCHANGED)
    # A picture without a hole comes without alpha.
    return seen if seen.shape[2] == 4 else np.dstack([seen, np.full(seen.shape[:2], 255, np.uint8)])


def wait_in(tab: Any, met: Callable[[], object], what: str) -> None:
    """Wait as `wait_for`, while the tab's own events are handled."""
    wait_for(lambda: met() or tab.wait_for_timeout(20), what)


def wait_for_setting(tab: Any, page: Page, name: str, value: object) -> None:
    wait_in(tab, lambda: page.controls.to_dict()[name] == value, f"{name} is {value}")


def wait_for_colour(tab: Any, bgr: tuple[int, int, int], x: float = 0.5, y: float = 0.5) -> None:
    def near() -> bool:
        found = shown(tab, x, y)
        return found[3] == 255 and all(abs(a - b) < 25 for a, b in zip(found[2::-1], bgr, strict=True))

    wait_in(tab, near, f"{bgr} at {x}, {y}")


def test_the_page_steers_the_run(tab: Any) -> None:
    with open_page() as page:
        page.previews["wave"] = flat((0, 200, 0))
        page.sink.write(Frame(flat((10, 100, 200), CAMERA_WH), 0.0, 0.0))
        tab.goto(page.sink.url)
        wait_for_colour(tab, (10, 100, 200))
        tab.click("[data-style=wave]")
        wait_for_setting(tab, page, "style", "wave")
        tab.locator("#strength").fill("0.4")
        wait_for_setting(tab, page, "strength", 0.4)
        tab.click("[data-switch=mirror]")
        wait_for_setting(tab, page, "mirror", True)
        tab.click("#record")
        wait_for_setting(tab, page, "recording", True)
        tab.click("#snapshot")
        wait_in(tab, page.controls.take_snapshots, "a snapshot is asked for")
        tab.wait_for_selector("[data-style=wave] img[src^=blob]")
        tab.wait_for_selector("[data-style=wave][aria-pressed=true]")
        assert tab.inner_text("#fps-now") == "29.9"
        assert tab.input_value("#overlay") == f"{page.origin}/overlay"
        assert tab.inner_text("#delay") == "30 ms", "that of the overlay, whatever other sinks are late"
        assert "91 ms, p95 120" in tab.inner_text("#sinks li:last-child")


def test_keys_do_what_they_do_in_the_window(tab: Any) -> None:
    with open_page(has_mask=True) as page:
        tab.goto(page.sink.url)
        tab.wait_for_selector("[data-style=starry][aria-pressed=true]")
        for key, name, value in [
            ("3", "style", "scream"), ("ArrowRight", "style", "starry"), ("ArrowLeft", "style", "scream"),
            ("ArrowDown", "strength", 0.9), ("ArrowUp", "strength", 1.0), ("c", "color", True),
            ("m", "mirror", True), ("s", "split", True), ("f", "figures", False), ("b", "keep", "person"),
            ("b", "keep", "background"), ("r", "recording", True), (" ", "paused", True),
        ]:  # fmt: skip
            tab.keyboard.press(key)
            wait_for_setting(tab, page, name, value)
        tab.keyboard.press("p")
        wait_in(tab, page.controls.take_snapshots, "p asks for a snapshot")
        tab.keyboard.press("h")
        assert tab.is_visible("#help")
        tab.keyboard.press("Escape")
        tab.keyboard.press("q")
        tab.click("#end [autofocus]")
        assert tab.is_hidden("#end")
        assert not page.controls.wants_quit
        tab.keyboard.press("q")
        tab.click("#end [value=end]")
        wait_in(tab, lambda: page.controls.wants_quit, "q ends the run, once that is confirmed")
    tab.wait_for_selector("body.offline")
    assert tab.inner_text("#link") == "ended"


def test_a_page_opened_late_shows_how_long_a_recording_is(tab: Any) -> None:
    with open_page() as page:
        page.stats["recording_s"] = 754.0
        page.controls.change(recording=True)
        tab.goto(page.sink.url)
        wait_in(tab, lambda: tab.inner_text("#rec").startswith("12:"), "its length, and not 0:00")


def test_a_run_that_ends_before_it_has_answered_has_ended(tab: Any) -> None:
    with open_page() as page:
        tab.goto(page.sink.url)
        tab.wait_for_selector("[data-style=starry][aria-pressed=true]")
        tab.evaluate("""() => {
            const [ask, wait] = [window.fetch, (ms) => new Promise((done) => setTimeout(done, ms))];
            window.fetch = async (path, options) => {
                const answer = await ask(path, options);
                while (path === "/api/quit" && !document.body.matches(".offline")) await wait(20);
                return answer;
            };
        }""")
        tab.keyboard.press("q")
        tab.click("#end [value=end]")
        wait_in(tab, lambda: page.controls.wants_quit, "the run is asked to end")
    tab.wait_for_selector("body.offline")
    assert tab.inner_text("#link") == "ended"


def test_the_page_follows_what_others_change(tab: Any) -> None:
    with open_page() as page:
        tab.goto(page.sink.url)
        tab.wait_for_selector("[data-style=starry][aria-pressed=true]")
        page.controls.change(style="wave:1,scream:3", strength=0.25, paused=True)
        tab.wait_for_selector("[data-style=scream][data-share='75 %']")
        assert tab.input_value("#strength") == "0.25"
        assert tab.is_visible("#paused")
        tab.click("#mix-open")
        tab.locator("#mixer [data-style=wave]").fill("60")
        wait_for_setting(tab, page, "style", "scream:0.4,wave:0.6")


def test_the_page_says_when_the_connection_is_lost(tab: Any) -> None:
    with open_page() as page:
        port = int(page.origin.rpartition(":")[2])
        tab.goto(page.sink.url)
        tab.wait_for_selector("body:not(.offline)")
    tab.wait_for_selector("body.offline")
    assert "lost" in tab.inner_text("#link")
    with open_page(port=port) as page:
        tab.wait_for_selector("body:not(.offline)")
        tab.click("[data-style=wave]")
        wait_for_setting(tab, page, "style", "wave")


def test_the_overlay_is_transparent_and_shows_new_frames(tab: Any) -> None:
    with open_page() as page:
        alpha = np.zeros((240, 320), np.uint8)
        alpha[:, :160] = 255
        tab.set_viewport_size({"width": 640, "height": 640})
        tab.goto(f"{page.origin}/overlay?fps=60")
        for colour in [(10, 100, 200), (200, 30, 60), (0, 220, 220)]:
            page.sink.write(Frame(flat(colour, (320, 240)), 0.0, 0.0, alpha))
            wait_for_colour(tab, colour, 0.25)
        seen = see_through(tab)
    assert seen[320, 160].tolist() == pytest.approx([0, 220, 220, 255], abs=6)
    assert seen[320, 480, 3] == 0  # masked
    assert seen[20, 160, 3] == seen[620, 160, 3] == 0  # above and below the picture


@pytest.mark.parametrize(
    ("fit", "edges"), [("contain", (0, 255)), ("cover", (255, 255)), ("fill", (255, 255))]
)
def test_the_overlay_fits_as_asked(tab: Any, fit: str, edges: tuple[int, int]) -> None:
    with open_page() as page:
        page.sink.write(grey(100, (320, 160)))
        tab.set_viewport_size({"width": 400, "height": 400})
        tab.goto(f"{page.origin}/overlay?fit={fit}&size=160x160")
        wait_for_colour(tab, (100, 100, 100))
        seen = see_through(tab)
        width = tab.evaluate("document.getElementById('picture').width")
    assert (seen[5, 200, 3], seen[200, 5, 3]) == edges
    assert width == (160 if fit == "contain" else 320)


def test_the_overlay_comes_back_after_a_restart(tab: Any) -> None:
    with open_page() as page:
        port = int(page.origin.rpartition(":")[2])
        page.sink.write(Frame(flat((10, 100, 200)), 0.0, 0.0))
        tab.goto(f"{page.origin}/overlay")
        wait_for_colour(tab, (10, 100, 200))
    wait_in(tab, lambda: shown(tab, 0.5, 0.5)[3] == 0, "a picture that has stopped goes off the air")
    with open_page(port=port) as page:
        page.sink.write(Frame(flat((200, 30, 60)), 0.0, 0.0))
        wait_for_colour(tab, (200, 30, 60))


@contextmanager
def inverting(page: Page, source: BrowserSource) -> Iterator[None]:
    """Paint what comes from the browser, in the simplest manner there is."""

    def paint() -> None:
        while (frame := source.read()) is not None:
            page.sink.write(Frame(255 - frame.bgr, frame.timestamp_s, frame.captured_s))

    painting = threading.Thread(target=paint)
    painting.start()
    try:
        yield
    finally:
        source.close()
        painting.join(30)


def inverted(bgr: tuple[int, int, int]) -> tuple[int, int, int]:
    return 255 - bgr[0], 255 - bgr[1], 255 - bgr[2]


def test_the_visitors_camera_comes_back_painted(tab: Any) -> None:
    with BrowserSource(CAMERA_WH) as source, open_page(browser=source) as page, inverting(page, source):
        tab.goto(page.sink.url)
        tab.click("#camera-start")
        wait_for_colour(tab, inverted(LEFT_BGR), 0.2)
        wait_for_colour(tab, inverted(RIGHT_BGR), 0.8)
        first = page.sink._latest.number
        wait_in(tab, lambda: page.sink._latest.number > first + 20, "it goes on")
        tab.click("#camera-stop")
        assert tab.is_visible("#camera-start")


def test_a_link_with_a_token_opens_the_page_and_no_other_does(tab: Any, chromium: Any) -> None:
    with open_page(token=make_token()) as page:
        page.sink.write(grey(100))
        tab.goto(page.sink.url)
        wait_for_colour(tab, (100, 100, 100))
        assert tab.url == f"{page.origin}/"
        tab.click("[data-style=wave]")
        wait_for_setting(tab, page, "style", "wave")
        overlay = tab.input_value("#overlay")
        stranger = chromium.new_context().new_page()
        assert stranger.goto(page.origin).status == 401
        stranger.goto(overlay)
        wait_for_colour(stranger, (100, 100, 100))
        stranger.context.close()


class ForeignSite(BaseHTTPRequestHandler):
    """Another server on this machine, whose page tries what it can."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>foreign</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


ATTACK = """async (origin) => {
    const socket = (path) => new Promise((done) => {
        const opened = new WebSocket(origin.replace("http", "ws") + path);
        opened.onopen = () => done(true);
        opened.onerror = () => done(false);
    });
    const image = (path) => new Promise((done) => {
        const made = new Image();
        made.onload = () => done(true);
        made.onerror = () => done(false);
        made.src = origin + path;
    });
    const send = (path, options) => fetch(origin + path, options).then(() => true, () => false);
    const json = { "Content-Type": "application/json" };
    await send("/api/snapshot", { method: "POST", mode: "no-cors" });
    return [
        await send("/api/state", { method: "PATCH", body: '{"mirror": true}', headers: json }),
        await send("/api/state", {}),
        await image("/snapshot.jpg"),
        await socket("/ws/frames"), await socket("/ws/state"), await socket("/ws/camera"),
    ];
}"""


def test_another_sites_page_sees_and_changes_nothing(tab: Any) -> None:
    with open_page() as page, ThreadingHTTPServer(("127.0.0.1", 0), ForeignSite) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        page.sink.write(grey(100))
        tab.goto(f"http://127.0.0.1:{site.server_port}/")
        assert tab.evaluate(ATTACK, page.origin) == [False] * 6
        assert page.controls.version == 0
        assert page.controls.take_snapshots() is False
        site.shutdown()


def test_another_sites_page_shows_the_overlay_with_its_token(tab: Any) -> None:
    with (
        open_page(token=make_token()) as page,
        ThreadingHTTPServer(("127.0.0.1", 0), ForeignSite) as site,
    ):
        threading.Thread(target=site.serve_forever, daemon=True).start()
        page.sink.write(Frame(flat((10, 100, 200)), 0.0, 0.0))
        tab.goto(f"http://localhost:{site.server_port}/")  # to a browser another site than 127.0.0.1
        link = f"{page.origin}/overlay?{page.sink.url.partition('?')[2]}"
        frame = "Object.assign(document.createElement('iframe'), {src: link})"
        tab.evaluate(f"link => document.body.append({frame})", link)
        wait_in(tab, lambda: len(tab.frames) == 2, "the frame is there")
        overlay = tab.frames[1]
        overlay.wait_for_selector("#picture")  # a frame is there, empty, before its page is
        wait_for_colour(overlay, (10, 100, 200))
        site.shutdown()


def test_one_mjpeg_frame_is_shown_without_a_second(tab: Any) -> None:
    with open_page() as page:
        page.sink.write(Frame(flat((10, 100, 200)), 0.0, 0.0))
        tab.goto(page.sink.url)
        tab.evaluate(
            "window.streamed = new Image(); streamed.src = '/stream.mjpg'; document.body.append(streamed)"
        )
        wait_in(tab, lambda: tab.evaluate("streamed.naturalWidth") == 64, "a picture of that width")


SMALL_BUTTONS = """[...document.querySelectorAll("main button, main .button")]
    .filter((button) => button.offsetHeight && button.offsetHeight < 36).map((button) => button.id)"""
NAMELESS_INPUTS = """[...document.querySelectorAll("main input")]
    .filter((input) => !input.labels.length && !input.ariaLabel).map((input) => input.id)"""


@pytest.mark.parametrize("size_wh", [(1280, 800), (390, 844), (320, 568), (844, 390)])
def test_nothing_stands_out_of_the_page(tab: Any, size_wh: tuple[int, int]) -> None:
    with open_page(has_mask=True) as page:
        page.sink.write(grey(100, (640, 480)))
        tab.set_viewport_size({"width": size_wh[0], "height": size_wh[1]})
        tab.goto(page.sink.url)
        wait_for_colour(tab, (100, 100, 100))
        assert tab.evaluate("document.documentElement.scrollWidth") <= size_wh[0]
        assert tab.evaluate(SMALL_BUTTONS) == []
        assert tab.evaluate(NAMELESS_INPUTS) == []
