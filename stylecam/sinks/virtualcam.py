"""A virtual camera, which other programs take for a webcam: v4l2loopback on Linux, OBS elsewhere."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import numpy as np

from stylecam.errors import SinkOpenError, SinkWriteError
from stylecam.frames import Frame, check_size, resize, size_of
from stylecam.sinks.base import Sink

_HINTS = {
    "linux": "install v4l2loopback (Debian, Ubuntu: v4l2loopback-dkms), then run "
    '"sudo modprobe v4l2loopback exclusive_caps=1 card_label=stylecam"; where there is one already, '
    "close the program that writes to it",
    "win32": "install OBS Studio and let its virtual camera run once; then start this program anew",
    "darwin": "install OBS Studio 30 or newer, let its virtual camera run once and allow its extension in "
    "the system settings; then start this program anew",
}
_ELSEWHERE = "virtual cameras are there for Linux, Windows and macOS"


class VirtualCamSink(Sink):
    """Show frames to programs that look for a camera.

    The device opens at once with a `size_wh`, else by the first frame and at its size; frames are
    scaled to it. `fps` is nominal. `device` is its name, "" until it is open. Raises SinkOpenError
    without the package pyvirtualcam, and on opening without its driver.
    """

    def __init__(self, *, size_wh: tuple[int, int] | None = None, fps: float = 30.0) -> None:
        self._package = _load_package()
        self._size_wh = None if size_wh is None else check_size(size_wh)
        self._fps = fps
        self._camera: Any = None
        self.device = ""
        self._closed = False
        if self._size_wh is not None:
            self._open(self._size_wh)

    def write(self, frame: Frame) -> None:
        """Hand the frame to the driver. Raises SinkWriteError, and at the first SinkOpenError."""
        if self._closed:
            raise SinkWriteError("the virtual camera is closed already", "open another one")
        if self._size_wh is None:
            width, height = size_of(frame.bgr)
            self._size_wh = (width - width % 2, height - height % 2)  # the drivers keep 4:2:0
        if self._camera is None:
            self._open(self._size_wh)
        try:
            self._camera.send(np.ascontiguousarray(resize(frame.bgr, self._size_wh)))
        except (RuntimeError, ValueError) as exc:
            raise SinkWriteError(
                f'virtual camera "{self.device}" refused a frame: {exc}', "start this program anew"
            ) from exc

    def close(self) -> None:
        """Take the camera away from the programs that show it."""
        self._closed = True
        if self._camera is not None:
            self._camera.close()
            self._camera = None

    def _open(self, size_wh: tuple[int, int]) -> None:
        try:
            self._camera = self._package.Camera(
                width=size_wh[0], height=size_wh[1], fps=self._fps, fmt=self._package.PixelFormat.BGR
            )
        except (RuntimeError, ValueError) as exc:
            cause = (str(exc).splitlines() or [type(exc).__name__])[0]
            raise SinkOpenError(f"no virtual camera could be opened: {cause}", platform_hint()) from exc
        self.device = str(self._camera.device)


def platform_hint() -> str:
    """Return what to install on this system so that there is a virtual camera."""
    return _HINTS.get(sys.platform, _ELSEWHERE)


def _load_package() -> Any:
    try:
        return import_module("pyvirtualcam")
    except ImportError as exc:
        raise SinkOpenError(
            "no virtual camera could be opened: the package pyvirtualcam is not installed",
            'pip install "stylecam[virtualcam]" (its licence is GPL 2), or use OBS with --sink web',
        ) from exc
