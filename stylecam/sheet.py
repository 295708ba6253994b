"""A contact sheet: one photograph in every style there is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from stylecam.frames import Pixels, fit_long_side, resize, size_of

TILE = 480
"""Long side of each picture on the sheet, in pixels."""

_GAP, _CAPTION = 12, 34
_PAPER, _INK = 255, (40, 40, 40)
_FONT, _LETTERS = cv2.FONT_HERSHEY_DUPLEX, 0.55


@dataclass(frozen=True)
class Tile:
    """A picture, (H, W, 3) uint8 BGR, and what is written below it."""

    bgr: Pixels
    caption: str


def to_tile_size(photo: Pixels) -> Pixels:
    """Return a photograph as it goes onto a sheet: its long side `TILE` px."""
    return resize(photo, fit_long_side(size_of(photo), TILE))


def draw_sheet(tiles: Sequence[Tile]) -> Pixels:
    """Return all tiles, of the same size, on white paper, in rows that make it a little wider than high."""
    width, height = size_of(tiles[0].bgr)
    cell_w, cell_h = width + _GAP, height + _CAPTION
    columns = min(
        range(1, len(tiles) + 1), key=lambda count: _unlike_a_page(count, len(tiles), cell_w, cell_h)
    )
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * cell_h + _GAP, columns * cell_w + _GAP, 3), _PAPER, np.uint8)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        top, left = _GAP + row * cell_h, _GAP + column * cell_w
        sheet[top : top + height, left : left + width] = tile.bgr
        (long, _), _ = cv2.getTextSize(tile.caption, _FONT, _LETTERS, 1)
        scale = _LETTERS * min(1, (width - 4) / max(1, long))
        cv2.putText(sheet, tile.caption, (left + 2, top + height + 20), _FONT, scale, _INK, 1, cv2.LINE_AA)
    return sheet


def _unlike_a_page(columns: int, tiles: int, cell_w: int, cell_h: int) -> float:
    """Return how far a sheet of so many columns is from 3:2, an empty place counting too."""
    rows = -(-tiles // columns)
    return abs(math.log(columns * cell_w / (rows * cell_h) / 1.5)) + 0.3 * (columns * rows - tiles)
