"""Sources behind an address: a server here gives what cameras, telephones and web sites do."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from pathlib import Path
from threading import Event, Thread

import cv2
import pytest
from films import make_film, number_of, numbered, slow
from test_live_faults import live, posix

from stylecam.errors import SourceOpenError
from stylecam.sources import FileSource, PacedSource, film, open_source
from stylecam.sources.live import open_live_source

JPEG = cv2.imencode(".jpg", numbered(9))[1].tobytes()
PART = b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(JPEG), JPEG)
PATIENT = "from stylecam.sources import film; film._URL_PATIENCE_S = (3600.0, 3600.0)"
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\na.ts\n"


@contextmanager
def serving(kind: str, parts: Callable[[str], Iterable[bytes]]) -> Iterator[str]:
    """Answer every request with what `parts` gives for its path, of unknown length; give the address."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            with suppress(OSError):  # the client has enough
                for part in parts(self.path):
                    self.wfile.write(part)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def pictures(path: str) -> Iterator[bytes]:
    for part in repeat(PART, 500):
        yield part
        time.sleep(0.02)


def test_jpegs_over_http_have_the_times_at_which_they_come() -> None:
    with (
        serving("multipart/x-mixed-replace; boundary=next", pictures) as url,
        open_source(f"{url}/video", live=True) as source,
    ):
        assert (source.is_live, source.fps, source.size_wh) == (True, None, (64, 48))
        first = source.read()
        time.sleep(0.3)
        second = source.read()
    assert first is not None
    assert second is not None
    assert number_of(second.bgr) == 9
    assert first.timestamp_s == 0.0
    assert second.timestamp_s == second.captured_s - first.captured_s >= 0.3  # by FFmpeg's rate 0.04


@pytest.mark.parametrize(
    ("name", "is_paced"),
    [("a.mp4", True), ("a.ts", False), ("live.m3u8", True)],
    ids=["a film", "a stream", "a stream in segments"],
)
def test_what_has_a_length_or_comes_in_segments_is_paced(tmp_path: Path, name: str, is_paced: bool) -> None:
    for each in ("a.mp4", "a.ts"):
        make_film(tmp_path / each, [i / 10 for i in range(30)])

    def parts(path: str) -> list[bytes]:
        return [PLAYLIST if path.endswith(".m3u8") else (tmp_path / path[1:]).read_bytes()]

    with serving("application/octet-stream", parts) as url, open_source(f"{url}/{name}", live=True) as source:
        assert (source.is_live, source.fps) == (True, 10.0)
        assert isinstance(source, PacedSource if is_paced else FileSource)
        assert source.read() is not None


def test_a_stream_that_stalls_leaves_the_words_to_us(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(film, "_URL_PATIENCE_S", (30.0, 0.2))
    seen = Event()

    def stall(path: str) -> Iterator[bytes]:
        yield 5 * PART
        seen.wait(60)

    with serving("multipart/x-mixed-replace; boundary=next", stall) as url, FileSource(url) as source:
        assert len(list(iter(source.read, None))) in range(1, 6)
        seen.set()
    assert capfd.readouterr().err == ""


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes calls and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        yield listening


def test_a_wait_for_an_address_is_told_without_what_is_secret(silent: socket.socket) -> None:
    told = Event()
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        told.set()

    def answer() -> None:
        call, _ = silent.accept()
        with call:
            told.wait(60)

    host = f"127.0.0.1:{silent.getsockname()[1]}"
    Thread(target=answer, daemon=True).start()
    with pytest.raises(SourceOpenError, match="no answer"):
        open_live_source(f"rtsp://me:secret@{host}/cam?key=1", say=say)
    assert said == [f"waiting for a picture from rtsp://{host}"]


@posix
@pytest.mark.parametrize("hangs_up", [False, slow(True)])
def test_an_interrupt_ends_the_wait_for_an_address(
    tiny_style_path: Path, silent: socket.socket, hangs_up: bool
) -> None:
    """Also where FFmpeg comes back while the program ends."""
    url = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/cam"
    with live("--source", url, "--sink", "null", "-s", tiny_style_path, code=PATIENT) as process:
        assert process.stderr is not None
        said = ""
        while "waiting for a picture" not in said:
            said = process.stderr.readline()
            assert said
        call, _ = silent.accept()
        with call:
            process.send_signal(signal.SIGINT)
            if hangs_up:
                time.sleep(0.1)
                call.close()
            _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
