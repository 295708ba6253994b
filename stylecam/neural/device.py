"""Choose where torch runs and in which precision, and say why."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from stylecam.errors import DeviceUnavailableError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str = "auto") -> torch.device:
    """Return the torch device for "auto", "cpu", "cuda" or "mps"; strict where it is named."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    if not available.get(name):
        raise DeviceUnavailableError(
            f"device {name} is not available to torch {torch.__version__}",
            'see "stylecam doctor", or leave --device out',
        )
    return torch.device(name)


def pick_precision(device: torch.device, name: str = "auto") -> str:
    """Return "fp32", "bf16" or "fp16"; auto takes half precision where the hardware multiplies in it."""
    if name != "auto":
        if name not in DTYPES or (name == "fp16" and device.type == "cpu"):
            raise DeviceUnavailableError(
                f"torch does not optimise in {name} on {device.type}",
                "leave --precision out, or use bf16 or fp32",
            )
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    # Without instructions for bf16 a CPU is slower than in fp32; on MPS autocast saves little.
    return "bf16" if device.type == "cpu" and multiplies_bf16() else "fp32"


def multiplies_bf16() -> bool:
    """Tell whether this x86 CPU has instructions for bf16: without them torch takes up to 50 times longer."""
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the context in which convolutions run in `precision`."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")
