"""Colours, transparency and fields of films: what a player shows is what the net gets and gives."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
import numpy as np
import pytest
from films import bars, make_raw_film, number_of, numbered
from numpy.typing import NDArray
from test_faithful import frames_of, passed, yuv

from stylecam.frames import Frame, Pixels
from stylecam.sinks.codecs import Encoding
from stylecam.sinks.file import FileSink
from stylecam.sources.pyav import FilmSource

KR_KB = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
"""Luma weights of red and blue, from ITU-R BT.601, BT.709 and BT.2020."""

TAGS = {"bt601": 6, "bt709": 1, "bt2020": 9}
BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)
"""Linear RGB, ITU-R BT.2087 turned round."""


def to_yuv(bgr: NDArray[Any], matrix: str, *, full: bool = False, bits: int = 8) -> NDArray[np.uint16]:
    """Planes (3, H, W) by the books' formulas, independent of any library."""
    blue, green, red = (bgr[..., channel] / 255 for channel in range(3))
    kr, kb = KR_KB[matrix]
    y = kr * red + (1 - kr - kb) * green + kb * blue
    u, v = (blue - y) / (2 - 2 * kb), (red - y) / (2 - 2 * kr)
    unit, middle = 2 ** (bits - 8), 2 ** (bits - 1)
    if full:
        top = 2**bits - 1
        planes = [y * top, u * top + middle, v * top + middle]
    else:
        planes = [(219 * y + 16) * unit, 224 * unit * u + middle, 224 * unit * v + middle]
    return np.clip(np.round(planes), 0, 2**bits - 1).astype(np.uint16)


def film_of(
    path: Path, planes: NDArray[np.uint16], *, bits: int = 8, matrix: int = 2, full: bool = False,
    primaries: int = 2, trc: int = 2, **more: Any,
) -> Path:  # fmt: skip
    picture = av.VideoFrame(planes.shape[2], planes.shape[1], "yuv444p" if bits == 8 else f"yuv444p{bits}le")
    kind = np.dtype("u1" if bits == 8 else "<u2")
    for plane, values in zip(picture.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // kind.itemsize), kind)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    tags = {
        "colorspace": matrix,
        "color_range": 2 if full else 1,
        "color_primaries": primaries,
        "color_trc": trc,
    }
    for name, value in tags.items():
        setattr(picture, name, value)
    return make_raw_film(path, [picture], tags=tags, **more)


def worst(back: Pixels, truth: Pixels) -> int:
    return int(np.abs(back.astype(int) - truth).max())


@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("bits", [8, 10])
def test_matrix_and_range_are_followed_to_the_rounding(
    tmp_path: Path, matrix: str, full: bool, bits: int
) -> None:
    planes = to_yuv(bars(), matrix, full=full, bits=bits)
    film = film_of(tmp_path / "in.mkv", planes, bits=bits, matrix=TAGS[matrix], full=full)
    assert worst(frames_of(film)[0].bgr, bars()) <= (2 if bits == 8 else 1)


@pytest.mark.parametrize(
    ("size_wh", "matrix"), [((640, 576), "bt601"), ((640, 580), "bt709"), ((1280, 64), "bt709")]
)
def test_untagged_films_are_taken_by_their_size(
    tmp_path: Path, size_wh: tuple[int, int], matrix: str
) -> None:
    film = film_of(tmp_path / "in.mkv", to_yuv(bars(size_wh), matrix))
    assert worst(frames_of(film)[0].bgr, bars(size_wh)) <= 2


@pytest.mark.parametrize("size_wh", [(224, 64), (223, 63)])
@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "h264"), (".mp4", "hevc"), (".mov", "prores"), (".y4m", "auto")]
)
def test_ramp_and_bars_survive_the_whole_way(
    tmp_path: Path, suffix: str, codec: str, size_wh: tuple[int, int]
) -> None:
    truth = bars(size_wh)
    film = film_of(tmp_path / "in.mkv", to_yuv(truth, "bt709"), matrix=1)
    crf = 0 if codec in ("h264", "hevc") else None
    passed(film, tmp_path / f"out{suffix}", Encoding(codec, crf=crf))
    back = frames_of(tmp_path / f"out{suffix}")[0].bgr
    half = size_wh[1] // 2
    assert worst(back[half + 4 :], truth[half + 4 :]) <= 3  # the ramp
    middles = (slice(4, half - 4), slice(size_wh[0] // 14, None, size_wh[0] // 7))
    assert worst(back[middles], truth[middles]) <= 4


def test_what_is_written_is_bt709_by_the_book(tmp_path: Path) -> None:
    with FileSink(tmp_path / "a.mp4", fps=10, crf=0) as sink:
        sink.write(Frame(bars((223, 63)), 0.0, 0.0))
    with av.open(str(tmp_path / "a.mp4")) as film:
        planes = next(film.decode(video=0)).to_ndarray()
    assert np.abs(planes.astype(int) - to_yuv(bars((223, 63)), "bt709")).max() <= 2


def test_wider_primaries_are_mapped(tmp_path: Path) -> None:
    truth = (bars() // 2 + 64).astype(np.uint8)  # pale enough to lie within BT.709
    linear = (truth[..., ::-1] / 255.0) ** 2.4
    wide = np.clip(linear @ np.linalg.inv(BT2020_TO_BT709).T, 0, 1) ** (1 / 2.4)
    planes = to_yuv(wide[..., ::-1] * 255, "bt2020", bits=10)
    film = film_of(tmp_path / "in.mkv", planes, bits=10, matrix=9, primaries=9, trc=14)
    assert worst(frames_of(film)[0].bgr, truth) <= 2
    assert "mapped to BT.709" in passed(film, tmp_path / "out.mp4")[0]


NITS = np.array([0, 1, 5, 20, 50, 100, 203, 400, 700, 1000])


def pq(nits: NDArray[Any]) -> NDArray[Any]:
    """The inverse EOTF of SMPTE ST 2084."""
    powered = (nits / 10_000) ** 0.1593017578125
    return np.asarray(((0.8359375 + 18.8515625 * powered) / (1 + 18.6875 * powered)) ** 78.84375)


def hlg(nits: NDArray[Any]) -> NDArray[Any]:
    """The OETF of ITU-R BT.2100's HLG, of the scene that a 1000 cd/m2 display shows as so many nits."""
    scene = (nits / 1000) ** (1 / 1.2)
    return np.where(
        scene <= 1 / 12,
        np.sqrt(3 * scene),
        0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073,
    )


MASTERING = (
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
)


@pytest.mark.parametrize(
    ("name", "curve", "trc"), [("PQ", pq, 16), pytest.param("HLG", hlg, 18, marks=pytest.mark.slow)]
)
def test_hdr_is_tone_mapped_and_said(tmp_path: Path, name: str, curve: Any, trc: int) -> None:
    level = np.repeat(curve(NITS), 16)[None, :, None].repeat(32, 0).repeat(3, 2)
    planes = to_yuv(level * 255, "bt2020", bits=10)
    params = "log-level=none:lossless=1" + (f":{MASTERING}" if name == "PQ" else "")
    film = film_of(
        tmp_path / "in.mkv", planes, bits=10, matrix=9, primaries=9, trc=trc, codec="libx265",
        options={"x265-params": params},
    )  # fmt: skip
    bgr = frames_of(film)[0].bgr[16, 8::16].astype(int)
    assert np.abs(np.diff(bgr, axis=1)).max() <= 2  # grey stays grey
    greys = bgr[:, 1]
    assert greys[0] <= 1
    assert greys[-1] == 255
    assert (
        np.diff(greys[:8]) > 15
    ).all()  # up to 400 cd/m2, twice the reference white, all can be told apart
    assert (np.diff(greys) >= 0).all()
    assert 200 < greys[6] < 240  # the reference white of BT.2408 leaves room above it
    assert f"{name}" in passed(film, tmp_path / "out.mp4")[0]
    with av.open(str(tmp_path / "out.mp4")) as out:
        assert out.streams.video[0].codec_context.color_trc == 1


def see_through(size_wh: tuple[int, int] = (64, 48)) -> tuple[Pixels, Pixels]:
    alpha = np.zeros((size_wh[1], size_wh[0]), np.uint8)
    alpha[:, size_wh[0] // 2 :] = 255
    alpha[: size_wh[1] // 2] //= 2
    return numbered(12, size_wh), alpha


def film_with_alpha(path: Path) -> Path:
    bgr, alpha = see_through()
    codec = {".webm": "libvpx-vp9", ".mov": "prores_ks", ".mkv": "ffv1"}[path.suffix]
    layout = {".webm": "yuva420p", ".mov": "yuva444p10le", ".mkv": "bgra"}[path.suffix]
    picture = av.VideoFrame.from_ndarray(np.dstack([bgr, alpha]), format="bgra").reformat(format=layout)
    options = {"auto-alt-ref": "0", "crf": "4", "b": "0"} if path.suffix == ".webm" else {}
    return make_raw_film(path, [picture], codec=codec, options=options)


@pytest.mark.parametrize("before", [".webm", ".mov", ".mkv"])
@pytest.mark.parametrize("after", ["out.webm", "out.mov", "out/", "out.gif"])
def test_alpha_in_is_alpha_out(tmp_path: Path, before: str, after: str) -> None:
    film = film_with_alpha(tmp_path / f"in{before}")
    notes = passed(film, f"{tmp_path}/{after}", Encoding("prores" if after == "out.mov" else "auto"))
    assert not [note for note in notes if "transparency" in note]
    back = frames_of(f"{tmp_path}/{after}%06d.png" if after == "out/" else tmp_path / after)[0]
    _, alpha = see_through()
    assert back.alpha is not None
    away = np.abs(np.arange(64) - 32) > 8
    if after == "out.gif":  # which knows only clear and opaque
        assert set(np.unique(back.alpha)) == {0, 255}
    else:
        assert worst(back.alpha[:16, away], alpha[:16, away]) < 8
        assert worst(back.alpha[32:, away], alpha[32:, away]) < 8
    assert number_of(back.bgr[32:, 40:]) == 12


def test_alpha_that_is_lost_is_said(tmp_path: Path) -> None:
    notes = passed(film_with_alpha(tmp_path / "in.mkv"), tmp_path / "out.mp4")
    assert [note for note in notes if "transparency is lost" in note]


def combed(bgr: Pixels) -> float:
    """How much more neighbouring lines differ than lines of the same field."""
    grey = bgr[..., 1].astype(float)
    return float(np.abs(grey[1:-1] - grey[2:]).mean() - np.abs(grey[:-2] - grey[2:]).mean())


def test_interlaced_films_are_deinterlaced(tmp_path: Path) -> None:
    def weave(index: int) -> av.VideoFrame:
        picture = np.full((96, 128, 3), 40, np.uint8)
        for field in (0, 1):  # a block moves on between the two fields of a frame
            left = 8 + 12 * index + 6 * field
            picture[16 + field : 80 : 2, left : left + 30] = 200
        return yuv(picture, "yuv420p")

    film = make_raw_film(
        tmp_path / "in.mp4", [weave(i) for i in range(6)], codec="libx264",
        options={"flags": "+ildct+ilme", "x264-params": "tff=1", "crf": "5"},
    )  # fmt: skip
    came = frames_of(film)
    woven = np.asarray(weave(3).to_ndarray(format="bgr24"), np.uint8)
    assert combed(woven) > 5
    assert len(came) == 6
    assert [frame.timestamp_s for frame in came] == pytest.approx([i / 25 for i in range(6)])
    assert combed(came[3].bgr) < combed(woven) / 4
    with FilmSource(film) as source:
        while source.read() is not None:
            pass
        assert source.notes == ["interlaced: every frame deinterlaced (bwdif)"]


def test_ten_bits_and_odd_chroma_come_through(tmp_path: Path) -> None:
    for layout in ("yuv420p10le", "yuv422p", "yuv410p", "gray", "gray16le", "rgb48le", "bgra"):
        picture = yuv(bars(), layout)
        film = make_raw_film(tmp_path / f"{layout}.mkv", [picture], rate=Fraction(10))
        (frame,) = frames_of(film)
        assert worst(frame.bgr[40:], bars()[40:]) <= 2
