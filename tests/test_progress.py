from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from nets import distance, make_net, paint, write_photos

from stylecam.errors import TrainError
from stylecam.neural.progress import Progress, sample_grid
from stylecam.neural.train import TrainStep
from stylecam.pictures import read_picture


def a_step(number: int) -> TrainStep:
    return TrainStep(number, 9, {"content": 1.0, "style": 2.0, "tv": 0.5}, 1e-3, 0.1, 0, 0, 0, "cpu", "fp32")


def steps_in(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_each_step_is_a_line_of_json(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "out", "a", 0)
    progress.log(a_step(1))
    line = json.loads((tmp_path / "out" / "a.jsonl").read_text())
    assert line == {"step": 1, "total": 3.5, "content": 1, "style": 2, "tv": 0.5, "lr": 0.001, "step_s": 0.1}


def test_a_resumed_log_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    progress = Progress(tmp_path, "a", 0)
    for number in range(1, 7):
        progress.log(a_step(number))
    Progress(tmp_path, "a", 4).log(a_step(5))
    assert steps_in(tmp_path / "a.jsonl") == [1, 2, 3, 4, 5]


def test_a_log_stays_until_a_run_from_the_beginning_has_a_step_to_tell_of(tmp_path: Path) -> None:
    for number in (1, 2):
        Progress(tmp_path, "a", number - 1).log(a_step(number))
    anew = Progress(tmp_path, "a", 0)
    assert steps_in(tmp_path / "a.jsonl") == [1, 2]
    anew.log(a_step(1))
    assert steps_in(tmp_path / "a.jsonl") == [1]


def test_a_line_cut_off_by_a_power_failure_is_dropped(tmp_path: Path) -> None:
    Progress(tmp_path, "a", 0).log(a_step(1))
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write('{"step": 2, "tot')
    Progress(tmp_path, "a", 1).log(a_step(2))
    assert steps_in(tmp_path / "a.jsonl") == [1, 2]


def test_it_draws_the_losses_and_a_grid(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 2)
    progress = Progress(tmp_path, "a", 0)
    for number in (1, 2):
        progress.log(a_step(number))
    progress.draw(make_net(), photos, torch.device("cpu"))
    plot = cv2.imread(str(tmp_path / "a-loss.png"))
    assert plot is not None
    assert plot.std() > 5
    assert read_picture(tmp_path / "a-samples" / "step-000002.jpg").bgr.shape == (512, 512, 3)


def test_the_grid_shows_the_photographs_above_each_style(tmp_path: Path) -> None:
    photos = write_photos(tmp_path, 2, (64, 64))
    net = make_net(styles=2)
    grid = sample_grid(net, photos, torch.device("cpu"), side=64)
    assert grid.shape == (3 * 64, 2 * 64, 3)
    originals = np.stack([read_picture(photo).bgr for photo in photos])
    assert distance(grid[:64, 64:], originals[1]) == 0
    assert distance(grid[64:128, :64], paint(net, originals, [1.0, 0])[0]) <= 1
    assert distance(grid[128:, 64:], paint(net, originals, [0, 1.0])[1]) <= 1


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainError, match="cannot be written"):
        Progress(tmp_path / "file" / "out", "a", 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no disk that is always full")
@pytest.mark.parametrize("name", ["a.jsonl", "a-loss.png"])
def test_a_full_disk_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/dev/full")
    progress = Progress(tmp_path, "a", 0)

    def write() -> None:
        progress.log(a_step(1))
        progress.draw(make_net(), [], torch.device("cpu"))

    with pytest.raises(TrainError, match=r"cannot be written: .*No space left") as caught:
        write()
    assert "--resume" in caught.value.hint


def test_a_folder_of_samples_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a-samples").touch()
    progress = Progress(tmp_path, "a", 0)
    progress.log(a_step(1))
    with pytest.raises(TrainError, match="cannot be written"):
        progress.draw(make_net(), write_photos(tmp_path / "photos", 1), torch.device("cpu"))
