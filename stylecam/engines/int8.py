"""Rewrite a weights file's graph so that a CPU computes most of it in whole numbers of eight bits.

Post-training quantisation (Jacob et al. 2018) without any pictures to calibrate on: what goes into a
convolution comes out of instance norms, whose own numbers tell how far it spreads. Only the first
convolution, which sees pixels, stays as it is.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, helper

from stylecam.engines.graph import Floats, Graph

OUTPUTS_AXIS = {"Conv": 0, "ConvTranspose": 1}
"""Along which axis of a convolution's kernel its outputs lie."""

RECTIFIED_SIGMAS = 12.0
"""How many standard deviations of a rectified norm the bytes reach. Chosen on photographs and frames of
films: with 8 the fast nets are 1.5 dB better on the average, and full ones fall to 31."""

LAST_SIGMAS = 18.0
"""The same of what the last convolution paints from, where lamps and snow lie far out: at 12 one of the nine
full nets fell to 33 dB, and 24 costs a decibel more than this, on the average."""

SUM_SIGMAS = 6.0
"""The same of a sum of norms, whose peaks seldom meet; 4 is up to ten decibels worse, 8 alike."""

LARGEST_WEIGHT = 63
"""Seven bits: a CPU without VNNI adds two products in sixteen bits, which hold 2 * 255 * 63 and not
2 * 255 * 127. It cost six of the gallery's nets at most 0.6 dB."""


def to_int8(model: onnx.ModelProto, transposed: bool = True) -> onnx.ModelProto:
    """Return a copy whose convolutions but the first work on bytes, with a scale for each output of a kernel.

    Bytes are marked as ONNX does it (QuantizeLinear and DequantizeLinear around each convolution); the
    library that runs the graph joins them to integer kernels. A `style` that is a constant narrows
    the scales down, as an input it leaves room for every mix. `transposed` says whether that goes
    for transposed convolutions too.
    """
    return _Rewriter(model, transposed).rewrite()


class _Rewriter:
    def __init__(self, model: onnx.ModelProto, transposed: bool) -> None:
        self.graph = Graph(model)
        self.transposed = transposed
        self.nodes: list[NodeProto] = []

    def rewrite(self) -> onnx.ModelProto:
        spreads: dict[str, tuple[float, bool]] = {}
        inner: set[str] = set()
        convolutions = self._convolutions()
        for node in convolutions:
            reach = LAST_SIGMAS if node is convolutions[-1] else RECTIFIED_SIGMAS
            spread = self._spread(node.input[0], reach)
            if spread:
                spreads[self._first_reader(node).output[0]] = spread
                inner.add(node.output[0])
        for node in self.graph.nodes:
            if node.output[0] in spreads:
                node.input[0] = self._through_bytes(node.input[0], *spreads[node.output[0]])
            if node.output[0] in inner:
                node.input[1] = self._weights_in_bytes(node.input[1], OUTPUTS_AXIS[node.op_type])
            self.nodes.append(node)
        return self.graph.finish(self.nodes)

    def _convolutions(self) -> list[NodeProto]:
        """Return the convolutions that shall work on bytes if it is known how far their input spreads."""
        kinds = [kind for kind in OUTPUTS_AXIS if self.transposed or kind != "ConvTranspose"]
        return [node for node in self.graph.nodes if node.op_type in kinds]

    def _first_reader(self, node: NodeProto) -> NodeProto:
        """Return what reads a convolution's input first: bytes are padded, not numbers four times as long."""
        before = self.graph.makers[node.input[0]]
        return self._first_reader(before) if before.op_type == "Pad" else node

    def _spread(self, name: str, rectified: float) -> tuple[float, bool] | None:
        """Return the largest magnitude worth keeping of a value, and whether it has a sign; None: unknown.

        `rectified` is how many standard deviations of a rectified one that is.
        """
        found = self._moments(name)
        if found is None:
            return None
        variance, shift, signed = found
        sigmas = SUM_SIGMAS if signed else rectified
        return float((sigmas * np.sqrt(variance) + shift).max()), signed

    def _moments(self, name: str) -> tuple[Floats, Floats, bool] | None:
        """Return each channel's variance and shift, at most, and whether it has a sign."""
        node = self.graph.makers[name]
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
        if name in self.graph.known:
            return np.abs(self.graph.array(name))
        node = self.graph.makers[name]
        if node.op_type != "MatMul":  # casts, and the choice of the one row there is
            return self._learned(node.input[0])
        each = self.graph.array(node.input[1])
        style = node.input[0]
        if style in self.graph.known:
            each = (self.graph.array(style) @ each)[:1]
        largest: Floats = np.abs(each).max(0)
        return largest

    def _through_bytes(self, name: str, largest: float, signed: bool) -> str:
        """Turn a value into bytes and back; return the name under which it comes out."""
        kind = np.int8 if signed else np.uint8
        scale = self.graph.constant(f"{name}.scale", np.float32(largest / np.iinfo(kind).max))
        zero = self.graph.constant(f"{name}.zero", kind(0))
        self.nodes += [
            helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}.bytes"]),
            helper.make_node("DequantizeLinear", [f"{name}.bytes", scale, zero], [f"{name}.rounded"]),
        ]
        return f"{name}.rounded"

    def _weights_in_bytes(self, name: str, axis: int) -> str:
        """Store a kernel as bytes, scaled for each of the outputs that lie along `axis`."""
        kernel = self.graph.array(name)
        others = tuple(dim for dim in range(kernel.ndim) if dim != axis)
        largest = np.abs(kernel).max(others, keepdims=True)
        scale = np.maximum(largest / LARGEST_WEIGHT, np.finfo(np.float32).tiny)
        rounded = np.round(kernel / scale).astype(np.int8)
        parts = {"bytes": rounded, "scale": scale.ravel(), "zero": np.zeros(scale.size, np.int8)}
        inputs = [self.graph.constant(f"{name}.{part}", array) for part, array in parts.items()]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}.rounded"], axis=axis))
        return f"{name}.rounded"
