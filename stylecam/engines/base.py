"""The one interface every inference backend has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from stylecam.errors import EngineError, InferenceError, OutOfMemoryError
from stylecam.frames import Pixels, check_size, size_of
from stylecam.styles import Style


class Engine(ABC):
    """One loaded style on one device. The constructor loads or raises EngineError.

    `backend` is the library, `device` "cpu" or "cuda", `precision` "fp32", "fp16", "bf16" or "int8":
    what really runs, not what was asked for. `choice` says in a line what was chosen and why, `uncached`
    why nothing of it is kept for the next time, where the backend would keep something. `lanes` is
    how many frames of a batch are computed at once, each with its share of the `threads`: 0 where the
    backend does not tell how many there are.
    """

    backend: str
    device: str
    precision: str
    choice: str = ""
    uncached: str = ""
    lanes: int = 1
    threads: int = 0

    @abstractmethod
    def infer(self, frames: Pixels, style: Sequence[float] | None = None) -> Pixels:
        """Stylize a batch: (N, H, W, 3) uint8 BGR in, a new array of the same shape out.

        Any N, and any H and W of at least 16. `style` holds the weight of each style of a net
        that carries several; None is the one it was opened for. It may change from call to call: that
        takes no loading. Call from one thread at a time. Raises InferenceError, and among these
        OutOfMemoryError where fewer or smaller frames may fit.
        """

    def prepare(self, shape: tuple[int, ...], style: Sequence[float] | None = None) -> bool:
        """Begin to make ready for batches of that shape, beside the work; tell whether to wait no longer.

        That is so where all is ready, where nothing is compiled for a shape, and where there is no room
        beside what is ready: only `infer` lets go of that. Call from `infer`'s thread. Raises EngineError,
        and OutOfMemoryError among these, where it has failed; what was ready before stays so.
        """
        return True

    def lane_counts(self, size_wh: tuple[int, int]) -> list[int]:
        """Return the numbers of lanes worth a try for frames of that size."""
        return [1]

    def share_threads(self, lanes: int) -> None:
        """Compute so many frames of a batch at once from now on. Raises EngineError where that cannot be.

        A frame may differ by a level or two from the same one in another number of lanes.
        """
        if lanes != 1:
            raise EngineError(
                f"{self.backend} on {self.device} computes one batch at a time", "leave --lanes out"
            )

    @abstractmethod
    def close(self) -> None:
        """Free the net. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def net_inputs(style: Style, frames: Pixels, mix: Sequence[float] | None) -> dict[str, NDArray[np.generic]]:
    """Return the graph's inputs by name, checked: `frames`, and `style` where the net has several."""
    check_size(size_of(frames), "frame size")
    styles = int(style.card["net"]["styles"])
    if mix is not None and len(mix) != styles:
        raise InferenceError(
            f"{style.name} holds {styles} styles, not {len(mix)}", "give one weight for each style of the net"
        )
    inputs: dict[str, NDArray[np.generic]] = {"frames": np.ascontiguousarray(frames)}
    if styles > 1:
        inputs["style"] = np.asarray([default_mix(style) if mix is None else mix], np.float32)
    return inputs


def default_mix(style: Style) -> tuple[float, ...]:
    """Return the weights of a net's styles where a caller names none: the style's own, or the first's."""
    return style.mix or (1.0, *(0.0 for _ in range(1, int(style.card["net"]["styles"]))))


_SHORT_OF_MEMORY = (
    "out of memory",  # torch, CUDA, cuDNN
    "failed to allocate memory",  # ONNX Runtime's arena
    "can't allocate memory",  # torch on a CPU
    "not enough memory",  # torch on Windows
    "bad_alloc",  # OpenVINO and whatever else is C++
    "bad allocation",  # the same on Windows
    "could not create a memory object",  # oneDNN
    "cl_out_of_resources",
)


def is_short_of_memory(exc: Exception) -> bool:
    """Tell whether a backend's error means too little memory: they say so in words alone."""
    words = str(exc).lower()
    return isinstance(exc, MemoryError) or any(part in words for part in _SHORT_OF_MEMORY)


def failed_inference(backend: str, shape: tuple[int, ...], exc: Exception) -> InferenceError:
    """Return what to raise for a batch of that shape."""
    batch, cause = "x".join(str(side) for side in shape), str(exc) or type(exc).__name__
    kind = OutOfMemoryError if is_short_of_memory(exc) else InferenceError
    return kind(f"{backend} could not run a batch of {batch}: {cause}", "use a smaller --size or --batch")
