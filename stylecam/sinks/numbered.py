"""A folder of numbered pictures."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from stylecam.errors import SinkOpenError
from stylecam.filenames import numbering_of
from stylecam.frames import Frame, resize, size_of
from stylecam.pictures import Picture, check_picture_suffix, write_picture
from stylecam.sinks.base import Sink

_THREADS = 2
_AHEAD = 4
"""Pictures that may wait to be compressed."""

DEFAULT_NAME = "%06d.png"


class NumberedSink(Sink):
    """Write each frame to a picture of its own, counted from 1: out/%06d.png, which keeps alpha.

    The folder is made where it is missing. Pictures appear whole, one by one, and stay whatever
    happens later; their times are not kept. `frames` counts them, those before this run too that
    `start` tells of. Raises SinkOpenError, PictureError.
    """

    def __init__(self, pattern: Path, start: int = 0) -> None:
        numbering = numbering_of(pattern)
        if numbering is None:
            raise SinkOpenError(
                f'pictures cannot be written as "{pattern}"',
                f"use a name with one place for the number, like out/{DEFAULT_NAME}",
            )
        check_picture_suffix(pattern)
        try:
            pattern.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(pattern.parent, os.W_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as exc:
            raise SinkOpenError(
                f'folder "{pattern.parent}" cannot be written: {exc.strerror}', "choose another folder"
            ) from exc
        self.frames = start
        self._numbering = numbering
        self._pool = ThreadPoolExecutor(_THREADS, "stylecam-pictures")
        self._waiting: list[Future[None]] = []

    @property
    def notes(self) -> list[str]:
        """Nothing: what pictures cannot hold is nothing they were asked to."""
        return []

    def write(self, frame: Frame) -> None:
        """Queue a frame, waiting while compression is behind. Raises PictureError."""
        self._finish(_AHEAD)
        self.frames += 1
        self._waiting.append(self._pool.submit(_write, frame, self.path_of(self.frames)))

    def path_of(self, number: int) -> Path:
        """Return the name of the picture that is number `number`, from 1."""
        return self._numbering.path_of(number)

    def flush(self) -> None:
        """Wait until every picture so far is there. Raises PictureError."""
        self._finish(0)

    def close(self) -> None:
        """Wait for the last picture. Raises PictureError."""
        try:
            self._finish(0)
        finally:
            self._pool.shutdown()

    def discard(self) -> None:
        """Stop; the pictures that are there stay."""
        self._pool.shutdown(cancel_futures=True)

    def _finish(self, left: int) -> None:
        while len(self._waiting) > left:
            self._waiting.pop(0).result()


def _write(frame: Frame, path: Path) -> None:
    alpha = None
    if frame.alpha is not None:
        alpha = resize(frame.alpha[..., None], size_of(frame.bgr)).reshape(frame.bgr.shape[:2])
    write_picture(path, Picture(frame.bgr, alpha))
