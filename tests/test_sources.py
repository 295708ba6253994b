from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from films import frames, make_film, number_of, pictures_of, times_of

from stylecam.errors import SourceOpenError
from stylecam.frames import Frame
from stylecam.sources import (
    DemoSource,
    FileSource,
    PacedSource,
    Source,
    open_source,
)

UNEVEN_S = [0.0, 0.04, 0.05, 0.3, 0.31, 0.5, 1.2, 1.21]


def drain(source: Source) -> list[Frame]:
    return list(iter(source.read, None))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_every_frame_has_its_own_time(tmp_path: Path, suffix: str) -> None:
    path = make_film(tmp_path / f"vfr{suffix}", UNEVEN_S)
    with FileSource(path) as source:
        read = drain(source)
        assert (source.size_wh, source.is_live, source.missing_s) == ((64, 48), False, 0.0)
    assert [number_of(frame.bgr) for frame in read] == list(range(8))
    assert [frame.timestamp_s for frame in read] == pytest.approx(UNEVEN_S, abs=1e-4)


def test_real_channel_order(tmp_path: Path) -> None:
    from films import bars

    from stylecam.sinks import open_sink

    with open_sink(str(tmp_path / "bars.mp4"), fps=10) as sink:
        sink.write(Frame(bars(), 0.0, 0.0))
    with FileSource(tmp_path / "bars.mp4") as source:
        frame = source.read()
    assert frame is not None
    np.testing.assert_allclose(frame.bgr[16, 16::32].astype(int), bars()[16, 16::32].astype(int), atol=8)


def test_a_stream_without_times_gets_them_from_the_rate(tmp_path: Path) -> None:
    path = make_film(tmp_path / "raw.h264", [i / 10 for i in range(6)])
    with FileSource(path) as source:
        times = [frame.timestamp_s for frame in drain(source)]
    assert len(times) == 6
    assert all(later > earlier for earlier, later in pairwise(times))


def test_a_film_cut_off_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    path = make_film(tmp_path / "long.mkv", [i / 10 for i in range(30)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with FileSource(path) as source:
        read = drain(source)
        assert source.missing_s > 0.5
    assert 0 < len(read) < 30
    assert [number_of(frame.bgr) for frame in read] == list(range(len(read)))


def test_bad_films_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no film " * 100)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    for name, cause in [("text", "opened"), ("empty", "0 bytes"), ("folder", "folder"), ("missing", "exist")]:
        with pytest.raises(SourceOpenError, match=rf"{name}\.mp4.*{cause}") as caught:
            FileSource(tmp_path / f"{name}.mp4")
        assert caught.value.hint


class FakeTime:
    def __init__(self) -> None:
        self.now_s = 100.0

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> bool:
        self.now_s += seconds
        return False


def test_paced_frames_come_when_due(tmp_path: Path) -> None:
    time = FakeTime()
    path = make_film(tmp_path / "vfr.mp4", UNEVEN_S)
    with PacedSource(FileSource(path), clock=time.clock, sleep=time.sleep) as source:
        assert source.is_live
        for due_s in UNEVEN_S[:4]:
            frame = source.read()
            assert frame is not None
            assert frame.captured_s == pytest.approx(100 + due_s, abs=1e-4)
            assert time.now_s == pytest.approx(100 + due_s, abs=1e-4)
        time.now_s = 105.0  # a slow reader: the next frames were due long ago
        late = source.read()
        assert late is not None
        assert late.captured_s == pytest.approx(100.31, abs=1e-4)
        assert time.now_s == 105.0


def test_closing_a_paced_source_ends_its_wait(tmp_path: Path) -> None:
    path = make_film(tmp_path / "slow.mp4", [0.0, 3600.0])
    source = PacedSource(FileSource(path))
    assert source.read() is not None
    source.close()
    assert source.read() is None


def test_the_demo_goes_round_with_rising_times(tmp_path: Path) -> None:
    clip = make_film(tmp_path / "clip.mp4", [i / 10 for i in range(5)])
    with DemoSource(clip=clip, size_wh=(32, 24)) as source:
        read = [source.read() for _ in range(12)]
    shown = [frame for frame in read if frame is not None]
    assert [number_of(frame.bgr) for frame in shown] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert [frame.timestamp_s for frame in shown] == pytest.approx([i / 10 for i in range(12)])
    assert shown[0].bgr.shape == (24, 32, 3)


def test_the_shipped_demo_opens_and_can_end() -> None:
    with open_source("demo", live=False) as source:
        first = source.read()
        assert first is not None
        assert (first.bgr.shape[1], first.bgr.shape[0]) == source.size_wh


def test_names(tmp_path: Path) -> None:
    path = make_film(tmp_path / "a.mp4", [0.0, 0.1])
    with open_source(str(path), live=False) as film, open_source(str(path), live=True) as paced:
        assert (film.is_live, paced.is_live) == (False, True)
    with open_source(path.as_uri(), live=False) as url:
        assert url.read() is not None
    with pytest.raises(SourceOpenError, match="camera 99"):
        open_source("99", live=True)


def test_the_film_maker_itself(tmp_path: Path) -> None:
    path = make_film(tmp_path / "a.mp4", UNEVEN_S)
    assert times_of(path) == pytest.approx(UNEVEN_S, abs=1e-4)
    assert [number_of(picture) for picture in pictures_of(path)] == list(range(8))
    assert len(frames(3)) == 3
