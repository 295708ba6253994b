"""ONNX Runtime: CUDA in half precision (TensorRT where installed), or the CPU in fp32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from platformdirs import user_cache_path

from stylecam.engines.base import Engine, failed_inference, net_inputs
from stylecam.engines.cuda import has_tensorrt
from stylecam.engines.half import to_half
from stylecam.errors import DeviceUnavailableError, EngineError
from stylecam.frames import Pixels
from stylecam.machine import cache_problem
from stylecam.styles import Style

LADDER_HW = frozenset({(360, 640), (480, 640), (540, 960), (720, 1280), (1080, 1920), (2160, 3840)})
"""Frame sizes that TensorRT gets an engine for: building one takes up to minutes, once, and
every other size runs on the CUDA provider at once."""

PRECISIONS = {"cpu": ("fp32",), "cuda": ("fp16", "fp32")}


class OrtEngine(Engine):
    """Run the weights file as it is on the CPU, or rewritten to fp16 on CUDA."""

    backend = "onnxruntime"

    def __init__(self, style: Style, device: str = "cpu", precision: str = "auto") -> None:
        self.device = device
        self.precision = PRECISIONS[device][0] if precision == "auto" else precision
        if self.precision not in PRECISIONS[device]:
            raise DeviceUnavailableError(
                f"onnxruntime does not compute in {precision} on {device}",
                f"use {' or '.join(PRECISIONS[device])}, or --engine openvino",
            )
        self._style = style
        model = to_half(style.model) if self.precision == "fp16" else style.model
        self._bytes = model.SerializeToString()
        self._sessions: dict[tuple[int, ...] | None, onnxruntime.InferenceSession] = {}
        self._session((0, 0, 0))

    def infer(self, frames: Pixels, style: Sequence[float] | None = None) -> Pixels:
        """See `Engine.infer`."""
        inputs = net_inputs(self._style, frames, style)
        try:
            return run_bound(self._session(frames.shape[:3]), inputs, self.device)
        # onnxruntime derives its exceptions from Exception itself.
        except Exception as exc:
            raise failed_inference(self.backend, frames.shape, exc) from exc

    def _session(self, shape: tuple[int, ...]) -> onnxruntime.InferenceSession:
        """Return the session for a batch's (N, H, W): one for all but TensorRT's ladder."""
        tensorrt = self.device == "cuda" and shape[1:] in LADDER_HW and has_tensorrt()
        key = shape if tensorrt else None
        if key not in self._sessions:
            providers = provider_options(self.device, tensorrt=tensorrt)
            self._sessions[key] = open_session(self._bytes, providers, key)
        return self._sessions[key]

    def close(self) -> None:
        """See `Engine.close`."""
        self._sessions.clear()


def provider_options(device: str, *, tensorrt: bool = False) -> list[tuple[str, dict[str, Any]]]:
    """Return the providers to open a session with, the wanted one first, with their options."""
    providers: list[tuple[str, dict[str, Any]]] = [("CPUExecutionProvider", {})]
    if device == "cuda":
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": 0}))
    if tensorrt:
        folder = user_cache_path("stylecam") / "tensorrt"
        caches: dict[str, Any] = {}
        if not cache_problem():
            folder.mkdir(parents=True, exist_ok=True)
            caches = {"trt_engine_cache_enable": True, "trt_timing_cache_enable": True}
            caches |= {"trt_engine_cache_path": str(folder), "trt_timing_cache_path": str(folder)}
        providers.insert(0, ("TensorrtExecutionProvider", {"trt_fp16_enable": True, **caches}))
    return providers


def open_session(
    model: bytes, providers: list[tuple[str, dict[str, Any]]], shape: tuple[int, ...] | None = None
) -> onnxruntime.InferenceSession:
    """Open a session whose first provider is the first one asked for, or raise EngineError.

    `shape` (N, H, W) fixes the graph's free sizes, for providers that compile per shape.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    for name, size in zip(("N", "H", "W"), shape or (), strict=False):
        options.add_free_dimension_override_by_name(name, size)
    wanted = providers[0][0]
    if wanted != "CPUExecutionProvider":
        onnxruntime.preload_dlls()  # CUDA and cuDNN from their wheels, where they came by pip
    try:
        session = onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as exc:
        raise EngineError(f"onnxruntime could not load the net: {exc}", 'see "stylecam doctor"') from exc
    if session.get_providers()[0] != wanted:
        raise DeviceUnavailableError(
            f"onnxruntime fell back from {wanted} to {session.get_providers()[0]}",
            "pip install 'stylecam[cuda]' brings the CUDA libraries; see \"stylecam doctor\"",
        )
    return session


def run_bound(
    session: onnxruntime.InferenceSession, inputs: Mapping[str, NDArray[np.generic]], device: str
) -> Pixels:
    """Run one batch with inputs bound on `device`: bytes go up, bytes come down, nothing between."""
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0))
    binding.bind_output("stylized", device, 0)
    session.run_with_iobinding(binding)
    painted: Pixels = binding.copy_outputs_to_cpu()[0]
    return painted
