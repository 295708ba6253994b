from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from nets import KINDS, THIRDS, MakeFile, make_checkpoint, noise, paint, psnr_db
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from stylecam.engines.half import to_half
from stylecam.engines.ort import open_session, provider_options, run_bound
from stylecam.frames import Pixels
from stylecam.neural.checkpoint import Checkpoint
from stylecam.neural.transformer import StyleNet
from stylecam.styles import Style, read_style

NODES = {
    "full": {"Conv": 17, "Resize": 2, "Tanh": 1, "InstanceNormalization": 15, "DepthToSpace": 0},
    "fast": {"Conv": 14, "Resize": 0, "Tanh": 1, "InstanceNormalization": 12, "DepthToSpace": 2},
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def net(tiny_checkpoint: Checkpoint) -> StyleNet:
    return tiny_checkpoint.build_net()


@pytest.fixture
def half(tiny_style: Style) -> onnx.ModelProto:
    return to_half(tiny_style.model)


def run(
    model: onnx.ModelProto, shape: tuple[int, ...] | None, frames: Pixels, mix: list[float] | None = None
) -> Pixels:
    session = open_session(model.SerializeToString(), provider_options("cpu"), shape)
    style = {} if mix is None else {"style": np.array([mix], np.float32)}
    return run_bound(session, {"frames": frames, **style}, "cpu")


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of each value, by ONNX's own inference."""
    graph = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    return {value.name: value.type.tensor_type.elem_type for value in values} | {
        init.name: init.data_type for init in graph.initializer
    }


def test_it_is_a_valid_graph_and_the_original_is_left_alone(tiny_style: Style, half: onnx.ModelProto) -> None:
    before = tiny_style.model.SerializeToString(deterministic=True)
    onnx.checker.check_model(to_half(tiny_style.model), full_check=True)
    assert tiny_style.model.SerializeToString(deterministic=True) == before
    assert half.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert half.graph.output[0].type.tensor_type.elem_type == TensorProto.UINT8


@pytest.mark.parametrize("styles", [1, 3])
def test_convolutions_are_fp16_and_norms_fp32(make_onnx: MakeFile, kind: str, styles: int) -> None:
    half = to_half(read_style(make_onnx(kind, styles)).model)
    types, counts = types_of(half), dict.fromkeys(NODES[kind], 0)
    for node in half.graph.node:
        if node.op_type in counts:
            counts[node.op_type] += 1
            norm = node.op_type == "InstanceNormalization"
            data = [node.input[0]] if node.op_type == "Resize" else node.input
            wanted = TensorProto.FLOAT if norm else TensorProto.FLOAT16
            assert {types[name] for name in data if name} == {wanted}, node.name
    assert counts == NODES[kind]


@pytest.mark.parametrize("styles", [1, 3])
def test_nothing_is_cast_for_its_shape_alone(make_onnx: MakeFile, kind: str, styles: int) -> None:
    half = to_half(read_style(make_onnx(kind, styles)).model)
    casts = {node.output[0] for node in half.graph.node if node.op_type == "Cast"}
    shapes = [node for node in half.graph.node if node.op_type == "Shape"]
    assert shapes
    users = {name: {n.op_type for n in half.graph.node if name in n.input} for name in casts}
    assert [name for name, ops in users.items() if ops <= {"Shape"}] == []


def test_casts_stand_only_where_the_precision_changes(half: onnx.ModelProto, kind: str) -> None:
    types = types_of(half)
    casts = [node for node in half.graph.node if node.op_type == "Cast"]
    assert all(types[cast.input[0]] != types[cast.output[0]] for cast in casts)
    of_frames = [cast for cast in casts if not cast.input[0].startswith("net.")]
    # Bytes to numbers and back, into the body and out of it, noise, its rows and columns, twice at each norm.
    assert len(of_frames) <= 7 + 2 * NODES[kind]["InstanceNormalization"]


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 45, 67), (1, 64, 96)])
def test_it_paints_as_the_net_does(half: onnx.ModelProto, net: StyleNet, shape: tuple[int, ...]) -> None:
    frames = noise(*shape, 3)
    assert psnr_db(run(half, None, frames), paint(net, frames)) >= 40


def test_a_fixed_shape_works_too(half: onnx.ModelProto, net: StyleNet) -> None:
    frames = noise(2, 45, 67, 3)
    assert psnr_db(run(half, (2, 45, 67), frames), paint(net, frames)) >= 40


@pytest.mark.parametrize("mix", [[0, 1.0, 0], THIRDS])
def test_several_styles_mix_in_half_precision(tiny_styles_path: Path, kind: str, mix: list[float]) -> None:
    half = to_half(read_style(tiny_styles_path).model)
    onnx.checker.check_model(half, full_check=True)
    frames = noise(1, 45, 67, 3)
    wanted = paint(make_checkpoint(styles=3, kind=kind).build_net(), frames, mix)
    assert psnr_db(run(half, None, frames, mix), wanted) >= 40
    assert {types_of(half)[node.input[0]] for node in half.graph.node if node.op_type == "Conv"} == {
        TensorProto.FLOAT16
    }


def test_weights_stored_in_fp32_are_rounded(tiny_style: Style, net: StyleNet) -> None:
    whole = onnx.ModelProto()
    whole.CopyFrom(tiny_style.model)
    inits = {init.name: init for init in whole.graph.initializer}
    casts = [node for node in whole.graph.node if node.op_type == "Cast" and node.input[0] in inits]
    for cast in casts:
        array = onnx.numpy_helper.to_array(inits[cast.input[0]]).astype(np.float32)
        inits[cast.input[0]].CopyFrom(onnx.numpy_helper.from_array(array, cast.input[0]))
        for node in whole.graph.node:
            for place, name in enumerate(node.input):
                if name == cast.output[0]:
                    node.input[place] = cast.input[0]
        whole.graph.node.remove(cast)
    half = to_half(whole)
    onnx.checker.check_model(half, full_check=True)
    frames = noise(1, 45, 67, 3)
    assert psnr_db(run(half, None, frames), paint(net, frames)) >= 40
    stored = {init.name: init.data_type for init in half.graph.initializer if init.name.startswith("net.")}
    assert set(stored.values()) == {TensorProto.FLOAT16}


def test_real_rounding_to_fp16_is_close_enough(half: onnx.ModelProto, net: StyleNet) -> None:
    """ONNX Runtime's CPU provider cancels pairs of casts; the reference evaluator does round."""
    frames = noise(1, 16, 20, 3)
    found = np.asarray(*ReferenceEvaluator(half).run(["stylized"], {"frames": frames}))
    exact = paint(net, frames)
    assert found.dtype == np.uint8
    assert 40 <= psnr_db(found, exact) < 90
