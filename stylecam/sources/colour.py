"""Decoded pictures made what a player shows: BGR, upright, square pixels, progressive, SDR."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, cast

import cv2

# isort: split
import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import Type
from av.video.reformatter import ColorPrimaries, ColorTrc
from numpy.typing import NDArray

from stylecam.frames import Pixels
from stylecam.sources.tonemap import DEFAULT_PEAK, cube_file

_UNTAGGED = 2
"""H.273 calls a matrix, primaries or transfer that nobody has stated 2 (unspecified)."""

_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
_HDR = {int(ColorTrc.SMPTE2084): "smpte2084", int(ColorTrc.ARIB_STD_B67): "arib-std-b67"}
_HDR_NAMES = {int(ColorTrc.SMPTE2084): "PQ (HDR10)", int(ColorTrc.ARIB_STD_B67): "HLG"}
_PRIMARIES = {
    int(ColorPrimaries.BT470BG): "bt470bg",
    int(ColorPrimaries.SMPTE170M): "smpte170m",
    int(ColorPrimaries.SMPTE240M): "smpte240m",
    int(ColorPrimaries.BT2020): "bt2020",
    int(ColorPrimaries.SMPTE432): "smpte432",
}
_FULL = 2
_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"


@dataclass(frozen=True)
class Shown:
    """One picture as it is shown: its place in the stream in seconds, BGR (H, W, 3) and alpha (H, W)."""

    time_s: Fraction | None
    bgr: Pixels
    alpha: Pixels | None


class Converter:
    """Turn decoded frames into what a player shows; `notes` says what had to be done.

    Pixels are made square, because a net's brush strokes are, and y4m, GIF and PNG know no other:
    the side that is too short grows. Interlaced frames go through bwdif, one out for one in. PQ,
    HLG and other primaries than BT.709's are mapped by a table (see `tonemap`). For one thread.
    """

    def __init__(self, pixel_aspect: Fraction | None) -> None:
        self.notes: list[str] = []
        self._aspect = pixel_aspect or Fraction(1)
        self._interlaced = False
        self._key: tuple[object, ...] = ()
        self._graph: Graph | None = None
        self._turn = (False, False, False)

    def convert(self, frame: av.VideoFrame) -> Iterator[Shown]:
        """Give what is ready once `frame` is in: usually that frame, while deinterlacing the one before."""
        self._interlaced = self._interlaced or frame.interlaced_frame
        key = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range,
               frame.color_trc, frame.color_primaries, frame.time_base, self._interlaced)  # fmt: skip
        if key != self._key or self._graph is None:
            yield from self.flush()
            self._turn = _turn_of(frame)
            self._key, self._graph = key, self._open(frame)
        self._graph.vpush(frame)
        yield from self._pull(self._graph)

    def flush(self) -> Iterator[Shown]:
        """Give what the deinterlacer still holds."""
        if self._graph is not None:
            graph, self._graph = self._graph, None
            graph.vpush(None)
            yield from self._pull(graph)

    def _pull(self, graph: Graph) -> Iterator[Shown]:
        while True:
            try:
                frame = graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
            pixels = _turned(_to_8bit(frame.to_ndarray()), self._turn)
            time_s = None if frame.pts is None else frame.pts * Fraction(frame.time_base or 0)
            alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
            yield Shown(time_s, np.ascontiguousarray(pixels[..., :3]), alpha)

    def _open(self, frame: av.VideoFrame) -> Graph:
        graph = Graph()
        nodes = [
            graph.add(
                "buffer",
                f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:"
                f"time_base={frame.time_base or Fraction(1, 1000)}:"
                f"colorspace={frame.colorspace}:range={frame.color_range}",
            )
        ]
        if self._interlaced:
            self._say("interlaced: every frame deinterlaced (bwdif)")
            nodes.append(graph.add("bwdif", "mode=send_frame:deint=interlaced"))
        # The matrix is all that libswscale is to look at: it refuses tags that H.273 reserves.
        nodes.append(graph.add("setparams", "color_primaries=bt709:color_trc=bt709"))
        nodes.append(graph.add("scale", ":".join(self._scaling(frame))))
        alpha = "a" if _has_alpha(frame) else ""
        if mapping := self._mapping(frame):
            nodes.append(graph.add("format", "pix_fmts=" + ("bgra64le" if alpha else "bgr48le")))
            with cube_file(*mapping) as path:
                nodes.append(graph.add("lut3d", file=str(path), interp="tetrahedral"))
        else:
            nodes.append(graph.add("format", "pix_fmts=" + ("bgra" if alpha else "bgr24")))
        nodes.append(graph.add("buffersink"))
        for before, after in pairwise(nodes):
            before.link_to(after)
        graph.configure()
        return graph

    def _scaling(self, frame: av.VideoFrame) -> list[str]:
        width, height = self._square(frame.width, frame.height)
        rgb = frame.format.is_rgb or frame.format.name == "pal8"
        full = rgb or frame.color_range == _FULL or frame.format.name.startswith("yuvj")
        in_range = "full" if full else "limited"
        options = [f"w={width}", f"h={height}", f"flags={_FLAGS}", f"in_range={in_range}", "out_range=full"]
        return options if rgb else [*options, f"in_color_matrix={_matrix_of(frame)}"]

    def _square(self, width: int, height: int) -> tuple[int, int]:
        wide, high = max(self._aspect, Fraction(1)), max(1 / self._aspect, Fraction(1))
        size_wh = max(1, round(width * wide)), max(1, round(height * high))
        if size_wh != (width, height):
            self._say(
                f"pixels of {self._aspect.numerator}:{self._aspect.denominator} made square: "
                f"{width}x{height} becomes {size_wh[0]}x{size_wh[1]}"
            )
        return size_wh

    def _mapping(self, frame: av.VideoFrame) -> tuple[str, str, float] | None:
        """Return transfer, primaries and peak of what has to be mapped, None for BT.709 and the unstated."""
        primaries = _PRIMARIES.get(frame.color_primaries, "")
        if frame.color_trc in _HDR:
            self._say(f"{_HDR_NAMES[frame.color_trc]}: tone-mapped to SDR, BT.709")
            return _HDR[frame.color_trc], primaries or "bt2020", _peak_of(frame)
        if primaries:
            # Every SDR transfer is meant for the same display, so only the primaries are mapped.
            self._say(f"colours of {primaries} mapped to BT.709's")
            return "", primaries, DEFAULT_PEAK
        return None

    def _say(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def _matrix_of(frame: av.VideoFrame) -> str:
    """Return the matrix a player takes: the one stated, else by primaries, else by size as mpv does."""
    if frame.colorspace in _MATRICES:
        return _MATRICES[frame.colorspace]
    if frame.color_primaries == ColorPrimaries.BT2020:
        return "bt2020"
    return "bt709" if frame.width >= 1280 or frame.height > 576 else "bt601"


def _has_alpha(frame: av.VideoFrame) -> bool:
    return frame.format.name == "pal8" or any(part.is_alpha for part in frame.format.components)


def _peak_of(frame: av.VideoFrame) -> float:
    """Return cd/m2 of the display that the film was mastered on, where it says so.

    FFmpeg's struct holds ten fractions, the last one the highest luminance, then two flags.
    """
    data = cast(Any, frame.side_data).get(Type.MASTERING_DISPLAY_METADATA)
    if data is None or frame.color_trc != ColorTrc.SMPTE2084:
        return DEFAULT_PEAK
    numbers = np.frombuffer(bytes(data), np.int32)
    return float(numbers[18] / numbers[19]) if numbers[21] and numbers[19] else DEFAULT_PEAK


def _to_8bit(pixels: NDArray[Any]) -> Pixels:
    if pixels.dtype == np.uint8:
        return pixels
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=255 / 65535), np.uint8)


def _turn_of(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """Return (transpose, then flip left-right, flip top-bottom) from the display matrix.

    Its first two rows (a b u, c d v) put pixel (x, y) at (a x + c y, b x + d y), y downwards.
    """
    data = cast(Any, frame.side_data).get(Type.DISPLAYMATRIX)
    if data is None:
        return False, False, False
    matrix = np.frombuffer(bytes(data), np.int32)
    a, b, c, d = (int(matrix[place]) for place in (0, 1, 3, 4))
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def _turned(pixels: Pixels, turn: tuple[bool, bool, bool]) -> Pixels:
    transpose, left_right, top_bottom = turn
    if transpose:
        pixels = np.asarray(cv2.transpose(pixels), np.uint8)
    if left_right or top_bottom:
        code = -1 if left_right and top_bottom else int(left_right)
        pixels = np.asarray(cv2.flip(pixels, code), np.uint8)
    return pixels
