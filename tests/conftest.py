"""Nets made from nothing, and user folders of their own, for every test."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2  # before av, wherever a test imports that
import nets
import pytest
import torch
from filelock import FileLock
from nets import MakeFile, make_checkpoint, noise, write_photos
from training import Make, save_teacher

import stylecam
from stylecam.neural.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from stylecam.neural.export import export
from stylecam.neural.options import Objective, TrainOptions
from stylecam.neural.vgg import TORCHVISION, Vgg
from stylecam.styles import Style, read_style

pytest.register_assert_rewrite("painting")  # so that it says which frames are unlike

# A shell's background job ignores Ctrl-C, and so would every program that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

DAY_S = 24 * 3600

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
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run that all its processes (pytest-xdist's workers) see."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def nets_folder(pytestconfig: pytest.Config, shared_folder: Path) -> Path:
    """A folder of tiny nets, kept from run to run until what makes them is changed."""
    if not hasattr(pytestconfig, "cache"):  # -p no:cacheprovider
        return shared_folder
    package = Path(stylecam.__file__).parent
    sources = [*sorted((package / "neural").glob("*.py")), package / "styles.py", Path(nets.__file__)]
    made_by = sha256(b"".join(source.read_bytes() for source in sources))
    made_by.update(" ".join(version(name) for name in ("torch", "onnx", "onnxscript")).encode())
    folders = pytestconfig.cache.mkdir("tiny-nets")
    with FileLock(shared_folder / "nets.lock"):
        folder = folders / made_by.hexdigest()[:16]
        folder.mkdir(exist_ok=True)
        os.utime(folder)
        for other in folders.iterdir():
            if time.time() - other.stat().st_mtime > DAY_S:  # none that a run still going on may use
                shutil.rmtree(other, ignore_errors=True)
    return folder


@pytest.fixture(scope="session")
def make_ckpt(nets_folder: Path) -> MakeFile:
    """Write the checkpoint of a tiny net, of a kind and for so many styles, when first asked for."""

    @cache
    def make(kind: str, styles: int) -> Path:
        path = nets_folder / f"{kind}{styles}" / "tiny.ckpt"
        path.parent.mkdir(exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.exists():
                save_checkpoint(make_checkpoint(styles, kind=kind), path)
        return path

    return make


@pytest.fixture(scope="session")
def make_onnx(make_ckpt: MakeFile) -> MakeFile:
    """Export what `make_ckpt` makes, into a weights file beside it; that takes seconds."""

    @cache
    def make(kind: str, styles: int) -> Path:
        checkpoint = make_ckpt(kind, styles)
        path = checkpoint.with_name("tiny.onnx" if styles == 1 else "tinies.onnx")
        with FileLock(f"{path}.lock"):
            return path if path.exists() else export(str(checkpoint), path)

    return make


@pytest.fixture
def kind() -> str:
    """The kind of net that all fixtures called tiny are about; some files of tests go through both."""
    return "full"


@pytest.fixture
def tiny_checkpoint_path(make_ckpt: MakeFile, kind: str) -> Path:
    return make_ckpt(kind, 1)


@pytest.fixture
def tiny_checkpoint(tiny_checkpoint_path: Path) -> Checkpoint:
    """A quarter-width net with random parameters, as read from its file."""
    return load_checkpoint(tiny_checkpoint_path)


@pytest.fixture
def tiny_style_path(make_onnx: MakeFile, kind: str) -> Path:
    """The weights file tiny.onnx, exported from `tiny_checkpoint`."""
    return make_onnx(kind, 1)


@pytest.fixture
def tiny_style(tiny_style_path: Path) -> Style:
    return read_style(tiny_style_path)


@pytest.fixture
def tiny_styles_path(make_onnx: MakeFile, kind: str) -> Path:
    """A weights file like `tiny_style_path`, of a net that carries three styles."""
    return make_onnx(kind, 3)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, 8)
    return folder


@pytest.fixture(scope="session")
def painting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("paintings") / "Waves.png"
    cv2.imwrite(str(path), cv2.resize(noise(12, 16, 3, seed=99), (64, 48)))
    return path


@pytest.fixture(scope="session")
def objective(vgg_file: Path) -> Objective:
    return Objective(
        vgg=str(vgg_file), content_layer="relu2_2", style_layers=("relu1_2", "relu2_2"), style_size=64
    )


@pytest.fixture
def make(photos: Path, painting: Path, objective: Objective, tmp_path: Path) -> Make:
    basic = TrainOptions(
        style_images=(painting,), content_dir=photos, out_dir=tmp_path / "out", name="waves", steps=6,
        batch=1, crop=64, width=0.1, objective=objective, held_out=2, device="cpu", precision="fp32",
    )  # fmt: skip

    def make_options(**changes: Any) -> TrainOptions:
        aims = {key: changes.pop(key) for key in list(changes) if key in Objective.__dataclass_fields__}
        return replace(basic, objective=replace(objective, **aims), **changes)

    return make_options


@pytest.fixture
def teacher(objective: Objective, tmp_path: Path) -> str:
    """The checkpoint of a tiny full net of three styles."""
    return save_teacher(tmp_path / "teacher.ckpt", objective, 3)
