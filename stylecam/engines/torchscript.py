"""TorchScript: the net rebuilt from the weights file, compiled once, kept in the user's cache."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from platformdirs import user_cache_path
from torch import Tensor

from stylecam import __version__
from stylecam.engines.base import Engine, failed_inference, net_inputs
from stylecam.errors import DeviceUnavailableError, EngineError
from stylecam.frames import Pixels
from stylecam.machine import cache_problem
from stylecam.neural.deploy import DeployableNet, load_net, script
from stylecam.neural.device import DTYPES, pick_device
from stylecam.styles import Style
from stylecam.wholefile import whole_file

PRECISIONS = {"cpu": ("fp32", "bf16"), "cuda": ("fp16", "bf16", "fp32")}


class TorchScriptEngine(Engine):
    """Run the scripted net; it works for every style, since the weights file holds all it takes."""

    backend = "torchscript"

    def __init__(self, style: Style, device: str = "cpu", precision: str = "auto") -> None:
        self._style = style
        self.device = pick_device(device).type
        self.precision = PRECISIONS[self.device][0] if precision == "auto" else precision
        if self.precision not in PRECISIONS[self.device]:
            raise DeviceUnavailableError(
                f"torchscript does not compute in {precision} on {device}",
                f"use {' or '.join(PRECISIONS[self.device])}",
            )
        try:
            module = _load_script(_cached_script(style), self.device)
        except (OSError, RuntimeError) as exc:  # the latter is torch's, where the disk is full
            self.uncached = cache_problem() or f"the script could not be kept: {exc}"
            module = _new_script(style)
        self._net: Callable[..., Tensor] = module.to(self.device, DTYPES[self.precision])

    def infer(self, frames: Pixels, style: Sequence[float] | None = None) -> Pixels:
        """See `Engine.infer`."""
        inputs = net_inputs(self._style, frames, style)
        try:
            tensors = [torch.from_numpy(array).to(self.device) for array in inputs.values()]
            tensors[1:] = [mix.to(DTYPES[self.precision]) for mix in tensors[1:]]
            with torch.inference_mode():
                painted: Pixels = self._net(*tensors).cpu().contiguous().numpy()
        except (RuntimeError, MemoryError) as exc:
            raise failed_inference(self.backend, frames.shape, exc) from exc
        return painted

    def close(self) -> None:
        """See `Engine.close`."""


def _load_script(path: Path, device: str) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit is deprecated, and still works
        try:
            module: torch.jit.ScriptModule = torch.jit.load(str(path), map_location=device)
        except RuntimeError as exc:
            raise EngineError(f"the cached script {path} is damaged", "delete it; it is made anew") from exc
    return module


def _cached_script(style: Style) -> Path:
    key = f"{style.card['graph_sha256'][:16]}-{__version__}-torch{torch.__version__.split('+')[0]}"
    target = user_cache_path("stylecam") / "torchscript" / f"{style.path.stem}-{key}.ts"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as part:
            _new_script(style).save(str(part))
    return target


def _new_script(style: Style) -> torch.jit.ScriptModule:
    return script(DeployableNet(load_net(replace(style, mix=None))))
