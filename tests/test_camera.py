from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from films import bars

from stylecam import doctor
from stylecam.errors import SourceLostError, SourceOpenError
from stylecam.frames import Pixels
from stylecam.sources import CameraInfo, CameraSource, find_cameras, match_camera, open_source
from stylecam.sources import camera as camera_module

CAMERAS = [CameraInfo(0, "Integrated Webcam"), CameraInfo(2, "Logitech BRIO"), CameraInfo(4, "BRIO Studio")]
SIZES = {"YUYV": [(64, 48)], "MJPG": [(64, 48), (128, 72)]}


def code_of(letters: str) -> float:
    return float(int.from_bytes(letters.encode(), "little"))


class FakeDriver:
    """In place of cv2.VideoCapture: a camera that, like real ones, gives the nearest it has.

    It has sizes that depend on the pixel format, 15 and 30 fps, and four frames before it is pulled out.
    """

    asked: list[int]
    dead = False

    def __init__(self, index: int, api: int, options: list[int]) -> None:
        self.index, self.frames = index, 0
        self.letters, self.size_wh, self.fps = "YUYV", SIZES["YUYV"][0], 30.0
        self.wanted = [64.0, 48.0]

    def isOpened(self) -> bool:
        return self.index in (0, 2, 4)

    def set(self, property_id: int, value: float) -> bool:
        self.asked.append(property_id)
        if property_id == cv2.CAP_PROP_FOURCC:
            self.letters = next((name for name in SIZES if code_of(name) == value), self.letters)
        elif property_id in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT):
            self.wanted[property_id == cv2.CAP_PROP_FRAME_HEIGHT] = value
            fitting = [size for size in SIZES[self.letters] if size[0] <= self.wanted[0]]
            self.size_wh = fitting[-1] if fitting else SIZES[self.letters][0]
        elif property_id == cv2.CAP_PROP_FPS:
            self.fps = 15.0 if value < 20 else 30.0
        return True

    def get(self, property_id: int) -> float:
        return {cv2.CAP_PROP_FPS: self.fps, cv2.CAP_PROP_FOURCC: code_of(self.letters)}.get(property_id, 0.0)

    def read(self) -> tuple[bool, Pixels | None]:
        self.frames += 1
        return (False, None) if self.dead or self.frames > 4 else (True, bars(self.size_wh))

    def release(self) -> None:
        pass


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> type[FakeDriver]:
    monkeypatch.setattr("stylecam.sources.capture.cv2.VideoCapture", FakeDriver)
    monkeypatch.setattr(camera_module, "find_cameras", lambda: CAMERAS)
    FakeDriver.asked, FakeDriver.dead = [], False
    return FakeDriver


@pytest.mark.usefixtures("driver")
def test_frames_come_with_rising_times_until_it_is_pulled_out() -> None:
    with CameraSource(2) as camera:
        assert (camera.size_wh, camera.fps, camera.given) == ((64, 48), 30.0, "64x48 at 30 fps, YUYV")
        read = [camera.read() for _ in range(3)]
        times_s = [frame.timestamp_s for frame in read if frame is not None]
        assert times_s[0] == 0.0
        assert times_s == sorted(set(times_s))
        assert read[0] is not None
        assert np.array_equal(read[0].bgr, bars((64, 48)))
        with pytest.raises(SourceLostError, match="Logitech BRIO"):
            camera.read()


@pytest.mark.parametrize(
    ("size_wh", "fps", "pixel_format", "given"),
    [
        ((128, 72), None, "mjpg", "128x72 at 30 fps, MJPG"),
        ((128, 72), 30.0, None, "64x48 at 30 fps, YUYV"),
        ((100, 100), 10.0, "MJPG", "64x48 at 15 fps, MJPG"),
        (None, None, "H264", "64x48 at 30 fps, YUYV"),
    ],
)
@pytest.mark.usefixtures("driver")
def test_what_was_asked_for_and_what_it_gave(
    size_wh: Any, fps: float | None, pixel_format: str | None, given: str
) -> None:
    with CameraSource(0, size_wh, fps, pixel_format) as camera:
        assert camera.given == given
        frame = camera.read()
        assert frame is not None
        assert given.startswith(f"{frame.bgr.shape[1]}x{frame.bgr.shape[0]} ")


def test_the_pixel_format_is_asked_for_before_the_size(driver: type[FakeDriver]) -> None:
    CameraSource(0, (128, 72), 30.0, "MJPG").close()
    order = [driver.asked.index(one) for one in (cv2.CAP_PROP_FOURCC, cv2.CAP_PROP_FRAME_WIDTH)]
    assert order == sorted(order)


def test_what_a_driver_does_not_say_is_left_out(
    driver: type[FakeDriver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "get", lambda self, property_id: -1.0 if property_id == 6 else 0.0)
    with CameraSource(0) as camera:
        assert (camera.given, camera.fps) == ("64x48", None)


def test_a_camera_without_a_picture(driver: type[FakeDriver]) -> None:
    driver.dead = True
    with pytest.raises(SourceOpenError, match=r"Integrated Webcam.*no picture") as caught:
        CameraSource(0)
    assert "privacy" in caught.value.hint
    assert "no size" not in caught.value.hint
    with pytest.raises(SourceOpenError) as caught:
        CameraSource(0, (640, 480))
    assert "no size" in caught.value.hint


@pytest.mark.usefixtures("driver")
def test_a_camera_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(SourceOpenError, match="camera 98") as caught:
        CameraSource(98)
    assert "0 (Integrated Webcam), 2 (Logitech BRIO)" in caught.value.hint


@pytest.mark.parametrize("letters", ["", "MJ", "MJPEG", "mjpä"])
def test_a_pixel_format_has_four_letters(letters: str) -> None:
    with pytest.raises(SourceOpenError, match=f'"{letters}"') as caught:
        CameraSource(0, pixel_format=letters)
    assert "MJPG" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("0", 0),
        ("77", 77),
        ("logitech brio", 2),
        ("logi", 2),
        ("BRIO STUDIO", 4),
        ("webcam", 0),
        ("demo", None),
        ("", None),
        ("rtsp://webcam/1", None),
        ("holiday.mp4", None),
    ],
)
@pytest.mark.usefixtures("driver")
def test_names(name: str, index: int | None) -> None:
    assert match_camera(name) == index


@pytest.mark.usefixtures("driver")
def test_a_name_that_several_have() -> None:
    with pytest.raises(SourceOpenError, match=r"2 \(Logitech BRIO\), 4 \(BRIO Studio\)"):
        match_camera("brio")


@pytest.mark.usefixtures("driver")
def test_open_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_source("studio", live=True, size_wh=(128, 72), fps=15.0, pixel_format="MJPG") as source:
        assert isinstance(source, CameraSource)
        assert source.given == "128x72 at 15 fps, MJPG"
    with pytest.raises(SourceOpenError, match='"c920" is no camera') as caught:
        open_source("c920", live=True)
    assert "Logitech BRIO" in caught.value.hint
    monkeypatch.chdir(tmp_path)  # a file comes before a camera of the same name
    (tmp_path / "studio").touch()
    assert match_camera("studio") is None
    assert match_camera("studi") == 4


def test_cameras_are_listed_by_number_with_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package itself is replaced: it lists devices, of which there may be none here."""
    found = [CameraInfo(3, "Brio"), CameraInfo(0, "Inbuilt"), CameraInfo(5, "")]
    monkeypatch.setattr(camera_module, "enumerate_cameras", lambda backend: found)
    assert find_cameras() == [
        CameraInfo(0, "Inbuilt"),
        CameraInfo(3, "Brio"),
        CameraInfo(5, "without a name"),
    ]


def test_the_real_list_of_this_machine() -> None:
    numbers = [camera.index for camera in find_cameras()]
    assert numbers == sorted(set(numbers))


def test_the_doctor_lists_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_cameras", lambda: CAMERAS[:2])
    assert doctor._cameras().value == "0 (Integrated Webcam), 2 (Logitech BRIO)"
    monkeypatch.setattr(doctor, "find_cameras", list)
    assert "none" in doctor._cameras().value


@pytest.mark.camera
@pytest.mark.skipif(not find_cameras(), reason="no camera")
def test_a_real_camera_gives_frames() -> None:
    with CameraSource(find_cameras()[0].index) as camera:
        frame = camera.read()
        assert frame is not None
        assert frame.bgr.shape == (camera.size_wh[1], camera.size_wh[0], 3)
        assert camera.given
