from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from films import slow
from nets import (
    KINDS,
    THIRDS,
    MakeFile,
    differences,
    distance,
    kernel_shapes,
    make_net,
    noise,
    operations,
    paint,
)

from stylecam.engines import open_engine, winograd
from stylecam.engines import openvino as openvino_module
from stylecam.engines.baked import bake
from stylecam.engines.fused import fuse
from stylecam.engines.winograd import INPUT, KERNEL, halve_products
from stylecam.machine import describe_cpu
from stylecam.styles import Style, read_style

SHAPES = [(1, 48, 40), (2, 45, 34), slow((1, 16, 19)), slow((1, 17, 60)), slow((1, 24, 48))]
"""On a fast net's grid rows of 5, 5, 3, 8 and 6 cells, on a full one's of 10, 9, 5, 15 and 12: four divides
some, and of others leaves one to three."""

WIDE = {"full": 10, "fast": 8}
"""Convolutions in the residual blocks; all others double, halve, or have few channels."""

linux = pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="only Linux names a CPU's instructions")
x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="AVX2 is x86's")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def style(make_onnx: MakeFile, kind: str) -> Style:
    return read_style(make_onnx(kind, 1))


@pytest.fixture
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nets of these tests are narrow."""
    monkeypatch.setattr(winograd, "LEAST_CHANNELS", 20)


def test_six_products_give_four_outputs() -> None:
    """By the definition, without any graph: the outputs are sums and differences of the products."""
    pixels, kernel = np.random.default_rng(0).normal(size=(2, 6))
    products = (INPUT @ pixels) * (KERNEL @ kernel[:3])
    back = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
    np.testing.assert_allclose(back @ products, np.correlate(pixels, kernel[:3]))


@pytest.mark.usefixtures("few_are_enough")
@pytest.mark.parametrize("shape", SHAPES)
def test_it_paints_the_same(style: Style, shape: tuple[int, ...]) -> None:
    halved = halve_products(style.model)
    onnx.checker.check_model(halved, full_check=True)
    assert differences(style.model, halved, shape) <= 1


@pytest.mark.usefixtures("few_are_enough")
def test_half_of_the_multiplications_are_left(style: Style, kind: str) -> None:
    before = style.model.SerializeToString(deterministic=True)
    halved = halve_products(style.model)
    assert style.model.SerializeToString(deterministic=True) == before
    gone = Counter(kernel_shapes(style.model)) - Counter(kernel_shapes(halved))
    new = Counter(kernel_shapes(halved)) - Counter(kernel_shapes(style.model))
    ((wide, times),) = gone.items()
    assert (wide[2:], times) == ((3, 3), WIDE[kind])
    products = {shape: count for shape, count in new.items() if shape[1] > 1}
    assert products == {(*wide[:2], 3, 1): 6 * WIDE[kind]}  # for four pixels: 6 * 3 instead of 4 * 9


def test_where_there_are_few_channels_nothing_changes(style: Style) -> None:
    assert operations(halve_products(style.model)) == operations(style.model)


@pytest.mark.usefixtures("few_are_enough")
@pytest.mark.parametrize("change", ["strides", "dilations", "pads", "group", "bias"])
def test_a_convolution_of_another_kind_stays(style: Style, change: str) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(style.model)
    for node in model.graph.node:
        if node.op_type == "Conv" and change == "bias" and len(node.input) == 2:
            node.input.append("bias")
        for told in node.attribute:
            if node.op_type == "Conv" and told.name == change:
                told.ints[:] = [2] * len(told.ints)
                told.i = 2
    assert operations(halve_products(model)) == operations(model)


@pytest.mark.usefixtures("few_are_enough")
def test_a_mix_and_a_fused_net_paint_the_same(make_onnx: MakeFile, kind: str) -> None:
    several = read_style(make_onnx(kind, 3)).model
    assert differences(several, halve_products(fuse(several)), (1, 18, 26), *THIRDS) <= 1
    fixed = bake(several, THIRDS)
    assert differences(fixed, halve_products(fuse(fixed)), (1, 18, 26)) <= 1


@pytest.mark.usefixtures("few_are_enough")
@pytest.mark.parametrize(
    ("precision", "narrow", "halved"), [("fp32", True, True), ("fp32", False, False), ("int8", True, False)]
)
def test_openvino_halves_them_where_it_pays(
    style: Style, kind: str, precision: str, narrow: bool, halved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[onnx.ModelProto] = []

    def note(model: onnx.ModelProto) -> onnx.ModelProto:
        seen.append(model)
        return halve_products(model)

    monkeypatch.setattr(openvino_module, "has_narrow_vectors", lambda _: narrow)
    monkeypatch.setattr(openvino_module, "halve_products", note)
    with open_engine(style, "openvino", precision=precision) as opened:
        found = opened.infer(frames := noise(1, 45, 34, 3))
    assert bool(seen) == halved
    if precision == "fp32":
        assert distance(found, paint(make_net(kind=kind), frames)) <= 1


HAS_NARROW = """
import sys
from pathlib import Path
from stylecam.engines import open_engine, openvino
from stylecam.styles import read_style

asked = []
has_narrow_vectors = openvino.has_narrow_vectors
openvino.has_narrow_vectors = lambda trial: asked.append(has_narrow_vectors(trial)) or asked[-1]
open_engine(read_style(Path(sys.argv[1])), "openvino", precision="fp32").close()
print(asked)
"""


@linux
@x86
@pytest.mark.parametrize("capped", [True, False])
def test_the_library_says_which_vectors_it_uses(make_onnx: MakeFile, capped: bool) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "ONEDNN_MAX_CPU_ISA"}
    told = subprocess.run(
        [sys.executable, "-c", HAS_NARROW, str(make_onnx("fast", 1))],
        env=variables | ({"ONEDNN_MAX_CPU_ISA": "AVX2"} if capped else {}),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.strip() == str([capped or "avx512f" not in describe_cpu()])
