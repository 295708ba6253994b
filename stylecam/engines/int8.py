"""Rewrite a weights file's graph so that a CPU computes most of it in whole numbers of eight bits.

Post-training quantisation (Jacob et al. 2018) without any pictures to calibrate on: what goes into a
convolution comes out of instance norms, whose own numbers tell how far it spreads. The first and the last
convolution see pixels and paint them; they stay as they are.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

Floats: TypeAlias = NDArray[np.float32]

RECTIFIED_SIGMAS = 8.0
"""How many standard deviations of a rectified norm the bytes reach. Chosen on photographs: 6 is half a
decibel worse, 4 four."""

SUM_SIGMAS = 6.0
"""The same of a sum of norms, whose peaks seldom meet; 4 is up to ten decibels worse, 8 alike."""

LARGEST_WEIGHT = 63
"""Seven bits: a CPU without VNNI adds two products in sixteen bits, which hold 2 * 255 * 63 and not
2 * 255 * 127. It cost six of the gallery's nets at most 0.6 dB."""


def to_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose inner convolutions have bytes as inputs and weights, with a scale for each channel.

    Bytes are marked as ONNX does it (QuantizeLinear and DequantizeLinear around each convolution); the
    library that runs the graph joins them to integer kernels. A `style` that is a constant narrows
    the scales down, as an input it leaves room for every mix.
    """
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    _Rewriter(rewritten.graph).rewrite()
    return rewritten


class _Rewriter:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.makers = {name: node for node in graph.node for name in node.output}
        self.known = {init.name: init for init in graph.initializer}
        self.nodes: list[NodeProto] = []

    def rewrite(self) -> None:
        convolutions = [node for node in self.graph.node if node.op_type == "Conv"]
        spreads = {conv.input[0]: self._spread(conv.input[0]) for conv in convolutions[:-1]}
        for node in self.graph.node:
            padded = spreads.get(node.output[0]) if node.op_type == "Pad" else None
            if padded:  # bytes are padded, not numbers four times as large
                node.input[0] = self._through_bytes(node.input[0], *padded)
            wide = spreads.get(node.input[0]) if node.op_type == "Conv" else None
            if wide:
                node.input[1] = self._weights_in_bytes(node.input[1])
                if self.makers[node.input[0]].op_type != "Pad":
                    node.input[0] = self._through_bytes(node.input[0], *wide)
            self.nodes.append(node)
        used = {name for node in self.nodes for name in node.input} | {
            each.name for each in self.graph.output
        }
        kept = [node for node in self.nodes if used & set(node.output)]
        del self.graph.node[:]
        self.graph.node.extend(kept)

    def _spread(self, name: str) -> tuple[float, bool] | None:
        """Return the largest magnitude worth keeping of a value, and whether it has a sign; None: unknown."""
        found = self._moments(name)
        if found is None:
            return None
        variance, shift, signed = found
        sigmas = SUM_SIGMAS if signed else RECTIFIED_SIGMAS
        return float((sigmas * np.sqrt(variance) + shift).max()), signed

    def _moments(self, name: str) -> tuple[Floats, Floats, bool] | None:
        """Return each channel's variance and shift, at most, and whether it has a sign."""
        node = self.makers[name]
        if node.op_type == "InstanceNormalization":
            return self._learned(node.input[1]) ** 2, self._learned(node.input[2]), True
        if node.op_type in ("Pad", "Resize"):
            return self._moments(node.input[0])
        if node.op_type == "DepthToSpace":  # from torch: the cells of one channel lie behind each other
            found = self._moments(node.input[0])
            cells = helper.get_node_attr_value(node, "blocksize") ** 2
            return found and (*(part.reshape(-1, cells).max(1) for part in found[:2]), found[2])
        if node.op_type == "Relu":
            found = self._moments(node.input[0])
            return found and (*found[:2], False)
        if node.op_type == "Add":
            one, other = (self._moments(part) for part in node.input)
            return one and other and (one[0] + other[0], one[1] + other[1], True)
        return None

    def _learned(self, name: str) -> Floats:
        """Return the magnitudes of a norm's numbers, for several styles of the mix or the largest."""
        if name in self.known:
            return np.abs(self._array(name))
        node = self.makers[name]
        if node.op_type != "MatMul":  # casts, and the choice of the one row there is
            return self._learned(node.input[0])
        each = self._array(node.input[1])
        style = node.input[0]
        found: Floats = np.abs(self._array(style) @ each)[0] if style in self.known else np.abs(each).max(0)
        return found

    def _array(self, name: str) -> Floats:
        stored = name if name in self.known else self.makers[name].input[0]
        return numpy_helper.to_array(self.known[stored]).astype(np.float32)

    def _through_bytes(self, name: str, largest: float, signed: bool) -> str:
        """Turn a value into bytes and back; return the name under which it comes out."""
        kind = np.int8 if signed else np.uint8
        scale = self._constant(f"{name}.scale", np.float32(largest / np.iinfo(kind).max))
        zero = self._constant(f"{name}.zero", kind(0))
        self.nodes += [
            helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}.bytes"]),
            helper.make_node("DequantizeLinear", [f"{name}.bytes", scale, zero], [f"{name}.rounded"]),
        ]
        return f"{name}.rounded"

    def _weights_in_bytes(self, name: str) -> str:
        """Store a kernel (outputs, inputs, height, width) as bytes, scaled for each output."""
        kernel = self._array(name)
        scale = np.maximum(np.abs(kernel).max((1, 2, 3)) / LARGEST_WEIGHT, np.finfo(np.float32).tiny)
        rounded = np.round(kernel / scale[:, None, None, None]).astype(np.int8)
        parts = {"bytes": rounded, "scale": scale, "zero": np.zeros(len(scale), np.int8)}
        inputs = [self._constant(f"{name}.{part}", array) for part, array in parts.items()]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}.rounded"], axis=0))
        return f"{name}.rounded"

    def _constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name
