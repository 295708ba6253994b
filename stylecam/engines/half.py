"""Rewrite a weights file's graph for half precision, without torch.

General converters stumble over it: they take Resize's scales for data, or, with Resize left
out, cast the largest tensors of the net to and fro.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from stylecam.engines.graph import Graph

HALF_OPS = frozenset(
    ("Conv", "ConvTranspose", "Pad", "Relu", "Add", "Resize", "Tanh", "Mul", "Unsqueeze", "Reshape")
) | {"Transpose", "DepthToSpace"}
"""What runs in fp16. Instance norm does not: its sums over a frame pass 65504
(microsoft/onnxruntime issue 10079). Nor do the two ends, where bytes become -1..1 and back."""

_FLOAT_INPUTS = {"Conv": 3, "ConvTranspose": 3, "Add": 2, "Mul": 2}
"""How many leading inputs of an operator are data; 1 for all others (pads, scales and axes follow)."""


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that computes its convolutions in fp16; bytes still go in and come out.

    Casts stand only where the precision changes. The weights must have been stored by
    `stylecam export`, in fp16 with a Cast behind each, or in fp32.
    """
    return _Rewriter(model).rewrite()


class _Rewriter:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = Graph(model)
        self.model = self.graph.model
        self.nodes: list[NodeProto] = []
        self.halves: set[str] = set()
        self.cast: dict[tuple[str, int], str] = {}
        self.learned = {name: init for name, init in self.graph.known.items() if name.startswith("net.")}
        self.body = self._body()
        self.floats = self._floats()

    def _body(self) -> set[int]:
        """Return the indices of the nodes between the first convolution and the last Tanh."""
        kinds = [node.op_type for node in self.model.graph.node]
        first = next(i for i, kind in enumerate(kinds) if kind == "Pad")
        last = max(i for i, kind in enumerate(kinds) if kind == "Tanh")
        return set(range(first, last + 1))

    def _floats(self) -> set[str]:
        """Return the names of all values in fp32."""
        values = onnx.shape_inference.infer_shapes(self.model).graph.value_info
        return {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}

    def rewrite(self) -> onnx.ModelProto:
        for name, init in self.learned.items():
            if init.data_type == TensorProto.FLOAT:
                init.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(init).astype(np.float16), name))
            self.halves.add(name)
        for index, node in enumerate(self.model.graph.node):
            if node.op_type == "Cast" and node.input[0] in self.learned:
                self.cast[node.input[0], TensorProto.FLOAT] = node.output[0]
                self.cast[node.output[0], TensorProto.FLOAT16] = node.input[0]
                self.nodes.append(node)
            else:
                self._place(node, to_half=index in self.body and node.op_type in HALF_OPS)
        return self.graph.finish(self.nodes)

    def _place(self, node: NodeProto, to_half: bool) -> None:
        if not self.floats.intersection(node.output):  # shapes, and what is computed from them
            self.nodes.append(node)
            return
        wanted = TensorProto.FLOAT16 if to_half else TensorProto.FLOAT
        data = _FLOAT_INPUTS.get(node.op_type, 1) if to_half else len(node.input)
        for place, name in enumerate(node.input[:data]):
            if name and to_half != (name in self.halves):
                node.input[place] = self._in(name, wanted)
        if to_half:
            self.halves.update(node.output)
        self.nodes.append(node)

    def _in(self, name: str, kind: int) -> str:
        """Return the name under which value `name` is to be had in precision `kind`."""
        if (name, kind) not in self.cast:
            self.cast[name, kind] = f"{name}.{'fp16' if kind == TensorProto.FLOAT16 else 'fp32'}"
            self.nodes.append(helper.make_node("Cast", [name], [self.cast[name, kind]], to=kind))
        return self.cast[name, kind]
