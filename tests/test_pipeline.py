from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from films import make_film, number_of, pictures_of, sound_of, times_of

from stylecam.engines.base import Engine
from stylecam.errors import InferenceError, SourceLostError
from stylecam.frames import Frame, Pixels
from stylecam.meter import Meter
from stylecam.pipeline import run
from stylecam.sinks import Sink, open_sink
from stylecam.sources import DemoSource, FileSource, PacedSource, Source
from stylecam.sources.pyav import FilmSource
from stylecam.temporal import Smoother

UNEVEN_S = [0.0, 0.04, 0.05, 0.3, 0.31, 0.5, 0.7, 0.71, 0.9, 1.0]


class Inverter(Engine):
    """Give the negative, and note the calls."""

    backend, device, precision = "test", "cpu", "fp32"

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.styles: list[Sequence[float] | None] = []

    def infer(self, frames: Pixels, style: Sequence[float] | None = None) -> Pixels:
        self.shapes.append(frames.shape)
        self.styles.append(style)
        return np.asarray(255 - frames, np.uint8)

    def close(self) -> None:
        pass


class Keeper(Sink):
    """Keep what comes, and want to quit after `enough` frames."""

    def __init__(self, enough: int | None = None) -> None:
        self.kept: list[Frame] = []
        self.closed = False
        self._enough = enough

    def write(self, frame: Frame) -> None:
        self.kept.append(frame)

    @property
    def wants_quit(self) -> bool:
        return self._enough is not None and len(self.kept) >= self._enough

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return make_film(tmp_path / "in.mp4", UNEVEN_S, sound_s=1.1)


def test_a_film_comes_out_frame_for_frame_with_its_sound(film: Path, tmp_path: Path) -> None:
    engine, meter, out = Inverter(), Meter(), tmp_path / "out.mp4"
    with FileSource(film) as source, open_sink(str(out), fps=source.fps, source_path=film) as sink:
        yields = [m.frames for m in run(source, engine, [sink], batch=4, meter=meter)]
    assert [shape[0] for shape in engine.shapes] == [4, 4, 2]
    assert yields == [4, 8, 10]
    assert (meter.captured, meter.dropped) == (10, 0)
    assert [number_of(255 - picture) for picture in pictures_of(out)] == list(range(10))
    assert times_of(out) == pytest.approx(UNEVEN_S, abs=1e-4)
    assert sound_of(out) == sound_of(film)


def test_frames_keep_their_times_and_sinks_get_all(film: Path) -> None:
    sinks = [Keeper(), Keeper()]
    with FileSource(film) as source:
        *_, meter = run(source, Inverter(), sinks, batch=3, size_wh=(32, 16), style=[0.5, 0.5], meter=Meter())
    assert [f.timestamp_s for f in sinks[0].kept] == pytest.approx(UNEVEN_S, abs=1e-4)
    assert sinks[0].kept == sinks[1].kept or len(sinks[0].kept) == len(sinks[1].kept) == 10
    assert sinks[0].kept[0].bgr.shape == (16, 32, 3)
    assert not sinks[0].closed
    assert meter.latency_p50_ms >= meter.net_p50_ms >= 0


@pytest.mark.parametrize(
    ("limit", "expected"), [({"frames": 5}, 5), ({"seconds": 0.5}, 5), ({"frames": 0}, 0)]
)
def test_limits(film: Path, limit: dict[str, int], expected: int) -> None:
    sink, engine = Keeper(), Inverter()
    with FileSource(film) as source:
        assert list(run(source, engine, [sink], batch=4, meter=Meter(), **limit)) or not expected  # type: ignore[arg-type]
    assert len(sink.kept) == sum(shape[0] for shape in engine.shapes) == expected


def test_a_sink_can_end_an_endless_run(film: Path) -> None:
    sink = Keeper(enough=25)
    with DemoSource(clip=film) as source:
        for _ in run(source, Inverter(), [sink], meter=Meter()):
            pass
    assert len(sink.kept) == 25


def test_a_live_source_drops_and_never_goes_back(film: Path) -> None:
    class Slow(Inverter):
        def infer(self, frames: Pixels, style: Sequence[float] | None = None) -> Pixels:
            while reader_behind():
                pass
            return super().infer(frames, style)

    source = Burst()

    def reader_behind() -> bool:
        return source.left > 0

    sink = Keeper()
    *_, meter = run(source, Slow(), [sink], batch=4, meter=Meter())
    assert (meter.captured, meter.frames + meter.dropped) == (20, 20)
    assert meter.dropped >= 17
    times = [frame.timestamp_s for frame in sink.kept]
    assert times == sorted(times)
    assert times[-1] == 19.0


class Burst(Source):
    """Twenty frames as fast as they are taken, live."""

    size_wh, fps, is_live = (64, 48), 10.0, True

    def __init__(self) -> None:
        self.left = 20

    def read(self) -> Frame | None:
        if not self.left:
            return None
        frame = Frame(np.zeros((48, 64, 3), np.uint8), float(20 - self.left), 0.0)
        self.left -= 1
        return frame

    def close(self) -> None:
        pass


def test_errors_of_source_and_engine_reach_the_caller(film: Path, tmp_path: Path) -> None:
    class Lost(Burst):
        def read(self) -> Frame | None:
            raise SourceLostError("camera 0 stopped", "check its plug")

    class Broken(Inverter):
        def infer(self, frames: Pixels, style: Sequence[float] | None = None) -> Pixels:
            raise InferenceError("no memory", "use a smaller size")

    with pytest.raises(SourceLostError, match="camera 0"):
        list(run(Lost(), Inverter(), [], meter=Meter()))
    out = tmp_path / "out.mp4"
    with (
        pytest.raises(InferenceError),
        FileSource(film) as source,
        open_sink(str(out), fps=source.fps) as sink,
    ):
        list(run(source, Broken(), [sink], meter=Meter()))
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_a_run_left_early_stops_its_thread(film: Path) -> None:
    import threading

    with PacedSource(DemoSource(clip=film)) as source:
        steps = run(source, Inverter(), [Keeper()], meter=Meter())
        next(steps)
        steps.close()
        assert not any(thread.name == "stylecam-reader" for thread in threading.enumerate())


def test_smoothing_sees_every_frame_beside_its_source(film: Path) -> None:
    class Noted(Smoother):
        def smooth(self, source: Pixels, stylized: Pixels) -> Pixels:
            assert np.abs(source.astype(int) + stylized - 255).max() == 0
            return np.full_like(stylized, 7)

    sink = Keeper()
    with FileSource(film) as source:
        for _ in run(source, Inverter(), [sink], meter=Meter(), batch=3, smoother=Noted(1)):
            pass
    assert len(sink.kept) == len(UNEVEN_S)
    assert all((frame.bgr == 7).all() for frame in sink.kept)


def test_the_net_sees_what_stands_still_unchanged(tmp_path: Path) -> None:
    grain = [np.random.default_rng(seed).integers(99, 102, (48, 64, 3), np.uint8) for seed in range(6)]
    for number, bgr in enumerate(grain):
        cv2.imwrite(str(tmp_path / f"{number}.png"), bgr)
    sink, meter = Keeper(), Meter()
    for amount in (0, 0.2):
        with FilmSource(str(tmp_path / "%d.png")) as source:
            for _ in run(source, Inverter(), [sink], meter=meter, batch=2, smoother=Smoother(amount)):
                pass
    plain, held = sink.kept[:6], sink.kept[6:]
    assert all((frame.bgr == 255 - bgr).all() for frame, bgr in zip(plain, grain, strict=True))
    assert all((frame.bgr == 255 - grain[0]).all() for frame in held)
