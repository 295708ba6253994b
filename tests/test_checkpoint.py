from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from nets import make_checkpoint, make_net

from stylecam.errors import TrainError
from stylecam.neural.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


def test_everything_comes_back(tmp_path: Path) -> None:
    saved = make_checkpoint(styles=3)
    save_checkpoint(saved, tmp_path / "a.ckpt")
    kept = load_checkpoint(tmp_path / "a.ckpt")
    for name in ("spec", "step", "objective", "about", "run", "optimizer", "scaler", "seconds"):
        assert getattr(kept, name) == getattr(saved, name)
    for name in ("net", "grams"):
        torch.testing.assert_close(dict(getattr(kept, name)), dict(getattr(saved, name)), rtol=0, atol=0)
    assert kept.sha256 == hashlib.sha256((tmp_path / "a.ckpt").read_bytes()).hexdigest()


def test_it_builds_its_net(tiny_checkpoint: Checkpoint) -> None:
    rgb = torch.rand(1, 3, 32, 32) * 255
    torch.testing.assert_close(tiny_checkpoint.build_net()(rgb), make_net()(rgb))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"no checkpoint .*gone\.ckpt"):
        load_checkpoint(tmp_path / "gone.ckpt")


@pytest.mark.parametrize("length", [0, 10, 5_000, 200_000])
def test_a_file_cut_off_is_refused(tmp_path: Path, tiny_checkpoint_path: Path, length: int) -> None:
    (tmp_path / "cut.ckpt").write_bytes(tiny_checkpoint_path.read_bytes()[:length])
    with pytest.raises(TrainError, match="is not a checkpoint"):
        load_checkpoint(tmp_path / "cut.ckpt")


@pytest.mark.parametrize("content", [{"net": {}}, {"format": 99}, [1, 2]])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(TrainError, match="no checkpoint of this version"):
        load_checkpoint(tmp_path / "other.ckpt")


def test_a_failed_write_leaves_the_old_one(tmp_path: Path, tiny_checkpoint_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    before = tiny_checkpoint_path.read_bytes()
    path.write_bytes(before)
    broken = make_checkpoint()
    broken.about = {"pickled in part, then": (letter for letter in "not")}
    with pytest.raises(Exception, match="generator"):
        save_checkpoint(broken, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="could not be written"):
        save_checkpoint(make_checkpoint(), tmp_path / "missing" / "a.ckpt")
