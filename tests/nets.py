"""Nets, checkpoints and photographs made from nothing: no training, no download."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from stylecam.frames import Pixels
from stylecam.neural.checkpoint import Checkpoint
from stylecam.neural.options import Objective
from stylecam.neural.transformer import NetSpec, StyleNet, build_net

MakeFile: TypeAlias = Callable[[str, int], Path]
"""Of a kind of net and a number of styles, a file."""

GRAM_SIDES = {"relu1_2": 8, "relu2_2": 12}
KINDS = ("full", "fast")
NAMES = ("one", "two", "three")
"""What the styles of a net of several are called."""

THIRDS = [0.2, 0.5, 0.3]


def make_net(
    width: float = 0.25, styles: int = 1, upsampling: str = "nearest", seed: int = 0, kind: str = "full"
) -> StyleNet:
    """A net whose norms scale and shift too, so that none of them can be left out unnoticed.

    Of kind "cells" it is a fast net of one grid without noise, as earlier versions trained them.
    """
    torch.manual_seed(seed)
    named, grids = "fast" if kind == "cells" else kind, 2 if kind == "fast" else 1
    net = build_net(NetSpec(named, width, styles, upsampling, grids, noise=kind != "cells"))
    for name, parameter in net.named_parameters():
        if "norm.weight" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        elif "norm.bias" in name:
            torch.nn.init.normal_(parameter, 0, 0.3)
    # Before training the painting is nearly grey: mistakes in colour would drown in rounding.
    paint = net.get_submodule("paint")
    weight, bias = paint.get_parameter("weight"), paint.get_parameter("bias")
    torch.nn.init.normal_(weight, 0, weight[0].numel() ** -0.5)
    torch.nn.init.normal_(bias, 0, 0.3)
    return net.eval().requires_grad_(False)


def make_checkpoint(styles: int = 1, seed: int = 0, kind: str = "full") -> Checkpoint:
    net = make_net(styles=styles, seed=seed, kind=kind)
    grams = {}
    for layer, side in GRAM_SIDES.items():
        features = torch.randn(styles, side, 50)
        grams[layer] = features @ features.mT / 50
    return Checkpoint(
        spec=net.spec,
        net=net.state_dict(),
        step=7,
        objective=Objective(
            content_layer="relu2_2", style_layers=tuple(grams), style_size=64,
            style_weight=(5.0, 7.0, 11.0)[:styles],
        ),
        grams=grams,
        about={
            **describe(styles), "style": "tiny", "licence": "CC0",
            "training": {"steps": 7, "batch": 2, "crop": 64, "data": "noise", "seed": 0,
                         "seconds": 1, "held_out": ["a.png"]},
        },
    )  # fmt: skip


def describe(styles: int) -> dict[str, Any]:
    """What a model card says of one painting, or of several."""
    if styles == 1:
        return {"title": "Tiny", "painter": "Nobody", "year": "1889"}
    each = [
        {"style": name, "title": name.title(), "painter": "Nobody", "year": f"188{place}"}
        for place, name in enumerate(NAMES[:styles])
    ]
    return {"styles": each}


def with_half_weights(net: StyleNet) -> StyleNet:
    """The net that a weights file holds: its numbers rounded to half precision, computed with in fp32."""
    rounded = build_net(net.spec)
    rounded.load_state_dict({name: value.half().float() for name, value in net.state_dict().items()})
    return rounded.eval().requires_grad_(False)


def paint(net: StyleNet, frames: Pixels, mix: list[float] | None = None) -> Pixels:
    """What a net for RGB makes of BGR frames, by the plainest way: the truth for every file and engine."""
    rgb = torch.from_numpy(frames[..., ::-1].copy()).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        painted: Tensor = net(rgb, None if mix is None else torch.tensor([mix]))
    pixels: Pixels = painted.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()[..., ::-1]
    return pixels


def evaluate(model: onnx.ModelProto, frames: Pixels, mix: list[float] | None = None) -> Pixels:
    """Run the graph as ONNX defines it, bytes and all."""
    inputs = {"frames": frames} | ({} if mix is None else {"style": np.array([mix], np.float32)})
    return np.asarray(*ReferenceEvaluator(model).run(["stylized"], inputs))


def differences(one: onnx.ModelProto, other: onnx.ModelProto, shape: tuple[int, ...], *mix: float) -> int:
    """How far two graphs' paintings of the same noise, `shape` (N, H, W), are apart at most, of 255."""
    frames = noise(*shape, 3)
    return distance(*(evaluate(model, frames, list(mix) or None) for model in (one, other)))


def operations(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def kernel_shapes(model: onnx.ModelProto, kind: str = "Conv") -> list[tuple[int, ...]]:
    """Of every convolution of that kind, those of the fixed noise among them."""
    known = {init.name: init for init in model.graph.initializer}
    stored = (node.input[1].removesuffix(".fp32") for node in model.graph.node if node.op_type == kind)
    return [numpy_helper.to_array(known[name]).shape for name in stored]


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def distance(a: Pixels, b: Pixels) -> int:
    """The largest difference of two arrays of the same shape, of 255."""
    assert a.shape == b.shape
    assert a.dtype == b.dtype == np.uint8
    return int(np.abs(a.astype(int) - b).max())


def psnr_db(a: Pixels, b: Pixels) -> float:
    assert a.shape == b.shape
    return float(10 * np.log10(255**2 / max(np.square(a.astype(float) - b).mean(), 1e-9)))


def write_photos(folder: Path, count: int, size_wh: tuple[int, int] = (80, 72)) -> list[Path]:
    """Photographs that differ: coarse noise, enlarged, in PNG files that sort by number."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"photo{index:02d}.png" for index in range(count)]
    for index, file in enumerate(files):
        cv2.imwrite(str(file), cv2.resize(noise(9, 10, 3, seed=index), size_wh))
    return files
