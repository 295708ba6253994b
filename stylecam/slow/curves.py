"""Loss curves as SVG: no library, no script, sharp on paper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from stylecam.slow.results import CurvePoint

WIDTH, HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 26, 40
_COLOURS = {"total": "#111", "content": "#0b6fb8", "style": "#c2410c", "tv": "#15803d"}

_LEAST_TV = 1e-3
"""The share of the last total that TV must once have had to be drawn."""


def draw_curves(curve: Sequence[CurvePoint], levels: Mapping[str, float], title: str) -> str:
    """Return an SVG element: each term over the iterations, on a logarithmic scale.

    A term that is 0 has no line. `levels` are totals to compare with, by name, drawn as dashed lines.
    Where the size changes the line breaks: objectives of different sizes do not compare.
    """
    names = ["total", *(name for name in curve[0].terms if _counts(curve, name))]
    values = [value for name in names for point in curve if (value := _value(point, name)) > 0]
    ends = [value for name in names if (value := _value(curve[-1], name)) > 0]
    shown = [total for total in levels.values() if total > 0]
    scale = _Scale(max(1, curve[-1].iteration), [*values, *shown], min([*ends, *shown], default=1.0))
    parts = [_axes(scale), *(_line(curve, name, scale) for name in reversed(names))]
    parts += [_level(name, total, scale) for name, total in levels.items() if total > 0]
    parts.append(_legend(names))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="11" fill="#333"><title>{escape(title)}</title>'
    )
    return head + "".join(parts) + "</svg>"


def _counts(curve: Sequence[CurvePoint], name: str) -> bool:
    """Tell whether a term has a line: smoothness has none where it is next to nothing of the total, as
    with the nets' own weight: all other curves would be pressed flat for its sake.
    """
    least = _LEAST_TV * curve[-1].total if name == "tv" else 0.0
    return any(point.terms[name] > least for point in curve)


class _Scale:
    """Places on the drawing of iterations and (logarithmic) objectives."""

    def __init__(self, last: int, values: Sequence[float], lowest_end: float) -> None:
        self.last = last
        # The content term of the photograph begins at next to nothing: what lies far below where every
        # curve ends is cut off. In the classic that is millions of times below the total.
        top = max(values, default=1.0)
        low = max(min(values, default=1.0), lowest_end / 10)
        self.low, self.high = math.floor(math.log10(low)), math.ceil(math.log10(top) + 1e-9)
        self.high = max(self.high, self.low + 1)

    def x(self, iteration: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * iteration / self.last, 1)

    def y(self, value: float) -> float:
        exponent = max(math.log10(value), self.low) if value > 0 else self.low
        share = (exponent - self.low) / (self.high - self.low)
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * share, 1)


def _axes(scale: _Scale) -> str:
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    parts = [f'<rect x="0" y="0" width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']
    for exponent in range(scale.low, scale.high + 1):
        y = scale.y(10.0**exponent)
        parts.append(f'<path d="M{_LEFT} {y}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">1e{exponent}</text>')
    for tick in _ticks(scale.last):
        x = scale.x(tick)
        parts.append(f'<path d="M{x} {bottom}v4" stroke="#999"/>')
        parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{tick:,}</text>')
    parts.append(f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="#999"/>')
    middle = (_LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">iterations</text>')
    return "".join(parts)


def _ticks(last: int) -> list[int]:
    step = 10 ** int(math.log10(max(1, last)))
    step = next(s for s in (step // 5, step // 2, step, 2 * step) if s and last / s <= 6)
    return list(range(0, last + 1, step))


def _line(curve: Sequence[CurvePoint], name: str, scale: _Scale) -> str:
    places: list[str] = []
    size_wh = curve[0].size_wh
    for point in curve:
        move = "M" if not places or point.size_wh != size_wh else "L"
        size_wh = point.size_wh
        places.append(f"{move}{scale.x(point.iteration)} {scale.y(_value(point, name))}")
    width = 2 if name == "total" else 1.3
    return f'<path d="{"".join(places)}" fill="none" stroke="{_colour(name)}" stroke-width="{width}"/>'


def _level(name: str, total: float, scale: _Scale) -> str:
    y, right = scale.y(total), WIDTH - _RIGHT
    dashes = f'<path d="M{_LEFT} {y}H{right}" stroke="#7c3aed" stroke-dasharray="5 4"/>'
    return (
        dashes + f'<text x="{right - 4}" y="{y - 4}" text-anchor="end" fill="#7c3aed">{escape(name)}</text>'
    )


def _legend(names: Sequence[str]) -> str:
    parts = []
    for place, name in enumerate(names):
        x = _LEFT + 90 * place
        parts.append(f'<path d="M{x} 13h18" stroke="{_colour(name)}" stroke-width="2"/>')
        parts.append(f'<text x="{x + 23}" y="17">{name}</text>')
    return "".join(parts)


def _value(point: CurvePoint, name: str) -> float:
    return point.total if name == "total" else point.terms[name]


def _colour(name: str) -> str:
    return _COLOURS.get(name, "#555")
