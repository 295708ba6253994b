"""Time the slow path: optimisers on one objective, and sizes.

    python scripts/measure_slow.py race PHOTO --style-image P [--steps 5000] [--size 168] [--backbone vgg16]
    python scripts/measure_slow.py sizes PHOTO --style starry [--sizes 512 1024 2048] [--iterations 3]

race: the classic (Adam) makes its steps; then the reference's optimiser lowers the same objective, at
the same size, from the same start, until it is as low. sizes: seconds an evaluation and the most memory,
each size in a process of its own. Both print JSON lines. What a net is worth in iterations is measured by
scripts/measure_objective.py.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from stylecam.neural.goals import GoalMaker, Painting
from stylecam.neural.optimisation import Optimisation, Step
from stylecam.neural.recipe import Recipe, Wishes
from stylecam.pictures import read_picture
from stylecam.slow.run import peak_mb
from stylecam.styles import find_style


def race(options: argparse.Namespace) -> None:
    """Print when each optimiser reaches the objective of the classic's last step."""
    more = {"iterations": options.steps, "size": options.size or "auto"}
    classic = Wishes("classic", backbone=options.backbone, vgg=options.vgg, more=more).to_recipe()
    painting = Painting("style", read_picture(options.style_image).bgr)
    adam = _run(classic, options.photo, painting, 0.0)
    print(json.dumps({"optimizer": "adam", **_figures(adam[-1])}), flush=True)
    for precision in ("fp32", "bf16"):
        recipe = replace(classic, optimizer="lbfgs", precision=precision)
        steps = _run(recipe, options.photo, painting, adam[-1].total)
        faster = round(adam[-1].seconds / max(steps[-1].seconds, 1e-9), 1)
        figures = {"optimizer": "lbfgs", "precision": precision, **_figures(steps[-1]), "times": faster}
        print(json.dumps(figures), flush=True)


def _run(recipe: Recipe, photo: Path, painting: Painting, until: float) -> list[Step]:
    maker = GoalMaker(recipe, torch.device("cpu"), [painting])
    optimisation, steps = Optimisation(maker, read_picture(photo).bgr), []
    for step in optimisation.steps():
        steps.append(step)
        if step.total <= until:
            break
    return steps


def _figures(step: Step) -> dict[str, Any]:
    return {
        "iterations": step.iteration, "evaluations": step.evaluations, "objective": step.total,
        "optimize_s": round(step.seconds, 2), "size_wh": step.size_wh,
    }  # fmt: skip


def sizes(options: argparse.Namespace) -> None:
    """Print time and memory of each size."""
    if len(options.sizes) > 1:
        for size in options.sizes:
            command = [sys.executable, __file__, "sizes", str(options.photo), "--style", options.style]
            command += ["--sizes", str(size), "--iterations", str(options.iterations)]
            subprocess.run(command, check=True)
        return
    style = find_style(options.style)
    more = {"size": options.sizes[0], "levels": 1, "iterations": options.iterations, "tolerance": 0.0}
    recipe = Wishes(vgg=options.vgg, more=more).to_recipe(style.card["objective"])
    optimisation = Optimisation(
        GoalMaker(recipe, torch.device("cpu"), grams=style.grams), read_picture(options.photo).bgr
    )
    *_, last = optimisation.steps()
    figures = {"s_per_evaluation": round(last.seconds / last.evaluations, 3), "peak_mb": peak_mb()}
    print(json.dumps({**_figures(last), "precision": optimisation.precision, **figures}), flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("race", "sizes"):
        command = commands.add_parser(name)
        command.add_argument("photo", type=Path)
        command.add_argument("--vgg", default=None)
    commands.choices["race"].add_argument("--style-image", type=Path, required=True)
    commands.choices["race"].add_argument("--steps", type=int, default=5000)
    commands.choices["race"].add_argument("--size", type=int, default=None)
    commands.choices["race"].add_argument("--backbone", default="vgg16")
    commands.choices["sizes"].add_argument("--style", default="starry")
    commands.choices["sizes"].add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048])
    commands.choices["sizes"].add_argument("--iterations", type=int, default=3)
    options = parser.parse_args()
    race(options) if options.command == "race" else sizes(options)


if __name__ == "__main__":
    main()
