"""Pictures of 256 colours, for GIF."""

from __future__ import annotations

from fractions import Fraction

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av
import numpy as np
from av.filter import Graph

from stylecam.frames import Pixels


class Palette:
    """Give each picture of one size the 256 colours that suit it best, dithered. For one thread."""

    def __init__(self, size_wh: tuple[int, int], *, alpha: bool) -> None:
        self._layout = "bgra" if alpha else "bgr24"
        self._graph = Graph()
        add = self._graph.add
        source = add("buffer", f"video_size={size_wh[0]}x{size_wh[1]}:pix_fmt={self._layout}:time_base=1/100")
        both = add("split")
        palette = add("palettegen", f"stats_mode=single:reserve_transparent={int(alpha)}")
        # Ordered dither: error diffusion would flicker from frame to frame.
        use, sink = add("paletteuse", "new=1:dither=bayer:bayer_scale=4"), add("buffersink")
        source.link_to(both)
        both.link_to(use, 0, 0)
        both.link_to(palette, 1, 0)
        palette.link_to(use, 0, 1)
        use.link_to(sink)
        self._graph.configure()
        self._count = 0

    def paint(self, pixels: Pixels) -> av.VideoFrame:
        """Return a picture, (H, W, 3) BGR or (H, W, 4) with alpha, as pal8."""
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=self._layout)
        picture.pts, picture.time_base = self._count, Fraction(1, 100)
        self._count += 1
        self._graph.vpush(picture)
        return self._graph.vpull()
