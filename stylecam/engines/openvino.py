"""OpenVINO on the CPU, in bf16 where that is the faster way."""

from __future__ import annotations

import json
import os
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import openvino
from platformdirs import user_cache_path

from stylecam.engines.base import Engine, net_inputs
from stylecam.errors import DeviceUnavailableError, EngineError, InferenceError
from stylecam.frames import Pixels
from stylecam.styles import Style

HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
_KEPT_PIXELS = 4_000_000
"""A compiled shape holds its activations, about 0.3 kB a pixel in bf16."""

_KEPT_BLOBS = 16
_TRIAL_SHAPE = (1, 240, 320, 3)


class OpenVinoEngine(Engine):
    """Compile the net for each shape of batch that comes, and keep the last few.

    A fixed shape runs a tenth faster than a free one, and compiling takes a tenth of a second.
    """

    backend = "openvino"
    device = "cpu"

    def __init__(self, style: Style, device: str = "cpu", precision: str = "auto") -> None:
        self._style = style
        self._core = shared_core()
        folder = user_cache_path("stylecam") / "openvino"
        _prune(folder)
        self._core.set_property({"CACHE_DIR": str(folder)})
        self._bytes = style.model.SerializeToString()
        self._requests: OrderedDict[tuple[int, ...], openvino.InferRequest] = OrderedDict()
        self.precision = self._pick_precision(folder) if precision == "auto" else precision
        trial = self._compile(_TRIAL_SHAPE, self.precision)
        got = trial.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if got != HINTS[self.precision]:
            raise DeviceUnavailableError(
                f"openvino computes in {got} where {precision} was asked for", "leave --precision out"
            )

    def infer(self, frames: Pixels, style: Sequence[float] | None = None) -> Pixels:
        """See `Engine.infer`."""
        inputs = net_inputs(self._style, frames, style)
        try:
            return np.asarray(self._request(frames.shape).infer(inputs, share_inputs=True)[0], np.uint8)
        except RuntimeError as exc:
            shape = "x".join(str(side) for side in frames.shape)
            raise InferenceError(
                f"openvino could not run a batch of {shape}: {exc}", "use a smaller --size or --batch"
            ) from exc

    def close(self) -> None:
        """See `Engine.close`."""
        self._requests.clear()

    def _request(self, shape: tuple[int, ...]) -> openvino.InferRequest:
        if shape not in self._requests:
            while self._requests and sum(map(_pixels, [*self._requests, shape])) > _KEPT_PIXELS:
                self._requests.popitem(last=False)
            self._requests[shape] = self._compile(shape, self.precision).create_infer_request()
        self._requests.move_to_end(shape)
        return self._requests[shape]

    def _compile(self, shape: tuple[int, ...], precision: str) -> openvino.CompiledModel:
        try:
            model = self._core.read_model(self._bytes, b"")
            model.reshape({"frames": list(shape)})
            hints = {"INFERENCE_PRECISION_HINT": HINTS[precision], "PERFORMANCE_HINT": "LATENCY"}
            return self._core.compile_model(model, "CPU", hints)
        except RuntimeError as exc:
            raise EngineError(f"openvino could not compile the net: {exc}", 'see "stylecam doctor"') from exc

    def _pick_precision(self, folder: Path) -> str:
        """Return bf16 where the CPU has matrix units for it, otherwise what a trial found faster.

        bf16 without matrix units can be slower than fp32, so it is tried once and remembered.
        """
        if "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            return "fp32"
        capped = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
        if not capped and has_amx():
            return "bf16"
        cpu = self._core.get_property("CPU", "FULL_DEVICE_NAME")
        key = " ".join((cpu, capped, openvino.__version__, self._style.net))
        file = folder / "precision.json"
        return _remembered(file).get(key) or self._try_precisions(file, key)

    def _try_precisions(self, file: Path, key: str) -> str:
        times = {precision: self._time(precision) for precision in ("fp32", "bf16")}
        best = min(times, key=lambda precision: times[precision])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(_remembered(file) | {key: best}, indent=1))
        return best

    def _time(self, precision: str) -> float:
        compiled = self._compile(_TRIAL_SHAPE, precision)
        inputs = net_inputs(self._style, np.zeros(_TRIAL_SHAPE, np.uint8), None)
        times = []
        for _ in range(5):
            began = time.perf_counter()
            compiled(inputs)
            times.append(time.perf_counter() - began)
        return min(times)


@cache
def shared_core() -> openvino.Core:
    """Return the process's one Core, which stays.

    On a CPU with AMX each Core sets an alternate signal stack and unmaps it with itself. Of two whose
    lives overlap, the second may leave the first one's behind as the current stack, unmapped, and the
    next signal (Ctrl-C) kills the process.
    """
    return openvino.Core()


def has_amx() -> bool:
    """Tell whether the CPU has matrix units for bf16. Linux only; elsewhere a trial decides."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _pixels(shape: tuple[int, ...]) -> int:
    return shape[0] * shape[1] * shape[2]


def _prune(folder: Path) -> None:
    """Delete the oldest compiled nets: there is one for every size that ever was, of 7 MB each."""
    with suppress(FileNotFoundError):  # another process prunes at the same time
        blobs = sorted(folder.glob("*.blob"), key=lambda blob: blob.stat().st_mtime)
        for blob in blobs[:-_KEPT_BLOBS]:
            blob.unlink()


def _remembered(file: Path) -> dict[str, str]:
    """Return what earlier trials found; nothing where the file is missing or damaged."""
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
