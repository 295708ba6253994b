"""Recordings of live runs: they play up to where they got, whatever ended them."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from films import numbered, pictures_of, times_of

from stylecam.errors import SinkOpenError, SinkWriteError
from stylecam.frames import Frame
from stylecam.sinks.recording import GrowingFile, RecordingSink

SUFFIXES = [".mp4", ".mov", ".mkv"]
FPS = 30
SIZE = (64, 48)


def frame(index: int) -> Frame:
    """A frame with its number in a corner and something to encode in the rest."""
    bgr = np.random.default_rng(index).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    bgr[:16, :16] = numbered(index % 30, (16, 16))
    return Frame(bgr, 5 + index / FPS, 0.0)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def boxes(path: Path) -> list[bytes]:
    """The names of an MP4's outermost parts."""
    data, at, names = path.read_bytes(), 0, []
    while at < len(data):
        names.append(data[at + 4 : at + 8])
        at += int.from_bytes(data[at : at + 4], "big")
    return names


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_it_grows_under_its_name_and_plays_at_any_moment(tmp_path: Path, suffix: str) -> None:
    path, copy = tmp_path / f"take{suffix}", tmp_path / f"copy{suffix}"
    with RecordingSink(path, fps=FPS) as sink:
        for index in range(90):
            sink.write(frame(index))
            if index in (59, 89):
                shutil.copyfile(path, copy)
                assert len(pictures_of(copy)) > index - 1.5 * FPS
                assert times_of(copy)[0] == 0
    assert left_in(tmp_path) == [copy.name, path.name]
    assert len(pictures_of(path)) == sink.frames == 90
    assert times_of(path) == pytest.approx([index / FPS for index in range(90)], abs=1.1e-3)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_a_colon_in_its_name_does_not_cost_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg would find no protocol of that name, and what does not play is removed."""
    monkeypatch.chdir(tmp_path)
    with RecordingSink(Path("take-12:30.mp4"), fps=FPS) as sink:
        for index in range(3):
            sink.write(frame(index))
    assert len(pictures_of(tmp_path / "take-12:30.mp4")) == 3


def test_a_finished_one_is_an_ordinary_film(tmp_path: Path) -> None:
    path = tmp_path / "take.mp4"
    with RecordingSink(path, fps=FPS) as sink:
        for index in range(60):
            sink.write(frame(index))
        assert b"moof" in boxes(path)
    assert sorted(boxes(path)) == [b"free", b"ftyp", b"mdat", b"moov"]


class SmallDisk:
    """The file as a disk sees it that is full after so many bytes."""

    def __init__(self, file: GrowingFile, room: int) -> None:
        self._real, self._room = file._file, room
        file._file = self  # type: ignore[assignment]

    def write(self, data: memoryview) -> int:
        fits = min(len(data), self._room - self._real.tell())
        if fits <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._real.write(data[:fits])

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


def record_on(path: Path, room: int, count: int) -> RecordingSink:
    with RecordingSink(path, fps=FPS) as sink:
        SmallDisk(sink._file, room)
        for index in range(count):
            sink.write(frame(index))
    return sink


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("part", [0.5, 0.8, 0.999])
def test_a_full_disk_keeps_what_was_written(tmp_path: Path, suffix: str, part: float) -> None:
    whole = tmp_path / f"whole{suffix}"
    record_on(whole, 10**9, 75)
    path = tmp_path / f"take{suffix}"
    with pytest.raises(SinkWriteError, match=r"No space left on device; it plays up to there") as caught:
        record_on(path, int(whole.stat().st_size * part), 75)
    assert str(path) in caught.value.message
    assert 10 < len(pictures_of(path)) < 75
    assert path.stat().st_size <= whole.stat().st_size * part


def test_a_disk_that_is_full_from_the_start_keeps_nothing(tmp_path: Path) -> None:
    with pytest.raises(SinkWriteError, match="nothing had been written yet"):
        record_on(tmp_path / "take.mp4", 500, 75)
    assert left_in(tmp_path) == []


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_recording import frame
from stylecam.sinks.recording import RecordingSink
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
with RecordingSink(Path("take.mp4"), fps=30) as sink:
    for index in range(1000):
        sink.write(frame(index))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file's size")
def test_a_file_that_the_system_lets_grow_no_further(tmp_path: Path) -> None:
    script = LIMITED.format(tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "File too large; it plays up to there" in done.stderr
    assert 10 < len(pictures_of(tmp_path / "take.mp4")) < 1000


def record_then_raise(path: Path, error: BaseException) -> None:
    with RecordingSink(path, fps=FPS) as sink:
        for index in range(7):
            sink.write(frame(index))
        raise error


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
def test_whatever_goes_wrong_elsewhere_keeps_it(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "take.mp4"
    with pytest.raises(type(error)):
        record_then_raise(path, error)
    assert len(pictures_of(path)) == 7


def test_ctrl_c_while_the_end_is_written_leaves_what_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "take.mp4"
    sink = RecordingSink(path, fps=FPS)
    for index in range(75):
        sink.write(frame(index))

    def interrupted(data: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(SmallDisk, "write", lambda self, data: interrupted(data))
    SmallDisk(sink._file, 0)
    with pytest.raises(KeyboardInterrupt):
        sink.close()
    assert len(pictures_of(path)) > 20
    sink.close()


def test_what_is_there_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "take.mp4"
    path.write_text("the best take so far")
    with pytest.raises(SinkOpenError, match=r"take\.mp4.* exists already") as caught:
        RecordingSink(path, fps=FPS)
    assert "another name" in caught.value.hint
    assert path.read_text() == "the best take so far"


def test_no_frames_no_file_and_the_end_is_the_end(tmp_path: Path) -> None:
    with RecordingSink(tmp_path / "take.mp4", fps=None) as sink:
        pass
    sink.close()
    assert left_in(tmp_path) == []
    with pytest.raises(SinkWriteError, match="closed already"):
        sink.write(frame(0))


def test_what_cannot_be_recorded_is_refused(tmp_path: Path) -> None:
    for name, cause in [("a.avi", r"\.avi"), ("no/a.mp4", "does not exist")]:
        with pytest.raises(SinkOpenError, match=cause):
            RecordingSink(tmp_path / name, fps=FPS)
    assert left_in(tmp_path) == []
