"""The ONNX graph of a net."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from stylecam.neural.deploy import DeployableNet
from stylecam.neural.transformer import StyleNet


def to_onnx(net: StyleNet) -> onnx.ModelProto:
    """Return the graph of a net, with its learned numbers as fp32 initializers called net.*."""
    deployable = DeployableNet(net).eval()
    args, shapes = example(net.spec.styles)
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about its insides
        program = torch.onnx.export(
            deployable, args, dynamo=True, dynamic_shapes=shapes, external_data=False, verbose=False,
            input_names=list(shapes), output_names=["stylized"],
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    _name_dimensions(model)
    _forget_traces(model)
    _restore_shared(model, deployable)
    return model


def example(styles: int) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """Return arguments to trace a net of so many styles with, and by name which of their sizes are free.

    The batch is 2, since the exporters take a 1 for a constant.
    """
    auto = torch.export.Dim.AUTO
    frames = torch.zeros(2, 66, 98, 3, dtype=torch.uint8)
    shapes: dict[str, Any] = {"frames": {0: auto, 1: auto, 2: auto}}
    if styles == 1:
        return (frames,), shapes
    return (frames, torch.ones(1, styles) / styles), shapes | {"style": None}


def _name_dimensions(model: onnx.ModelProto) -> None:
    """Say that what comes out is of the size that went in; the exporter writes formulas."""
    for value in (model.graph.input[0], model.graph.output[0]):
        for dim, name in zip(value.type.tensor_type.shape.dim, ("N", "H", "W"), strict=False):
            dim.dim_param = name
    del model.graph.value_info[:]


def _forget_traces(model: onnx.ModelProto) -> None:
    """Take out the exporter's stack traces: a third of the graph, with this machine's paths in it."""
    for part in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]


def _restore_shared(model: onnx.ModelProto, deployable: nn.Module) -> None:
    """Add the initializers that the exporter merged because their numbers were equal."""
    present = {init.name for init in model.graph.initializer}
    for name, value in deployable.state_dict().items():
        if name not in present:
            model.graph.initializer.append(numpy_helper.from_array(value.numpy(), name))


def store_half(model: onnx.ModelProto) -> None:
    """Store the learned numbers in half precision, each with a Cast to fp32 behind it.

    Engines fold the casts when they load the file, so this halves the file and costs no time.
    """
    casts = []
    for init in model.graph.initializer:
        if init.name.startswith("net."):
            half = numpy_helper.to_array(init).astype(np.float16)
            init.CopyFrom(numpy_helper.from_array(half, init.name))
            casts.append(helper.make_node("Cast", [init.name], [f"{init.name}.fp32"], to=TensorProto.FLOAT))
    stored = {cast.input[0] for cast in casts}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name in stored:
                node.input[place] = f"{name}.fp32"
    used = {name for node in model.graph.node for name in node.input}
    nodes = [*(cast for cast in casts if cast.output[0] in used), *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
