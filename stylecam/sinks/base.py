"""The one interface everything that takes frames has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from stylecam.frames import Frame


class Sink(ABC):
    """Where frames go. The constructor opens or raises SinkOpenError.

    `on_main_thread` says that a live run must make, write and close it there, as windows ask for;
    `keeps_time`, that it is to get a picture that stays again and again, at later times.
    Leaving its `with` block by an exception calls `discard`; Ctrl-C, and the closing of a generator that
    a person broke off, are no failure and close.
    """

    on_main_thread = False
    keeps_time = False

    @abstractmethod
    def write(self, frame: Frame) -> None:
        """Take one frame; its pixels may be kept, so nobody changes them. Raises SinkWriteError."""

    @property
    def wants_quit(self) -> bool:
        """Tell whether the person at this sink has asked to end the run."""
        return False

    @abstractmethod
    def close(self) -> None:
        """Finish what was written and let go. May be called twice. Raises SinkWriteError."""

    def discard(self) -> None:
        """Let go and leave nothing half-written behind; never raises SinkWriteError."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, KeyboardInterrupt | GeneratorExit):
            self.close()
        else:
            self.discard()
