"""The one interface everything that gives frames has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from stylecam.frames import Frame


class Source(ABC):
    """Where frames come from. The constructor opens or raises SourceOpenError.

    `size_wh` is in pixels, `fps` the nominal rate where one is known. `is_live` decides what
    happens when the net is too slow: a live source loses frames, any other waits.
    """

    size_wh: tuple[int, int]
    fps: float | None
    is_live: bool

    @abstractmethod
    def read(self) -> Frame | None:
        """Return the next frame, or None once the source has ended.

        Blocks until there is one. Call from one thread at a time. Raises SourceLostError.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the device or file back. From any thread, even during `read`, and more than once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
