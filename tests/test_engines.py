from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import openvino
import pytest
from films import slow
from nets import KINDS, THIRDS, MakeFile, distance, make_checkpoint, noise, paint, psnr_db, with_half_weights
from platformdirs import user_cache_path

import stylecam.engines
from stylecam.engines import BACKENDS, on_gpu, open_engine
from stylecam.engines import openvino as openvino_module
from stylecam.engines.base import Engine
from stylecam.engines.cuda import cuda_problem, has_tensorrt
from stylecam.engines.openvino import OpenVinoEngine
from stylecam.engines.ort import LADDER_HW, OrtEngine, open_session, provider_options, run_bound
from stylecam.errors import (
    BackendMissingError,
    DeviceUnavailableError,
    EngineError,
    InferenceError,
    OutOfMemoryError,
    StylecamError,
)
from stylecam.neural.checkpoint import Checkpoint
from stylecam.neural.device import multiplies_bf16
from stylecam.neural.transformer import CELL, FixedNoise, StyleNet
from stylecam.styles import Style, read_style

CASES = [
    ("onnxruntime", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("torchscript", "fp32"),
    ("torchscript", "bf16"),
]
SHAPES = [(1, 16, 16), (4, 45, 67), (1, 17, 130), (4, 64, 96), (2, 16, 31)]

without_cuda = pytest.mark.skipif(not cuda_problem(), reason="this machine has CUDA")
on_cuda = [pytest.mark.gpu, pytest.mark.skipif(bool(cuda_problem()), reason=f"no CUDA: {cuda_problem()}")]


@pytest.fixture(scope="module", params=KINDS)
def each_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def engine(request: pytest.FixtureRequest, make_onnx: MakeFile, each_kind: str) -> Iterator[Engine]:
    with open_or_skip(read_style(make_onnx(each_kind, 1)), *request.param) as opened:
        yield opened


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def three_styles(request: pytest.FixtureRequest, make_onnx: MakeFile, each_kind: str) -> Iterator[Engine]:
    with open_or_skip(read_style(make_onnx(each_kind, 3)), *request.param) as opened:
        yield opened


@pytest.fixture
def several(each_kind: str) -> StyleNet:
    """The truth about `three_styles`."""
    return with_half_weights(make_checkpoint(styles=3, kind=each_kind).build_net())


@pytest.fixture
def net(each_kind: str) -> StyleNet:
    """The truth about `engine`: torch's net for RGB, with the weights that the file holds."""
    return with_half_weights(make_checkpoint(kind=each_kind).build_net())


@pytest.fixture
def tiny_net(tiny_checkpoint: Checkpoint) -> StyleNet:
    """The truth about `tiny_style`."""
    return with_half_weights(tiny_checkpoint.build_net())


def open_or_skip(style: Style, backend: str, precision: str) -> Engine:
    try:
        return open_engine(style, backend, "cpu", precision)
    except DeviceUnavailableError as exc:
        if precision == "fp32":
            raise
        pytest.skip(f"this CPU does not do {precision} in {backend}: {exc}")


def check_same(engine: Engine, found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.dtype == np.uint8
    assert found.shape == wanted.shape
    if engine.precision == "fp32":
        assert distance(found, wanted) <= 1
    else:
        assert psnr_db(found, wanted) >= (25 if engine.precision == "int8" else 40)


@pytest.mark.parametrize("shape", [*SHAPES[:2], *map(slow, SHAPES[2:])])
def test_it_paints_as_torch_does(engine: Engine, net: StyleNet, shape: tuple[int, ...]) -> None:
    if shape[1] == 16 and net.spec.grids == 2 and engine.precision != "fp32":
        pytest.skip("its norms see four or eight numbers there: what is rounded is not small beside them")
    frames = noise(*shape, 3)
    check_same(engine, engine.infer(frames), paint(net, frames))


def test_frames_of_a_batch_do_not_touch_each_other(engine: Engine, net: StyleNet) -> None:
    frames = np.stack([noise(32, 48, 3, seed=seed) for seed in range(4)])
    painted = engine.infer(frames)
    for index in (0, 3):
        check_same(engine, painted[index : index + 1], paint(net, frames[index : index + 1]))


def test_the_result_is_a_new_array(engine: Engine) -> None:
    frames, others = noise(1, 32, 48, 3, seed=1), noise(1, 32, 48, 3, seed=2)
    before = frames.copy()
    first = engine.infer(frames)
    kept = first.copy()
    second = engine.infer(others)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(frames, before)
    assert (second != first).any()
    assert not np.shares_memory(first, frames)
    first[:] = 0  # a sink may draw on it
    np.testing.assert_array_equal(engine.infer(frames), kept)


def test_frames_need_not_lie_in_one_piece(engine: Engine) -> None:
    wide = noise(2, 40, 90, 3)
    view = wide[:, ::2, ::-2]
    assert not view.flags.c_contiguous
    np.testing.assert_array_equal(engine.infer(view), engine.infer(view.copy()))


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_frames_may_be_read_only(engine: Engine) -> None:
    frames = noise(1, 32, 48, 3)
    wanted = engine.infer(frames)
    frames.flags.writeable = False
    np.testing.assert_array_equal(engine.infer(frames), wanted)


@pytest.mark.parametrize("mix", [slow([1.0, 0, 0]), [0, 0, 1.0], THIRDS])
def test_styles_mix(three_styles: Engine, several: StyleNet, mix: list[float]) -> None:
    for shape in ((3, 37, 46), (1, 27, 42)):
        frames = noise(*shape, 3)
        check_same(three_styles, three_styles.infer(frames, mix), paint(several, frames, mix))


def test_the_first_style_is_the_default(three_styles: Engine) -> None:
    frames = noise(1, 32, 48, 3)
    np.testing.assert_array_equal(three_styles.infer(frames), three_styles.infer(frames, [1, 0, 0]))
    assert psnr_db(three_styles.infer(frames), three_styles.infer(frames, [0, 1, 0])) < 30


@pytest.mark.parametrize(
    ("backend", "precision"), [case if case[1] == "fp32" else slow(*case) for case in CASES]
)
def test_a_style_of_several_is_painted_from_the_first_frame_on(
    tiny_styles_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, precision: str
) -> None:
    """One after the other out of one file, as caches might confuse them; each can still be mixed anew."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    several = with_half_weights(make_checkpoint(styles=3).build_net())
    shared, frames = read_style(tiny_styles_path), noise(2, 21, 34, 3)
    for weights, mix in (({"two": 1}, [0, 1.0, 0]), ({"one": 2, "two": 5, "three": 3}, THIRDS)):
        with open_or_skip(shared.mixed(weights), backend, precision) as opened:
            check_same(opened, opened.infer(frames), paint(several, frames, mix))
            check_same(opened, opened.infer(frames, mix), paint(several, frames, mix))
            check_same(opened, opened.infer(frames, [0, 0, 1]), paint(several, frames, [0, 0, 1.0]))


def test_a_wrong_number_of_weights_is_refused(engine: Engine) -> None:
    with pytest.raises(InferenceError, match="holds 1 styles, not 2"):
        engine.infer(noise(1, 32, 48, 3), [0.5, 0.5])


def test_a_weight_too_few_is_refused(three_styles: Engine) -> None:
    with pytest.raises(InferenceError, match="holds 3 styles, not 1"):
        three_styles.infer(noise(1, 32, 48, 3), [1])


def test_one_weight_for_one_style_is_fine(engine: Engine) -> None:
    frames = noise(1, 32, 48, 3)
    np.testing.assert_array_equal(engine.infer(frames, [1.0]), engine.infer(frames))


@pytest.mark.parametrize("shape", [(1, 15, 64, 3), (1, 64, 8, 3), (1, 1, 1, 3), (1, 16, 9000, 3)])
def test_sizes_out_of_range_are_refused(engine: Engine, shape: tuple[int, ...]) -> None:
    with pytest.raises(StylecamError, match=f"frame size {shape[2]}x{shape[1]} is out of range"):
        engine.infer(noise(*shape))


def test_closing_twice_is_fine(tiny_style: Style) -> None:
    for backend in BACKENDS:
        opened = open_engine(tiny_style, backend, "cpu", "fp32")
        opened.close()
        opened.close()


@pytest.mark.slow
def test_4k(engine: Engine) -> None:
    """Compared with itself: a 4K frame of tiles as large as the fixed noise repeats, but at its borders."""
    if (engine.backend, engine.precision) == ("torchscript", "bf16") and not multiplies_bf16():
        pytest.skip("this CPU has no instructions for bf16: torch takes minutes")
    side = FixedNoise.SIDE * CELL
    frames = np.tile(noise(1, side, side, 3), (1, 9, 15, 1))[:, :2160]
    assert frames.shape == (1, 2160, 3840, 3)
    painted = engine.infer(frames)
    assert painted.shape == frames.shape
    assert painted.std() > 10
    tile, next_tile = (painted[:, n * side : (n + 1) * side, n * side : (n + 1) * side] for n in (4, 5))
    assert psnr_db(tile, next_tile) > 40
    assert psnr_db(tile, painted[:, 1000 : 1000 + side, 1000 : 1000 + side]) < 20


# What is named is done or fails; what is left open is chosen and told.


@pytest.mark.parametrize(("backend", "precision"), CASES)
def test_it_says_what_it_runs_on(tiny_style: Style, backend: str, precision: str) -> None:
    with open_or_skip(tiny_style, backend, precision) as opened:
        assert (opened.backend, opened.device, opened.precision) == (backend, "cpu", precision)
        assert opened.choice == f"{backend} on cpu in {precision}"


@without_cuda
def test_auto_takes_openvino_where_there_is_no_gpu(
    tiny_style: Style, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_engine(tiny_style) as opened:
        assert (opened.backend, opened.device) == ("openvino", "cpu")
        assert opened.choice == f"openvino on cpu in {opened.precision} (no CUDA: {cuda_problem()})"
    assert not on_gpu()
    monkeypatch.setattr(stylecam.engines, "find_spec", lambda name: None if name == "openvino" else object())
    with open_engine(tiny_style) as opened:
        assert (opened.backend, opened.precision) == ("onnxruntime", "fp32")
        assert "openvino is not installed" in opened.choice


def test_unknown_names_list_the_known(tiny_style: Style) -> None:
    for named, hint in (
        (("tensorflow", "auto", "auto"), "onnxruntime, openvino, torchscript"),
        (("auto", "tpu", "auto"), "auto, cpu, cuda"),
        (("auto", "auto", "int4"), "auto, fp32, fp16, bf16, int8"),
    ):
        with pytest.raises(EngineError, match="is unknown") as caught:
            open_engine(tiny_style, *named)
        assert hint in caught.value.hint


@without_cuda
@pytest.mark.parametrize("backend", ["auto", *BACKENDS])
def test_cuda_is_refused_where_there_is_none(tiny_style: Style, backend: str) -> None:
    with pytest.raises(DeviceUnavailableError, match=r"CUDA|device cuda is not available"):
        open_engine(tiny_style, backend, "cuda")


@pytest.mark.parametrize(
    ("backend", "precision"),
    [("onnxruntime", "bf16"), ("onnxruntime", "fp16"), ("torchscript", "fp16"), ("torchscript", "int8")],
)
def test_a_precision_that_the_backend_lacks_is_refused(
    tiny_style: Style, backend: str, precision: str
) -> None:
    with pytest.raises(DeviceUnavailableError, match=f"does not compute in {precision} on cpu"):
        open_engine(tiny_style, backend, "cpu", precision)


def test_a_backend_that_is_not_installed_says_how_to_get_it(
    tiny_style: Style, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stylecam.engines, "find_spec", lambda name: None)
    for backend, hint in (("openvino", "pip install openvino"), ("torchscript", "'stylecam[train]'")):
        with pytest.raises(BackendMissingError, match=backend) as caught:
            open_engine(tiny_style, backend, "cpu")
        assert hint in caught.value.hint


# ONNX Runtime


@without_cuda
@pytest.mark.skipif(sys.platform == "darwin", reason="no CUDA provider is built for macOS")
def test_a_fallback_to_the_cpu_is_noticed(tiny_style: Style) -> None:
    with pytest.raises(EngineError, match=r"fell back from CUDA|could not load the net"):
        open_session(tiny_style.model.SerializeToString(), provider_options("cuda"))


def test_the_wanted_provider_stands_first(user_folders: Path) -> None:
    assert [name for name, _ in provider_options("cpu")] == ["CPUExecutionProvider"]
    names = [name for name, _ in provider_options("cuda", tensorrt=True)]
    assert names == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    caches = [v for k, v in provider_options("cuda", tensorrt=True)[0][1].items() if k.endswith("_path")]
    assert all(Path(folder).is_relative_to(user_folders) for folder in caches)


def test_a_fixed_shape_replaces_the_free_one(tiny_style: Style, tiny_net: StyleNet) -> None:
    session = open_session(tiny_style.model.SerializeToString(), provider_options("cpu"), (2, 32, 48))
    assert session.get_inputs()[0].shape == [2, 32, 48, 3]
    frames = noise(2, 32, 48, 3)
    assert distance(run_bound(session, {"frames": frames}, "cpu"), paint(tiny_net, frames)) <= 1
    with pytest.raises(Exception, match="dimensions"):
        run_bound(session, {"frames": noise(1, 32, 48, 3)}, "cpu")


def test_each_size_of_the_ladder_has_a_session_of_its_own(
    tiny_style: Style, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT's way, walked on the CPU: the sizes are those of every CUDA machine."""
    monkeypatch.setattr("stylecam.engines.ort.has_tensorrt", lambda: True)
    cpu = provider_options("cpu")
    monkeypatch.setattr("stylecam.engines.ort.provider_options", lambda device, tensorrt: cpu)
    engine = OrtEngine(tiny_style)
    engine.device = "cuda"
    for shape in ((1, 360, 640), (1, 361, 640), (1, 100, 100), (4, 360, 640)):
        engine._session(shape)
    assert set(engine._sessions) == {None, (1, 360, 640), (4, 360, 640)}
    assert engine._session((4, 360, 640)).get_inputs()[0].shape == [4, 360, 640, 3]
    assert (720, 1280) in LADDER_HW


# OpenVINO's precision


def test_on_a_cpu_opencv_leaves_the_cores_to_the_net(tiny_style: Style) -> None:
    cores = cv2.getNumberOfCPUs()
    before = cv2.getNumThreads()
    cv2.setNumThreads(cores)
    try:
        open_engine(tiny_style, "onnxruntime", "cpu").close()
        assert cv2.getNumThreads() == max(1, cores // 4)
    finally:
        cv2.setNumThreads(before)


@pytest.fixture
def no_matrix_units(tmp_path: Path, tiny_style: Style, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CPU without AMX, and a cache that knows nothing; returns the file of what was measured."""
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" not in capabilities:
        pytest.skip("this CPU has no bf16 at all, so there is nothing to choose")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(openvino_module, "has_amx", lambda: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return user_cache_path("stylecam") / "openvino" / "precision.json"


def test_a_precision_that_does_not_compile_is_not_chosen(
    tiny_style: Style, no_matrix_units: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_net = OpenVinoEngine._compile

    def refuse_bf16(self: OpenVinoEngine, key: openvino_module.Key, precision: str) -> openvino.CompiledModel:
        if precision == "bf16":
            raise EngineError("object is not initialized", "")
        return compile_net(self, key, precision)

    monkeypatch.setattr(OpenVinoEngine, "_compile", refuse_bf16)
    with open_engine(tiny_style, "openvino") as opened:
        assert opened.precision == "fp32"


@pytest.mark.parametrize("faster", ["fp32", "bf16"])
def test_without_matrix_units_the_faster_precision_is_found_and_remembered(
    no_matrix_units: Path, tiny_style: Style, monkeypatch: pytest.MonkeyPatch, faster: str
) -> None:
    tried: list[str] = []

    def race(self: OpenVinoEngine, precisions: Sequence[str]) -> dict[str, float]:
        tried.extend(precisions)
        return {precision: 1.0 if precision == faster else 2.0 for precision in precisions}

    monkeypatch.setattr(OpenVinoEngine, "_race", race)
    for _ in range(2):
        with open_engine(tiny_style, "openvino") as opened:
            assert opened.precision == faster
    assert tried == ["fp32", "bf16"]
    assert list(json.loads(no_matrix_units.read_text()).values()) == [faster]


def test_the_trial_really_measures(no_matrix_units: Path, tiny_style: Style) -> None:
    with open_engine(tiny_style, "openvino") as opened:
        assert list(json.loads(no_matrix_units.read_text()).values()) == [opened.precision]


def test_the_trial_takes_turns(
    no_matrix_units: Path, tiny_style: Style, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whatever the machine was at while one of them had its turn would decide for good."""
    calls: list[str] = []
    compile_net = OpenVinoEngine._compile

    class Noted:
        def __init__(self, net: openvino.CompiledModel, precision: str) -> None:
            self._net, self._precision = net, precision

        def __call__(self, inputs: dict[str, Any]) -> object:
            calls.append(self._precision)
            return self._net(inputs)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._net, name)

    def noted(self: OpenVinoEngine, key: openvino_module.Key, precision: str) -> Noted:
        return Noted(compile_net(self, key, precision), precision)

    monkeypatch.setattr(OpenVinoEngine, "_compile", noted)
    open_engine(tiny_style, "openvino").close()
    assert len(calls) >= 4
    assert calls == ["fp32", "bf16"] * (len(calls) // 2)


def test_a_cap_on_the_instructions_is_measured_for_itself(
    no_matrix_units: Path, tiny_style: Style, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        OpenVinoEngine, "_race", lambda self, precisions: {each: len(each) for each in precisions}
    )
    open_engine(tiny_style, "openvino").close()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    open_engine(tiny_style, "openvino").close()
    assert sorted("AVX2" in key for key in json.loads(no_matrix_units.read_text())) == [False, True]


@pytest.mark.parametrize("content", ["", "{", "[]", "3"])
def test_a_damaged_memory_is_measured_anew(
    no_matrix_units: Path, tiny_style: Style, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr(OpenVinoEngine, "_race", lambda self, precisions: {"fp32": 1.0, "bf16": 2.0})
    no_matrix_units.parent.mkdir(parents=True, exist_ok=True)
    no_matrix_units.write_text(content)
    open_engine(tiny_style, "openvino").close()
    assert list(json.loads(no_matrix_units.read_text()).values()) == ["fp32"]


def test_matrix_units_need_no_trial(
    no_matrix_units: Path, tiny_style: Style, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_module, "has_amx", lambda: True)
    with open_engine(tiny_style, "openvino") as opened:
        assert opened.precision == "bf16"
    assert not no_matrix_units.exists()


def test_only_so_many_pixels_stay_compiled(
    tiny_style: Style, tiny_net: StyleNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_module, "_KEPT_PIXELS", 2 * 16 * 40)
    with open_engine(tiny_style, "openvino", "cpu", "fp32") as opened:
        assert isinstance(opened, OpenVinoEngine)
        for shape in ((1, 16, 40), (1, 16, 36), (1, 16, 40), (1, 16, 44), (4, 16, 40), (1, 16, 40)):
            frames = noise(*shape, 3)
            assert distance(opened.infer(frames), paint(tiny_net, frames)) <= 1
            pixels = [shape[0] * shape[1] * shape[2] for shape, _ in opened._requests]
            assert sum(pixels) <= 2 * 16 * 40 or len(pixels) == 1


def prepare_until_done(engine: OpenVinoEngine, shape: tuple[int, ...]) -> bool:
    while not engine.prepare(shape):
        time.sleep(0.01)
    return True


def test_what_is_prepared_is_compiled_once_and_beside_the_work(
    tiny_style: Style, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, real = list[str](), OpenVinoEngine._compile

    def compile_(self: OpenVinoEngine, *key: Any) -> Any:
        threads.append(threading.current_thread().name)
        time.sleep(0.05)
        return real(self, *key)

    with open_engine(tiny_style, "openvino", "cpu", "fp32") as opened:
        assert isinstance(opened, OpenVinoEngine)
        monkeypatch.setattr(OpenVinoEngine, "_compile", compile_)
        assert not opened.prepare((1, 16, 40, 3))
        opened.infer(noise(1, 16, 40, 3))  # waits for it
        assert prepare_until_done(opened, (1, 16, 48, 3))
        opened.infer(noise(1, 16, 48, 3))
    assert len(threads) == 2
    assert all(name.startswith("stylecam-compile") for name in threads)


def test_without_room_for_it_nobody_waits(tiny_style: Style, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_module, "_KEPT_PIXELS", 2 * 16 * 40)
    with open_engine(tiny_style, "openvino", "cpu", "fp32") as opened:
        opened.infer(noise(1, 16, 40, 3))
        assert opened.prepare((1, 16, 44, 3))
        assert list(opened._requests) == [((1, 16, 40, 3), None)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("error", [RuntimeError("bad_alloc"), MemoryError()])
def test_what_cannot_be_prepared_is_said_and_the_rest_goes_on(
    tiny_style: Style, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    tries, frames = list[object](), noise(1, 16, 40, 3)

    def compile_(self: OpenVinoEngine, key: object, precision: str) -> Any:
        tries.append(key)
        raise error

    with open_engine(tiny_style, "openvino", "cpu", "fp32") as opened:
        assert isinstance(opened, OpenVinoEngine)
        before = opened.infer(frames)
        monkeypatch.setattr(OpenVinoEngine, "_compile", compile_)
        with pytest.raises(OutOfMemoryError, match="1x16x48x3"):
            prepare_until_done(opened, (1, 16, 48, 3))
        with pytest.raises(OutOfMemoryError):
            opened.prepare((1, 16, 48, 3))
        assert not opened.prepare((1, 16, 44, 3))
        while opened._coming:
            assert np.array_equal(opened.infer(frames), before), "whatever fails beside it"
        assert len(tries) == 2


def test_old_compiled_nets_are_deleted(
    tiny_style: Style, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = user_cache_path("stylecam") / "openvino"
    folder.mkdir(parents=True)
    for age in range(40):
        (folder / f"{age}.blob").touch()
        os.utime(folder / f"{age}.blob", (1000 - age, 1000 - age))
    open_engine(tiny_style, "openvino", "cpu", "fp32").close()
    left = {int(blob.stem) for blob in folder.glob("*.blob") if int(blob.stem) < 40}
    assert left == set(range(16))


def test_without_a_cache_it_goes_on_and_says_so(
    tiny_style: Style, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    frames = noise(1, 20, 30, 3)
    for backend in ("openvino", "torchscript"):
        pictures = []
        for home in ("folder", "file", "folder"):
            monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / home))
            with open_engine(tiny_style, backend, "cpu", "fp32") as opened:
                pictures.append(opened.infer(frames))
                assert (home == "file") == (
                    "the cache " in opened.choice and "cannot be written" in opened.choice
                )
        assert all((picture == pictures[0]).all() for picture in pictures)
        assert any((user_cache_path("stylecam") / backend).iterdir())


def test_what_was_found_faster_need_not_be_remembered(
    no_matrix_units: Path, tiny_style: Style, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Path, key: str, found: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(openvino_module, "remember", full)
    open_engine(tiny_style, "openvino", "cpu").close()
    assert not no_matrix_units.exists()


# TorchScript's cache


def test_the_script_is_compiled_once(
    tiny_style: Style, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    open_engine(tiny_style, "torchscript", "cpu").close()
    (cached,) = (user_cache_path("stylecam") / "torchscript").iterdir()
    monkeypatch.setattr("stylecam.engines.torchscript.script", lambda net: pytest.fail("compiled again"))
    open_engine(tiny_style, "torchscript", "cpu").close()
    assert cached.suffix == ".ts"


# CUDA


@pytest.fixture(
    params=[pytest.param("onnxruntime", marks=on_cuda), pytest.param("torchscript", marks=on_cuda)]
)
def cuda_engine(request: pytest.FixtureRequest, make_onnx: MakeFile, each_kind: str) -> Iterator[Engine]:
    with open_engine(read_style(make_onnx(each_kind, 1)), request.param, "cuda") as opened:
        yield opened


def test_cuda_runs_in_half_precision(cuda_engine: Engine, net: StyleNet) -> None:
    assert (cuda_engine.device, cuda_engine.precision) == ("cuda", "fp16")
    for shape in SHAPES:
        frames = noise(*shape, 3)
        assert psnr_db(cuda_engine.infer(frames), paint(net, frames)) >= 40


def test_cuda_gives_a_new_array_each_time(cuda_engine: Engine) -> None:
    test_the_result_is_a_new_array(cuda_engine)


@pytest.mark.gpu
@pytest.mark.skipif(bool(cuda_problem()), reason=f"no CUDA: {cuda_problem()}")
def test_onnxruntime_on_cuda_in_fp32(tiny_style: Style, tiny_net: StyleNet) -> None:
    with open_engine(tiny_style, "onnxruntime", "cuda", "fp32") as opened:
        frames = noise(2, 45, 67, 3)
        # The tensor cores round fp32 to TF32's ten bits.
        assert psnr_db(opened.infer(frames), paint(tiny_net, frames)) >= 50


@pytest.mark.gpu
@pytest.mark.skipif(bool(cuda_problem()), reason=f"no CUDA: {cuda_problem()}")
def test_inputs_and_outputs_are_bound_on_the_gpu(tiny_style: Style, tiny_net: StyleNet) -> None:
    session = open_session(tiny_style.model.SerializeToString(), provider_options("cuda"))
    assert session.get_providers()[0] == "CUDAExecutionProvider"
    frames = noise(2, 45, 67, 3)
    assert psnr_db(run_bound(session, {"frames": frames}, "cuda"), paint(tiny_net, frames)) >= 50


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(bool(cuda_problem()), reason=f"no CUDA: {cuda_problem()}")
@pytest.mark.skipif(not has_tensorrt(), reason="TensorRT is not installed")
def test_tensorrt_takes_the_sizes_of_its_ladder(tiny_style: Style, tiny_net: StyleNet) -> None:
    with OrtEngine(tiny_style, "cuda") as opened:
        for height, width in ((360, 640), (100, 100)):
            frames = noise(1, height, width, 3)
            assert psnr_db(opened.infer(frames), paint(tiny_net, frames)) >= 40
        first = {key: session.get_providers()[0] for key, session in opened._sessions.items()}
    assert first == {(1, 360, 640): "TensorrtExecutionProvider", None: "CUDAExecutionProvider"}


def test_the_driver_is_asked_before_the_library() -> None:
    """ONNX Runtime's GPU package lists the CUDA provider even where there is no driver."""
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("the CPU package of onnxruntime is installed")
    driver = any(os.path.exists(f"/proc/driver/{name}") for name in ("nvidia", "nvidia-uvm"))
    assert bool(cuda_problem()) is not driver
