"""Rewrite a weights file's graph so that its wide convolutions need half as many multiplications.

Winograd's minimal filtering, F(4, 3) of Lavin and Gray 2016 ("Fast algorithms for convolutional neural
networks", section 4), along the rows of a picture: six products give four neighbouring outputs of a kernel
three columns wide, where plain convolution takes twelve. Going there and back are a few additions for each
number, so it pays where a kernel has many channels and a CPU has little else but multiplications to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper

from stylecam.engines.graph import Floats, Graph

OUTPUTS, PRODUCTS = 4, 6

INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
"""Takes six neighbouring pixels to what the products are made of (the paper's B transposed)."""

KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
"""Takes three columns of a kernel to its part in the products (G)."""

LEAST_CHANNELS = 64
"""With 32 it was no faster."""


def halve_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that paints the same, but for rounding; what is not wide stays as it is.

    Meant for fp32: in half precision the transformed numbers would be too coarse.
    """
    graph = Graph(model)
    return graph.finish([new for node in graph.nodes for new in _instead_of(node, graph)])


def _instead_of(node: NodeProto, graph: Graph) -> Iterator[NodeProto]:
    kernel = _wide_kernel(node, graph)
    if kernel is None:
        yield node
    else:
        yield from _Rewriter(node, graph).filtered(kernel)


def _wide_kernel(node: NodeProto, graph: Graph) -> Floats | None:
    """Return the kernel (O, I, 3, 3) of a convolution that is worth it, None of any other node."""
    if not graph.is_plain_convolution(node) or len(node.input) > 2:
        return None
    kernel = graph.array(node.input[1])
    return kernel if kernel.shape[2:] == (3, 3) and min(kernel.shape[:2]) >= LEAST_CHANNELS else None


class _Rewriter:
    """Write what replaces one convolution; the values on the way are named after its output."""

    def __init__(self, node: NodeProto, graph: Graph) -> None:
        self.graph = graph
        self.source, self.out = node.input[0], node.output[0]
        self.nodes: list[NodeProto] = []

    def filtered(self, kernel: Floats) -> list[NodeProto]:
        """Return the nodes of a convolution with `kernel`, (O, I, 3, 3)."""
        parts = np.einsum("px,oiyx->poiy", KERNEL, kernel.astype(np.float64)).astype(np.float32)
        first, *pairs, last = (self._product(number, part) for number, part in enumerate(parts))
        near, near_odd = self._sum_and_difference("near", *pairs[:2])
        far, far_odd = self._sum_and_difference("far", *pairs[2:])
        columns = [
            self._sum("column0", first, near, far),
            self._sum("column1", near_odd, self._times("far_odd", far_odd, 2)),
            self._sum("column2", near, self._times("far", far, 4)),
            self._sum("column3", near_odd, self._times("far_odd", far_odd, 8), last),
        ]
        self._side_by_side(columns, len(kernel))
        return self.nodes

    def _product(self, number: int, part: Floats) -> str:
        """Multiply one mixture of six pixels, for every fourth, by a column (O, I, 3) of what was the kernel.

        Zeros to the right make up for a last four that is not whole; what comes of them is cut off.
        """
        taps = np.trim_zeros(INPUT[number], "b")
        mixture = np.broadcast_to(taps, (part.shape[1], 1, 1, taps.size))
        surplus = taps.size - 1 - (PRODUCTS - OUTPUTS)
        mixed = self._add(
            "Conv", f"mixed{number}", self.source, self._constant(f"taps{number}", mixture),
            group=part.shape[1], kernel_shape=[1, taps.size], strides=[1, OUTPUTS], pads=[0, 0, 0, surplus],
        )  # fmt: skip
        column = self._constant(f"part{number}", part[..., None])
        return self._add("Conv", f"product{number}", mixed, column, kernel_shape=[3, 1])

    def _side_by_side(self, columns: list[str], channels: int) -> None:
        """Lay four outputs beside each other, as many as there are pixels to paint.

        Libraries keep the channels of a pixel together: to them, four pixels' channels in one are no other
        layout than four pixels, and the first transposition costs nothing.
        """
        together = self._add("Concat", "together", *columns, axis=1)
        pixels = self._add("Transpose", "pixels", together, perm=[0, 2, 3, 1])
        shape = self._constant("pixels_shape", np.array([0, 0, -1, channels], np.int64))
        wide = self._add("Reshape", "wide", pixels, shape)
        padded = self._add("Shape", "padded_width", self.source, start=3, end=4)
        width = self._add("Sub", "width", padded, self._constant("padding", np.array([2], np.int64)))
        start, axis = (self._constant(name, np.array([at], np.int64)) for name, at in (("left", 0), ("x", 2)))
        whole = self._add("Slice", "whole", wide, start, width, axis)
        self.nodes.append(helper.make_node("Transpose", [whole], [self.out], perm=[0, 3, 1, 2]))

    def _sum_and_difference(self, name: str, one: str, other: str) -> tuple[str, str]:
        return self._sum(f"{name}_sum", one, other), self._add("Sub", f"{name}_difference", one, other)

    def _sum(self, name: str, first: str, *others: str) -> str:
        for number, other in enumerate(others):
            first = self._add("Add", f"{name}_{number}", first, other)
        return first

    def _times(self, name: str, value: str, factor: int) -> str:
        scale = self._constant(f"{name}_by_{factor}", np.float32(factor))
        return self._add("Mul", f"{name}_times_{factor}", value, scale)

    def _add(self, kind: str, name: str, *inputs: str, **told: Any) -> str:
        made = f"{self.out}.{name}"
        self.nodes.append(helper.make_node(kind, inputs, [made], **told))
        return made

    def _constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        return self.graph.constant(f"{self.out}.{name}", value)
