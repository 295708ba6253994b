"""The command itself, over films of every kind, stream by stream against what went in."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2

# isort: split
import av
import numpy as np
import pytest
from commands import Done, noise, stylecam, tree
from films import bars, make_film, make_full_film, make_raw_film, sound_of, times_of
from painting import assert_same, moving_film, shown
from test_faithful import film_with_damaged_sound, length_of

from stylecam.frames import Pixels
from stylecam.sources.pyav import FilmSource

CHEAP = ("--engine", "onnxruntime", "--device", "cpu", "--smooth", "0")


@pytest.fixture
def tiny(tiny_style_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tiny_style_path


def video(tiny: Path, *arguments: object) -> Done:
    done = stylecam("video", *arguments, "-s", tiny, *CHEAP)
    assert done.code == 0, done.err
    return done


def yuv(bgr: Pixels, pix_fmt: str = "yuv420p") -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(bgr, format="bgr24").reformat(format=pix_fmt)


def pictures(count: int = 6, size_wh: tuple[int, int] = (64, 48), pix_fmt: str = "yuv420p") -> Any:
    return (yuv(noise(size_wh, index), pix_fmt) for index in range(count))


def hdr(trc: int) -> dict[str, Any]:
    return {"color_trc": trc, "color_primaries": 9, "colorspace": 9, "color_range": 1}


MADE: dict[str, Any] = {
    "variable rate": lambda path: make_film(path, [0.0, 0.011, 0.05, 0.3, 0.317, 1.25], sound_s=1.4),
    "90": lambda path: make_raw_film(path, pictures(), codec="libx264", turn=90),
    "180": lambda path: make_raw_film(path, pictures(), codec="libx264", turn=180),
    "270": lambda path: make_raw_film(path, pictures(), codec="libx264", turn=270),
    "10 bit": lambda path: make_raw_film(path, pictures(pix_fmt="yuv420p10le"), codec="libx265"),
    "HDR10": lambda path: make_raw_film(path, pictures(pix_fmt="yuv420p10le"), codec="libx265", tags=hdr(16)),
    "HLG": lambda path: make_raw_film(path, pictures(pix_fmt="yuv420p10le"), codec="libx265", tags=hdr(18)),
    "odd": lambda path: make_raw_film(path, pictures(size_wh=(65, 49), pix_fmt="yuv444p"), codec="libx264"),
    "two tracks": make_full_film,
    "start offset": lambda path: make_film(path, [0.5 + i / 10 for i in range(10)], sound_s=1.5),
    "one frame": lambda path: make_film(path, [0.0]),
    "no sound": lambda path: make_film(path, [0.0, 0.1, 0.2]),
    "interlaced": lambda path: moving_film(path, 6, interlaced=True),
    "23.976": lambda path: make_raw_film(path, pictures(), codec="libx264", rate=Fraction(24000, 1001)),
}
SAID = {"HDR10": "PQ (HDR10): tone-mapped", "HLG": "HLG: tone-mapped", "interlaced": "deinterlaced"}


def streams(path: Path) -> list[tuple[str, str | None]]:
    """Each track's kind and language; chapters are a track of data in .mp4, and none in .mkv."""
    with av.open(str(path)) as film:
        found = [(stream.type, stream.metadata.get("language")) for stream in film.streams]
    return [track for track in found if track[0] != "data"]


@pytest.mark.parametrize("what", MADE)
@pytest.mark.parametrize("suffix", [".mp4", pytest.param(".mkv", marks=pytest.mark.slow)])
def test_what_goes_in_comes_out(tiny: Path, tmp_path: Path, what: str, suffix: str) -> None:
    film, out = (
        MADE[what](tmp_path / ("in.mkv" if what == "start offset" else "in.mp4")),
        tmp_path / f"out{suffix}",
    )
    done = video(tiny, film, "-o", out)
    with FilmSource(film) as source, FilmSource(out) as painted:
        before, after = list(iter(source.read, None)), list(iter(painted.read, None))
        assert painted.size_wh == source.size_wh
    assert len(after) == len(before)
    exact = 1e-6 if suffix == film.suffix == ".mp4" else 0.0011
    assert [frame.timestamp_s for frame in after] == pytest.approx(
        [frame.timestamp_s for frame in before], abs=exact
    )
    assert [kind for kind, _ in streams(out)] == [kind for kind, _ in streams(film)]
    assert {name for _, name in streams(out)} - {"und", None} == {name for _, name in streams(film)} - {
        "und",
        None,
    }
    sounds = sum(kind == "audio" for kind, _ in streams(film))
    for track in range(sounds):
        assert [data for _, data in sound_of(out, track)] == [data for _, data in sound_of(film, track)]
    if suffix == ".mp4":
        lengths = [length_of(path) for path in (film, out)]
        assert lengths[0] in (0.0, pytest.approx(lengths[1], abs=0.0011))  # .mkv says none
    if sounds:
        apart = [times_of(path)[0] - sound_of(path)[0][0] for path in (film, out)]
        assert apart[0] == pytest.approx(apart[1], abs=0.0011)
    assert (SAID[what] in done.err) if what in SAID else "tone-mapped" not in done.err


def test_alpha_goes_through_the_net_and_out(tiny: Path, tmp_path: Path) -> None:
    film = moving_film(tmp_path / "in.webm", 4, alpha=True, codec="libvpx-vp9")
    with FilmSource(film) as source:
        alphas = [frame.alpha for frame in iter(source.read, None)]
    for name, more in (
        ("out.mov", ("--codec", "prores")),
        ("out.webm", ("--crf", "4")),
        ("out.mov", ("--codec", "png")),
    ):
        video(tiny, film, "-o", name, *more)
        with FilmSource(name) as painted:
            for before, frame in zip(alphas, iter(painted.read, None), strict=True):
                assert before is not None
                assert frame.alpha is not None
                assert np.abs(before.astype(int) - frame.alpha).mean() < 3
    video(tiny, film, "-o", "out/")
    png = cv2.imread("out/000001.png", cv2.IMREAD_UNCHANGED)
    assert png is not None
    assert alphas[0] is not None
    assert np.array_equal(png[..., 3], alphas[0])
    assert "transparency is lost" in video(tiny, film, "-o", "out.mp4").err
    assert "transparency is lost" in video(tiny, film, "-o", "vp9.mp4", "--codec", "vp9").err


def test_only_a_gif_with_holes_can_lose_transparency(tiny: Path, tmp_path: Path) -> None:
    for alpha in (True, False):
        film = moving_film(tmp_path / "in.webm", 4, alpha=alpha, codec="libvpx-vp9")
        video(tiny, film, "-o", "in.gif")
        assert ("transparency is lost" in video(tiny, Path("in.gif"), "-o", "out.mkv").err) == alpha


@pytest.mark.parametrize("fps", [60, 120])
def test_a_fast_film_is_as_long_as_a_gif(tiny: Path, tmp_path: Path, fps: int) -> None:
    film = make_raw_film(tmp_path / "in.mp4", pictures(fps // 2), codec="libx264", rate=Fraction(fps))
    assert f"{fps} fps become 50" in video(tiny, film, "-o", "out.gif").err
    times_s = times_of(tmp_path / "out.gif")
    assert times_s == pytest.approx([i / 50 for i in range(len(times_s))])
    assert len(times_s) in (25, 26)


def test_no_two_pictures_of_a_gif_come_too_close(tiny: Path, tmp_path: Path) -> None:
    film = make_film(tmp_path / "in.mp4", [0.0, 0.011, 0.05, 0.3, 0.317, 1.25])
    video(tiny, film, "-o", "out.gif")
    assert times_of(tmp_path / "out.gif") == pytest.approx([0.0, 0.02, 0.05, 0.3, 0.32, 1.25])


def test_a_report_tells_each_stage(tiny: Path, tmp_path: Path) -> None:
    film = make_film(tmp_path / "in.mp4", [i / 10 for i in range(20)])
    done = video(tiny, film, "-o", "out.mp4", "--compare", "--report", "r.json", "--json", "--frames", 8)
    report = json.loads((tmp_path / "r.json").read_text())
    assert done.figures.items() <= report.items()
    assert set(report["stages"]) == {"decode", "net", "smooth", "encode"}
    assert all(stage["fps"] > 0 for stage in report["stages"].values())
    assert (report["frames"], report["dropped"], report["size_wh"]) == (8, 0, [128, 48])
    assert report["output_bytes"] == (tmp_path / "out.mp4").stat().st_size
    assert report["source_bytes"] == film.stat().st_size


@pytest.mark.parametrize(
    ("name", "cause"),
    [("nowhere/r.json", "does not exist"), ("out.mp4", "overwrite"), ("in.mp4", "overwrite")],
)
def test_a_report_that_cannot_be_is_said_before_any_work(
    tiny: Path, tmp_path: Path, name: str, cause: str
) -> None:
    film = make_film(tmp_path / "in.mp4", [0.0, 0.1])
    before = tree(tmp_path)
    done = stylecam("video", film, "-o", "out.mp4", "--report", name, "-s", tiny)
    assert done.code == 1
    assert cause in done.err
    assert tree(tmp_path) == before


def test_damaged_sound_is_said_and_the_film_is_made(tiny: Path, tmp_path: Path) -> None:
    film = film_with_damaged_sound(tmp_path / "in.ts")
    assert "damaged packets of track 1: 1 left out" in video(tiny, film, "-o", "out.mp4").err
    assert len(sound_of(tmp_path / "out.mp4")) == len(sound_of(film)) - 1


def test_tags_that_find_no_place_are_said(tiny: Path, tmp_path: Path) -> None:
    film, silent = tmp_path / "in.mkv", make_film(tmp_path / "plain.mkv", [0.0, 0.1])
    with av.open(str(silent)) as before, av.open(str(film), "w") as after:
        after.metadata.update({"title": "Me", "mood": "blue"})
        copy = after.add_stream_from_template(before.streams.video[0])
        for packet in before.demux(video=0):
            if packet.size:
                packet.stream = copy
                after.mux(packet)
    assert "tags left out, for .mp4 has no place for them: MOOD\n" in video(tiny, film, "-o", "out.mp4").err
    assert "tags left out" not in video(tiny, film, "-o", "out.mkv").err


def test_stdout_carries_the_film_alone(tiny: Path, tmp_path: Path) -> None:
    film = make_film(tmp_path / "in.mp4", [0.0, 0.1, 0.2, 0.6], sound_s=0.7)
    start = "from stylecam.cli import run; run()"
    command = [sys.executable, "-c", start, "video", "-", "-o", "-", "-s", str(tiny), *CHEAP, "--json"]
    with film.open("rb") as stdin:
        done = subprocess.run(command, stdin=stdin, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"YUV4MPEG2 ")
    (tmp_path / "out.y4m").write_bytes(done.stdout)
    figures = json.loads(done.stderr.decode().splitlines()[-1])
    assert figures["frames"] == len(shown(tmp_path / "out.y4m"))
    assert stylecam("video", film, "-o", "-", "--resume", "-s", tiny).code == 1


@pytest.mark.parametrize(
    "wrong", [("--start", "soon"), ("--bitrate", "fast"), ("--end", "1:2:3:4"), ("--bitrate", "0")]
)
def test_what_is_written_wrongly_is_a_usage_error(tiny: Path, tmp_path: Path, wrong: tuple[str, str]) -> None:
    film = make_film(tmp_path / "in.mp4", [0.0])
    assert stylecam("video", film, "-o", "out.mp4", "-s", tiny, *wrong).code == 2


def test_ramp_and_bars_are_those_of_a_film_without_a_net(tmp_path: Path, tiny_style: Any) -> None:
    """Decode, segments and join change no more than one decoding and encoding does."""
    from painting import Negative, paint

    from stylecam.film.task import Task

    film = make_raw_film(tmp_path / "in.mkv", (yuv(bars(), "yuv444p") for _ in range(4)))

    class Nothing(Negative):
        def infer(self, frames: Pixels, style: Any = None) -> Pixels:
            return frames

    paint(tiny_style, Task(str(film), str(tmp_path / "out.mov"), smoothing=0.0), Nothing())
    with FilmSource(film) as before, FilmSource(tmp_path / "out.mov") as after:
        one, other = before.read(), after.read()
    assert one is not None
    assert other is not None
    centres = np.arange(16, 224, 32)
    assert np.abs(one.bgr[16, centres].astype(int) - other.bgr[16, centres]).max() <= 4
    assert np.abs(one.bgr[48, 8:-8].astype(int) - other.bgr[48, 8:-8]).max() <= 4


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is for POSIX")
def test_killed_twenty_times_and_still_the_same(tiny: Path, tmp_path: Path) -> None:
    """At random moments; whenever a film is done it is compared, and the next one begun."""
    film = moving_film(tmp_path / "in.mp4", 1500, size_wh=(192, 128), sound=True)
    start = "from stylecam.cli import run; run()"
    options = [str(film), "-s", str(tiny), "--engine", "onnxruntime", "--device", "cpu", "--smooth", "0.5"]
    command = [sys.executable, "-c", start, "video", *options, "-o"]
    subprocess.run([*command, "whole.mp4"], check=True, capture_output=True, timeout=300)
    chance, out, killed = random.Random(0), tmp_path / "out.mp4", 0
    while killed < 20 or not out.exists():
        with subprocess.Popen([*command, "out.mp4", "--resume"], stderr=subprocess.PIPE) as process:
            if killed < 20:
                time.sleep(chance.uniform(1.0, 4.0))
                process.send_signal(signal.SIGKILL)  # does nothing once it has ended
            process.communicate(timeout=300)
        killed += process.returncode == -signal.SIGKILL
        assert process.returncode in (0, -signal.SIGKILL)
        assert out.exists() == (process.returncode == 0)
        if out.exists():
            assert_same(tmp_path / "whole.mp4", out)
            assert not (tmp_path / ".out.mp4.stylecam").exists()
            if killed < 20:
                out.unlink()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="memory is not told there")
def test_memory_stays_flat_over_two_hours(tiny: Path, tmp_path: Path) -> None:
    """The same with 7,200 frames and with 600, give or take what the allocator keeps."""
    peaks = {}
    for count in (600, 7200):
        film = moving_film(tmp_path / f"{count}.mp4", count, rate=Fraction(1), size_wh=(32, 32))
        command = [
            sys.executable,
            "-c",
            "from stylecam.cli import run; run()",
            "video",
            str(film),
            "-s",
            str(tiny),
        ]
        options = ["-o", f"out-{count}.mp4", *CHEAP, "--report", f"{count}.json"]
        subprocess.run([*command, *options], check=True, capture_output=True, timeout=600)
        report = json.loads((tmp_path / f"{count}.json").read_text())
        assert report["frames"] == count
        peaks[count] = report["peak_memory_mb"]
    assert peaks[7200] < peaks[600] + 30, peaks
