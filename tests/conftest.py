"""Nets made from nothing, and user folders of their own, for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2  # noqa: F401  before av, wherever a test imports that
import pytest
import torch
from nets import make_checkpoint

from stylecam.neural.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from stylecam.neural.export import export
from stylecam.neural.vgg import TORCHVISION, Vgg
from stylecam.styles import Style, read_style

REAL_CACHE = os.environ.get("XDG_CACHE_HOME")


@pytest.fixture(scope="session", autouse=True)
def user_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Point the user's cache and data folders at an empty one, so that no test touches the real ones."""
    home = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        patch.setenv("XDG_DATA_HOME", str(home / "data"))
        yield home


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Nets this small wait longer for a second thread than they compute."""
    torch.set_num_threads(1)


@pytest.fixture
def real_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the user's own cache folder after all: for what would take a long download."""
    if REAL_CACHE is None:
        monkeypatch.delenv("XDG_CACHE_HOME")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", REAL_CACHE)


@pytest.fixture(scope="session")
def vgg_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VGG16 with random numbers, under torchvision's names."""
    torch.manual_seed(0)
    state = {}
    for name, parameter in Vgg("vgg16", TORCHVISION).state_dict().items():
        fan_in = parameter[0].numel() if parameter.dim() > 1 else 100
        state[name] = torch.randn(parameter.shape) * (2 / fan_in) ** 0.5
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="session")
def tiny_checkpoint_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.ckpt"
    save_checkpoint(make_checkpoint(), path)
    return path


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_checkpoint_path: Path) -> Checkpoint:
    """A quarter-width net with random parameters, as read from its file."""
    return load_checkpoint(tiny_checkpoint_path)


@pytest.fixture(scope="session")
def tiny_style_path(tiny_checkpoint_path: Path) -> Path:
    """The weights file tiny.onnx, exported from `tiny_checkpoint`."""
    return export(str(tiny_checkpoint_path), tiny_checkpoint_path.with_name("tiny.onnx"))


@pytest.fixture(scope="session")
def tiny_style(tiny_style_path: Path) -> Style:
    return read_style(tiny_style_path)


@pytest.fixture(scope="session")
def tiny_styles_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file like `tiny_style_path`, of a net that carries three styles."""
    checkpoint = tmp_path_factory.mktemp("tinies") / "tinies.ckpt"
    save_checkpoint(make_checkpoint(styles=3), checkpoint)
    return export(str(checkpoint), checkpoint.with_name("tinies.onnx"))
