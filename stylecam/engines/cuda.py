"""Whether CUDA can really be used here.

ONNX Runtime's GPU package lists the CUDA provider on every machine and falls back to the
CPU without an exception, so the driver is asked first, and the session afterwards.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys
from functools import cache


@cache
def cuda_problem() -> str:
    """Return why no CUDA device can be used, or "" where one can."""
    names = {"win32": ["nvcuda.dll"], "darwin": []}.get(sys.platform, ["libcuda.so.1", "libcuda.so"])
    if not names:
        return "macOS has none"
    driver = next((lib for name in names if (lib := _load(name))), None)
    if driver is None:
        return "no NVIDIA driver is installed"
    count = ctypes.c_int()
    if (code := driver.cuInit(0)) or (code := driver.cuDeviceGetCount(ctypes.byref(count))):
        return f"the NVIDIA driver answers with error {code}"
    if not count.value:
        return "the NVIDIA driver finds no device"
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "the installed onnxruntime has no CUDA provider (pip install onnxruntime-gpu)"
    return ""


@cache
def has_tensorrt() -> bool:
    """Tell whether the TensorRT 10 that ONNX Runtime is linked with can be loaded."""
    name = "nvinfer_10.dll" if os.name == "nt" else "libnvinfer.so.10"
    return _load(name) is not None


def _load(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None
