"""Masks: which part of a frame is painted, or where the person is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from stylecam.errors import BackendMissingError
from stylecam.frames import Pixels, size_of
from stylecam.pictures import read_picture

Field: TypeAlias = NDArray[np.float32]
"""(H, W) float32, 0..1."""

PERSON_NET = Path(__file__).parent / "assets" / "person.tflite"
"""MediaPipe's landscape selfie segmentation, (1, 144, 256, 3) RGB 0..1 to (1, 144, 256, 1) 0..1."""

_IN_MEDIAPIPE = Path("modules", "selfie_segmentation", "selfie_segmentation_landscape.tflite")
_SURE_NOT, _SURE = 0.2, 0.8
"""What the net calls improbable and probable is taken for certain: halos are worse than hard edges."""

_CALM = 0.25
"""The share of a small change that shows at once; what changes by 1/_LIVELY shows whole."""

_LIVELY = 2.5
_RADIUS = 4
_EDGE = 1e-3
_FINE = 640


class Mask(ABC):
    """Says of each pixel how much it belongs to the masked part. For one thread."""

    @abstractmethod
    def find(self, bgr: Pixels) -> Pixels:
        """Return (H, W) uint8 for a frame of (H, W, 3): 255 belongs, 0 does not."""


class FileMask(Mask):
    """The same mask for every frame: a picture, white where it holds, scaled to the frame.

    What is transparent in it counts as black. Raises PictureError.
    """

    def __init__(self, path: Path) -> None:
        picture = read_picture(path)
        grey = np.asarray(cv2.cvtColor(picture.bgr, cv2.COLOR_BGR2GRAY), np.uint8)
        opaque = 255 if picture.alpha is None else picture.alpha.astype(np.uint16)
        self._whole = ((grey * np.uint16(1) * opaque + 127) // 255).astype(np.uint8)
        self._scaled = self._whole

    def find(self, bgr: Pixels) -> Pixels:
        """See `Mask.find`; nobody changes what it returns."""
        if self._scaled.shape != bgr.shape[:2]:
            self._scaled = np.asarray(
                cv2.resize(self._whole, size_of(bgr), interpolation=cv2.INTER_AREA), np.uint8
            )
        return self._scaled


class PersonMask(Mask):
    """Where people are, by a small net on the CPU that is made for faces and shoulders at a desk.

    The edge is soft and follows the picture's own edges; small changes from frame to frame are calmed.
    Raises BackendMissingError where neither the net nor OpenVINO is there.
    """

    def __init__(self, net: Path | None = None) -> None:
        self._request = _compile(net or find_person_net())
        _, height, width, _ = self._request.model_inputs[0].shape
        self._net_wh = (int(width), int(height))
        self._last: Field | None = None

    def find(self, bgr: Pixels) -> Pixels:
        """See `Mask.find`."""
        small = np.asarray(cv2.resize(bgr, self._net_wh, interpolation=cv2.INTER_AREA), np.uint8)
        rgb = small[None, :, :, ::-1].astype(np.float32) / 255
        found = np.asarray(self._request.infer([rgb])[0], np.float32)[0, :, :, 0]
        sure: Field = np.clip((found - _SURE_NOT) / (_SURE - _SURE_NOT), 0, 1)
        self._last = sure if self._last is None else _calmed(self._last, sure)
        return _along_edges(self._last, small, bgr)


def find_person_net() -> Path:
    """Return the file of the net that finds people: this program's own, or that of an installed mediapipe.

    Raises BackendMissingError; mediapipe carries it up to 0.10.21 and none after that.
    """
    mediapipe = find_spec("mediapipe")
    folders = [Path(folder) for folder in (mediapipe.submodule_search_locations or ())] if mediapipe else []
    for path in (PERSON_NET, *(folder / _IN_MEDIAPIPE for folder in folders)):
        if path.is_file():
            return path
    raise BackendMissingError(
        "people cannot be found: the net for it is not installed",
        'pip install --no-deps "mediapipe==0.10.21", or give a picture with --mask',
    )


def _compile(net: Path) -> Any:
    import openvino
    from openvino.frontend import ConversionExtension, FrontEndManager, GeneralFailure, OpConversionFailure

    reader = FrontEndManager().load_by_framework("tflite")
    reader.add_extension(ConversionExtension("Convolution2DTransposeBias", _upsampling))
    try:
        model = reader.convert(reader.load(str(net)))
        compiled = openvino.Core().compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    except (RuntimeError, GeneralFailure, OpConversionFailure) as exc:
        raise BackendMissingError(
            f'the net "{net}" cannot be run: {str(exc).splitlines()[-1]}',
            "install stylecam again, or give a picture with --mask",
        ) from exc
    return compiled.create_infer_request()


def _upsampling(node: Any) -> list[Any]:
    """Translate MediaPipe's own layer, which OpenVINO does not know: a transposed convolution with a bias.

    All in it is NHWC, its kernel OHWI; MediaPipe's nets use it with a 2x2 kernel to double the size.
    """
    from openvino import opset13 as ops

    picture, kernel, bias = (node.get_input(number) for number in range(3))
    grown = ops.convolution_backprop_data(
        ops.transpose(picture, ops.constant([0, 3, 1, 2])),
        ops.transpose(kernel, ops.constant([3, 0, 1, 2])),
        strides=[2, 2],
        auto_pad="same_upper",
    )
    return [ops.add(ops.transpose(grown, ops.constant([0, 2, 3, 1])), bias).output(0)]


def _calmed(last: Field, now: Field) -> Field:
    """Follow great changes at once and small ones, which are the net's doubt, by and by."""
    change = now - last
    share: Field = np.clip(np.abs(change) * np.float32(_LIVELY), _CALM, 1)
    return last + share * change


def _along_edges(field: Field, small: Pixels, bgr: Pixels) -> Pixels:
    """Scale `field` up to the size of `bgr`, bending its edges to those of the picture.

    The fast guided filter (He and Sun 2015): in each window of `small` the field is a line in the
    picture's grey, and the lines are scaled up instead of the field.
    """
    guide = _grey(small)
    mean_guide, mean_field = _blur(guide), _blur(field)
    slope = (_blur(guide * field) - mean_guide * mean_field) / (
        _blur(guide * guide) - mean_guide * mean_guide + _EDGE
    )
    offset = mean_field - slope * mean_guide
    width, height = size_of(bgr)
    # Half the size of HD shows the same edges in a quarter of the time.
    share = min(1.0, _FINE / max(width, height))
    fine = cv2.resize(bgr, (max(1, round(width * share)), max(1, round(height * share))))
    fine_wh = fine.shape[1], fine.shape[0]
    bent = cv2.resize(_blur(slope), fine_wh) * _grey(fine) + cv2.resize(_blur(offset), fine_wh)
    bent = np.clip(bent, 0, 1) * 255
    return np.asarray(cv2.resize(np.rint(bent).astype(np.uint8), (width, height)), np.uint8)


def _grey(bgr: NDArray[Any]) -> Field:
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.float32) * np.float32(1 / 255)


def _blur(field: NDArray[Any]) -> Field:
    side = 2 * _RADIUS + 1
    return np.asarray(cv2.blur(field, (side, side)), np.float32)
