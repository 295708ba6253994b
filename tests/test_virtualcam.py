from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from films import bars, numbered

from stylecam.errors import SinkOpenError, SinkWriteError
from stylecam.frames import Frame, Pixels
from stylecam.sinks import virtualcam
from stylecam.sinks.virtualcam import VirtualCamSink


class FakeCamera:
    """In place of pyvirtualcam.Camera, with the arguments and checks of the real one's `send`.

    A stand-in because a real one needs a kernel module, which neither CI nor most machines have.
    """

    opened: list[FakeCamera]

    def __init__(self, *, width: int, height: int, fps: float, fmt: str) -> None:
        self.size_wh, self.fps, self.fmt = (width, height), fps, fmt
        self.device = "/dev/video7"
        self.sent: list[Pixels] = []
        self.closed = 0
        self.opened.append(self)

    def send(self, frame: Pixels) -> None:
        if frame.shape != (self.size_wh[1], self.size_wh[0], 3) or not frame.flags.c_contiguous:
            raise ValueError(f"unexpected frame shape {frame.shape}")
        self.sent.append(frame.copy())

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def cameras(monkeypatch: pytest.MonkeyPatch) -> list[FakeCamera]:
    """The cameras opened so far."""
    FakeCamera.opened = []
    fake: Any = SimpleNamespace(Camera=FakeCamera, PixelFormat=SimpleNamespace(BGR="BGR"))
    monkeypatch.setitem(sys.modules, "pyvirtualcam", fake)
    return FakeCamera.opened


def test_frames_are_sent_as_they_are(cameras: list[FakeCamera]) -> None:
    with VirtualCamSink(fps=25.0) as sink:
        assert cameras == []
        sink.write(Frame(bars(), 0.0, 0.0))
        sink.write(Frame(numbered(3, (64, 48)), 0.1, 0.0))
        assert sink.device == "/dev/video7"
    (camera,) = cameras
    assert (camera.size_wh, camera.fps, camera.fmt) == ((224, 64), 25.0, "BGR")
    assert np.array_equal(camera.sent[0], bars())
    assert set(camera.sent[1].flatten()) == {24}
    sink.close()
    assert camera.closed == 1
    with pytest.raises(SinkWriteError, match="closed"):
        sink.write(Frame(bars(), 0.0, 0.0))


def test_a_size_asked_for_opens_at_once_and_odd_ones_become_even(cameras: list[FakeCamera]) -> None:
    with VirtualCamSink(size_wh=(112, 32)) as sink:
        assert [camera.size_wh for camera in cameras] == [(112, 32)]
        sink.write(Frame(bars()[:, ::-1], 0.0, 0.0))
        assert cameras[0].sent[0].shape == (32, 112, 3)
    with VirtualCamSink() as sink:
        sink.write(Frame(bars((223, 63)), 0.0, 0.0))
    assert cameras[1].size_wh == (222, 62)


def test_a_frame_refused(cameras: list[FakeCamera], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: FakeCamera, frame: Pixels) -> None:
        raise RuntimeError("the device has gone")

    monkeypatch.setattr(FakeCamera, "send", refuse)
    with VirtualCamSink() as sink, pytest.raises(SinkWriteError, match=r"video7.*gone"):
        sink.write(Frame(bars(), 0.0, 0.0))


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(SinkOpenError, match="pyvirtualcam is not installed") as caught:
        VirtualCamSink()
    assert "stylecam[virtualcam]" in caught.value.hint


@pytest.mark.parametrize(
    ("platform", "words"),
    [("linux", "modprobe v4l2loopback"), ("win32", "OBS"), ("darwin", "OBS"), ("sunos5", "Windows")],
)
def test_each_system_has_its_hint(monkeypatch: pytest.MonkeyPatch, platform: str, words: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert words in virtualcam.platform_hint()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere OBS may be installed")
@pytest.mark.skipif(Path("/sys/module/v4l2loopback").exists(), reason="there is a virtual camera")
def test_the_real_package_without_a_driver() -> None:
    pytest.importorskip("pyvirtualcam")
    with VirtualCamSink() as sink, pytest.raises(SinkOpenError, match="v4l2") as caught:
        sink.write(Frame(bars(), 0.0, 0.0))
    assert "modprobe" in caught.value.hint
