from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from nets import noise

from stylecam.errors import OptimiseError
from stylecam.pictures import Picture, write_picture
from stylecam.slow.curves import draw_curves
from stylecam.slow.report import number, write_report
from stylecam.slow.results import CurvePoint, Equal, Result, load_result, save_json, save_text, thinned

ABOUT = {"style": "tiny <&>", "recipe": {"preset": "reference"}, "objective": {}}


def _terms(content: float, style: float) -> dict[str, float]:
    return {"content": content, "style": style, "tv": 0.0}


def _curve(count: int) -> list[CurvePoint]:
    return [CurvePoint(i, i / 2, (64, 48), _terms(i, round(1e6 / (i + 1)))) for i in range(count)]


@pytest.fixture
def result(tmp_path: Path) -> Result:
    for index, name in enumerate(("content", "fast", "reference", "step")):
        (tmp_path / "cat").mkdir(exist_ok=True)
        write_picture(tmp_path / "cat" / f"{name}.png", Picture(noise(48, 64, 3, seed=index)))
    return Result(
        name="cat", size_wh=(64, 48),
        pictures={name: f"cat/{name}.png" for name in ("content", "fast", "reference")},
        terms={"content": _terms(0, 1e6), "fast": _terms(3e4, 3e4), "reference": _terms(2e4, 1e4)},
        objective_terms=_terms(19_000, 10_000), curve=_curve(40), iterations=39, evaluations=45,
        optimize_s=19.5, ended="all 39 iterations are made", precision="bf16", fast_s=0.05,
        equal=Equal(12, 6.0, True), snapshots=[(25, "cat/step.png")], peak_mb=1234,
    )  # fmt: skip


def test_the_sentence(result: Result) -> None:
    said = "the fast net equals 12 iterations of optimisation, and took 1/120 of the time"
    assert result.sentence == said
    assert "equals more than 12" in replace(result, equal=Equal(12, 6.0, False)).sentence
    assert "equals 1 iteration of" in replace(result, equal=Equal(1, 6.0, True)).sentence
    assert replace(result, equal=None).sentence == ""


def test_one_file_that_opens_anywhere(result: Result, tmp_path: Path) -> None:
    page = write_report(tmp_path, [result, replace(result, equal=Equal(20, 9.0, True))], ABOUT)
    html = page.read_text(encoding="utf-8")
    assert "tiny &lt;&amp;&gt;" in html
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', html)
    assert len(sources) == 8
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not re.search(r"<script|@import|url\(", html)
    assert html.count("<svg") == 2
    assert result.sentence.capitalize() in html
    assert "Over 2 keyframe(s), in the median: the fast net equals 16 iterations" in html
    assert "1,234 MB" in html
    for figure in ("60,000", "30,000", "1,000,000", "29,000"):
        assert figure in html


def test_the_same_for_programs(result: Result, tmp_path: Path) -> None:
    write_report(tmp_path, [result], ABOUT)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["summary"]["equal_iterations"] == 12
    assert report["summary"]["times_faster"] == 120
    assert report["summary"]["fast_over_reference"] == 2
    (keyframe,) = report["keyframes"]
    assert keyframe["sentence"] == result.sentence
    assert keyframe["objective"] == 29_000
    save_json(tmp_path / "cat" / "result.json", result.to_json())
    assert load_result(tmp_path / "cat") == result
    (tmp_path / "cat" / "result.json").write_text("{}")
    assert load_result(tmp_path / "cat") is None


def test_without_a_net(result: Result, tmp_path: Path) -> None:
    terms = {name: result.terms[name] for name in ("content", "reference")}
    pictures = {name: result.pictures[name] for name in terms}
    alone = replace(result, terms=terms, pictures=pictures, equal=None, fast_s=None)
    html = write_report(tmp_path, [alone], ABOUT).read_text(encoding="utf-8")
    assert "fast net" not in html
    assert html.count("<img") == 3


def test_curves_are_drawn_where_they_are() -> None:
    svg = draw_curves(_curve(100), {"fast net": 5e4}, "a & b")
    root = ElementTree.fromstring(svg)
    paths = [(e.get("stroke"), e.get("d") or "") for e in root.iter("{http://www.w3.org/2000/svg}path")]
    total = next(d for stroke, d in paths if stroke == "#111" and d.count("L") == 99)
    heights = [float(y) for _, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", total)]
    assert heights == sorted(heights)  # downwards, as SVG counts
    assert any(stroke == "#7c3aed" for stroke, _ in paths)
    # TV is nothing here and has no line.
    assert not any(stroke == "#15803d" for stroke, _ in paths)


def _heights(svg: str, colour: str) -> list[float]:
    path = re.search(rf'd="([^"]*)" fill="none" stroke="{colour}"', svg)
    return [float(y) for _, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path[1])] if path else []


def test_a_term_far_below_the_total_has_its_curve() -> None:
    """The classic's content term: nothing at the start, and then ten million times below the style."""
    curve = [CurvePoint(i, i, (64, 48), _terms(i * 0.1 or 1e-12, 3e8 - i)) for i in range(31)]
    heights = _heights(draw_curves(curve, {}, "a"), "#0b6fb8")
    assert len(set(heights[1:])) > 10
    assert heights == sorted(heights, reverse=True)


def test_smoothness_is_drawn_where_it_counts() -> None:
    def with_tv(tv: float) -> list[CurvePoint]:
        return [replace(point, terms=point.terms | {"tv": tv}) for point in _curve(10)]

    assert len(_heights(draw_curves(with_tv(1e4), {}, "a"), "#15803d")) == 10
    assert _heights(draw_curves(with_tv(1.0), {}, "a"), "#15803d") == []


def test_a_curve_breaks_where_the_size_changes() -> None:
    curve = [replace(point, size_wh=(32, 24)) if point.iteration < 5 else point for point in _curve(10)]
    assert re.search(r'd="M[^"]*M[^"]*" fill="none" stroke="#111"', draw_curves(curve, {}, "a"))


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    kept = thinned(_curve(5001))
    assert len(kept) < 450
    assert [point.iteration for point in kept[:20]] == list(range(20))
    assert kept[-1].iteration == 5000


@pytest.mark.parametrize(
    ("value", "written"),
    [(0, "0"), (0.833128, "0.833"), (72467.02, "72,500"), (9_347_936, "9,350,000"), (1.234e9, "1.23e9"),
     (0.00012, "1.20e-4"), (41.26, "41.3")],
)  # fmt: skip
def test_numbers_have_three_digits_that_count(value: float, written: str) -> None:
    assert number(value) == written


def test_a_full_disk_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(OptimiseError, match="cannot be written"):
        save_text(tmp_path / "missing" / "report.html", "")
