"""An ONNX graph under rewriting: who makes a value, what a constant holds, what is left over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

Floats: TypeAlias = NDArray[np.float32]


class Graph:
    """A copy of a model's graph. Rewriters read it by value names and give the nodes that it shall have."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self._graph = self.model.graph
        self.makers = {name: node for node in self._graph.node for name in node.output}
        self.known = {init.name: init for init in self._graph.initializer}

    @property
    def nodes(self) -> list[NodeProto]:
        """Every node as the model has it, each behind those that it needs."""
        return list(self._graph.node)

    def array(self, name: str) -> Floats:
        """Return what a constant holds, also one that is stored in another type and cast."""
        stored = name if name in self.known else self.makers[name].input[0]
        return numpy_helper.to_array(self.known[stored]).astype(np.float32)

    def is_plain_convolution(self, node: NodeProto) -> bool:
        """Tell whether this is a square convolution of stride 1, of a known kernel, that pads nothing."""
        told = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type != "Conv" or told.get("group", 1) != 1 or any(told.get("pads", [])):
            return False
        side = self.array(node.input[1]).shape[2]
        return (
            told.get("kernel_shape") == [side, side]
            and told.get("strides", [1, 1]) == [1, 1]
            and told.get("dilations", [1, 1]) == [1, 1]
        )

    def constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        """Add a constant; return its name."""
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def finish(self, nodes: Iterable[NodeProto]) -> onnx.ModelProto:
        """Return the model with these nodes, without what nothing needs any more."""
        used = {each.name for each in self._graph.output}
        kept = []
        for node in reversed(list(nodes)):
            if used & set(node.output):
                kept.append(node)
                used |= set(node.input)
        del self._graph.node[:]
        self._graph.node.extend(reversed(kept))
        constants = [init for init in self._graph.initializer if init.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(constants)
        return self.model
