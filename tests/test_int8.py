from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from nets import KINDS, THIRDS, MakeFile, evaluate, make_checkpoint, noise, paint, psnr_db
from onnx import TensorProto, numpy_helper
from openvino import CompiledModel

import stylecam
from stylecam.engines import open_engine
from stylecam.engines import openvino as openvino_module
from stylecam.engines.baked import bake
from stylecam.engines.fused import fuse
from stylecam.engines.int8 import RECTIFIED_SIGMAS, to_int8
from stylecam.engines.openvino import in_bytes
from stylecam.errors import DeviceUnavailableError
from stylecam.frames import resize
from stylecam.neural.device import pick_device, pick_precision
from stylecam.pictures import read_picture
from stylecam.sources import DemoSource
from stylecam.styles import Style, find_style, read_style

GALLERY = [
    "starry", "nightcafe", "wheatfield", "cottages", "wave", "scream", "composition", "udnie", "edtaonisl",
]  # fmt: skip

ASTRONAUT = Path(stylecam.__file__).parent / "assets" / "astronaut-starry.jpg"

INNER = {"full": 15, "fast": 12}
"""Convolutions behind the first one."""

LEAST_DB = 25
"""Untrained nets of a few channels spread what is rounded further than trained ones, which keep 40 dB."""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def style(make_onnx: MakeFile, kind: str) -> Style:
    return read_style(make_onnx(kind, 1))


def kernels(model: onnx.ModelProto) -> list[str]:
    """Which element type the kernel of each convolution of the picture is stored in."""
    makers = {name: node for node in model.graph.node for name in node.output}
    known = {init.name: init for init in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    stored = [makers[node.input[1]].input[0] for node in convolutions if "noise" not in node.input[1]]
    return [TensorProto.DataType.Name(known[name].data_type) for name in stored]


def scales(model: onnx.ModelProto) -> list[float]:
    """The scale of each value that becomes bytes."""
    known = {init.name: init for init in model.graph.initializer}
    found = [known[node.input[1]] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    return [float(numpy_helper.to_array(scale)) for scale in found]


def test_all_convolutions_but_the_first_work_on_bytes(style: Style, kind: str) -> None:
    before = style.model.SerializeToString(deterministic=True)
    model = to_int8(style.model)
    onnx.checker.check_model(model, full_check=True)
    assert style.model.SerializeToString(deterministic=True) == before
    assert kernels(model) == ["FLOAT16", *["INT8"] * INNER[kind]]
    assert len(scales(model)) == INNER[kind]


def test_a_fused_net_is_rounded_like_any_other(make_onnx: MakeFile) -> None:
    fused = fuse(read_style(make_onnx("full", 1)).model)
    wanted = paint(make_checkpoint().build_net(), frames := noise(2, 45, 34, 3))
    for transposed, count in ((True, INNER["full"]), (False, INNER["full"] - 2)):
        model = to_int8(fused, transposed=transposed)
        onnx.checker.check_model(model, full_check=True)
        assert len(scales(model)) == count
        assert LEAST_DB <= psnr_db(evaluate(model, frames), wanted) < 60


def test_what_is_rectified_takes_bytes_without_a_sign(style: Style) -> None:
    model = to_int8(style.model)
    makers = {name: node for node in model.graph.node for name in node.output}
    known = {init.name: init.data_type for init in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            maker = makers[node.input[0]]
            while maker.op_type in ("Resize", "DepthToSpace"):  # which move numbers only
                maker = makers[maker.input[0]]
            signed = maker.op_type != "Relu"
            assert known[node.input[2]] == (TensorProto.INT8 if signed else TensorProto.UINT8)


def test_the_scale_comes_from_the_norm_before(style: Style) -> None:
    model = to_int8(style.model)
    entry = "down.0" if style.net == "full" else "enter"
    scale, shift = (np.abs(style.arrays[f"{entry}.norm.{part}"]) for part in ("weight", "bias"))
    assert scales(model)[0] == pytest.approx((RECTIFIED_SIGMAS * scale + shift).max() / 255, rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 48, 40), (2, 45, 34)])
def test_it_paints_nearly_as_the_net_does(style: Style, kind: str, shape: tuple[int, ...]) -> None:
    frames = noise(*shape, 3)
    found = evaluate(to_int8(style.model), frames)
    assert LEAST_DB <= psnr_db(found, paint(make_checkpoint(kind=kind).build_net(), frames)) < 60


@pytest.mark.parametrize("mix", [[0, 1.0, 0], THIRDS])
def test_mixes_have_room_whether_compiled_in_or_not(make_onnx: MakeFile, kind: str, mix: list[float]) -> None:
    several = read_style(make_onnx(kind, 3)).model
    frames = noise(1, 48, 40, 3)
    wanted = paint(make_checkpoint(styles=3, kind=kind).build_net(), frames, mix)
    free, fixed = to_int8(several), to_int8(bake(several, mix))
    assert psnr_db(evaluate(free, frames, mix), wanted) >= LEAST_DB
    assert psnr_db(evaluate(fixed, frames), wanted) >= LEAST_DB
    assert all(narrow <= wide for narrow, wide in zip(scales(fixed), scales(free), strict=True))
    assert sum(scales(fixed)) < sum(scales(free))


@pytest.mark.parametrize("amx", [False, True])
def test_the_library_really_works_on_bytes(
    style: Style, kind: str, amx: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(openvino_module, "has_amx", lambda: amx)
    counted = []

    def count(net: CompiledModel) -> int:
        counted.append(in_bytes(net))
        return counted[-1]

    monkeypatch.setattr(openvino_module, "in_bytes", count)
    with open_engine(style, "openvino", precision="int8") as opened:
        assert opened.precision == "int8"
    assert counted == [INNER[kind] - (2 if amx and kind == "full" else 0)]


def test_a_cpu_without_them_is_told(style: Style, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_module, "in_bytes", lambda net: 0)
    with pytest.raises(DeviceUnavailableError, match="no convolution in int8"):
        open_engine(style, "openvino", precision="int8")


def test_nothing_is_trained_in_int8() -> None:
    with pytest.raises(DeviceUnavailableError, match="does not optimise in int8"):
        pick_precision(pick_device("cpu"), "int8")


@pytest.mark.shipped
@pytest.mark.parametrize("name", [*GALLERY, "starry:0.6,wave:0.4"])
@pytest.mark.parametrize("net", KINDS)
@pytest.mark.slow
def test_shipped_nets_keep_40_decibels(name: str, net: str) -> None:
    with DemoSource() as source:
        frame = source.read()
    assert frame is not None
    beside = read_picture(ASTRONAUT).bgr  # the photograph and its painting
    photo = beside[:, : beside.shape[1] // 2]
    style = find_style(name, net)
    frames = [resize(bgr, (320, 320 * bgr.shape[0] // bgr.shape[1]))[None] for bgr in (frame.bgr, photo)]
    with open_engine(style, "openvino", precision="fp32") as exact:
        wanted = [exact.infer(each) for each in frames]
    with open_engine(style, "openvino", precision="int8") as rounded:
        for each, exactly in zip(frames, wanted, strict=True):
            assert psnr_db(rounded.infer(each), exactly) >= 40
