"""OpenVINO on the CPU, in bf16 where that is the faster way, or mostly in int8."""

from __future__ import annotations

import math
import os
import platform
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import openvino
from numpy.typing import NDArray
from platformdirs import user_cache_path

from stylecam.engines.baked import bake
from stylecam.engines.base import Engine, default_mix, failed_inference, is_short_of_memory, net_inputs
from stylecam.engines.fused import fuse
from stylecam.engines.int8 import to_int8
from stylecam.engines.winograd import halve_products
from stylecam.errors import DeviceUnavailableError, EngineError
from stylecam.frames import Pixels
from stylecam.machine import cache_problem, recall, remember
from stylecam.styles import Style

HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
_KEPT_PIXELS = 6_000_000
"""A compiled shape holds its activations, about 0.3 kB a pixel in bf16."""

_LANES_PIXELS = 2_100_000
"""What all lanes together may have in work: the full net in fp32 takes up to 2 kB a pixel."""

_KEPT_BLOBS = 16
_SETTLED = 15
"""How many batches in a row must have the same mix until it is worth compiling in: half a second live."""

Key: TypeAlias = tuple[tuple[int, ...], tuple[float, ...] | None]
"""A batch's shape, and the mix that is compiled in; None where it is an input."""

_TRIAL_SHAPE = (1, 240, 320, 3)
_TRIAL_ROUNDS, _TRIAL_S = 20, 1.0


class OpenVinoEngine(Engine):
    """Compile the net for each shape of batch that comes, and keep the last few.

    A fixed shape runs a tenth faster than a free one, and compiling takes a tenth of a second. Of a net
    of several styles a fixed mix runs a sixth faster than a free one: the mix it was opened for is
    compiled in, any other is an input until it has stayed for a while (`_SETTLED` batches); then it
    is compiled in as well, beside the work that goes on.

    In int8 the inner convolutions are computed in whole numbers, the rest in fp32 or bf16. In fp32 on a
    CPU without AVX-512 multiplications are what takes the time, and half of most of them are saved.
    """

    backend = "openvino"
    device = "cpu"

    def __init__(self, style: Style, device: str = "cpu", precision: str = "auto") -> None:
        self._style = style
        self._core = shared_core()
        folder = user_cache_path("stylecam") / "openvino"
        self.uncached = cache_problem()
        if not self.uncached:
            _prune(folder)
        self._core.set_property({"CACHE_DIR": "" if self.uncached else str(folder)})
        if threads := os.environ.get("OMP_NUM_THREADS", ""):  # as every other engine takes it
            # not pinned: several processes that share the cores out would all be pinned to the same ones
            self._core.set_property(
                "CPU", {"INFERENCE_NUM_THREADS": int(threads), "ENABLE_CPU_PINNING": False}
            )
        self._several = any(value.name == "style" for value in style.model.graph.input)
        self._requests: OrderedDict[Key, _Lanes] = OrderedDict()
        self._settling = Settling(default_mix(style))
        self._compiler: ThreadPoolExecutor | None = None
        self._coming: tuple[Key, Future[_Lanes]] | None = None
        self._failed: dict[Key, EngineError] = {}
        self._halved = False
        self._int8 = precision == "int8"
        self._floats = self._pick_precision(folder) if precision in ("auto", "int8") else precision
        self.precision = "int8" if self._int8 else self._floats
        trial = self._compile((_TRIAL_SHAPE, self._fixed(default_mix(style))), self._floats)
        self._check(trial)
        self._halved = self.precision == "fp32" and has_narrow_vectors(trial)
        self.threads = int(trial.get_property("INFERENCE_NUM_THREADS"))

    def _check(self, trial: openvino.CompiledModel) -> None:
        """Compare what was got with what was asked for. Raises DeviceUnavailableError."""
        got = trial.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if got != HINTS[self._floats]:
            raise DeviceUnavailableError(
                f"openvino computes in {got} where {self._floats} was asked for", "leave --precision out"
            )
        if self._int8 and not in_bytes(trial):
            raise DeviceUnavailableError(
                "openvino computes no convolution in int8 on this CPU", "leave --precision out"
            )

    def infer(self, frames: Pixels, style: Sequence[float] | None = None) -> Pixels:
        """See `Engine.infer`."""
        inputs = net_inputs(self._style, frames, style)
        mix = default_mix(self._style) if style is None else tuple(style)
        try:
            key, request = self._request(frames.shape if self.lanes == 1 else (1, *frames.shape[1:]), mix)
            if key[1] is not None:
                inputs.pop("style")
            return request.infer(inputs)
        except (RuntimeError, MemoryError) as exc:
            raise failed_inference(self.backend, frames.shape, exc) from exc

    def lane_counts(self, size_wh: tuple[int, int]) -> list[int]:
        """See `Engine.lane_counts`."""
        most = min(self.threads, _LANES_PIXELS // (size_wh[0] * size_wh[1]))
        return [1, *(count for count in (2, 4, 8, 16, 32) if count <= most)]

    def share_threads(self, lanes: int) -> None:
        """See `Engine.share_threads`."""
        if lanes > self.threads:
            raise EngineError(
                f"{lanes} lanes are more than the {self.threads} threads there are", "use fewer --lanes"
            )
        if lanes != self.lanes:
            self._collect()
            self.close()
            self._compiler, self.lanes = None, lanes

    def prepare(self, shape: tuple[int, ...], style: Sequence[float] | None = None) -> bool:
        """See `Engine.prepare`."""
        mix = default_mix(self._style) if style is None else tuple(style)
        key: Key = (shape, mix if self._several and mix == default_mix(self._style) else None)
        self._collect()
        if key in self._requests:
            return True
        if key in self._failed:
            raise self._failed[key]
        if sum(_pixels(known) for known, _ in self._requests) + _pixels(shape) > _KEPT_PIXELS:
            return True  # nothing goes for a guess
        self._compile_beside(key)
        return False

    def close(self) -> None:
        """See `Engine.close`."""
        if self._compiler:
            self._compiler.shutdown(cancel_futures=True)
        self._coming = None
        self._requests.clear()

    def _fixed(self, mix: tuple[float, ...]) -> tuple[float, ...] | None:
        return mix if self._several else None

    def _request(self, shape: tuple[int, ...], mix: tuple[float, ...]) -> tuple[Key, _Lanes]:
        """Return the compiled net for a batch, and what is compiled into it."""
        fixed: Key = (shape, self._fixed(mix))
        settled = self._settling.has_settled(mix)
        self._collect()
        if fixed not in self._requests and self._several and mix != default_mix(self._style):
            if settled:
                self._compile_beside(fixed)
            fixed = (shape, None)
        if fixed not in self._requests:
            self._collect(fixed)
        if fixed not in self._requests:
            self._keep(fixed, self._make_request(fixed))
        self._requests.move_to_end(fixed)
        return fixed, self._requests[fixed]

    def _keep(self, key: Key, request: openvino.InferRequest) -> None:
        while self._requests and sum(_pixels(shape) for shape, _ in [*self._requests, key]) > _KEPT_PIXELS:
            self._requests.popitem(last=False)
        self._requests[key] = request

    def _compile_beside(self, key: Key) -> None:
        if self._coming is None and key not in self._failed:
            self._compiler = self._compiler or ThreadPoolExecutor(1, "stylecam-compile")
            self._coming = key, self._compiler.submit(self._make_request, key)

    def _collect(self, needed: Key | None = None) -> None:
        """Take over what has been compiled beside the work, or why it was not; wait for what is `needed`."""
        if self._coming and (self._coming[1].done() or self._coming[0] == needed):
            key, found = self._coming
            self._coming = None
            try:
                self._keep(key, found.result())
            except EngineError as exc:
                self._failed[key] = exc

    def _make_request(self, key: Key) -> _Lanes:
        try:
            return _Lanes(self._compile(key, self._floats), self.lanes)
        except (RuntimeError, MemoryError) as exc:
            raise failed_inference(self.backend, key[0], exc) from exc

    def _compile(self, key: Key, precision: str) -> openvino.CompiledModel:
        shape, mix = key
        graph = self._style.model if mix is None else bake(self._style.model, mix)
        graph = fuse(graph) if _is_x86() else graph
        graph = halve_products(graph) if self._halved else graph
        if self._int8:
            # A transposed convolution of bytes gives fp32, which costs matrix units more than it saves.
            graph = to_int8(graph, transposed=not _uses_amx())
        try:
            model = self._core.read_model(graph.SerializeToString(), b"")
            model.reshape({"frames": list(shape)})
            hints: dict[str, object] = {"INFERENCE_PRECISION_HINT": HINTS[precision]}
            if self.lanes == 1:
                hints["PERFORMANCE_HINT"] = "LATENCY"
            else:
                hints |= {"NUM_STREAMS": self.lanes, "INFERENCE_NUM_THREADS": self.threads}
            return self._core.compile_model(model, "CPU", hints)
        except (RuntimeError, MemoryError) as exc:
            if is_short_of_memory(exc):
                raise failed_inference(self.backend, shape, exc) from exc
            raise EngineError(f"openvino could not compile the net: {exc}", 'see "stylecam doctor"') from exc

    def _pick_precision(self, folder: Path) -> str:
        """Return bf16 where the CPU has matrix units for it, otherwise what a trial found faster.

        bf16 without matrix units can be slower than fp32, so it is tried once and remembered.
        """
        if "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            return "fp32"
        if _uses_amx():
            return "bf16"
        capped = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
        cpu = self._core.get_property("CPU", "FULL_DEVICE_NAME")
        key = " ".join((cpu, capped, openvino.__version__, self._style.net, "int8" * self._int8)).rstrip()
        file = folder / "precision.json"
        return recall(file).get(key) or self._try_precisions(file, key)

    def _try_precisions(self, file: Path, key: str) -> str:
        times = self._race(("fp32", "bf16"))
        best = min(times, key=lambda precision: times[precision])
        with suppress(OSError):  # it is tried again the next time
            remember(file, key, best)
        return best

    def _race(self, precisions: Sequence[str]) -> dict[str, float]:
        """Return how long a small batch takes in each precision; for ever, where the net does not compile.

        They take turns: what else the machine is at for a while would otherwise decide, for good.
        """
        nets: dict[str, openvino.CompiledModel] = {}
        for precision in precisions:
            with suppress(EngineError):  # bf16 beside int8 has none, on a CPU that is held to AVX2
                nets[precision] = self._compile(
                    (_TRIAL_SHAPE, self._fixed(default_mix(self._style))), precision
                )
        inputs = {"frames": np.zeros(_TRIAL_SHAPE, np.uint8)}
        best_s = dict.fromkeys(precisions, math.inf)
        end_s = time.perf_counter() + _TRIAL_S
        for _ in range(_TRIAL_ROUNDS):
            for precision, net in nets.items():
                began_s = time.perf_counter()
                net(inputs)
                best_s[precision] = min(best_s[precision], time.perf_counter() - began_s)
            if time.perf_counter() > end_s:
                break
        return best_s


class _Lanes:
    """A compiled net, and the requests that compute in it beside each other, each with its own threads."""

    def __init__(self, compiled: openvino.CompiledModel, lanes: int) -> None:
        self._requests = [compiled.create_infer_request() for _ in range(lanes)]

    def infer(self, inputs: dict[str, NDArray[np.generic]]) -> Pixels:
        """Return the frames painted: all at once in a single lane, else one by one in whichever is free."""
        if len(self._requests) == 1:
            return np.asarray(self._requests[0].infer(inputs, share_inputs=True)[0], np.uint8)
        frames = inputs["frames"]
        painted = np.empty(frames.shape, np.uint8)
        under_way: deque[tuple[int, openvino.InferRequest]] = deque()
        for number in range(len(frames)):
            request = self._requests[number] if number < len(self._requests) else _fetch(under_way, painted)
            request.start_async(inputs | {"frames": frames[number : number + 1]}, share_inputs=True)
            under_way.append((number, request))
        while under_way:
            _fetch(under_way, painted)
        return painted


def _fetch(under_way: deque[tuple[int, openvino.InferRequest]], painted: Pixels) -> openvino.InferRequest:
    """Take the oldest frame from its request, which is free then."""
    number, request = under_way.popleft()
    request.wait()
    painted[number] = request.get_output_tensor(0).data[0]
    return request


class Settling:
    """Notice that a mix has stopped changing."""

    def __init__(self, mix: tuple[float, ...]) -> None:
        self._mix, self._times = mix, 0

    def has_settled(self, mix: tuple[float, ...]) -> bool:
        """Count one more batch with this mix; True from the `_SETTLED`th in a row on."""
        self._times = self._times + 1 if mix == self._mix else 1
        self._mix = mix
        return self._times >= _SETTLED


def in_bytes(compiled: openvino.CompiledModel) -> int:
    """Return how many convolutions of a compiled net work on bytes."""
    return sum(precision in ("u8", "i8") for precision in _of_convolutions(compiled, "runtimePrecision"))


def has_narrow_vectors(compiled: openvino.CompiledModel) -> bool:
    """Tell whether a net was compiled to AVX2, as for x86 CPUs without AVX-512."""
    return all("avx2" in kind for kind in _of_convolutions(compiled, "primitiveType"))


def _of_convolutions(compiled: openvino.CompiledModel, told: str) -> list[str]:
    """Return what the library tells of each convolution of a compiled net."""
    nodes = (node.get_rt_info() for node in compiled.get_runtime_model().get_ops())
    convolutions = ("Convolution", "Deconvolution")
    return [node[told].astype(str) for node in nodes if node["layerType"].astype(str) in convolutions]


@cache
def shared_core() -> openvino.Core:
    """Return the process's one Core, which stays.

    On a CPU with AMX each Core sets an alternate signal stack and unmaps it with itself. Of two whose
    lives overlap, the second may leave the first one's behind as the current stack, unmapped, and the
    next signal (Ctrl-C) kills the process.
    """
    return openvino.Core()


def _is_x86() -> bool:
    """Tell whether fused graphs are faster, as measured. ARM's library doubles with zeros first."""
    return platform.machine().lower() in ("x86_64", "amd64")


def _uses_amx() -> bool:
    return has_amx() and not os.environ.get("ONEDNN_MAX_CPU_ISA")


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
