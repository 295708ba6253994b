"""report.html, one file that opens anywhere and prints, and report.json beside it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from statistics import fmean, median
from typing import Any

import cv2

from stylecam.frames import Pixels, fit_long_side, resize, size_of
from stylecam.pictures import read_picture
from stylecam.slow.curves import draw_curves
from stylecam.slow.results import Result, save_json, save_text

_LARGEST = 720
_SMALL = 200
_QUALITY = 86
_MOST_SNAPSHOTS = 12
_CAPTIONS = {"content": "content", "fast": "fast net", "reference": "reference"}
_CSS = """
body{font:15px/1.45 system-ui,sans-serif;color:#222;background:#fff}
body{max-width:1120px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em;margin-bottom:.2em}
h2{font-size:1.15em;margin:2em 0 .4em;border-top:1px solid #ddd;padding-top:1em}
table{border-collapse:collapse;margin:.8em 0;font-variant-numeric:tabular-nums}
th,td{padding:.25em .8em;text-align:right;border-bottom:1px solid #e5e5e5}
th:first-child,td:first-child{text-align:left;padding-left:0}
figure{margin:0}figcaption{font-size:.85em;color:#555;margin-top:.2em}img{width:100%;display:block}
.row{display:grid;grid-auto-flow:column;grid-auto-columns:1fr;gap:10px}
.small{display:grid;grid-template-columns:repeat(6,1fr);gap:6px;margin-top:.6em}
.said{font-size:1.05em;margin:.7em 0}.note{color:#555;font-size:.9em}
svg{max-width:640px;width:100%;height:auto}
@media print{body{margin:0;max-width:none;font-size:11px}section{break-inside:avoid-page}}
"""


def write_report(folder: Path, results: Sequence[Result], about: dict[str, Any]) -> Path:
    """Write DIR/report.json and DIR/report.html about the pictures so far; return the latter's path.

    `about` says what held for all: recipe, style, backbone. Raises OptimiseError, PictureError.
    """
    summary = summarise(results)
    keyframes = [result.to_json() for result in results]
    save_json(folder / "report.json", {"about": about, "summary": summary, "keyframes": keyframes})
    page = folder / "report.html"
    save_text(page, _page(folder, results, summary, about))
    return page


def summarise(results: Sequence[Result]) -> dict[str, Any]:
    """Return the figures over all pictures: means, and medians of what the net is worth."""
    figures: dict[str, Any] = {
        "keyframes": len(results),
        "objective": _mean([result.objective for result in results]),
        "optimize_s": round(sum(result.optimize_s for result in results), 2),
        "iterations": sum(result.iterations for result in results),
    }
    with_net = [result for result in results if "fast" in result.terms]
    if with_net:
        ratios = [result.total("fast") / result.total("reference") for result in with_net]
        figures["fast_over_reference"] = round(fmean(ratios), 3)
        figures["fast_over_content"] = round(
            fmean(result.total("fast") / max(result.total("content"), 1e-9) for result in with_net), 4
        )
    worth = [result for result in results if result.equal and result.times_faster]
    if worth:
        figures["equal_iterations"] = median(result.equal.iterations for result in worth if result.equal)
        figures["all_reached"] = all(result.equal.reached for result in worth if result.equal)
        figures["times_faster"] = round(median(result.times_faster or 0 for result in worth), 1)
    return figures


def data_uri(bgr: Pixels, long_side: int) -> str:
    """Return a picture, (H, W, 3) uint8 BGR, at most so many pixels long, as a JPEG in a data URI."""
    small = resize(bgr, fit_long_side(size_of(bgr), min(long_side, max(size_of(bgr)))))
    _, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def number(value: float) -> str:
    """Write a figure with three digits that count: 0.0123, 12.3, 12,300, 1.23e8."""
    if value and not 1e-3 <= abs(value) < 1e7:
        return f"{value:.2e}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
    if abs(value) >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def _mean(values: Sequence[float]) -> float | None:
    return float(f"{fmean(values):.8g}") if values else None


def _page(folder: Path, results: Sequence[Result], summary: dict[str, Any], about: dict[str, Any]) -> str:
    title = f"stylecam slow: {about['style']}"
    sections = "".join(_section(folder, result) for result in results)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_CSS}</style></head><body>'
        f"<h1>{escape(title)}</h1>{_about(about)}{_overview(results, summary)}{sections}</body></html>\n"
    )


def _about(about: dict[str, Any]) -> str:
    told = "; ".join(f"{escape(str(key))} {escape(str(value))}" for key, value in about["recipe"].items())
    return f'<p class="note">{told}</p>'


def _overview(results: Sequence[Result], summary: dict[str, Any]) -> str:
    if not results:
        return "<p>No picture is finished.</p>"
    said = ""
    if "equal_iterations" in summary:
        more = "" if summary["all_reached"] else "at least "
        said = (
            f'<p class="said">Over {summary["keyframes"]} keyframe(s), in the median: the fast net equals '
            f"{more}{summary['equal_iterations']:g} iterations of optimisation, and took "
            f"1/{summary['times_faster']:,.0f} of the time. Its objective is "
            f"{number(summary['fast_over_reference'])} times the reference's.</p>"
        )
    fast = any("fast" in result.terms for result in results)
    head = ["keyframe", "size", "content", *(["fast net"] if fast else []), "reference", "iterations", "time"]
    head += ["net equals", "net's time"] if fast else []
    rows = "".join(_row(_overview_cells(result, fast)) for result in results)
    note = '<p class="note">The objective of each picture as it was written, in 8 bits; lower is nearer to '
    note += "what was asked for.</p>"
    return f"{said}<table><tr>{''.join(f'<th>{each}</th>' for each in head)}</tr>{rows}</table>{note}"


def _overview_cells(result: Result, fast: bool) -> list[str]:
    cells = [result.name, _size(result), number(result.total("content"))]
    if fast:
        cells.append(number(result.total("fast")) if "fast" in result.terms else "")
    cells += [number(result.total("reference")), f"{result.iterations:,}", _seconds(result.optimize_s)]
    if fast:
        equal = result.equal
        worth = f"{'' if equal.reached else '> '}{equal.iterations} iterations" if equal else ""
        cells += [worth, _seconds(result.fast_s) if result.fast_s else ""]
    return cells


def _section(folder: Path, result: Result) -> str:
    when = "" if result.index is None else f", frame {result.index} at {result.timestamp_s or 0:.2f} s"
    size = _size(result)
    said = f'<p class="said">{escape(result.sentence.capitalize())}.</p>' if result.sentence else ""
    peak = f", {result.peak_mb:,} MB at the most" if result.peak_mb else ""
    told = (
        f"{result.iterations:,} iterations ({result.evaluations:,} evaluations) in "
        f"{_seconds(result.optimize_s)}, {result.precision}{peak}; ended because {result.ended}"
    )
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in result.notes)
    return (
        f"<section><h2>{escape(result.name)}{when}, {size}</h2>{said}{_pictures(folder, result)}"
        f'<p class="note">{escape(told)}.</p>{notes}{_terms(result)}{_curves(result)}'
        f"{_snapshots(folder, result)}</section>"
    )


def _pictures(folder: Path, result: Result) -> str:
    figures = [
        _figure(folder / result.pictures[which], _LARGEST, f"{caption}: {number(result.total(which))}")
        for which, caption in _CAPTIONS.items()
        if which in result.pictures
    ]
    return f'<div class="row">{"".join(figures)}</div>'


def _figure(path: Path, long_side: int, caption: str) -> str:
    image = f'<img alt="{caption}" src="{data_uri(read_picture(path).bgr, long_side)}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _terms(result: Result) -> str:
    names = list(result.objective_terms)
    rows = [
        _row([caption, *(number(result.terms[which][name]) for name in names), number(result.total(which))])
        for which, caption in _CAPTIONS.items()
        if which in result.terms
    ]
    rows.append(
        _row(
            ["reference, not rounded", *(number(result.objective_terms[n]) for n in names),
             number(result.objective)]
        )
    )  # fmt: skip
    head = "".join(f"<th>{name}</th>" for name in ["weighted terms", *names, "objective"])
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _curves(result: Result) -> str:
    levels = {"fast net": result.total("fast")} if "fast" in result.terms else {}
    return draw_curves(result.curve, levels, f"loss curves of {result.name}")


def _snapshots(folder: Path, result: Result) -> str:
    stride = -(-len(result.snapshots) // _MOST_SNAPSHOTS) or 1
    figures = [
        _figure(folder / path, _SMALL, f"{iteration:,}")
        for iteration, path in result.snapshots[::stride]
        if (folder / path).exists()
    ]
    return f'<div class="small">{"".join(figures)}</div>' if figures else ""


def _size(result: Result) -> str:
    return "\N{MULTIPLICATION SIGN}".join(map(str, result.size_wh))


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
