"""Photographs on disk: read whatever people have, write whole files."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stylecam.errors import PictureError
from stylecam.frames import Pixels
from stylecam.wholefile import whole_file

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_WITH_ALPHA = (".png", ".webp", ".tif", ".tiff")
_JPEG_QUALITY = 95
_ORIENTATION = 0x0112
_EXTRA_SAMPLES = 0x0152
_PNG_DEPTH = 24
"""Where a PNG file tells the bits of a sample."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A photograph the right way up: `bgr` (H, W, 3) uint8 and, where it has one, `alpha` (H, W) uint8.

    Alpha is straight (not premultiplied); 255 is opaque.
    """

    bgr: Pixels
    alpha: Pixels | None = None


def read_picture(path: Path) -> Picture:
    """Decode a file to 8-bit BGR in sRGB, turned as its EXIF data says.

    Accepts 8 and 16 bit, grey, grey with alpha, palette, colour and CMYK; of colour profiles, those for RGB.
    Raises PictureError.
    """
    encoded = _read_bytes(path)
    try:
        pixels, kinds, metadata = cv2.imdecodeWithMetadata(encoded, flags=cv2.IMREAD_UNCHANGED)
    except cv2.error as exc:
        raise _unreadable(path) from exc
    if pixels is None or pixels.size == 0:
        raise _unreadable(path)
    clear = _clear_level(encoded) if pixels.ndim == 2 else None
    if clear is not None:  # the one kind of transparency that OpenCV leaves out
        grey = _to_8bit(np.asarray(pixels), path)
        pixels = np.dstack([grey, grey, grey, np.where(pixels == clear, 0, 255).astype(np.uint8)])
    # IMREAD_UNCHANGED is the one mode that keeps alpha, and it leaves EXIF rotation to us
    # (but for TIFF, where OpenCV turns the picture itself and reports no EXIF).
    exif = [chunk for kind, chunk in zip(kinds, metadata, strict=True) if kind == cv2.IMAGE_METADATA_EXIF]
    turn = _tiff_tag(np.asarray(exif[0], np.uint8).tobytes(), _ORIENTATION) or 1 if exif else 1
    picture = _to_picture(_turned(_to_8bit(np.asarray(pixels), path), turn))
    if _is_premultiplied(encoded, pixels):
        picture = _straight(picture)
    return picture if pixels.ndim == 2 else _in_srgb(picture, encoded)


def write_picture(path: Path, picture: Picture) -> None:
    """Encode by the path's suffix; the file appears whole or not at all.

    Where the format has no alpha (see `keeps_alpha`) the picture is laid on white.
    Raises PictureError.
    """
    check_picture_suffix(path)
    pixels = _for_format(picture, path)
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix.lower() in (".jpg", ".jpeg") else []
    try:
        ok, encoded = cv2.imencode(path.suffix.lower(), pixels, options)
    except cv2.error as exc:
        raise _unwritable(path, "the format cannot hold a picture of this size") from exc
    if not ok:
        raise _unwritable(path, "the encoder refused it")
    try:
        with whole_file(path) as part:
            part.write_bytes(encoded.data)  # tofile says "100 requested and 50 written" of a full disk
    except OSError as exc:
        raise _unwritable(path, exc.strerror or str(exc)) from exc


def keeps_alpha(path: Path) -> bool:
    """Tell whether `write_picture` keeps transparency under this name, so that a caller can warn."""
    return path.suffix.lower() in _WITH_ALPHA


def check_picture_suffix(path: Path) -> None:
    """Raise PictureError where no known picture format has this suffix, before any work is done."""
    if path.suffix.lower() not in SUFFIXES:
        raise PictureError(
            f'picture "{path}" has {f"the unknown suffix {path.suffix!r}" if path.suffix else "no suffix"}',
            f"use one of {', '.join(SUFFIXES)}",
        )


def check_picture_path(path: Path) -> None:
    """Raise PictureError where no picture can be written under this name, before any work is done."""
    check_picture_suffix(path)
    if path.is_dir():
        raise PictureError(f'picture "{path}" is a folder', "give the name of a file")
    if not path.parent.is_dir():
        raise PictureError(
            f'picture "{path}" cannot be written: folder "{path.parent}" does not exist',
            "make the folder first",
        )


def list_pictures(folder: Path) -> list[Path]:
    """Return the folder's picture files by name, hidden ones and subfolders left out.

    Raises PictureError where the folder is missing; one without pictures gives an empty list.
    """
    if not folder.is_dir():
        raise PictureError(f'folder "{folder}" does not exist', "give a folder that holds pictures")
    found = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


def _read_bytes(path: Path) -> Pixels:
    if path.is_dir():
        raise PictureError(f'picture "{path}" is a folder', "give a picture file")
    try:
        # Not cv2.imread: on Windows it cannot open a path outside the system's code page.
        encoded = np.fromfile(path, np.uint8)
    except FileNotFoundError as exc:
        raise PictureError(f'picture "{path}" does not exist', "check the path") from exc
    except OSError as exc:
        raise PictureError(
            f'picture "{path}" cannot be read: {exc.strerror or exc}', "check its permissions"
        ) from exc
    if encoded.size == 0:
        raise PictureError(f'picture "{path}" is empty (0 bytes)', "copy or export it again")
    return encoded


def _unreadable(path: Path) -> PictureError:
    return PictureError(
        f'picture "{path}" cannot be decoded: it is cut off, damaged or no picture at all',
        "open it in an image viewer and export it again as PNG or JPEG",
    )


def _unwritable(path: Path, cause: str) -> PictureError:
    return PictureError(f'picture "{path}" cannot be written: {cause}', "choose another folder or format")


def _to_8bit(pixels: NDArray[np.generic], path: Path) -> Pixels:
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    if pixels.dtype == np.uint16:
        # 65535 / 255 = 257; rounding, so that white stays white and 8-bit data comes back exactly.
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    raise PictureError(
        f'picture "{path}" holds {pixels.dtype} samples', "convert it to 8 or 16 bits a channel"
    )


def _to_picture(pixels: Pixels) -> Picture:
    if pixels.ndim == 2:
        return Picture(np.repeat(pixels[..., None], 3, axis=2))
    if pixels.shape[2] == 4:
        return Picture(np.ascontiguousarray(pixels[..., :3]), np.ascontiguousarray(pixels[..., 3]))
    return Picture(np.ascontiguousarray(pixels))


def _for_format(picture: Picture, path: Path) -> Pixels:
    if picture.alpha is None:
        return picture.bgr
    if keeps_alpha(path):
        return np.dstack([picture.bgr, picture.alpha])
    opacity = picture.alpha[..., None].astype(np.float32) / 255
    return np.rint(picture.bgr * opacity + 255 * (1 - opacity)).astype(np.uint8)


def _is_premultiplied(encoded: Pixels, decoded: NDArray[np.generic]) -> bool:
    """Tell whether colour comes out of OpenCV multiplied by alpha: some TIFF files, nothing else.

    ExtraSamples is 1 for alpha stored so, and for 2 (straight) libtiff's 8-bit reader multiplies.
    """
    extra = _tiff_tag(encoded.tobytes(), _EXTRA_SAMPLES)
    return extra == 1 or (extra == 2 and decoded.dtype == np.uint8)


def _straight(picture: Picture) -> Picture:
    if picture.alpha is None:
        return picture
    opacity = np.maximum(picture.alpha, 1)[..., None].astype(np.float32) / 255
    return Picture(np.rint(np.minimum(picture.bgr / opacity, 255)).astype(np.uint8), picture.alpha)


def _in_srgb(picture: Picture, encoded: Pixels) -> Picture:
    """Return the picture as its file's colour profile means it: phones write Display P3, cameras Adobe RGB.

    A profile that is damaged, or not for RGB (CMYK is converted already), says nothing.
    """
    from PIL import Image, ImageCms  # OpenCV does not convert; not needed for live or film

    try:
        with Image.open(io.BytesIO(encoded.data)) as opened:
            icc = opened.info.get("icc_profile")
        if not icc:
            return picture
        own = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if own.profile.xcolor_space != "RGB " or "sRGB" in ImageCms.getProfileDescription(own):
            return picture
        rgb = Image.fromarray(np.ascontiguousarray(picture.bgr[..., ::-1]))
        meant = ImageCms.profileToProfile(
            rgb, own, ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
    except (OSError, ValueError, ImageCms.PyCMSError):  # a kind of file that Pillow does not know, for one
        return picture
    return Picture(np.ascontiguousarray(np.asarray(meant)[..., ::-1]), picture.alpha)


def _clear_level(encoded: Pixels) -> int | None:
    """Return the level, as decoded, that is transparent in a grey PNG, where one is (PNG, 11.3.2.1)."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded.data)) as opened:
            level = opened.info.get("transparency") if opened.format == "PNG" else None
    except (OSError, ValueError):
        return None
    if not isinstance(level, int):
        return None
    depth = int(encoded[_PNG_DEPTH])
    return level * 255 // (2**depth - 1) if depth in (2, 4) else level  # of one bit Pillow gives 0 or 255


def _tiff_tag(tiff: bytes, wanted: int) -> int | None:
    """Return a 16-bit tag of the first directory of a TIFF file, or of EXIF data, which is one.

    None where it is missing or `tiff` is something else (TIFF 6.0, section 2).
    """
    tiff = tiff.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    try:
        if order is None:
            return None
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(entries):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, start + 2 + 12 * entry)
            if tag == wanted:
                return int(value)
    except struct.error:  # a damaged block says nothing about the pixels
        pass
    return None


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
