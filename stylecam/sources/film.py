"""Films: a file or a URL, read by OpenCV's FFmpeg."""

from __future__ import annotations

import math
import time
from pathlib import Path

import cv2

from stylecam.errors import SourceOpenError
from stylecam.filenames import ffmpeg_name
from stylecam.frames import Frame
from stylecam.sources.base import Source
from stylecam.sources.capture import Capture

_LARGEST_FPS = 480.0
"""Containers without a rate answer with their time base (90000 for MPEG-TS)."""

_FALLBACK_FPS = 30.0
_EARLY_S = 0.5

_MOTION_JPEG = float(cv2.VideoWriter.fourcc(*"MJPG"))

_URL_PATIENCE_S = (15.0, 5.0)
"""How long a URL may take to open (streams begin at a key frame), and for each picture after that."""


class FileSource(Source):
    """Every frame of `path_or_url` in order, each with its own time. Raises SourceOpenError.

    `frame_count` is the container's own count, else an estimate from its duration, else None:
    good for a progress bar, not for arithmetic. `has_length` tells a film from a stream that goes on
    for ever. `path` is None for a URL. Rotation is applied.
    """

    is_live = False

    def __init__(self, path_or_url: str | Path) -> None:
        self.path = None if is_url(str(path_or_url)) else Path(path_or_url)
        if self.path is not None:
            check_file(self.path)
        patience_s = None if self.path else _URL_PATIENCE_S
        address = str(path_or_url) if self.path is None else ffmpeg_name(self.path)
        self._capture = Capture(address, cv2.CAP_FFMPEG, patience_s)
        self.size_wh = self._capture.size_wh
        if not self._capture.is_open or 0 in self.size_wh:
            self._capture.close()
            raise unopened(str(path_or_url), self.path)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= _LARGEST_FPS else None
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.has_length = math.isfinite(count) and count > 0
        self.frame_count = int(count) if self.fps and self.has_length else None
        self.is_motion_jpeg = self._capture.get(cv2.CAP_PROP_FOURCC) == _MOTION_JPEG
        self._last_s: float | None = None
        self._ended = False

    def read(self) -> Frame | None:
        """Decode the next frame; its timestamp is the container's, counted from the first frame."""
        taken = self._capture.read()
        if taken is None:
            self._ended = True
            return None
        bgr, position_s = taken
        self._last_s = self._following(position_s)
        return Frame(bgr, self._last_s, time.perf_counter())

    def close(self) -> None:
        """Close the file or connection."""
        self._capture.close()

    @property
    def step_s(self) -> float:
        """Seconds from one frame to the next at the nominal rate, 1/30 where none is known."""
        return 1 / (self.fps or _FALLBACK_FPS)

    @property
    def missing_s(self) -> float:
        """Seconds of film that the container promises and that did not come; known at the end.

        0.0 for what may be rounding. Sound that outlasts the picture can look the same in
        containers that do not count frames, so this is worth a warning and not an error.
        """
        if not self._ended or self.frame_count is None:
            return 0.0
        came_s = 0.0 if self._last_s is None else self._last_s + self.step_s
        missing_s = self.frame_count * self.step_s - came_s
        return missing_s if missing_s > _EARLY_S else 0.0

    def _following(self, position_s: float) -> float:
        if self._last_s is None:
            return position_s if position_s >= 0 else 0.0
        # Raw streams have no times at all and some containers repeat or reverse them.
        return position_s if position_s > self._last_s else self._last_s + self.step_s


def is_url(name: str) -> bool:
    """Tell a URL (anything with ://) from a path."""
    return "://" in name


def check_file(path: Path) -> None:
    if path.is_dir():
        raise SourceOpenError(f'film "{path}" is a folder', "give a video file")
    if not path.exists():
        raise SourceOpenError(f'film "{path}" does not exist', "check the path")
    if path.is_file() and path.stat().st_size == 0:
        raise SourceOpenError(f'film "{path}" is empty (0 bytes)', "copy or record it again")


def unopened(name: str, path: Path | None) -> SourceOpenError:
    if path is None:
        return SourceOpenError(
            f'"{name}" could not be opened: no answer, or no video there',
            "check the address, and that it plays in a video player",
        )
    return SourceOpenError(
        f'film "{name}" could not be opened: no video that FFmpeg knows is in it',
        "check that it plays in a video player; a recording that was cut off may need repair",
    )
