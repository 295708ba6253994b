"""What a live run leaves on the disk when somebody asks: snapshots and recordings."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import noise
from liverun import SIZE, Camera, Keeper, Make, live_runs, paint_one
from webpage import wait_for

from stylecam.live import snapshots
from stylecam.pictures import Picture, write_picture
from stylecam.styles import Style


@pytest.fixture
def make(tiny_style: Style, tmp_path: Path) -> Iterator[Make]:
    with live_runs(tiny_style, tmp_path) as build:
        yield build


def test_a_snapshot_is_written_beside_the_work(make: Make, tmp_path: Path) -> None:
    run = make(Camera(), [])
    run.painter.controls.ask_snapshot()
    shown = paint_one(run, noise(SIZE))
    deadline = time.monotonic() + 10
    while not run.messages.last and time.monotonic() < deadline:
        time.sleep(0.01)
    (file,) = tmp_path.glob("stylecam-*.png")
    assert np.array_equal(np.asarray(cv2.imread(str(file))), shown)


def test_snapshots_in_the_same_second_are_files_of_their_own(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, write = threading.Event(), write_picture

    def write_late(path: Path, picture: Picture) -> None:
        gate.wait(60)
        write(path, picture)

    monkeypatch.setattr(snapshots, "write_picture", write_late)
    run = make(Camera(), [])
    for seed in range(4):
        run.painter.controls.ask_snapshot()
        paint_one(run, noise(SIZE, seed))
    gate.set()
    run.painter.finish()
    run.painter.finish()
    kept = {np.asarray(cv2.imread(str(file))).tobytes() for file in tmp_path.glob("stylecam-*.png")}
    assert len(kept) == 2, "the first, and for those asked for while it was written the last"


def test_a_snapshot_asked_for_at_the_end_is_kept(make: Make, tmp_path: Path) -> None:
    run = make(Camera(10**6), [Keeper()])
    run.painter.follow_up = lambda: None  # type: ignore[method-assign]
    run.painter.controls.ask_snapshot()
    with closing(run.steps()) as steps:
        while not run.painter.meter.frames:
            next(steps)
    wait_for(lambda: list(tmp_path.glob("stylecam-*.png")), "a snapshot")


def test_a_recording_begins_and_ends_on_the_way(make: Make) -> None:
    watched, taken = Keeper(), [Keeper(), Keeper()]
    left = iter([("one", taken[0]), ("two", taken[1])])
    run = make(Camera(10**6), [watched], open_recording=lambda: next(left))
    controls = run.painter.controls
    with closing(run.steps()) as steps:
        for sink in taken:
            controls.change(recording=True)
            while len(sink.kept) < 3:
                next(steps)
            controls.change(recording=False)
            next(steps)
            next(steps)
            count = len(sink.kept)
            seen = len(watched.kept)
            while len(watched.kept) < seen + 3:
                next(steps)
            assert len(sink.kept) == count
    assert [text.split(" ")[0] for text in run.messages.last] == ["recording", "recorded:"] * 2


def test_a_recording_without_a_frame_is_told(make: Make) -> None:
    run = make(Camera(10**6), [Keeper()], open_recording=lambda: ("take.mp4", Keeper()))
    controls = run.painter.controls
    controls.change(paused=True)
    with closing(run.steps()) as steps:
        for wanted in (True, False):
            controls.change(recording=wanted)
            next(steps)
            next(steps)
    assert list(run.messages.last) == ["recording into take.mp4", "nothing recorded: no frame came"]


def test_a_recording_begun_in_a_pause_begins_with_the_picture_that_is_held(make: Make) -> None:
    watched, kept = Keeper(), Keeper()
    run = make(Camera(10**6), [watched], open_recording=lambda: ("take.mp4", kept))
    controls = run.painter.controls
    with closing(run.steps()) as steps:
        while not watched.kept:
            next(steps)
        controls.change(paused=True)
        seen = -1
        while seen != run.painter.meter.frames:  # one may be under way
            seen = run.painter.meter.frames
            time.sleep(0.05)
        controls.change(recording=True)
        while not kept.kept:
            next(steps)
        assert run.stats()["recording_s"] is not None
        controls.change(recording=False)
        while not run.recorded:
            next(steps)
    (held,), last = kept.kept, watched.kept[-1]
    assert np.array_equal(held.bgr, last.bgr)
    assert held.timestamp_s > last.timestamp_s, "what lies before the recording is not in it"
    assert run.stats()["recording_s"] is None
    assert [outlet.figures()["name"] for outlet in run.recorded] == ["take.mp4"]


def test_a_recording_that_breaks_off_is_told_and_the_run_goes_on(make: Make) -> None:
    watched, broken = Keeper(), Keeper(fail_at=2)
    run = make(Camera(10**6), [watched], open_recording=lambda: ("take.mp4", broken))
    controls = run.painter.controls
    with closing(run.steps()) as steps:
        controls.change(recording=True)
        while controls.settings.recording or len(run.messages.last) < 2:
            next(steps)
        seen = len(watched.kept)
        while len(watched.kept) < seen + 3:
            next(steps)
        assert not controls.settings.recording
    assert list(run.messages.last) == ["recording into take.mp4", "take.mp4 has stopped: the disk is full"]
    assert [outlet.name for outlet in run.outlets] == ["sink0"]
