from __future__ import annotations

import platform

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

from stylecam.engines import open_engine
from stylecam.engines import openvino as openvino_module
from stylecam.engines.baked import bake
from stylecam.engines.fused import fuse
from stylecam.neural.onnx_graph import to_onnx
from stylecam.styles import Style, read_style

SHAPES = [(1, 48, 40), (2, 45, 34), (1, 16, 19)]
"""Whole cells, sizes that are rounded up to such, and the least there is."""


@pytest.fixture
def full(make_onnx: MakeFile) -> Style:
    return read_style(make_onnx("full", 1))


@pytest.mark.parametrize("shape", SHAPES)
def test_it_paints_the_same(full: Style, shape: tuple[int, ...]) -> None:
    fused = fuse(full.model)
    onnx.checker.check_model(fused, full_check=True)
    assert differences(full.model, fused, shape) <= 1


def test_what_was_doubled_and_painted_is_computed_otherwise(full: Style) -> None:
    before = full.model.SerializeToString(deterministic=True)
    fused = fuse(full.model)
    assert full.model.SerializeToString(deterministic=True) == before
    assert operations(full.model)["Resize"] == 2
    assert operations(fused)["Resize"] == 0
    assert operations(fused)["ConvTranspose"] == 2
    narrow, wide = kernel_shapes(full.model, "Conv")[-1], kernel_shapes(fused, "Conv")[-1]
    assert narrow[0] == 3
    assert narrow[2:] == (9, 9)
    assert wide == (12, narrow[1], 10, 10)


def test_numbers_that_nothing_needs_are_gone(full: Style) -> None:
    fused = fuse(full.model)
    used = {name for node in fused.graph.node for name in node.input}
    assert {init.name for init in fused.graph.initializer} <= used


def test_what_a_fast_net_does_not_have_stays(make_onnx: MakeFile) -> None:
    model = read_style(make_onnx("fast", 1)).model
    assert operations(fuse(model)) == operations(model)


@pytest.mark.parametrize("kind", KINDS)
def test_cells_become_pixels_as_bytes(make_onnx: MakeFile, kind: str) -> None:
    model = read_style(make_onnx(kind, 1)).model
    fused = fuse(model)
    onnx.checker.check_model(fused, full_check=True)
    last = next(node for node in reversed(fused.graph.node) if node.op_type == "DepthToSpace")
    (maker,) = (node for node in fused.graph.node if last.input[0] in node.output)
    assert maker.op_type == "Cast"
    assert maker.attribute[0].i == onnx.TensorProto.UINT8
    assert differences(model, fused, SHAPES[1]) <= 1


def test_a_full_net_pads_frames_as_they_come(full: Style) -> None:
    fused = fuse(full.model)
    makers = {name: node for node in fused.graph.node for name in node.output}
    planes = makers[next(node for node in fused.graph.node if node.op_type == "Conv").input[0]]
    assert planes.op_type == "Transpose"
    assert makers[planes.input[0]].op_type == "Pad"
    assert operations(fused)["Transpose"] == operations(full.model)["Transpose"]


@pytest.mark.slow
def test_a_net_that_doubles_by_itself_keeps_that() -> None:
    model = to_onnx(make_net(upsampling="transposed"))
    fused = fuse(model)
    assert operations(fused)["ConvTranspose"] == operations(model)["ConvTranspose"] == 2
    assert kernel_shapes(fused, "Conv")[-1][0] == 12
    assert differences(model, fused, SHAPES[0]) <= 1


@pytest.mark.parametrize("mix", [slow([0.0, 1.0, 0.0]), THIRDS])
def test_mixes_paint_the_same(make_onnx: MakeFile, mix: list[float]) -> None:
    several = read_style(make_onnx("full", 3)).model
    assert differences(several, fuse(several), SHAPES[1], *mix) <= 1
    fixed = bake(several, mix)
    assert differences(fixed, fuse(fixed), SHAPES[1]) <= 1


@pytest.mark.parametrize("change", ["strides", "dilations", "pads", "group"])
def test_a_convolution_of_another_kind_stays(full: Style, change: str) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(full.model)
    for node in model.graph.node:
        for told in node.attribute:
            if node.op_type == "Conv" and told.name == change:
                told.ints[:] = [2] * len(told.ints)
                told.i = 2
    assert operations(fuse(model)) == operations(model)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pad_of_another_kind_stays(make_onnx: MakeFile, kind: str) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(read_style(make_onnx(kind, 1)).model)
    for node in model.graph.node:
        if node.op_type == "Pad":
            next(told for told in node.attribute if told.name == "mode").s = b"edge"
    assert operations(fuse(model)) == operations(model)


@pytest.mark.parametrize(("machine", "fused"), [("x86_64", True), ("AMD64", True), ("arm64", False)])
def test_openvino_fuses_on_processors_where_it_pays(
    full: Style, machine: str, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[onnx.ModelProto] = []

    def note(model: onnx.ModelProto) -> onnx.ModelProto:
        seen.append(model)
        return fuse(model)

    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(openvino_module, "fuse", note)
    with open_engine(full, "openvino", precision="fp32") as opened:
        found = opened.infer(frames := noise(1, 45, 34, 3))
    assert bool(seen) == fused
    assert distance(found, paint(make_net(), frames)) <= 1
