from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from films import bars, frames, make_film, number_of, numbered, pictures_of, sound_of, times_of

from stylecam.errors import SinkError, SinkOpenError, SinkWriteError, StylecamError
from stylecam.frames import Frame, Pixels
from stylecam.sinks import Sink, SinkSpec, open_sink
from stylecam.sinks.encoder import Encoder
from stylecam.sinks.file import FileSink
from stylecam.sinks.window import WindowSink, with_text

SUFFIXES = [".mp4", ".mov", ".mkv"]
TIMES_S = [0.0, 0.04, 0.05, 0.3, 0.31, 0.5, 1.2, 1.2001]


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_frame_in_is_a_frame_out_at_its_time(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    with FileSink(path, fps=25) as sink:
        for index, time_s in enumerate(TIMES_S):
            sink.write(Frame(numbered(index), 7 + time_s, 0.0))
        assert path.name not in left_in(tmp_path)
    assert [number_of(picture) for picture in pictures_of(path)] == list(range(8))
    assert times_of(path) == pytest.approx(TIMES_S, abs=1.1e-3)
    assert sorted(set(times_of(path))) == times_of(path)
    assert left_in(tmp_path) == [path.name]


@pytest.mark.parametrize("size_wh", [(224, 64), (223, 63), (224, 63), (16, 16)])
def test_colours_and_size_come_back(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    path = tmp_path / "bars.mp4"
    with FileSink(path, fps=10) as sink:
        sink.write(Frame(bars(size_wh), 0.0, 0.0))
    (back,) = pictures_of(path)
    assert back.shape == bars(size_wh).shape
    if size_wh[0] > 16:
        assert error_away_from_edges(back, bars(size_wh)) < 8


def error_away_from_edges(back: Pixels, truth: Pixels) -> int:
    height = truth.shape[0]
    error = np.abs(back.astype(int) - truth)
    middles = error[8 : height // 2 - 8, 16::32]
    return int(max(middles.max(), error[height // 2 + 8 :].max()))


def test_bars_would_notice_a_swapped_order() -> None:
    assert error_away_from_edges(bars()[..., ::-1], bars()) > 200


def test_the_stream_says_which_colours_it_has(tmp_path: Path) -> None:
    import av

    with FileSink(tmp_path / "a.mp4", fps=30000 / 1001) as sink:
        sink.write(Frame(bars(), 0.0, 0.0))
    with av.open(str(tmp_path / "a.mp4")) as film:
        context = film.streams.video[0].codec_context
        tags = (context.colorspace, context.color_range, context.color_primaries, context.color_trc)
    assert tags == (1, 1, 1, 1)  # BT.709, limited range, in H.273's numbers


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_sound_is_copied_bit_for_bit(tmp_path: Path, suffix: str) -> None:
    source = make_film(tmp_path / "in.mp4", [i / 10 for i in range(20)], sound_s=2.0, tracks=2)
    path = tmp_path / f"out{suffix}"
    with FileSink(path, fps=10, source_path=source) as sink:
        for frame in frames(20):
            sink.write(frame)
    for track in range(2):
        before, after = sound_of(source, track), sound_of(path, track)
        assert len(before) > 90
        assert [packet for _, packet in after] == [packet for _, packet in before]
        # Matroska has no negative times, so it moves picture and sound together, in whole ms.
        shift_s = times_of(path)[0] - times_of(source)[0]
        moved = [time_s + shift_s for time_s, _ in before]
        assert [time_s for time_s, _ in after] == pytest.approx(moved, abs=1.1e-3)
    assert sound_of(path, 0) != sound_of(path, 1)


def test_a_shortened_film_has_shortened_sound(tmp_path: Path) -> None:
    source = make_film(tmp_path / "in.mp4", [i / 10 for i in range(20)], sound_s=2.0)
    with FileSink(tmp_path / "out.mp4", fps=10, source_path=source) as sink:
        for frame in frames(5):
            sink.write(frame)
    last_s = sound_of(tmp_path / "out.mp4")[-1][0]
    assert 0.5 - 1024 / 48_000 <= last_s < 0.5


def test_a_picture_that_starts_late_still_does(tmp_path: Path) -> None:
    source = make_film(tmp_path / "in.mp4", [0.5 + i / 10 for i in range(10)], sound_s=1.5)
    with FileSink(tmp_path / "out.mp4", fps=10, source_path=source) as sink:
        for frame in frames(10):
            sink.write(frame)
    assert times_of(tmp_path / "out.mp4") == pytest.approx(times_of(source), abs=1e-3)
    assert sound_of(tmp_path / "out.mp4") == sound_of(source)


def test_a_silent_film_stays_silent(tmp_path: Path) -> None:
    source = make_film(tmp_path / "in.mp4", [0.0, 0.1])
    with FileSink(tmp_path / "out.mp4", fps=10, source_path=source) as sink:
        for frame in frames(2):
            sink.write(frame)
    assert len(pictures_of(tmp_path / "out.mp4")) == 2


def write_then_raise(path: Path, error: BaseException) -> None:
    with FileSink(path, fps=10) as sink:
        for frame in frames(7):
            sink.write(frame)
        raise error


def test_an_exception_leaves_what_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_text("the old film")
    with pytest.raises(ZeroDivisionError):
        write_then_raise(path, ZeroDivisionError())
    assert left_in(tmp_path) == ["out.mp4"]
    assert path.read_text() == "the old film"


def test_ctrl_c_keeps_a_film_that_plays(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_then_raise(tmp_path / "out.mp4", KeyboardInterrupt())
    assert [number_of(p) for p in pictures_of(tmp_path / "out.mp4")] == list(range(7))


def test_no_frames_no_file(tmp_path: Path) -> None:
    with FileSink(tmp_path / "out.mp4", fps=None) as sink:
        pass
    sink.close()
    assert left_in(tmp_path) == []


def test_an_error_of_the_encoding_thread_surfaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()

    def full_disk(self: Encoder, frame: Frame) -> None:
        failed.set()
        raise OSError(28, "No space left on device")

    def write(count: int) -> None:
        with FileSink(tmp_path / "out.mp4", fps=10) as sink:
            for frame in frames(count):
                sink.write(frame)
                assert failed.wait(10)

    monkeypatch.setattr(Encoder, "encode", full_disk)
    # One frame: it surfaces at close. More than the queue holds: at write, and without a hang.
    for count in (1, 20):
        with pytest.raises(SinkWriteError, match="No space left"):
            write(count)
    assert left_in(tmp_path) == []


def test_bad_targets_are_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "taken.mp4").mkdir()
    for path, cause in [
        (tmp_path / "no" / "out.mp4", "does not exist"),
        (tmp_path / "out.avi", r"\.avi"),
        (tmp_path / "taken.mp4", "folder"),
    ]:
        with pytest.raises(SinkOpenError, match=cause) as caught:
            open_sink(str(path), fps=10)
        assert caught.value.hint
    assert left_in(tmp_path) == ["taken.mp4"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that not even root can write")
def test_a_folder_that_cannot_be_written() -> None:
    with pytest.raises(SinkOpenError, match="cannot be written"):
        FileSink(Path("/proc/out.mp4"), fps=10)


def test_names(tmp_path: Path) -> None:
    with pytest.raises(SinkOpenError, match="screen") as caught:
        open_sink("screen", fps=None)
    assert "null, virtualcam, web, window" in caught.value.hint
    with pytest.raises(SinkOpenError, match="streamed"):
        open_sink("https://127.0.0.1/", fps=None)
    with open_sink("null", fps=None) as null:
        null.write(frames(1)[0])
        assert not null.wants_quit


def test_a_sink_of_its_own_size_and_rate() -> None:
    whole = SinkSpec.parse("rtmp://127.0.0.1/live/a#size=1280x720,fps=29.97,bitrate=2.5M")
    assert whole == SinkSpec("rtmp://127.0.0.1/live/a", (1280, 720), 29.97, 2_500_000)
    assert SinkSpec.parse("window") == SinkSpec("window")
    assert SinkSpec.parse("take#3.mp4") == SinkSpec("take#3.mp4")
    assert SinkSpec.parse("take#3.mp4#fps=5") == SinkSpec("take#3.mp4", fps=5.0)
    for wrong in ("size=1280", "size=4x4", "fps=0", "fps=fast", "bitrate=lots", "colour=red"):
        with pytest.raises(StylecamError) as caught:
            SinkSpec.parse(f"web#{wrong}")
        assert caught.value.hint


@pytest.mark.parametrize("name", ["null", "out.mp4", "out.mkv"])
def test_contract(tmp_path: Path, name: str) -> None:
    sink: Sink = open_sink(name if name == "null" else str(tmp_path / name), fps=10)
    sink.write(frames(1)[0])
    sink.close()
    sink.close()
    sink.discard()
    assert left_in(tmp_path) == ([] if name == "null" else [name])


def test_figures_are_drawn_on_a_copy() -> None:
    bgr = numbered(10, (320, 240))
    shown = with_text(bgr, ["29.9 fps, 34 ms"])
    assert (bgr == 80).all()
    assert (shown[200:] != 80).any()
    assert (shown[:150] == 80).all()
    at_top = with_text(bgr, ["a line", "another one"], at_top=True)
    assert (at_top[:60] != 80).any()
    assert (at_top[150:] == 80).all()


def test_long_figures_lie_within_a_narrow_picture() -> None:
    lines = ["20.1 fps, 62 ms (p95 80), audio delay 60 ms", "1234 dropped, wheatfield, fast net at 640x480"]
    shown = with_text(np.zeros((240, 320, 3), np.uint8), lines)
    white = shown.min(-1) > 100
    assert white[200:].any()
    assert not white[:, -6:].any(), "nothing is cut off"
    assert np.flatnonzero(white.any(0))[-1] > 200


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only X11 lacks a display")
@pytest.mark.parametrize("display", ["", ":4711"])
def test_no_display_is_an_error_and_no_abort(monkeypatch: pytest.MonkeyPatch, display: str) -> None:
    monkeypatch.setenv("DISPLAY", display)
    with pytest.raises(SinkError, match="display"):
        WindowSink()


WINDOW_SCRIPT = """
import cv2, numpy as np
from stylecam.frames import Frame
from stylecam.controls import Controls, Settings
from stylecam.sinks import open_sink
from stylecam.sinks.window import WindowSink
import av
keys = iter([-1, ord("c"), 65363, -1, ord("h"), ord("q")])
real = cv2.waitKeyEx
cv2.waitKeyEx = lambda ms: (real(ms), next(keys, -1))[1]
controls = Controls(Settings("starry"), ["starry", "wave"])
with WindowSink(controls, lambda: "29.9 fps") as sink:
    seen = []
    for i in range(3):
        sink.write(Frame(np.full((120, 160, 3), 90, np.uint8), i / 10, 0.0))
        seen.append((sink.wants_quit, controls.settings.color, controls.settings.style))
assert seen == [(False, False, "starry"), (False, True, "wave"), (True, True, "wave")], seen
with open_sink("window", fps=None) as sink:
    frame, drawn, draw = Frame(np.full((120, 160, 3), 90, np.uint8), 0.0, 0.0), [], cv2.imshow
    cv2.imshow = lambda title, bgr: (drawn.append(title), draw(title, bgr))
    sink.write(frame)
    sink.write(frame)
    assert len(drawn) == 1
    keys = iter([ord("h")])
    sink.write(frame)
    sink.write(frame)
    assert len(drawn) == 2
    assert not sink.wants_quit
    cv2.destroyAllWindows()
    sink.write(frame)
    assert sink.wants_quit
"""


@pytest.mark.window
@pytest.mark.skipif(
    not (os.environ.get("DISPLAY") or shutil.which("xvfb-run")), reason="no display and no Xvfb"
)
def test_the_window_shows_and_q_quits() -> None:
    # A process of its own: what goes wrong with a display aborts or hangs instead of raising.
    start = [] if os.environ.get("DISPLAY") else ["xvfb-run", "-a"]
    done = subprocess.run([*start, sys.executable, "-c", WINDOW_SCRIPT], timeout=60, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("module", ["tracks", "encoder", "file", "recording"])
def test_cv2_comes_before_av(module: str) -> None:
    """With av first, cv2.imshow hangs for ever; this notices an import sorter at work."""
    source = Path(import_module(f"stylecam.sinks.{module}").__file__ or "").read_text(encoding="utf-8")
    assert 0 < source.index("\nimport cv2") < source.index("\nimport av")
