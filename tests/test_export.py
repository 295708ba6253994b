from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from nets import KINDS, THIRDS, distance, make_checkpoint, noise, paint, psnr_db, with_half_weights
from onnx import TensorProto, numpy_helper

from stylecam import __version__
from stylecam.errors import ExportError, ParityError, StyleError, TrainError
from stylecam.frames import Pixels
from stylecam.neural import export as module
from stylecam.neural.checkpoint import Checkpoint
from stylecam.neural.deploy import DeployableNet, load_net
from stylecam.neural.export import check_parity, export
from stylecam.neural.transformer import StyleNet, swapped
from stylecam.styles import Array, Style, read_style, unpack_grams

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
SHAPES = [(1, 37, 58), (3, 16, 23), (2, 41, 16), (1, 128, 20)]
MIXES = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], THIRDS]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def net(tiny_checkpoint: Checkpoint) -> StyleNet:
    return tiny_checkpoint.build_net()


@pytest.fixture
def several(kind: str) -> StyleNet:
    """The net in `tiny_styles_path`."""
    return with_half_weights(make_checkpoint(styles=3, kind=kind).build_net())


@pytest.fixture
def whole_path(tiny_checkpoint_path: Path) -> Path:
    """The tiny net with its weights stored in fp32."""
    path = tiny_checkpoint_path.with_name("whole.onnx")
    return path if path.exists() else export(str(tiny_checkpoint_path), path, half=False)


def run_onnx(path: Path, frames: Pixels, mix: list[float] | None = None) -> Pixels:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = {"frames": frames} | ({} if mix is None else {"style": np.array([mix], np.float32)})
    painted: Pixels = session.run(["stylized"], inputs)[0]
    return painted


def run_torch(loaded: Any, frames: Pixels, mix: list[float] | None = None) -> Pixels:
    inputs = [torch.from_numpy(frames)] + ([] if mix is None else [torch.tensor([mix])])
    with torch.inference_mode():
        painted: Pixels = loaded(*inputs).numpy()
    return painted


@pytest.mark.parametrize("shape", SHAPES)
def test_onnx_paints_as_the_net_does(tiny_style_path: Path, net: StyleNet, shape: tuple[int, ...]) -> None:
    frames = noise(*shape, 3)
    found = run_onnx(tiny_style_path, frames)
    assert distance(found, paint(with_half_weights(net), frames)) <= 1
    assert psnr_db(found, paint(net, frames)) >= 40


def test_a_swapped_colour_order_would_be_seen(net: StyleNet) -> None:
    frames = noise(1, 37, 58, 3)
    wrong = paint(net, frames[..., ::-1])
    assert psnr_db(wrong, paint(net, frames)) < 20
    assert psnr_db(wrong[..., ::-1], paint(net, frames)) < 20


@pytest.mark.slow
def test_weights_in_full_precision_are_exact(whole_path: Path, net: StyleNet) -> None:
    for shape in SHAPES:
        assert distance(run_onnx(whole_path, noise(*shape, 3)), paint(net, noise(*shape, 3))) <= 1
    for name, array in read_style(whole_path).arrays.items():
        wanted = swapped(net).state_dict()[name]
        np.testing.assert_array_equal(array, wanted.numpy())


@pytest.mark.slow
def test_weights_in_half_precision_halve_the_file(tiny_style_path: Path, whole_path: Path) -> None:
    bytes_of = [sum(len(init.raw_data) for init in onnx.load(path).graph.initializer
                    if init.name.startswith("net.")) for path in (tiny_style_path, whole_path)]  # fmt: skip
    assert bytes_of[0] * 2 == bytes_of[1]
    assert tiny_style_path.stat().st_size < 0.65 * whole_path.stat().st_size


@pytest.mark.parametrize("mix", MIXES)
def test_onnx_of_several_styles_mixes_them(
    tiny_styles_path: Path, several: StyleNet, mix: list[float]
) -> None:
    for shape in ((3, 37, 46), (1, 16, 19)):
        frames = noise(*shape, 3)
        assert distance(run_onnx(tiny_styles_path, frames, mix), paint(several, frames, mix)) <= 1


def test_bytes_go_in_and_out_at_any_size(tiny_style: Style) -> None:
    graph = tiny_style.model.graph
    for value in (graph.input[0], graph.output[0]):
        assert value.type.tensor_type.elem_type == TensorProto.UINT8
        dims = value.type.tensor_type.shape.dim
        assert [dim.dim_param or dim.dim_value for dim in dims] == ["N", "H", "W", 3]
    assert [value.name for value in graph.output] == ["stylized"]
    onnx.checker.check_model(tiny_style.model, full_check=True)


def test_no_path_of_this_machine_is_in_the_file(tiny_style_path: Path) -> None:
    assert str(Path(module.__file__).parent).encode() not in tiny_style_path.read_bytes()


def test_onnx_holds_its_card_and_grams(tiny_style: Style, tiny_checkpoint: Checkpoint) -> None:
    check_card(tiny_style.card, tiny_checkpoint)
    check_grams(tiny_style.grams, tiny_checkpoint)


def check_card(card: dict[str, Any], checkpoint: Checkpoint) -> None:
    assert {key: card[key] for key in ("style", "title", "painter", "year", "licence")} == {
        "style": "tiny", "title": "Tiny", "painter": "Nobody", "year": "1889", "licence": "CC0",
    }  # fmt: skip
    learned = {name: value for name, value in checkpoint.net.items() if not name.endswith("noise.pattern")}
    params = sum(value.numel() for value in learned.values())
    assert card["net"] == {
        "kind": checkpoint.spec.kind, "width": 0.25, "params": params, "styles": 1, "upsampling": "nearest",
        "grids": checkpoint.spec.grids, "noise": True,
    }  # fmt: skip
    objective = card["objective"]
    assert (objective["backbone"], objective["style_layers"]) == ("vgg16", ["relu1_2", "relu2_2"])
    assert objective.keys() >= {"content_layer", "content_weight", "style_weight", "tv_weight", "style_size"}
    assert card["training"] == checkpoint.about["training"]
    assert card["checkpoint_sha256"] == checkpoint.sha256
    assert card["version"] == __version__


def check_grams(grams: dict[str, Any], checkpoint: Checkpoint) -> None:
    assert list(grams) == list(checkpoint.grams)
    for layer, gram in checkpoint.grams.items():
        atol = float(gram.abs().max()) / 250
        np.testing.assert_allclose(grams[layer], gram.numpy(), rtol=0, atol=atol)


def test_torchscript_paints_as_the_net_does(
    tmp_path: Path, tiny_checkpoint: Checkpoint, tiny_checkpoint_path: Path, net: StyleNet
) -> None:
    export(str(tiny_checkpoint_path), tmp_path / "tiny.ts")
    extra = {"stylecam": "", "stylecam.grams": ""}
    loaded = torch.jit.load(str(tmp_path / "tiny.ts"), _extra_files=extra)
    for shape in SHAPES:
        assert distance(run_torch(loaded, noise(*shape, 3)), paint(net, noise(*shape, 3))) <= 1
    check_card(json.loads(extra["stylecam"]), tiny_checkpoint)
    check_grams(unpack_grams(extra["stylecam.grams"]), tiny_checkpoint)


@pytest.mark.slow
def test_pt2_paints_as_the_net_does(
    tmp_path: Path, tiny_checkpoint: Checkpoint, tiny_checkpoint_path: Path, net: StyleNet
) -> None:
    export(str(tiny_checkpoint_path), tmp_path / "tiny.pt2")
    extra = {"stylecam": "", "stylecam.grams": ""}
    loaded = torch.export.load(str(tmp_path / "tiny.pt2"), extra_files=extra).module()
    for shape in SHAPES:
        assert distance(run_torch(loaded, noise(*shape, 3)), paint(net, noise(*shape, 3))) <= 1
    check_card(json.loads(extra["stylecam"]), tiny_checkpoint)
    check_grams(unpack_grams(extra["stylecam.grams"]), tiny_checkpoint)


@pytest.mark.parametrize("suffix", [".ts", pytest.param(".pt2", marks=pytest.mark.slow)])
def test_a_style_can_be_exported_again(
    tmp_path: Path, tiny_styles_path: Path, several: StyleNet, suffix: str
) -> None:
    """From a weights file instead of a checkpoint, and with several styles."""
    path = export(str(tiny_styles_path), tmp_path / f"again{suffix}")
    loaded = torch.jit.load(str(path)) if suffix == ".ts" else torch.export.load(str(path)).module()
    for mix in MIXES:
        frames = noise(2, 37, 46, 3)
        assert distance(run_torch(loaded, frames, mix), paint(several, frames, mix)) <= 1


def test_a_named_style_can_be_exported_again(
    tmp_path: Path, tiny_style_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "stylecam" / "weights"
    folder.mkdir(parents=True)
    (folder / "mine.onnx").write_bytes(tiny_style_path.read_bytes())
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    extra = {"stylecam": "", "stylecam.grams": ""}
    loaded = torch.jit.load(str(export("mine", tmp_path / "mine.ts")), _extra_files=extra)
    frames, first = noise(1, 30, 30, 3), read_style(tiny_style_path)
    assert distance(run_torch(loaded, frames), run_onnx(tiny_style_path, frames)) <= 1
    assert json.loads(extra["stylecam"]) == first.card
    for layer, gram in unpack_grams(extra["stylecam.grams"]).items():
        np.testing.assert_allclose(gram, first.grams[layer], rtol=1e-3, atol=1e-6)


def test_a_weights_file_gives_its_net_back(tiny_style: Style, net: StyleNet) -> None:
    rgb = torch.rand(1, 3, 20, 20) * 255
    torch.testing.assert_close(load_net(tiny_style)(rgb), with_half_weights(net)(rgb))


@pytest.mark.parametrize("mix", MIXES)
def test_a_mixture_gives_a_net_of_one_style(
    tiny_styles_path: Path, several: StyleNet, mix: list[float]
) -> None:
    net = load_net(replace(read_style(tiny_styles_path), mix=tuple(mix)))
    assert net.spec.styles == 1
    rgb = torch.rand(1, 3, 20, 21) * 255
    torch.testing.assert_close(net(rgb), several(rgb, torch.tensor([mix])), rtol=1e-3, atol=0.02)


def test_a_file_that_paints_otherwise_is_not_kept(
    tmp_path: Path, tiny_checkpoint_path: Path, tiny_style_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def store_wrongly(model: onnx.ModelProto) -> None:
        wrong = next(init for init in model.graph.initializer if init.name == "net.paint.bias")
        numbers = numpy_helper.to_array(wrong) + np.float16(0.1)
        wrong.CopyFrom(numpy_helper.from_array(numbers, wrong.name))

    monkeypatch.setattr(module, "to_onnx", lambda net: onnx.load(tiny_style_path))
    monkeypatch.setattr(module, "store_half", lambda model: None)
    assert export(str(tiny_checkpoint_path), tmp_path / "right.onnx").exists()
    monkeypatch.setattr(module, "store_half", store_wrongly)
    with pytest.raises(ParityError, match="the file is off by up to"):
        export(str(tiny_checkpoint_path), tmp_path / "wrong.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["right.onnx"]


def test_parity_is_judged_at_two_sizes_and_two_batches(net: StyleNet) -> None:
    deployable, shapes = DeployableNet(net), set()

    def run(frames: Pixels, style: Array) -> Pixels:
        shapes.add(frames.shape)
        return run_torch(deployable, frames)

    def run_off_by(off: int) -> Callable[[Pixels, Array], Pixels]:
        return lambda frames, style: np.bitwise_xor(run(frames, style), np.uint8(off))

    check_parity(deployable, run, least_psnr_db=None)
    assert len({shape[0] for shape in shapes}) == 2
    assert len({shape[1:] for shape in shapes}) == 2
    with pytest.raises(ParityError, match="came back as"):
        check_parity(deployable, lambda frames, style: run(frames, style)[:, :-1], least_psnr_db=None)
    with pytest.raises(ParityError, match="off by up to"):
        check_parity(deployable, run_off_by(2), least_psnr_db=None)
    check_parity(deployable, run_off_by(2), least_psnr_db=40)
    with pytest.raises(ParityError, match="dB"):
        check_parity(deployable, run_off_by(8), least_psnr_db=40)


def test_a_suffix_that_tells_no_format_is_refused(tmp_path: Path, tiny_checkpoint_path: Path) -> None:
    with pytest.raises(ExportError, match=r"'\.pb' tells no format") as caught:
        export(str(tiny_checkpoint_path), tmp_path / "tiny.pb")
    assert ".onnx, .ts, .pt2" in caught.value.hint
    with pytest.raises(ExportError, match="format 'caffe' is unknown"):
        export(str(tiny_checkpoint_path), tmp_path / "tiny.pb", "caffe")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".onnx", ".ts", ".pt2"])
def test_a_missing_folder_is_an_error(tmp_path: Path, tiny_checkpoint_path: Path, suffix: str) -> None:
    with pytest.raises(ExportError, match="could not be written"):
        export(str(tiny_checkpoint_path), tmp_path / "missing" / f"tiny{suffix}")


def test_what_does_not_exist_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="no checkpoint"):
        export(str(tmp_path / "gone.ckpt"), tmp_path / "a.onnx")
    with pytest.raises(StyleError, match="unknown"):
        export("nobody-painted-this", tmp_path / "a.onnx")
