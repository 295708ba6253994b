"""Paint films with an engine that costs nothing, break off where a test says, and look at what is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from films import make_film, make_raw_film, sound_of

# isort: split
import av

from stylecam.engines.base import Engine
from stylecam.errors import InferenceError
from stylecam.film.run import FilmRun, Outcome
from stylecam.film.task import Task
from stylecam.frames import Pixels
from stylecam.sources.pyav import FilmSource
from stylecam.styles import Style


class Negative(Engine):
    """Give the negative of every frame; call `fail` instead of painting batch number `at`."""

    backend, device, precision = "test", "cpu", "fp32"

    def __init__(self, at: int | None = None, fail: Callable[[], None] | None = None) -> None:
        self.batches: list[int] = []
        self._at, self._fail = at, fail or lost

    @property
    def painted(self) -> int:
        return sum(self.batches)

    def infer(self, frames: Pixels, style: Sequence[float] | None = None) -> Pixels:
        if len(self.batches) == self._at:
            self._at = None
            self._fail()
        self.batches.append(len(frames))
        return np.asarray(255 - frames, np.uint8)

    def close(self) -> None:
        pass


def lost() -> None:
    raise InferenceError("the net was lost", "find it again")


def interrupted() -> None:
    raise KeyboardInterrupt


def lost_after(path: Path) -> Callable[[], None]:
    """Lose the net once another thread has made a file: how far that is, depends on the machine."""

    def lose() -> None:
        wait_for(path)
        lost()

    return lose


def wait_for(path: Path) -> None:
    """Wait until another thread has made a file."""
    for _ in range(6000):
        if path.exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} did not come")


def paint(
    style: Style,
    task: Task,
    engine: Engine | None = None,
    *,
    resume: bool = False,
    said: list[str] | None = None,
) -> Outcome:
    """Run a task to its end."""
    with FilmRun(task, (said if said is not None else []).append, resume=resume) as run:
        with closing(run.run(engine or Negative(), style)) as steps:
            for _ in steps:
                pass
        return run.outcome


def moving(index: int, size_wh: tuple[int, int] = (96, 64)) -> Pixels:
    """A picture with texture that moves on with `index`, so that no frame is like another."""
    width, height = size_wh
    noise = np.random.default_rng(5).integers(0, 256, (height // 4, width // 4 + 100, 3), np.uint8)
    wide = np.asarray(cv2.resize(noise, (width + 400, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    return np.ascontiguousarray(wide[:, index % 400 : index % 400 + width])


def grainy(index: int, size_wh: tuple[int, int] = (96, 64)) -> Pixels:
    """A still scene as a sensor sees it, other grain each time, and a bright square that moves over it."""
    picture = moving(0, size_wh).astype(np.float64)
    picture += np.random.default_rng(index).standard_normal(picture.shape) * 1.5
    left = 2 * index % (size_wh[0] // 2)
    picture[8:20, left : left + 12] = 255
    return np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8)


def moving_film(
    path: Path,
    count: int,
    *,
    rate: Fraction = Fraction(24),
    size_wh: tuple[int, int] = (96, 64),
    sound: bool = False,
    codec: str = "libx264",
    interlaced: bool = False,
    alpha: bool = False,
    times: Sequence[Fraction] | None = None,
    key_every: int = 30,
) -> Path:
    """A film of `moving` pictures, at a steady `rate` or at `times`."""
    pictures = []
    pix_fmt = "yuva420p" if alpha else "yuv420p" if size_wh[0] % 2 == size_wh[1] % 2 == 0 else "yuv444p"
    for index in range(count):
        bgr = moving(index, size_wh)
        if alpha:
            bgr = np.dstack([bgr, moving(index + 50, size_wh)[..., 0]])
        picture = av.VideoFrame.from_ndarray(bgr, format="bgra" if alpha else "bgr24").reformat(
            format=pix_fmt
        )
        if times is not None:
            picture.pts, picture.time_base = round(times[index] * 90_000), Fraction(1, 90_000)
        pictures.append(picture)
    options = {"crf": "12", "g": str(key_every), "preset": "veryfast"} | (
        {"flags": "+ilme+ildct"} if interlaced else {}
    )
    if codec != "libx264":
        options = {"auto-alt-ref": "0"} if alpha else {}
    silent = path.with_name(f"silent-{path.name}") if sound else path
    base = Fraction(90_000) if times is not None else rate
    tags: dict[str, Any] = {}
    make_raw_film(silent, pictures, codec=codec, rate=base, options=options, tags=tags)
    if sound:
        seconds = count / float(rate) if times is None else float(times[-1]) + 0.1
        voice = make_film(path.with_name("voice.mp4"), [0.0], sound_s=seconds)
        _mux(path, silent, voice)
        silent.unlink()
        voice.unlink()
    return path


def _mux(path: Path, pictures: Path, voice: Path) -> None:
    with av.open(str(pictures)) as one, av.open(str(voice)) as two, av.open(str(path), "w") as out:
        streams = [one.streams.video[0], two.streams.audio[0]]
        copies = [out.add_stream_from_template(stream) for stream in streams]
        for source, stream, copy in zip((one, two), streams, copies, strict=True):
            for packet in source.demux(stream):
                if packet.size:
                    packet.stream = copy
                    out.mux(packet)


def shown(path: Path | str) -> list[tuple[float, bytes]]:
    """Every frame of a film: its time, and its pixels with alpha."""
    with FilmSource(path) as film:
        return [
            (frame.timestamp_s, frame.bgr.tobytes() + (b"" if frame.alpha is None else frame.alpha.tobytes()))
            for frame in iter(film.read, None)
        ]


def assert_same(one: Path, other: Path) -> None:
    """Assert that two films are the same frame for frame, their sound packet for packet."""
    first, second = shown(one), shown(other)
    assert [time_s for time_s, _ in first] == [time_s for time_s, _ in second]
    unlike = [place for place, (a, b) in enumerate(zip(first, second, strict=True)) if a[1] != b[1]]
    assert unlike == []
    with av.open(str(one)) as film:
        tracks = len(film.streams.audio)
    for track in range(tracks):
        assert sound_of(one, track) == sound_of(other, track)
