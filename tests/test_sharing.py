"""A CPU's threads shared out among frames: what is measured decides, and what was begun so goes on so."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nets import MakeFile
from painting import Negative, assert_same, lost_after, moving_film, paint
from platformdirs import user_cache_path

from stylecam.engines import open_engine
from stylecam.engines.base import failed_inference
from stylecam.errors import EngineError, InferenceError, SinkOpenError
from stylecam.film import sharing
from stylecam.film import task as tasks
from stylecam.film.sharing import choose_lanes
from stylecam.film.task import Task
from stylecam.film.work import Work
from stylecam.frames import Pixels
from stylecam.styles import Style, read_style

LONG = 10**9


class Laned(Negative):
    """Give another picture in each number of lanes; more than `most` do not fit into memory."""

    def __init__(self, most: int = 4, at: int | None = None, fail: Callable[[], None] | None = None) -> None:
        super().__init__(at, fail)
        self._most = most

    def lane_counts(self, size_wh: tuple[int, int]) -> list[int]:
        return [1, 2, 4]

    def share_threads(self, lanes: int) -> None:
        self.lanes = lanes

    def infer(self, frames: Pixels, style: Sequence[float] | None = None) -> Pixels:
        if self.lanes > self._most:
            raise failed_inference("test", frames.shape, MemoryError())
        return super().infer(frames, style) - np.uint8(20 * (self.lanes - 1))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return Task(str(moving_film(tmp_path / "in.mp4", 20)), str(tmp_path / "out.mp4"))


def choose(
    task: Task,
    style: Style,
    rates: dict[int, float],
    *,
    frames: int | None = LONG,
    precision: str = "fp32",
    threads: int = 4,
) -> tuple[int, list[Task], list[str]]:
    """Return the choice, what was tried for it, and what was said."""
    tried: list[Task] = []
    said: list[str] = []

    def trial(short: Task) -> float:
        tried.append(short)
        assert short.lanes is not None
        if short.lanes not in rates:
            raise InferenceError("too little memory", "")
        return rates[short.lanes]

    engine = Laned()
    engine.precision, engine.threads = precision, threads
    return choose_lanes(task, engine, style, (96, 64), frames, trial, said.append), tried, said


def test_the_fastest_is_taken_and_remembered(task: Task, tiny_style: Style) -> None:
    lanes, tried, said = choose(task, tiny_style, {1: 20.0, 2: 30.0, 4: 25.0})
    assert lanes == 2
    assert [short.lanes for short in tried] == [1, 2, 4, 1, 2, 4]
    assert all(short.target != task.target and short.frames for short in tried)
    assert said[-1] == "lanes: 2 (measured, 1: 20.0 fps, 2: 30.0 fps, 4: 25.0 fps)"
    assert choose(task, tiny_style, {1: 30.0, 2: 20.0}) == (2, [], [])


def test_several_lanes_have_to_earn_their_memory(task: Task, tiny_style: Style) -> None:
    assert choose(task, tiny_style, {1: 20.0, 2: 20.5, 4: 20.1})[0] == 1


def test_what_does_not_fit_is_out(task: Task, tiny_style: Style) -> None:
    assert choose(task, tiny_style, {1: 20.0, 2: 30.0})[0] == 2


def test_a_trial_that_fails_is_told_and_stops_no_film(
    task: Task, tiny_style: Style, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes, _, said = choose(task, tiny_style, {2: 30.0})
    assert (lanes, said[-1]) == (1, "lanes: 1 (it could not be measured: too little memory)")

    def full(file: Path, key: str, found: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sharing, "remember", full)
    for _ in range(2):
        lanes, tried, _ = choose(task, tiny_style, {1: 20.0, 2: 30.0})
        assert lanes == 2
        assert tried, "it was not remembered"


def test_another_net_is_measured_for_itself(task: Task, tiny_style: Style) -> None:
    choose(task, tiny_style, {1: 20.0, 2: 30.0})
    assert choose(task, tiny_style, {1: 30.0, 2: 20.0}, precision="bf16")[0] == 1


def test_so_many_threads_are_the_same_whoever_said_so(
    task: Task, tiny_style: Style, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster's workers are told the number, and must decide as a run without a cluster did."""
    choose(task, tiny_style, {1: 20.0, 2: 30.0})
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert choose(task, tiny_style, {1: 30.0, 2: 20.0}) == (2, [], [])
    assert choose(task, tiny_style, {1: 30.0, 2: 20.0}, threads=2)[0] == 1


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_memory_is_measured_anew(task: Task, tiny_style: Style, content: str) -> None:
    choose(task, tiny_style, {1: 20.0, 2: 30.0})
    file = user_cache_path("stylecam") / "lanes.json"
    assert list(json.loads(file.read_text()).values()) == [2]
    file.write_text(content)
    assert choose(task, tiny_style, {1: 30.0, 2: 20.0})[0] == 1


def test_a_short_film_is_not_worth_it(task: Task, tiny_style: Style) -> None:
    assert choose(task, tiny_style, {}, frames=20) == (1, [], [])


def test_a_short_film_with_a_fast_net_takes_two_lanes(task: Task, make_onnx: MakeFile) -> None:
    fast = read_style(make_onnx("fast", 1))
    assert choose(task, fast, {}, frames=20) == (2, [], [])
    assert choose(replace(task, batch=1), fast, {}, frames=20) == (1, [], [])


def test_what_cannot_be_read_twice_is_not_measured(task: Task, tiny_style: Style) -> None:
    assert choose(replace(task, source="-"), tiny_style, {}) == (1, [], [])
    assert choose(replace(task, target="-"), tiny_style, {}) == (1, [], [])


def test_a_number_that_is_named_is_not_measured(task: Task, tiny_style: Style) -> None:
    assert choose(replace(task, lanes=4), tiny_style, {}) == (4, [], [])


def test_a_batch_has_no_more_lanes_than_frames(task: Task, tiny_style: Style) -> None:
    lanes, tried, _ = choose(replace(task, batch=2), tiny_style, {1: 20.0, 2: 30.0, 4: 40.0})
    assert (lanes, {short.lanes for short in tried}) == (2, {1, 2})
    assert choose(replace(task, batch=1), tiny_style, {}) == (1, [], [])


def test_a_film_is_measured_by_painting_its_beginning(
    task: Task, tiny_style: Style, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sharing, "_WORTH_PIXELS", {tiny_style.net: 0})
    monkeypatch.setattr(sharing, "_GAIN", 0.0)
    engine, said = Laned(most=2), list[str]()
    paint(tiny_style, task, engine, said=said)
    assert engine.lanes in (1, 2)
    assert said[0] == "measures whether 1 or 2 or 4 frames at once go faster (--lanes names it)"
    assert said[1].endswith("4: 0.0 fps)")
    assert (
        engine.painted == 1 + sharing._TIMED + 4 * 20 + 20
    )  # to time the net, two trials each of what fits, the film
    paint(tiny_style, replace(task, target=str(tmp_path / "named.mp4"), lanes=engine.lanes), Laned())
    assert_same(Path(task.target), tmp_path / "named.mp4")


def test_what_was_begun_in_two_lanes_goes_on_in_two(
    task: Task, tiny_style: Style, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_SEGMENT_S", 0.5)
    monkeypatch.setattr(tasks, "_FEWEST", 12)
    paint(tiny_style, replace(task, lanes=2), Laned())
    two = replace(task, target=str(tmp_path / "two.mp4"))
    first = Work(Path(two.target)).folder / "000000.json"
    with pytest.raises(InferenceError, match="lost"):
        paint(tiny_style, replace(two, lanes=2), Laned(at=4, fail=lost_after(first)))
    with pytest.raises(SinkOpenError, match="--lanes: 2, and not 1"):
        paint(tiny_style, replace(two, lanes=1), Laned(), resume=True)
    engine = Laned()
    paint(tiny_style, two, engine, resume=True)
    assert engine.lanes == 2
    assert_same(Path(task.target), tmp_path / "two.mp4")


@pytest.fixture
def several_threads(tiny_style: Style) -> None:
    with open_engine(tiny_style, "openvino") as engine:
        if engine.lane_counts((96, 64)) == [1]:
            pytest.skip("this CPU has a single core: there is nothing to share out")


@pytest.mark.usefixtures("several_threads")
def test_lanes_paint_the_same_frames_in_the_same_order(tiny_style: Style) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 48, 64, 3), np.uint8)
    with open_engine(tiny_style, "openvino", precision="fp32") as engine:
        alone = engine.infer(frames)
        engine.share_threads(2)
        beside = engine.infer(frames)
        assert np.abs(beside.astype(int) - alone).max() <= 3
        assert np.array_equal(engine.infer(frames[3:4]), beside[3:4])
        engine.share_threads(1)
        assert np.array_equal(engine.infer(frames), alone)


def test_more_lanes_than_threads_are_an_error(tiny_style: Style) -> None:
    with open_engine(tiny_style, "openvino") as engine, pytest.raises(EngineError, match="lanes are more"):
        engine.share_threads(1000)
    with open_engine(tiny_style, "onnxruntime", "cpu") as engine, pytest.raises(EngineError) as refused:
        engine.share_threads(2)
    assert "--lanes" in refused.value.hint


def test_large_frames_get_fewer_lanes(tiny_style: Style) -> None:
    with open_engine(tiny_style, "openvino") as engine:
        assert engine.lane_counts((3840, 2160)) == [1]
