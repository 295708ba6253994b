"""What is known of each finished picture: figures, curves, and where its files lie."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stylecam.errors import OptimiseError
from stylecam.wholefile import whole_file

RESULT = "result.json"
MOST_POINTS = 400
"""Points of a curve that a report keeps: more cannot be seen."""


@dataclass(frozen=True)
class CurvePoint:
    """The objective's weighted terms after `iteration` iterations and `seconds` of them, at a size."""

    iteration: int
    seconds: float
    size_wh: tuple[int, int]
    terms: dict[str, float]

    @property
    def total(self) -> float:
        """The objective."""
        return sum(self.terms.values())


@dataclass(frozen=True)
class Equal:
    """How many iterations the fast net's picture is worth; `reached` is False where it is more."""

    iterations: int
    seconds: float
    reached: bool


@dataclass(frozen=True)
class Result:
    """One picture. `pictures` and `snapshots` name files in the output folder; `terms` judge the pictures
    as they lie there, in 8 bits: "content", "fast" where there is a net, "reference". `objective_terms`
    are those of the optimised pixels themselves. `net` names the fast net and its kind; `follows` is the
    frame whose reference it began with.
    """

    name: str
    size_wh: tuple[int, int]
    pictures: dict[str, str]
    terms: dict[str, dict[str, float]]
    objective_terms: dict[str, float]
    curve: list[CurvePoint]
    iterations: int
    evaluations: int
    optimize_s: float
    ended: str
    precision: str
    peak_mb: int | None = None
    index: int | None = None
    timestamp_s: float | None = None
    fast_s: float | None = None
    net: str | None = None
    follows: int | None = None
    equal: Equal | None = None
    snapshots: list[tuple[int, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def objective(self) -> float:
        """The objective of the optimised pixels."""
        return sum(self.objective_terms.values())

    def total(self, which: str) -> float:
        """Return the objective of the picture "content", "fast" or "reference" as it lies on disk."""
        return sum(self.terms[which].values())

    @property
    def times_faster(self) -> float | None:
        """How many times the net's time the iterations that equal it take."""
        return self.equal.seconds / self.fast_s if self.equal and self.fast_s else None

    @property
    def sentence(self) -> str:
        """What the net is worth, in words; empty without a net."""
        if self.equal is None or self.times_faster is None:
            return ""
        if not self.equal.reached:
            return f"the fast net equals more than {self.equal.iterations} iterations of optimisation"
        many = "1 iteration" if self.equal.iterations == 1 else f"{self.equal.iterations} iterations"
        if not self.equal.iterations:
            return "the fast net equals 0 iterations of optimisation: the photograph is no worse"
        return f"the fast net equals {many} of optimisation, and took 1/{self.times_faster:,.0f} of the time"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, its curve rounded and thinned, from which `from_json` rebuilds this."""
        values = asdict(self) | {"curve": [_row(point) for point in thinned(self.curve)]}
        return values | {"objective": self.objective, "sentence": self.sentence}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Result:
        """Undo `to_json`."""
        kept = {key: value for key, value in values.items() if key not in ("objective", "sentence")}
        kept["curve"] = [CurvePoint(i, s, tuple(wh), terms) for i, s, wh, terms in kept["curve"]]
        kept["snapshots"] = [tuple(each) for each in kept["snapshots"]]
        kept["size_wh"] = tuple(kept["size_wh"])
        return cls(**{**kept, "equal": Equal(**kept["equal"]) if kept["equal"] else None})


def thinned(curve: list[CurvePoint]) -> list[CurvePoint]:
    """Return at most about MOST_POINTS of a curve, the first twenty and the last among them."""
    stride = -(-len(curve) // MOST_POINTS)
    last = len(curve) - 1
    return [point for place, point in enumerate(curve) if place < 20 or place % stride == 0 or place == last]


def save_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file whole or not at all. Raises OptimiseError."""
    save_text(path, json.dumps(values, indent=1))


def save_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all. Raises OptimiseError."""
    try:
        with whole_file(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise OptimiseError(
            f'"{path}" cannot be written: {exc.strerror or exc}', "free some space, or choose another folder"
        ) from exc


def load_result(folder: Path) -> Result | None:
    """Return the finished result in a folder, None where there is none that can be read."""
    try:
        return Result.from_json(json.loads((folder / RESULT).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _row(point: CurvePoint) -> list[Any]:
    terms = {name: float(f"{value:.6g}") for name, value in point.terms.items()}
    return [point.iteration, round(point.seconds, 3), list(point.size_wh), terms]
