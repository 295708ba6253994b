"""Films in segments: what is taken up again is the same, frame for frame, as what was never broken off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2

# isort: split
import av
import numpy as np
import pytest
from commands import tree
from films import slow, sound_of
from painting import (
    Negative,
    assert_same,
    grainy,
    interrupted,
    lost_after,
    moving,
    moving_film,
    paint,
    shown,
)

from stylecam.engines.base import failed_inference
from stylecam.errors import (
    InferenceError,
    OutOfMemoryError,
    SinkOpenError,
    SinkWriteError,
    SourceLostError,
    StylecamError,
)
from stylecam.film import journal
from stylecam.film import task as tasks
from stylecam.film.task import Task
from stylecam.film.work import Work
from stylecam.frames import Pixels
from stylecam.pictures import read_picture
from stylecam.sinks.codecs import Encoding
from stylecam.sources import pyav
from stylecam.sources.pyav import FilmSource
from stylecam.styles import Style
from stylecam.temporal import Smoother


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second, 12 frames at 24 fps, so that short films have several."""
    monkeypatch.setattr(tasks, "_SEGMENT_S", 0.5)
    monkeypatch.setattr(tasks, "_FEWEST", 12)
    monkeypatch.setattr(pyav, "_MARGIN_S", Fraction(1, 8))


def segment_of(target: Path, number: int) -> Path:
    """What tells that a segment is whole."""
    return Work(target).folder / f"{number:06d}.json"


def in_two(style: Style, task: Task, at: int, resumed: str, **more: Any) -> Negative:
    """Break a task off at batch `at`, then resume it; return the engine that finished it."""
    task = replace(task, target=resumed)
    home = Path(resumed) if Path(resumed).suffix else Path(resumed).parent / Path(resumed).name

    with pytest.raises(InferenceError, match="lost"):
        paint(style, task, Negative(at, lost_after(segment_of(home, 0))))
    assert not Path(resumed).is_file()
    engine = Negative()
    paint(style, task, engine, resume=True, **more)
    return engine


KINDS = [
    ("out.mp4", Encoding()), slow("out.mp4", Encoding("hevc", preset="ultrafast")),
    slow("out.mp4", Encoding("av1")), slow("out.mkv", Encoding()), ("out.webm", Encoding(preset="8")),
    slow("out.mov", Encoding("prores")), slow("out.mov", Encoding("h264", bitrate=300_000)),
    slow("out.gif", Encoding()), slow("out.y4m", Encoding()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "encoding"), KINDS, ids=lambda value: getattr(value, "codec", value))
def test_a_resumed_film_is_the_same(tmp_path: Path, tiny_style: Style, name: str, encoding: Encoding) -> None:
    film = moving_film(tmp_path / "in.mp4", 33, sound=True)
    task = Task(str(film), str(tmp_path / name), smoothing=0.5, encoding=encoding)
    paint(tiny_style, task)
    engine = in_two(tiny_style, task, 16, str(tmp_path / f"two-{name}"))
    assert engine.painted <= 27  # a lead-in of 6, and all after the first segment
    assert_same(tmp_path / name, tmp_path / f"two-{name}")
    assert sorted(tree(tmp_path)) == ["in.mp4", name, f"two-{name}"]


SOURCES = [
    slow("in.mkv", {}, {}),
    ("in.avi", {}, {}),  # says nothing of when its pictures are shown
    ("in.ts", {}, {}),  # is sought to after what was asked for
    ("in.mp4", {"interlaced": True}, {"smoothing": 1.0}),
    slow("in.mp4", {"size_wh": (95, 63)}, {"size_wh": (48, 33)}),
    ("in.mp4", {}, {"start_s": 0.13, "end_s": 1.21}),
    slow("in.mp4", {}, {"fps": Fraction(30)}),
    ("in.mp4", {}, {"fps": Fraction(20), "start_s": 0.3}),
    ("in.mp4", {}, {"frames": 30, "batch": 4, "smoothing": 1.0}),
    slow("in.mp4", {}, {"smoothing": 0.0, "batch": 5, "compare": True}),
    ("in.mp4", {"times": [Fraction(n * n % 7 + 9 * n, 200) for n in range(33)]}, {}),
    ("in.webm", {"alpha": True, "codec": "libvpx-vp9"}, {"encoding": Encoding("prores")}),
]


@pytest.mark.parametrize(("name", "film", "options"), SOURCES)
def test_every_kind_of_source_is_taken_up_to_the_frame(
    tmp_path: Path, tiny_style: Style, name: str, film: dict[str, Any], options: dict[str, Any]
) -> None:
    source = moving_film(tmp_path / name, 33, **film)
    suffix = ".mov" if film.get("alpha") else ".mp4"
    task = replace(Task(str(source), str(tmp_path / f"whole{suffix}"), smoothing=0.5), **options)
    paint(tiny_style, task)
    batches = 16 // (options.get("batch") or 1) + 1
    said: list[str] = []
    in_two(tiny_style, task, batches, str(tmp_path / f"two{suffix}"), said=said)
    assert any("goes on after" in line for line in said)
    assert not any("decoded from its beginning" in line for line in said)
    assert any("interlaced" in line for line in said) == film.get("interlaced", False)
    assert_same(tmp_path / f"whole{suffix}", tmp_path / f"two{suffix}")


def test_joined_recordings_are_taken_up_where_they_were_left(tmp_path: Path, tiny_style: Style) -> None:
    one = moving_film(tmp_path / "one.ts", 20, sound=True)
    (tmp_path / "in.ts").write_bytes(one.read_bytes() * 2)
    task = Task(str(tmp_path / "in.ts"), str(tmp_path / "whole.mp4"), smoothing=0.5)
    assert paint(tiny_style, task).frames == 40
    in_two(tiny_style, task, 30, str(tmp_path / "two.mp4"))
    assert_same(tmp_path / "whole.mp4", tmp_path / "two.mp4")


def test_smoothing_runs_on_over_the_cuts(tmp_path: Path, tiny_style: Style) -> None:
    film = moving_film(tmp_path / "in.mp4", 30)
    paint(tiny_style, Task(str(film), f"{tmp_path}/out/", smoothing=0.5))
    smoother, painted = Smoother(0.5), []
    with FilmSource(film) as source:
        for frame in iter(source.read, None):
            painted.append(np.asarray(255 - frame.bgr, np.uint8))
            smooth = smoother.smooth(frame.bgr, painted[-1])
            got = read_picture(tmp_path / "out" / f"{len(painted):06}.png").bgr
            assert np.abs(got.astype(int) - smooth).mean() < 0.5
    assert np.abs(painted[12].astype(int) - read_picture(tmp_path / "out" / "000013.png").bgr).mean() > 1


def grainy_pictures(folder: Path, count: int) -> str:
    """Numbered pictures of `grainy`: nothing is lost in them. The pattern that names them."""
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:03}.png"), grainy(number))
    return str(folder / "%03d.png")


def test_what_stands_still_is_painted_alike_also_where_it_is_taken_up(
    tmp_path: Path, tiny_style: Style
) -> None:
    source = grainy_pictures(tmp_path / "in", 40)
    task = Task(source, f"{tmp_path}/whole/", smoothing=0.2, fps=Fraction(24))
    paint(tiny_style, task)
    in_two(tiny_style, task, 16, f"{tmp_path}/two/")
    whole = tree(tmp_path / "whole")
    assert whole == tree(tmp_path / "two")
    painted = [read_picture(tmp_path / "whole" / name).bgr[32:].astype(int) for name in sorted(whole)]
    changes = [np.abs(a - b).mean() for a, b in pairwise(painted)]
    noise = np.abs(grainy(1)[32:].astype(int) - grainy(0)[32:]).mean()
    assert max(changes) < 0.5 * noise  # at the cuts too


def test_pictures_go_on_too(tmp_path: Path, tiny_style: Style) -> None:
    film = moving_film(tmp_path / "in.mp4", 33)
    task = Task(str(film), f"{tmp_path}/whole/", smoothing=0.5)
    paint(tiny_style, task)
    engine = in_two(tiny_style, task, 16, f"{tmp_path}/two/")
    assert engine.painted <= 27  # a lead-in of 6, and all after the first segment
    whole, two = tree(tmp_path / "whole"), tree(tmp_path / "two")
    assert len(whole) == 33
    assert whole == two
    again = Task(f"{tmp_path}/whole/%06d.png", str(tmp_path / "again.mp4"), fps=Fraction(24))
    assert paint(tiny_style, again).frames == 33
    assert sorted(tree(tmp_path))[:2] == ["again.mp4", "in.mp4"]


def test_older_pictures_beyond_the_last_are_told_of(tmp_path: Path, tiny_style: Style) -> None:
    film = moving_film(tmp_path / "in.mp4", 5)
    task = Task(str(film), f"{tmp_path}/out/")
    for frames, left in ((None, 0), (None, 0), (3, 2)):
        said: list[str] = []
        paint(tiny_style, replace(task, frames=frames), said=said)
        older = [line for line in said if "older pictures" in line]
        assert len(older) == (left > 0)
        assert not left or f" {left} from {tmp_path / 'out' / '000004.png'} on" in older[0]
    assert len(tree(tmp_path / "out")) == 5


def test_a_slow_segment_loses_no_painted_frame(
    tmp_path: Path, tiny_style: Style, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_PATIENCE_S", 0.0)
    film = moving_film(tmp_path / "in.mp4", 33, sound=True)
    task = Task(str(film), str(tmp_path / "whole.mp4"), smoothing=0.5, batch=4)
    paint(tiny_style, task)
    for at in (5, 7):
        engine = in_two(tiny_style, task, at, str(tmp_path / f"{at}.mp4"))
        assert len(engine.batches) <= 9 - at + 1  # of nine; one may not have been on the disk yet
        assert_same(tmp_path / "whole.mp4", tmp_path / f"{at}.mp4")


def test_ctrl_c_leaves_a_film_that_plays_and_can_be_finished(tmp_path: Path, tiny_style: Style) -> None:
    film = moving_film(tmp_path / "in.mp4", 33, sound=True)
    task = Task(str(film), str(tmp_path / "out.mp4"))
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        paint(tiny_style, task, Negative(20, interrupted), said=said)
    assert len(shown(tmp_path / "out.mp4")) == 20
    assert 0.78 < sound_of(tmp_path / "out.mp4")[-1][0] < 20 / 24
    assert "--resume" in said[-1]
    paint(tiny_style, task, resume=True, said=said)
    assert any("goes on after 0:00.458: 12 frames" in line for line in said)
    paint(tiny_style, replace(task, target=str(tmp_path / "whole.mp4")))
    assert_same(tmp_path / "whole.mp4", tmp_path / "out.mp4")


def test_what_was_begun_is_neither_forgotten_nor_mixed(tmp_path: Path, tiny_style: Style) -> None:
    film = moving_film(tmp_path / "in.mp4", 33)
    task = Task(str(film), str(tmp_path / "out.mp4"))
    with pytest.raises(InferenceError) as caught:
        paint(tiny_style, task, Negative(22, lost_after(segment_of(tmp_path / "out.mp4", 0))))
    assert "--resume" in caught.value.hint
    before = tree(tmp_path)
    with pytest.raises(SinkOpenError, match="12 frames") as refused:
        paint(tiny_style, task)
    assert "--resume" in refused.value.hint
    for changed, cause in (
        ({"smoothing": 0.3}, "--smooth"), ({"size_wh": (48, 32)}, "size"), ({"frames": 29}, "--frames"),
        ({"encoding": Encoding(crf=30)}, "codec"), ({"compare": True}, "--compare"),
    ):  # fmt: skip
        with pytest.raises(SinkOpenError, match=f"another {cause}"):
            paint(tiny_style, replace(task, **changed), resume=True)
    film.write_bytes(film.read_bytes()[:-1] + b"!")
    with pytest.raises(SinkOpenError, match="another film"):
        paint(tiny_style, task, resume=True)
    assert {name: data for name, data in tree(tmp_path).items() if name != "in.mp4"} == {
        name: data for name, data in before.items() if name != "in.mp4"
    }


def test_frames_that_have_changed_are_noticed(tmp_path: Path, tiny_style: Style) -> None:
    (tmp_path / "in").mkdir()
    for index in range(33):
        cv2.imwrite(str(tmp_path / "in" / f"{index:03}.png"), moving(index))
    task = Task(f"{tmp_path}/in/%03d.png", str(tmp_path / "out.mp4"), fps=Fraction(24))
    with pytest.raises(InferenceError):
        paint(tiny_style, task, Negative(22, lost_after(segment_of(tmp_path / "out.mp4", 0))))
    cv2.imwrite(str(tmp_path / "in" / "011.png"), moving(300))
    with pytest.raises(SourceLostError, match="another one than was begun"):
        paint(tiny_style, task, resume=True)
    cv2.imwrite(str(tmp_path / "in" / "011.png"), moving(11))
    assert paint(tiny_style, task, resume=True).frames == 33


def test_a_full_disk_keeps_what_is_done(
    tmp_path: Path, tiny_style: Style, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stylecam.sinks.encoder import Encoder

    film = moving_film(tmp_path / "in.mp4", 33)
    task = Task(str(film), str(tmp_path / "out.mp4"))
    calls = 0

    def encode(self: Encoder, frame: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise OSError(28, "No space left on device")
        real(self, frame)

    real = Encoder.encode
    monkeypatch.setattr(Encoder, "encode", encode)
    with pytest.raises(SinkWriteError, match="No space left on device") as caught:
        paint(tiny_style, task)
    assert "--resume" in caught.value.hint
    assert not (tmp_path / "out.mp4").exists()
    assert paint(tiny_style, task, resume=True).resumed == 12
    assert len(shown(tmp_path / "out.mp4")) == 33


def test_a_full_disk_at_the_very_end_keeps_all_segments(
    tmp_path: Path, tiny_style: Style, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = moving_film(tmp_path / "in.mp4", 15)
    task = Task(str(film), str(tmp_path / "out.mp4"))

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("stylecam.film.run.sync_file", full)
        with pytest.raises(SinkWriteError, match="No space left"):
            paint(tiny_style, task)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.mp4.stylecam", "in.mp4"]
    engine = Negative()
    paint(tiny_style, task, engine, resume=True)
    assert engine.painted == 0
    assert len(shown(tmp_path / "out.mp4")) == 15


@pytest.mark.parametrize("name", ["in.mkv", slow("in.mp4")])
def test_a_source_that_shrinks_is_said_and_nothing_is_lost(
    tmp_path: Path, tiny_style: Style, name: str
) -> None:
    film = moving_film(tmp_path / name, 120, size_wh=(192, 128), sound=name == "in.mkv")
    whole = film.read_bytes()

    def shrink() -> None:
        film.write_bytes(whole[: len(whole) * 2 // 3])

    task = Task(str(film), str(tmp_path / "out.mp4"))
    with pytest.raises(StylecamError, match="shrank") as caught:
        paint(tiny_style, task, Negative(2, shrink))
    assert "put the whole film back" in caught.value.hint
    assert not (tmp_path / "out.mp4").exists()
    film.write_bytes(whole)
    assert paint(tiny_style, task, resume=True).frames == 120
    paint(tiny_style, replace(task, target=str(tmp_path / "whole.mp4")))
    assert_same(tmp_path / "whole.mp4", tmp_path / "out.mp4")


def test_segments_are_the_same_whoever_paints_them(tmp_path: Path, tiny_style: Style) -> None:
    """A lost segment is painted anew by itself, and fits."""
    film = moving_film(tmp_path / "in.mp4", 50)
    task = Task(str(film), str(tmp_path / "out.mp4"), smoothing=0.8)
    last = segment_of(tmp_path / "out.mp4", 2)
    with pytest.raises(InferenceError):
        paint(tiny_style, task, Negative(49, lost_after(last)))
    work = Work(tmp_path / "out.mp4")
    before = [work.media(number, ".mp4").read_bytes() for number in range(3)]
    last.unlink()
    segment_of(tmp_path / "out.mp4", 1).unlink()
    with pytest.raises(InferenceError):
        paint(tiny_style, task, Negative(45, lost_after(last)), resume=True)
    assert [work.media(number, ".mp4").read_bytes() for number in range(3)] == before


def broken(film: Path, number: int) -> Path:
    """Overwrite the bytes of one packet's picture."""
    data = bytearray(film.read_bytes())
    with av.open(str(film)) as opened:
        packet = [packet for packet in opened.demux(video=0) if packet.size][number]
        assert packet.pos is not None
        data[packet.pos + 4 : packet.pos + packet.size] = b"\xff" * (packet.size - 4)
    film.write_bytes(data)
    return film


def test_damage_is_counted_over_all_runs(tmp_path: Path, tiny_style: Style) -> None:
    film = broken(moving_film(tmp_path / "in.mp4", 33, interlaced=True), 7)  # which is shown as number 5
    task = Task(str(film), str(tmp_path / "whole.mp4"))
    said: list[str] = []
    assert paint(tiny_style, task, said=said).damaged == pytest.approx([5 / 24], abs=1e-3)
    assert any("damaged frames: 1" in line and "0:00.208" in line for line in said)
    said.clear()
    in_two(tiny_style, task, 17, str(tmp_path / "two.mp4"), said=said)
    assert any("damaged frames: 1" in line for line in said)
    assert_same(tmp_path / "whole.mp4", tmp_path / "two.mp4")


class Cramped(Negative):
    """Has memory for `most` frames."""

    def __init__(self, most: int, words: str) -> None:
        super().__init__()
        self._most, self._words = most, words

    def infer(self, frames: Pixels, style: Sequence[float] | None = None) -> Pixels:
        if len(frames) > self._most:
            raise failed_inference("test", frames.shape, RuntimeError(self._words))
        return super().infer(frames, style)


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate 20.00 MiB",
        "[ONNXRuntimeError] : 1 : FAIL : BFCArena::AllocateRawInternal Failed to allocate memory for buffer",
        "Exception from src/inference/src/cpp/infer_request.cpp: std::bad_alloc",
    ],
)
def test_too_little_memory_halves_the_batch(tmp_path: Path, tiny_style: Style, words: str) -> None:
    film = moving_film(tmp_path / "in.mp4", 20)
    said: list[str] = []
    engine = Cramped(2, words)
    paint(tiny_style, Task(str(film), str(tmp_path / "out.mp4"), batch=8), engine, said=said)
    paint(tiny_style, Task(str(film), str(tmp_path / "one.mp4"), batch=1))
    assert max(engine.batches) == 2
    assert said[:2] == [f"too little memory for {n} frames at once: on with {n // 2}" for n in (8, 4)]
    assert_same(tmp_path / "out.mp4", tmp_path / "one.mp4")
    with pytest.raises(OutOfMemoryError, match="1x64x96x3"):
        paint(tiny_style, Task(str(film), str(tmp_path / "none.mp4")), Cramped(0, words))
    with pytest.raises(InferenceError) as other:
        paint(tiny_style, Task(str(film), str(tmp_path / "none.mp4"), batch=8), Cramped(2, "no such layer"))
    assert not isinstance(other.value, OutOfMemoryError)


def test_the_original_beside(tmp_path: Path, tiny_style: Style) -> None:
    film = moving_film(tmp_path / "in.mp4", 3)
    paint(tiny_style, Task(str(film), f"{tmp_path}/out/", compare=True, smoothing=0.0))
    with FilmSource(film) as source:
        for number, frame in enumerate(iter(source.read, None), 1):
            both = read_picture(tmp_path / "out" / f"{number:06}.png").bgr
            np.testing.assert_array_equal(both, np.hstack([frame.bgr, 255 - frame.bgr]))


def test_the_original_beside_is_not_denoised(tmp_path: Path, tiny_style: Style) -> None:
    source = grainy_pictures(tmp_path / "in", 6)
    paint(tiny_style, Task(source, f"{tmp_path}/out/", compare=True, smoothing=0.2, fps=Fraction(24)))
    for number in range(6):
        original, painted = np.hsplit(read_picture(tmp_path / "out" / f"{number + 1:06}.png").bgr, 2)
        np.testing.assert_array_equal(original, grainy(number))
        if number:
            assert (painted != 255 - grainy(number)).any()
