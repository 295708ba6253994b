"""Engines: `open_engine` loads a style into the backend that suits this machine, or the one named."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import cv2

from stylecam.engines.base import Engine
from stylecam.engines.cuda import cuda_problem
from stylecam.errors import BackendMissingError, DeviceUnavailableError, EngineError
from stylecam.styles import Style

BACKENDS = {
    "onnxruntime": "stylecam.engines.ort:OrtEngine",
    "openvino": "stylecam.engines.openvino:OpenVinoEngine",
    "torchscript": "stylecam.engines.torchscript:TorchScriptEngine",
}
PACKAGES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "torchscript": "torch"}
DEVICES = ("cpu", "cuda")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")

_OPENCVS_PART = 4
"""On a CPU, OpenCV works on one core of so many.

Its threads spin while they wait for each other: on two cores, one of them smooths a frame as soon as two do,
for two thirds of the processor's time. The rest is the net's.
"""


def open_engine(style: Style, backend: str = "auto", device: str = "auto", precision: str = "auto") -> Engine:
    """Load `style`; what is named is done or fails, "auto" is chosen and told in `engine.choice`.

    auto takes ONNX Runtime on CUDA, then OpenVINO, then ONNX Runtime on the CPU. The caller
    closes the engine. On a CPU it has the cores: OpenCV is held to fewer threads, in the whole process.
    Raises BackendMissingError, DeviceUnavailableError.
    """
    for value, known, what in ((device, DEVICES, "device"), (precision, PRECISIONS, "precision")):
        if value not in ("auto", *known):
            raise EngineError(f"{what} {value!r} is unknown", f"known: auto, {', '.join(known)}")
    device, why = _pick_device(backend, device)
    if backend == "auto":
        backend, why = _pick_backend(device, why)
    if backend not in BACKENDS:
        raise EngineError(f"engine {backend!r} is unknown", f"known: auto, {', '.join(BACKENDS)}")
    if find_spec(PACKAGES[backend]) is None:
        extra = "pip install 'stylecam[train]'" if backend == "torchscript" else f"pip install {backend}"
        raise BackendMissingError(f"engine {backend} needs the package {PACKAGES[backend]}", extra)
    module, name = BACKENDS[backend].split(":")
    engine: Engine = getattr(import_module(module), name)(style, device, precision)
    why = "; ".join(filter(None, (why, engine.uncached)))
    engine.choice = f"{engine.backend} on {engine.device} in {engine.precision}" + (
        f" ({why})" if why else ""
    )
    if engine.device == "cpu":
        cv2.setNumThreads(max(1, cv2.getNumberOfCPUs() // _OPENCVS_PART))
    return engine


def on_gpu(backend: str = "auto", device: str = "auto") -> bool:
    """Tell whether `open_engine` would use a GPU for these."""
    return device == "cuda" or (device == "auto" and backend != "openvino" and not cuda_problem())


def _pick_device(backend: str, device: str) -> tuple[str, str]:
    """Return the device and, where it was left open, the reason. OpenVINO is used on CPUs alone."""
    problem = cuda_problem()
    if device == "cuda":
        if backend == "openvino":
            raise DeviceUnavailableError("openvino does not run on CUDA", "use --engine onnxruntime")
        if problem:
            raise DeviceUnavailableError(f"device cuda is not available: {problem}", 'see "stylecam doctor"')
    if device != "auto":
        return device, ""
    if backend == "openvino":
        return "cpu", ""
    return ("cpu", f"no CUDA: {problem}") if problem else ("cuda", "a CUDA device is there")


def _pick_backend(device: str, why: str) -> tuple[str, str]:
    if device == "cuda":
        return "onnxruntime", why
    if find_spec("openvino") is not None:
        return "openvino", why
    return "onnxruntime", f"{why}; openvino is not installed".removeprefix("; ")
