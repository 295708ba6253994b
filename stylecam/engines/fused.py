"""Rewrite a weights file's graph so that a CPU paints the same picture with fewer multiplications.

Four places cost more than they need. A convolution of a picture that was just doubled multiplies the
same pixel by several numbers that could have been added up before. One with three outputs leaves most
of a CPU's vector idle. Cells are laid out as pixels while each number still takes four bytes. And frames
are laid out as planes only to be laid out as pixels again for the first convolution. All have an equal
that costs less; only the rounding differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from stylecam.engines.graph import Floats, Graph

FRAMES = "frames"
"""What goes in, (N, H, W, 3)."""

EACH = ("Cast", "Tanh", "Mul", "Div", "Add", "Sub", "Round", "Clip")
"""Operations that take each number by itself, where what else goes in is a single one."""

FEW_OUTPUTS = 4
"""Four times as many fill a vector, which holds 8 to 16 numbers."""


def fuse(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that paints the same with less work; what is not made of such places stays as it is."""
    return _Rewriter(model).rewrite()


class _Rewriter:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = Graph(model)

    def rewrite(self) -> onnx.ModelProto:
        nodes = [new for node in self.graph.nodes for new in self._instead_of(node)]
        for node in nodes.copy():
            if node.op_type == "Cast" and helper.get_node_attr_value(node, "to") == TensorProto.UINT8:
                self._lay_out_bytes(nodes, node)
            if node.op_type == "Transpose" and node.input[0] == FRAMES:
                self._lay_out_planes(nodes, node)
        return self.graph.finish(nodes)

    def _instead_of(self, node: NodeProto) -> Iterator[NodeProto]:
        pad = self._maker(node.input[0]) if node.op_type == "Conv" else None
        if pad is None or pad.op_type != "Pad" or not self._is_plain(node, pad):
            yield node
            return
        kernel = self.graph.array(node.input[1])
        doubling = self._maker(pad.input[0])
        if doubling is not None and self._doubles(doubling) and kernel.shape[2:] == (3, 3):
            yield from self._transposed(node, doubling.input[0], kernel)
        elif len(kernel) <= FEW_OUTPUTS and kernel.shape[2] % 2 == 1:
            yield from self._by_cells(node, kernel)
        else:
            yield node

    def _maker(self, name: str) -> NodeProto | None:
        return self.graph.makers.get(name)

    def _is_plain(self, node: NodeProto, pad: NodeProto) -> bool:
        """Tell whether this is a reflection pad and a square convolution of stride 1 that keep the size."""
        if pad.input[1] not in self.graph.known or not self.graph.is_plain_convolution(node):
            return False
        side = self.graph.array(node.input[1]).shape[2]
        around = [0, 0, side // 2, side // 2]
        return (
            helper.get_node_attr_value(pad, "mode") == b"reflect"
            and list(self.graph.array(pad.input[1])) == around * 2
        )

    def _doubles(self, node: NodeProto) -> bool:
        """Tell whether a node repeats every pixel in both directions."""
        return (
            node.op_type == "Resize"
            and helper.get_node_attr_value(node, "mode") == b"nearest"
            and len(node.input) == 3
            and list(self.graph.array(node.input[2])) == [1, 1, 2, 2]
        )

    def _transposed(self, node: NodeProto, single: str, kernel: Floats) -> Iterator[NodeProto]:
        """Convolve and double in one: a transposed convolution, whose kernel is the other's sum of shifts.

        A doubled picture mirrored about its outermost pixel repeats that pixel: u[-1] = u[1] = x[0] = u[0].
        """
        out = node.output[0]
        around = self.graph.constant(f"{out}.around", np.array([0, 0, 1, 1] * 2, np.int64))
        yield helper.make_node("Pad", [single, around], [f"{out}.padded"], mode="edge")
        wide = self.graph.constant(f"{out}.kernel", doubling_kernel(kernel))
        inputs = [f"{out}.padded", wide, *node.input[2:]]
        yield helper.make_node(
            "ConvTranspose", inputs, [out], kernel_shape=[4, 4], strides=[2, 2], pads=[3] * 4
        )

    def _by_cells(self, node: NodeProto, kernel: Floats) -> Iterator[NodeProto]:
        """Convolve by strides of 2, to cells of 2 x 2 pixels laid behind each other (Shi et al. 2016).

        Inside a net every side is a multiple of 4 pixels, and the padding on both ends adds an even number.
        """
        out = node.output[0]
        wide = cell_kernel(kernel)
        inputs = [node.input[0], self.graph.constant(f"{out}.kernel", wide)]
        if len(node.input) > 2:
            bias = np.tile(self.graph.array(node.input[2]), 4)
            inputs.append(self.graph.constant(f"{out}.bias", bias))
        yield helper.make_node(
            "Conv", inputs, [f"{out}.painted"], kernel_shape=wide.shape[2:], strides=[2, 2]
        )
        yield helper.make_node("DepthToSpace", [f"{out}.painted"], [out], blocksize=2, mode="DCR")

    def _lay_out_bytes(self, nodes: list[NodeProto], cast: NodeProto) -> None:
        """Turn cells into pixels behind the cast to bytes, not before what is done to each number."""
        makers = {name: node for node in nodes for name in node.output}
        first = cast
        while (before := makers.get(first.input[0])) and self._acts_on_each(before):
            first = before
        if before is None or before.op_type != "DepthToSpace":
            return
        first.input[0], before.input[0] = before.input[0], f"{cast.output[0]}.cells"
        before.output[0], cast.output[0] = cast.output[0], before.input[0]
        nodes.remove(before)
        nodes.insert(nodes.index(cast) + 1, before)

    def _lay_out_planes(self, nodes: list[NodeProto], transpose: NodeProto) -> None:
        """Turn pixels into planes right before the first convolution, which works on pixels anyway.

        Where more than arithmetic and padding comes before that, as in a fast net, all stays as it is.
        """
        between: list[NodeProto] = []
        reader = transpose
        while reader is transpose or self._acts_on_each(reader) or self._pads_by_known(reader):
            readers = [node for node in nodes if reader.output[0] in node.input]
            if len(readers) != 1:
                return
            (reader,) = readers
            between.append(reader)
        between.pop()
        if reader.op_type != "Conv" or not between:
            return
        for pad in (node for node in between if node.op_type == "Pad"):
            ends = self.graph.array(pad.input[1]).astype(np.int64).reshape(2, 4)[:, [0, 2, 3, 1]]
            pad.input[1] = self.graph.constant(f"{pad.output[0]}.pixels", ends.flatten())
        between[0].input[0], transpose.input[0] = FRAMES, between[-1].output[0]
        reader.input[0] = transpose.output[0]
        nodes.remove(transpose)
        nodes.insert(nodes.index(reader), transpose)

    def _pads_by_known(self, node: NodeProto) -> bool:
        return node.op_type == "Pad" and len(node.input) == 2 and node.input[1] in self.graph.known

    def _acts_on_each(self, node: NodeProto) -> bool:
        others = node.input[1:]
        return node.op_type in EACH and all(
            name in self.graph.known and self.graph.array(name).size == 1 for name in others
        )


def doubling_kernel(kernel: Floats) -> Floats:
    """Return a kernel (O, I, 3, 3) for doubled pictures as a transposed one for single ones, (I, O, 4, 4)."""
    turned = kernel[:, :, ::-1, ::-1].swapaxes(0, 1)
    wide = np.zeros((*turned.shape[:2], 4, 4), np.float32)
    for y, x in product(range(2), repeat=2):
        wide[:, :, y : y + 3, x : x + 3] += turned
    return wide


def cell_kernel(kernel: Floats) -> Floats:
    """Return a kernel (O, I, k, k) as one that makes cells of 2 x 2 pixels, (4 O, I, k + 1, k + 1)."""
    outs, ins, side, _ = kernel.shape
    wide = np.zeros((2, 2, outs, ins, side + 1, side + 1), np.float32)
    for y, x in product(range(2), repeat=2):
        wide[y, x, :, :, y : y + side, x : x + side] = kernel
    return wide.reshape(4 * outs, ins, side + 1, side + 1)
