"""Several films, shares of one, and parts painted by many workers: the same films as one run makes."""

from __future__ import annotations

import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from commands import noise_film, stylecam, tree
from films import slow
from painting import Negative, assert_same, lost, lost_after, moving_film, paint

from stylecam.engines import open_engine
from stylecam.errors import InferenceError, SinkOpenError, SinkWriteError, SourceOpenError, StylecamError
from stylecam.film import journal
from stylecam.film import task as tasks
from stylecam.film.cluster import Choice, Done, Worker, paint_all, settled
from stylecam.film.parts import Part, cut
from stylecam.film.run import FilmRun
from stylecam.film.several import parse_shard, plan_films, shard_of
from stylecam.film.task import Task
from stylecam.film.work import Work
from stylecam.sources import pyav
from stylecam.styles import Style


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second, 12 frames at 24 fps, so that short films have several."""
    monkeypatch.setattr(tasks, "_SEGMENT_S", 0.5)
    monkeypatch.setattr(tasks, "_FEWEST", 12)
    monkeypatch.setattr(pyav, "_MARGIN_S", Fraction(1, 8))


def paint_parts(style: Style, task: Task, parts: list[Part]) -> Negative:
    engine = Negative()
    for part in parts:
        with FilmRun(task, lambda _: None, resume=True) as run:
            for _ in run.paint_part(engine, style, part):
                pass
    return engine


FILMS = [
    ("in.mp4", {"sound": True}, {"smoothing": 0.8}),
    ("in.mkv", {}, {"smoothing": 0.0, "batch": 5}),
    ("in.mp4", {}, {"start_s": 0.4, "end_s": 2.3}),
    slow("in.mp4", {}, {"frames": 40}),
    ("in.mp4", {"times": [Fraction(n * n % 7 + 9 * n, 200) for n in range(60)]}, {}),
]


@pytest.mark.parametrize(("name", "film", "options"), FILMS)
def test_parts_make_the_same_film_whoever_paints_them(
    tmp_path: Path, tiny_style: Style, name: str, film: dict[str, Any], options: dict[str, Any]
) -> None:
    path = moving_film(tmp_path / name, 60, **film)
    task = Task(str(path), str(tmp_path / "whole.mp4"), **options)
    paint(tiny_style, task)
    shared = replace(task, target=str(tmp_path / "shared.mp4"))
    parts = cut(shared, 24.0, workers=2)
    assert len(parts) >= 4
    paint_parts(tiny_style, shared, parts[::-1])
    engine = Negative()
    paint(tiny_style, shared, engine, resume=True)
    assert engine.painted == 0
    assert_same(tmp_path / "whole.mp4", tmp_path / "shared.mp4")
    assert sorted(tree(tmp_path)) == [name, "shared.mp4", "whole.mp4"]


def test_what_is_painted_is_not_painted_again(tmp_path: Path, tiny_style: Style) -> None:
    path = moving_film(tmp_path / "in.mp4", 48)
    task = Task(str(path), str(tmp_path / "out.mp4"))
    parts = cut(task, 24.0, workers=2)
    assert paint_parts(tiny_style, task, parts).painted >= 48
    assert paint_parts(tiny_style, task, parts).painted == 0


def test_a_part_that_is_not_as_the_container_foretold_is_painted_with_the_film(
    tmp_path: Path, tiny_style: Style
) -> None:
    """Times that the packets promise and the decoder does not give must not be pasted into the film."""
    path = moving_film(tmp_path / "in.mp4", 48)
    task = Task(str(path), str(tmp_path / "out.mp4"))
    parts = cut(task, 24.0, workers=2)
    wrong = replace(parts[1], times_s=[time_s + 0.01 for time_s in parts[1].times_s])
    paint_parts(tiny_style, task, [parts[0], wrong, *parts[2:]])
    assert Work(Path(task.target)).segment(wrong.first) is None
    paint(tiny_style, task, resume=True)
    paint(tiny_style, replace(task, target=str(tmp_path / "whole.mp4")))
    assert_same(tmp_path / "whole.mp4", tmp_path / "out.mp4")


def test_an_engine_that_fails_in_a_part_costs_that_part(tmp_path: Path, tiny_style: Style) -> None:
    path = moving_film(tmp_path / "in.mp4", 48)
    task = Task(str(path), str(tmp_path / "out.mp4"))
    parts = cut(task, 24.0, workers=2)
    paint_parts(tiny_style, task, parts[:2])
    with (
        FilmRun(task, lambda _: None, resume=True) as run,
        pytest.raises(InferenceError, match="lost"),
    ):
        for _ in run.paint_part(Negative(9, lost), tiny_style, parts[2]):
            pass
    engine = Negative()
    paint(tiny_style, task, engine, resume=True)
    assert engine.painted <= 12 * 3
    paint(tiny_style, replace(task, target=str(tmp_path / "whole.mp4")))
    assert_same(tmp_path / "whole.mp4", tmp_path / "out.mp4")


def in_parts(tmp_path: Path, count: int = 144) -> tuple[Task, list[Part]]:
    """A film of twelve segments, in four parts."""
    path = moving_film(tmp_path / "in.mp4", count)
    task = Task(str(path), str(tmp_path / "out.mp4"), smoothing=0.2)
    return task, cut(task, 24.0, workers=1)


def broken_off(style: Style, task: Task, part: Part, at: int, segment: int) -> None:
    """Paint a part until the net is lost at batch `at`, when that segment is whole."""
    json = Work(Path(task.target)).folder / f"{segment:06d}.json"
    engine = Negative(at, lost_after(json))
    with (
        FilmRun(task, lambda _: None, resume=True) as run,
        pytest.raises(InferenceError, match="lost"),
    ):
        for _ in run.paint_part(engine, style, part):
            pass


def finished_is_the_same(style: Style, task: Task, tmp_path: Path) -> None:
    paint(style, task, resume=True)
    paint(style, replace(task, target=str(tmp_path / "whole.mp4")))
    assert_same(tmp_path / "whole.mp4", tmp_path / "out.mp4")
    assert sorted(tree(tmp_path)) == ["in.mp4", "out.mp4", "whole.mp4"]


def test_a_part_that_is_broken_off_costs_its_segment(tmp_path: Path, tiny_style: Style) -> None:
    task, parts = in_parts(tmp_path)
    broken_off(tiny_style, task, parts[1], 3 + 12 + 12 + 5, segment=4)  # the lead-in is of three
    assert paint_parts(tiny_style, task, [parts[1]]).painted == 3 + 12
    finished_is_the_same(tiny_style, task, tmp_path)


@pytest.mark.slow
def test_a_slow_part_loses_no_painted_frame(
    tmp_path: Path, tiny_style: Style, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its neighbour's frames stay too: both keep them in one folder."""
    monkeypatch.setattr(journal, "_PATIENCE_S", 0.0)
    task, parts = in_parts(tmp_path)
    broken_off(tiny_style, task, parts[0], 12 + 9, segment=0)
    broken_off(tiny_style, task, parts[1], 3 + 12 + 9, segment=3)
    waiting = 3  # two may wait for the disk and one be on its way
    assert paint_parts(tiny_style, task, [parts[1]]).painted <= 12 - 9 + 12 + waiting
    assert paint_parts(tiny_style, task, [parts[0]]).painted <= 12 - 9 + 12 + waiting
    finished_is_the_same(tiny_style, task, tmp_path)


def test_a_segment_is_never_half_there(
    tmp_path: Path, tiny_style: Style, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was given up for lost may still be at it: what it leaves half done replaces nothing."""
    task, parts = in_parts(tmp_path, 48)
    paint_parts(tiny_style, task, parts)
    work = Work(Path(task.target))
    before = tree(work.folder)

    def full(path: Path, frames: int) -> None:
        raise OSError(28, "No space left on device")

    (work.folder / "000001.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("stylecam.film.segments._check_whole", full)
        with pytest.raises(SinkWriteError, match="No space left"):
            paint_parts(tiny_style, task, [parts[1]])
    assert before.items() - tree(work.folder).items() == {("000001.json", before["000001.json"])}
    assert tree(work.folder).keys() < before.keys()
    finished_is_the_same(tiny_style, task, tmp_path)


def test_what_cannot_be_cut_is_one_part_of_none(tmp_path: Path) -> None:
    path = moving_film(tmp_path / "in.mp4", 30)
    task = Task(str(path), str(tmp_path / "out.mp4"))
    assert len(cut(task, 24.0, workers=2)) == 3
    assert cut(replace(task, fps=Fraction(30)), 24.0, workers=2) == []
    assert cut(replace(task, target=str(tmp_path / "out.y4m")), 24.0, workers=2) == []
    assert cut(replace(task, target=f"{tmp_path}/out/"), 24.0, workers=2) == []
    assert cut(Task("http://127.0.0.1:9/film.mp4", str(tmp_path / "out.mp4")), 24.0, workers=2) == []


def test_parts_cover_every_frame_once(tmp_path: Path) -> None:
    path = moving_film(tmp_path / "in.mp4", 100)
    for workers in (1, 2, 5):
        parts = cut(Task(str(path), str(tmp_path / "out.mp4")), 24.0, workers)
        assert [time_s for part in parts for time_s in part.times_s] == [n / 24 for n in range(100)]
        assert [part.first for part in parts[1:]] == [part.stop for part in parts[:-1]]
        assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]


def test_parts_begin_behind_key_frames(tmp_path: Path) -> None:
    """Segments of 12 frames, and key frames at 0, 50 and 100: segment 5 begins at 60, segment 9 at 108."""
    path = moving_film(tmp_path / "in.mp4", 144, key_every=50)
    task = Task(str(path), str(tmp_path / "out.mp4"), smoothing=0.0)
    assert [part.first for part in cut(task, 24.0, workers=1)] == [0, 3, 5, 9]
    assert [part.first for part in cut(replace(task, start_s=1.0), 24.0, workers=1)] == [0, 3, 7, 9]


def test_a_folder_gives_its_films(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    for name in ("b.MOV", "a.mp4", "c.avi", ".hidden.mp4", "notes.txt", "deeper/d.mp4"):
        (folder / name).touch()
    out = tmp_path / "out" / "here"
    pairs = plan_films([str(folder)], str(out))
    assert [(Path(film).name, Path(target).name) for film, target in pairs] == [
        ("a.mp4", "a.mp4"), ("b.MOV", "b.MOV"), ("c.avi", "c.mp4")
    ]  # fmt: skip
    assert out.is_dir()
    assert plan_films(["x.mp4"], "y.mp4") == [("x.mp4", "y.mp4")]
    both = plan_films([str(folder / "a.mp4"), str(folder / "c.avi")], str(out))
    assert [Path(target).name for _, target in both] == ["a.mp4", "c.mp4"]


def test_films_that_cannot_go_into_one_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(SinkOpenError, match=r"several films are called a\.mp4"):
        plan_films(["one/a.mp4", "two/a.mp4"], str(tmp_path / "out"))
    with pytest.raises(SinkOpenError, match="cannot be a folder"):
        plan_films(["one/a.mp4", "two/b.mp4"], str(tmp_path / "file"))
    with pytest.raises(SourceOpenError, match="without a film"):
        plan_films([str(tmp_path / "empty")], str(tmp_path / "out"))


def test_shares() -> None:
    assert parse_shard(None) is None
    assert parse_shard("2/4") == (1, 4)
    for wrong in ("0/4", "5/4", "2", "a/b", "2/4/6", "-1/4"):
        with pytest.raises(ValueError, match="not a shard"):
            parse_shard(wrong)
    items = list(range(10))
    shares = [shard_of(items, (index, 3)) for index in range(3)]
    assert sorted(item for share in shares for item in share) == items
    assert shard_of(items, None) == items


def test_a_folder_through_the_command(tmp_path: Path, tiny_style_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("b.mp4", "c.mp4"):
        noise_film(folder / name, 5)
    (folder / "a.mp4").write_text("no film")
    arguments = ("video", folder, "-o", out, "--style", tiny_style_path, "--json")
    done = stylecam(*arguments)
    assert done.code == 1
    for word in ("a.mp4", "hint:", "1 of 3 films failed"):
        assert word in done.err
    assert sorted(tree(out)) == ["b.mp4", "c.mp4"]
    before = tree(out)
    again = stylecam(*arguments, "--resume")
    assert again.code == 1
    assert again.err.count("is finished already") == 2
    assert tree(out) == before
    (folder / "a.mp4").unlink()
    noise_film(folder / "d.mp4", 7)
    done = stylecam(*arguments, "--resume")
    assert (done.code, done.figures["frames"]) == (0, 7)
    assert done.figures["output"] == [str(out / "d.mp4")]


def test_what_is_finished_is_left_alone_be_it_the_only_film(tmp_path: Path, tiny_style_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    film = noise_film(folder / "a.mp4", 3)
    common = ("--style", tiny_style_path, "--resume", "--json")
    for source, target in ((folder, out), (film, tmp_path / "b.mp4")):
        done = stylecam("video", source, "-o", target, *common)
        assert (done.code, done.figures["frames"]) == (0, 3)
        before = (tree(tmp_path), mtimes(tmp_path))
        again = stylecam("video", source, "-o", target, *common)
        assert again.code == 0
        assert again.err == f"{done.figures['output']} is finished already\n"
        assert again.figures == {"frames": 0, "output": done.figures["output"]}
        assert (tree(tmp_path), mtimes(tmp_path)) == before
    on_cluster = stylecam("video", folder, "-o", out, *common, "--cluster", "local")
    assert on_cluster.figures == {"frames": 0, "output": []}


def mtimes(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.mp4")}


def test_one_engine_paints_all_films(tmp_path: Path, tiny_style_path: Path) -> None:
    films = [noise_film(tmp_path / name, 3) for name in ("a.mp4", "b.mp4")]
    done = stylecam("video", *films, "-o", tmp_path / "out", "--style", tiny_style_path)
    assert done.code == 0, done.err
    assert done.err.count("(full net)") == 1


@pytest.mark.slow
def test_shares_through_the_command(tmp_path: Path, tiny_style_path: Path) -> None:
    film = moving_film(tmp_path / "in.mp4", 60, sound=True)
    common = ("video", film, "--style", tiny_style_path, "--json")
    whole, out = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    assert stylecam(*common, "-o", whole).code == 0
    shares = [stylecam(*common, "-o", out, "--shard", f"{number}/3") for number in (3, 1, 2)]
    assert [done.code for done in shares] == [0, 0, 0]
    assert sum(done.figures["frames"] for done in shares) == 60
    assert not out.exists()
    done = stylecam(*common, "-o", out, "--resume")
    assert (done.code, done.figures["frames"], done.figures["resumed"]) == (0, 60, 60)
    assert "painted before" in done.err
    assert_same(whole, out)


def test_folders_are_shared_out_by_film(tmp_path: Path, tiny_style_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        noise_film(folder / name, 4)
    common = ("video", folder, "-o", out, "--style", tiny_style_path)
    assert stylecam(*common, "--shard", "2/2").code == 0
    assert sorted(tree(out)) == ["b.mp4"]
    assert stylecam(*common, "--shard", "1/2").code == 0
    assert sorted(tree(out)) == ["a.mp4", "b.mp4", "c.mp4"]


@pytest.mark.parametrize(
    ("more", "code", "word"),
    [
        (("--shard", "3/2"), 2, "not a shard"),
        (("--shard", "1/2", "--cluster", "local"), 2, "share the work"),
        (("--shard", "1/2", "--report", "r.json"), 2, "--report"),
        (("--shard", "1/2", "--fps", "30"), 1, "cannot be cut"),
    ],
)
def test_shares_that_make_no_sense(
    tmp_path: Path, tiny_style_path: Path, more: tuple[str, ...], code: int, word: str
) -> None:
    film = noise_film(tmp_path / "in.mp4", 4)
    done = stylecam("video", film, "-o", tmp_path / "out.mp4", "--style", tiny_style_path, *more)
    assert done.code == code
    assert word in " ".join(done.err.split())
    assert sorted(tree(tmp_path)) == ["in.mp4"]


class Here:
    """What Ray's pool of actors is to `paint_all`, with threads in this process."""

    def __init__(self, workers: list[Worker]) -> None:
        self._free, self._jobs, self._came = workers, [], 0  # type: ignore[var-annotated]

    def submit(self, start: Any, value: Any) -> None:
        self._jobs.append((start, value))

    def has_next(self) -> bool:
        return bool(self._jobs)

    def get_next_unordered(self) -> Any:
        """Do the newest job first, and each with another worker."""
        start, value = self._jobs.pop()
        self._came += 1
        return start(_Remote(self._free[self._came % len(self._free)]), value)


class _Remote:
    """A worker whose methods are called through `.remote`, each in a thread of its own."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._worker, name)

        class Call:
            @staticmethod
            def remote(*values: Any) -> Any:
                results: list[Any] = []
                thread = threading.Thread(target=lambda: results.append(method(*values)))
                thread.start()
                thread.join(60)
                return results[0]

        return Call


@pytest.fixture
def workers(tiny_style_path: Path) -> list[Worker]:
    return [Worker(Choice(str(tiny_style_path), engine="onnxruntime", device="cpu")) for _ in range(2)]


@pytest.mark.slow
def test_workers_share_films_out(tmp_path: Path, workers: list[Worker], tiny_style_path: Path) -> None:
    films = [moving_film(tmp_path / f"{name}.mp4", 60, sound=True) for name in "ab"]
    (tmp_path / "bad.mp4").write_text("no film")
    out = tmp_path / "out"
    out.mkdir()
    todo = [Task(str(film), str(out / film.name)) for film in films]
    todo.append(Task(str(tmp_path / "bad.mp4"), str(out / "bad.mp4")))
    todo.append(Task(str(films[0]), str(out / "fast.mp4"), fps=Fraction(30)))
    said: list[str] = []
    steps = list(paint_all(todo, Here(workers), said.append, workers=2, resume=False))
    done: dict[str, Done] = {Path(film.task.target).name: film for *_, film in steps if film}
    assert sorted(done) == ["a.mp4", "b.mp4", "bad.mp4", "fast.mp4"]
    assert [done[name].frames for name in ("a.mp4", "b.mp4", "bad.mp4")] == [60, 60, 0]
    assert isinstance(done["bad.mp4"].error, StylecamError)
    assert steps[-1][0] == steps[-1][1] == 60 + 60 + done["fast.mp4"].frames
    assert any("cannot be cut" in line for line in said)
    common = ("--style", tiny_style_path, "--engine", "onnxruntime", "--device", "cpu")
    for name, more in (("a.mp4", ()), ("fast.mp4", ("--fps", "30"))):
        alone = tmp_path / f"alone-{name}"
        assert stylecam("video", films[0], "-o", alone, *common, *more).code == 0
        assert_same(alone, out / name)
    assert sorted(tree(out)) == ["a.mp4", "b.mp4", "fast.mp4"]


def test_one_worker_finds_the_lanes_for_all(tmp_path: Path, tiny_style: Style, tiny_style_path: Path) -> None:
    worker = Worker(Choice(str(tiny_style_path), engine="openvino"))
    task = Task(str(moving_film(tmp_path / "in.mp4", 30)), str(tmp_path / "out.mp4"))
    assert worker.share_threads(task) == 1, "a short film is not measured"
    assert worker.share_threads(replace(task, source=str(tmp_path / "none.mp4"))) == 1
    with open_engine(tiny_style, "openvino") as engine:
        lanes = engine.lane_counts((96, 64))[-1]
    for number in (lanes, 1):
        assert worker.share_threads(replace(task, lanes=number)) == number


def test_a_worker_without_a_net_says_why(tmp_path: Path) -> None:
    found = Worker(Choice(str(tmp_path / "none.onnx"))).figures()
    assert isinstance(found, StylecamError)


def test_names_hold_on_every_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    film = noise_film(tmp_path / "in.mp4", 2)
    task = settled(Task("in.mp4", "out/"))
    assert (task.source, task.target) == (str(film), f"{tmp_path / 'out'}/")
    assert settled(Task("http://127.0.0.1/x.mp4", "out.mp4")).source == "http://127.0.0.1/x.mp4"
    with pytest.raises(SinkOpenError, match="no pipe"):
        settled(Task("in.mp4", "-"))
