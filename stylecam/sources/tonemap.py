"""Colours outside BT.709 brought into it: HDR tone-mapped, wide gamuts mapped, as one table."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

REFERENCE_WHITE = 203.0
"""cd/m2 of HDR that SDR's white stands for: ITU-R BT.2408, table 1."""

DEFAULT_PEAK = 1000.0
"""cd/m2 that a film is taken to reach which does not say; also HLG's nominal display (BT.2100, note 5f)."""

_SDR_GAMMA = 2.4  # ITU-R BT.1886
_STEPS = 65
_D65 = (0.3127, 0.3290)
_BT709 = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))

PRIMARIES: dict[str, tuple[tuple[float, float], ...]] = {
    "bt470bg": ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),
    "smpte170m": ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    "smpte240m": ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    "bt2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    "smpte432": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
"""x, y of red, green and blue, all with white at D65: ITU-T H.273, table 2, by FFmpeg's names."""


@contextmanager
def cube_file(transfer: str, primaries: str, peak: float) -> Iterator[Path]:
    """Give a .cube file, FFmpeg's and everyone's form of such a table, for as long as it is read.

    `transfer` is "smpte2084" (PQ), "arib-std-b67" (HLG) or "" for SDR; `peak` is in cd/m2.
    """
    table = np.clip(_table(transfer, primaries, peak), 0, 1)
    with tempfile.TemporaryDirectory(prefix="stylecam-") as folder:
        path = Path(folder) / "table.cube"
        with path.open("w", encoding="ascii") as file:
            file.write(f"LUT_3D_SIZE {_STEPS}\n")
            np.savetxt(file, table, fmt="%.5f")
        yield path


@lru_cache(maxsize=4)
def _table(transfer: str, primaries: str, peak: float) -> Floats:
    """Return BT.709 signals (R, G, B) for a grid of signals, red running fastest."""
    grid = np.linspace(0, 1, _STEPS)
    blue, green, red = np.meshgrid(grid, grid, grid, indexing="ij")
    signal = np.stack([red, green, blue], axis=-1).reshape(-1, 3)
    linear = signal**_SDR_GAMMA if not transfer else _tone_mapped(_light(signal, transfer), peak)
    mapped = _into_gamut(linear @ _matrix(PRIMARIES[primaries], _BT709).T)
    return np.asarray(mapped ** (1 / _SDR_GAMMA))


def _light(signal: Floats, transfer: str) -> Floats:
    """Return what a display shows, in cd/m2: ITU-R BT.2100, tables 4 and 5."""
    if transfer == "smpte2084":
        return pq_to_nits(signal)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    return np.asarray(DEFAULT_PEAK * scene * np.maximum(luminance, 1e-9)[:, None] ** 0.2)


def _tone_mapped(nits: Floats, peak: float) -> Floats:
    """Return light with SDR's white at 1, compressed by the EETF of ITU-R BT.2390, section 5.4.1.

    It is taken of the largest component and scales all three, so that hues stay.
    """
    largest = np.maximum(nits.max(axis=1), 1e-6)
    top = nits_to_pq(np.array(max(peak, REFERENCE_WHITE)))
    e1 = np.minimum(nits_to_pq(largest) / top, 1.0)
    white = float(nits_to_pq(np.array(REFERENCE_WHITE)) / top)
    knee = 1.5 * white - 0.5
    t = np.clip((e1 - knee) / max(1 - knee, 1e-9), 0, 1)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    )
    mapped = pq_to_nits(np.where(e1 < knee, e1, spline) * top)
    # In light brighter than the peak the largest component is already at the top.
    return np.asarray(nits * (mapped / largest)[:, None] / REFERENCE_WHITE)


def _into_gamut(linear: Floats) -> Floats:
    """Draw what lies outside 0..1 towards the grey of its own luminance, no further than needed."""
    grey = np.clip(linear @ np.array([0.2126, 0.7152, 0.0722]), 0, 1)[:, None]
    away = linear - grey
    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.where(away < 0, -grey / away, np.inf)
        high = np.where(away > 0, (1 - grey) / away, np.inf)
    keep = np.minimum(np.minimum(low, high).min(axis=1, keepdims=True), 1.0)
    return np.asarray(np.clip(grey + keep * away, 0, 1))


def _matrix(source: tuple[tuple[float, float], ...], target: tuple[tuple[float, float], ...]) -> Floats:
    """Return what turns linear RGB of one set of primaries into another's (SMPTE RP 177)."""
    return np.asarray(np.linalg.inv(_to_xyz(target)) @ _to_xyz(source))


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> Floats:
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    x, y = _D65
    return np.asarray(columns * np.linalg.solve(columns, np.array([x / y, 1, (1 - x - y) / y])))


def pq_to_nits(signal: NDArray[Any]) -> Floats:
    """Return cd/m2 for a PQ signal of 0..1: SMPTE ST 2084."""
    powered = np.asarray(signal, np.float64) ** (1 / 78.84375)
    return np.asarray(
        10_000
        * (np.maximum(powered - 0.8359375, 0) / (18.8515625 - 18.6875 * powered)) ** (1 / 0.1593017578125)
    )


def nits_to_pq(nits: NDArray[Any]) -> Floats:
    """Return the PQ signal for light in cd/m2."""
    powered = (np.asarray(nits, np.float64) / 10_000) ** 0.1593017578125
    return np.asarray(((0.8359375 + 18.8515625 * powered) / (1 + 18.6875 * powered)) ** 78.84375)
