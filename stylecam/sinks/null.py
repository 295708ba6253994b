"""A sink that throws frames away: to measure, and to test without a screen."""

from __future__ import annotations

from stylecam.frames import Frame
from stylecam.sinks.base import Sink


class NullSink(Sink):
    """Count frames in `frames` and forget them."""

    def __init__(self) -> None:
        self.frames = 0

    def write(self, frame: Frame) -> None:
        """Count the frame."""
        self.frames += 1

    def close(self) -> None:
        """Do nothing."""
