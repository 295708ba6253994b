"""Webcams: which there are, and what one gives."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
from cv2_enumerate_cameras import enumerate_cameras

from stylecam.errors import SourceLostError, SourceOpenError
from stylecam.frames import Frame, size_of
from stylecam.sources.base import Source
from stylecam.sources.capture import Capture

_BACKENDS = {"linux": cv2.CAP_V4L2, "darwin": cv2.CAP_AVFOUNDATION, "win32": cv2.CAP_MSMF}
"""Those by whose numbers OpenCV opens a camera when it is free to choose."""


@dataclass(frozen=True)
class CameraInfo:
    """A camera of this machine: OpenCV's number for it and the name that its driver gives."""

    index: int
    name: str

    def __str__(self) -> str:
        return f"{self.index} ({self.name})"


class CameraSource(Source):
    """Camera number `index`, at `size_wh`, `fps` and `pixel_format` (FOURCC, such as MJPG) where it can.

    Drivers take the nearest they have: look at its own `size_wh` and `fps`, or at `given`, the same in
    words. Timestamps count from the first frame read. Raises SourceOpenError, naming the cameras there are.
    """

    is_live = True

    def __init__(
        self,
        index: int,
        size_wh: tuple[int, int] | None = None,
        fps: float | None = None,
        pixel_format: str | None = None,
    ) -> None:
        code = None if pixel_format is None else _fourcc(pixel_format)
        names = {camera.index: str(camera) for camera in find_cameras()}
        self.title = f"camera {names.get(index, index)}"
        self._capture = Capture(index, cv2.CAP_ANY)
        if not self._capture.is_open:
            raise SourceOpenError(f"{self.title} could not be opened", camera_hint(index))
        self._ask(size_wh, fps, code)
        first = self._capture.read()
        if first is None:
            self._capture.close()
            less = "; or ask for no size, rate or pixel format" if size_wh or fps or code else ""
            raise SourceOpenError(
                f"{self.title} opened but gives no picture",
                f"close other programs that use it, and check its privacy switch{less}",
            )
        # What really comes, whatever the driver answers when asked.
        self.size_wh = size_of(first[0])
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or None
        self.given = self._describe()
        self._first_s: float | None = None

    def read(self) -> Frame | None:
        """Wait for the camera's next frame; its time is when it arrived. Raises SourceLostError."""
        taken = self._capture.read()
        now_s = time.perf_counter()
        if taken is None:
            raise SourceLostError(f"{self.title} stopped giving pictures", "check its plug, then start again")
        if self._first_s is None:
            self._first_s = now_s
        return Frame(taken[0], now_s - self._first_s, now_s)

    def close(self) -> None:
        """Free the camera for other programs."""
        self._capture.close()

    def _ask(self, size_wh: tuple[int, int] | None, fps: float | None, code: int | None) -> None:
        # A deep buffer would hand us frames that are already old.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if code is not None:  # first: which sizes and rates there are depends on it
            self._capture.set(cv2.CAP_PROP_FOURCC, code)
        if size_wh is not None:
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, size_wh[0])
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size_wh[1])
        if fps is not None:
            self._capture.set(cv2.CAP_PROP_FPS, fps)

    def _describe(self) -> str:
        rate = f" at {self.fps:g} fps" if self.fps else ""
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC))
        letters = code.to_bytes(4, "little").decode("ascii", "replace").strip() if 0 < code < 2**32 else ""
        return f"{self.size_wh[0]}x{self.size_wh[1]}{rate}{f', {letters}' if letters.isalnum() else ''}"


def find_cameras() -> list[CameraInfo]:
    """Return the cameras of this machine by number, without opening any."""
    found = enumerate_cameras(_BACKENDS.get(sys.platform, cv2.CAP_ANY))
    names = {camera.index: camera.name or "without a name" for camera in found}
    return [CameraInfo(index, names[index]) for index in sorted(names)]


def match_camera(name: str) -> int | None:
    """Return the number of the camera that `name` means: "0" to "99", its name or a part of that.

    None for "demo", a URL, anything that exists as a file, and where no camera is called so. Raises
    SourceOpenError where several are.
    """
    if name.isascii() and name.isdigit() and len(name) <= 2:
        return int(name)
    if not name.strip() or name == "demo" or "://" in name or Path(name).exists():
        return None
    wanted = name.casefold()
    cameras = find_cameras()
    exact = [camera for camera in cameras if camera.name.casefold() == wanted]
    found = exact[:1] or [camera for camera in cameras if wanted in camera.name.casefold()]
    if len(found) > 1:
        raise SourceOpenError(
            f'several cameras are called "{name}": {_listed(found)}', "give more of the name, or the number"
        )
    return found[0].index if found else None


def _fourcc(pixel_format: str) -> int:
    letters = pixel_format.upper().ljust(4) if pixel_format.isascii() else ""
    if not 3 <= len(pixel_format) <= 4 or len(letters) != 4:
        raise SourceOpenError(
            f'pixel format "{pixel_format}" is not known', "give its four letters; MJPG and YUYV are usual"
        )
    return int.from_bytes(letters.encode("ascii"), "little")


def camera_hint(missing: int | None = None) -> str:
    """Return the cameras there are, but for number `missing`, as a hint."""
    found = [camera for camera in find_cameras() if camera.index != missing]
    if not found:
        return 'no camera was found; "demo" or the path of a film can be the source instead'
    return f'found camera{"s" if len(found) > 1 else ""} {_listed(found)}; see "stylecam doctor"'


def _listed(cameras: list[CameraInfo]) -> str:
    return ", ".join(str(camera) for camera in cameras)
