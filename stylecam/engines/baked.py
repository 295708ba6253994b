"""Make a mix of styles part of the net itself, so that it costs nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper


def bake(model: onnx.ModelProto, mix: Sequence[float]) -> onnx.ModelProto:
    """Return a copy of a net of several styles whose `style` input is a constant.

    Engines compute the norms' scales and shifts from it once, when they load the file.
    """
    baked = onnx.ModelProto()
    baked.CopyFrom(model)
    (place,) = (i for i, value in enumerate(baked.graph.input) if value.name == "style")
    del baked.graph.input[place]
    baked.graph.initializer.append(numpy_helper.from_array(np.asarray([mix], np.float32), "style"))
    return baked
