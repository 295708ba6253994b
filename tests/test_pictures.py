from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from stylecam.errors import PictureError
from stylecam.frames import Pixels
from stylecam.pictures import Picture, keeps_alpha, list_pictures, read_picture, write_picture

PIL_Image = pytest.importorskip("PIL.Image")
PIL_ImageOps = pytest.importorskip("PIL.ImageOps")
PIL_ImageCms = pytest.importorskip("PIL.ImageCms")


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def smooth() -> Pixels:
    ramp = np.linspace(0, 255, 32)
    return np.dstack([np.tile(ramp, (24, 1)), np.full((24, 32), 40), np.full((24, 32), 200)]).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".jpg", ".webp"])
def test_colours_come_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bild-äöü-画{suffix}"
    write_picture(path, Picture(smooth()))
    tolerance = 0 if suffix in (".png", ".bmp", ".tiff") else 12
    np.testing.assert_allclose(read_picture(path).bgr.astype(int), smooth().astype(int), atol=tolerance)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp"])
def test_alpha_is_kept(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    alpha = noise(24, 32)
    write_picture(path, Picture(smooth(), alpha))
    kept = read_picture(path).alpha
    assert keeps_alpha(path)
    assert kept is not None
    np.testing.assert_array_equal(kept, alpha)


@pytest.mark.parametrize(("kind", "level"), [(bool, 1), (np.uint8, 77), (np.uint16, 20000)])
def test_a_grey_png_may_have_one_transparent_level(tmp_path: Path, kind: type, level: int) -> None:
    grey: NDArray[np.generic] = np.tile(np.repeat(np.array([0, level], kind), 20)[:, None], 50)
    Image.fromarray(grey).save(tmp_path / "in.png", transparency=level)
    alpha = read_picture(tmp_path / "in.png").alpha
    assert alpha is not None
    assert (alpha[:20] == 255).all()
    assert (alpha[20:] == 0).all()
    Image.fromarray(grey).save(tmp_path / "in.png")
    assert read_picture(tmp_path / "in.png").alpha is None


def test_alpha_goes_on_white_where_the_format_has_none(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    write_picture(path, Picture(np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8)))
    assert not keeps_alpha(path)
    assert read_picture(path).bgr.min() > 250


def red_for_green() -> bytes:
    """A colour profile that is sRGB's, but for its first two primaries, which are swapped."""
    srgb = PIL_ImageCms.ImageCmsProfile(PIL_ImageCms.createProfile("sRGB")).tobytes()
    for old, new in [(b"rXYZ", b"-XYZ"), (b"gXYZ", b"rXYZ"), (b"-XYZ", b"gXYZ")]:
        srgb = srgb.replace(old, new)
    return bytes(srgb.replace("sRGB".encode("utf-16be"), "test".encode("utf-16be")))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff"])
def test_a_colour_profile_is_followed(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"wide{suffix}"
    stored = PIL_Image.fromarray(smooth()[..., ::-1]).convert("RGB" if suffix == ".jpg" else mode)
    stored.save(path, icc_profile=red_for_green(), **({"lossless": True} if suffix == ".webp" else {}))
    wanted = smooth()[..., [0, 2, 1]]
    got = read_picture(path).bgr.astype(int)
    assert np.abs(got - wanted).mean() < (4 if suffix == ".jpg" else 1)


@pytest.mark.parametrize("profile", [b"nonsense", b""])
def test_a_damaged_profile_says_nothing(tmp_path: Path, profile: bytes) -> None:
    path = tmp_path / "damaged.png"
    PIL_Image.fromarray(smooth()[..., ::-1]).save(path, icc_profile=profile)
    np.testing.assert_array_equal(read_picture(path).bgr, smooth())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_exif_turns_colour_and_alpha(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"turned{suffix}"
    stored = PIL_Image.fromarray(noise(6, 9, 4), "RGBA")
    exif = PIL_Image.Exif()
    exif[0x0112] = orientation
    # Without "exact" WebP is free to change what lies under full transparency.
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    stored.save(path, exif=exif, **options)
    stored.getexif()[0x0112] = orientation
    upright = np.asarray(PIL_ImageOps.exif_transpose(stored))
    read = read_picture(path)
    assert read.alpha is not None
    np.testing.assert_array_equal(read.alpha, upright[..., 3])
    # TIFF colour comes multiplied by alpha, in 8 bits: under low alpha little of it is left.
    solid = upright[..., 3] > (100 if suffix == ".tiff" else -1)
    tolerance = 2 if suffix == ".tiff" else 0
    colour = upright[..., 2::-1].astype(int)
    np.testing.assert_allclose(read.bgr[solid].astype(int), colour[solid], atol=tolerance)


def test_grey_16_bit_and_both_with_alpha(tmp_path: Path) -> None:
    grey = noise(16, 20)
    cv2.imwrite(str(tmp_path / "g16.png"), grey.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_picture(tmp_path / "g16.png").bgr, np.dstack([grey] * 3))
    PIL_Image.fromarray(np.dstack([grey, 255 - grey]), "LA").save(tmp_path / "la.png")
    read = read_picture(tmp_path / "la.png")
    assert read.alpha is not None
    np.testing.assert_array_equal(read.alpha, 255 - grey)
    np.testing.assert_array_equal(read.bgr, np.dstack([grey] * 3))


def test_cmyk_jpeg(tmp_path: Path) -> None:
    PIL_Image.new("CMYK", (32, 16), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=95)
    np.testing.assert_allclose(read_picture(tmp_path / "c.jpg").bgr[8, 8], (0, 0, 255), atol=4)


def test_a_damaged_exif_block_is_no_reason_to_refuse(tmp_path: Path) -> None:
    from stylecam.pictures import _tiff_tag

    assert _tiff_tag(b"MM\0*" + struct.pack(">I", 5000), 0x0112) is None
    assert _tiff_tag(b"", 0x0112) is None


def test_bad_input_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").touch()
    whole = cv2.imencode(".png", noise(64, 64, 3))[1].tobytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder.png").mkdir()
    for name, cause in [
        ("text", "decoded"),
        ("empty", "0 bytes"),
        ("cut", "cut off"),
        ("folder", "folder"),
        ("missing", "exist"),
    ]:
        with pytest.raises(PictureError, match=rf"{name}\.png.*{cause}") as caught:
            read_picture(tmp_path / f"{name}.png")
        assert caught.value.hint


def test_nothing_is_left_where_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="gif"):
        write_picture(tmp_path / "a.gif", Picture(smooth()))
    with pytest.raises(PictureError, match="written"):
        write_picture(tmp_path / "no" / "a.png", Picture(smooth()))
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(PictureError, match="written"):
        write_picture(tmp_path / "taken.png", Picture(smooth()))
    assert [path.name for path in tmp_path.iterdir()] == ["taken.png"]


def test_list_pictures(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in list_pictures(tmp_path)] == ["a.png", "b.JPG"]
    with pytest.raises(PictureError, match="exist"):
        list_pictures(tmp_path / "no")
