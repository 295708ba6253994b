"""Draw up the table of the gallery: each style, each net, what it is worth and what it costs.

    python scripts/measure_gallery.py CONTENT_DIR [CLIP] [--styles starry wave] [--photos 5] [--frames 60]
        [--start photograph|noise]

CONTENT_DIR is the folder the nets were trained on: the photographs set aside are named in the model card
and each becomes a centred square of 256 px. Both nets of a style are judged by the full net's objective.
In a row: that objective, its ratio to the full net's, the strong-Wolfe L-BFGS iterations that reach it (a
median; from the photograph, or from white noise as in Johnson et al. 2016, section 4.1), the warp ratio on
CLIP, the net's own milliseconds at 640x480 and 1280x720 and the size of its file; without CLIP no more than
the iterations. Prints a JSON line a row, then the table in Markdown.
"""

from __future__ import annotations

import argparse
import json
from functools import cache
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch

from stylecam.bench import flicker, net_only_fps
from stylecam.engines import open_engine
from stylecam.neural.canvas import white_noise
from stylecam.neural.data import center_crop, to_tensor
from stylecam.neural.deploy import load_net
from stylecam.neural.device import autocast, pick_device, pick_precision
from stylecam.neural.gatys import optimise
from stylecam.neural.judge import load_objective
from stylecam.neural.losses import PerceptualLoss
from stylecam.pictures import read_picture
from stylecam.styles import Style, find_style, list_styles
from stylecam.temporal import Smoother

NETS = ("full", "fast")
SIDE = 256
CLIP_WH = (640, 360)
SIZES = ((640, 480), (1280, 720))
TIMED_S = 5.0
COLUMNS = ("style", "net", "objective", "to_full", "iterations", "warp_ratio", "ms_480p", "ms_720p", "mb")


def worth(styles: dict[str, Style], options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return by net its mean objective and the iterations that equal it."""
    loss = load_objective(styles["full"])
    nets = {kind: load_net(style) for kind, style in styles.items()}
    rows: dict[str, list[tuple[float, int]]] = {kind: [] for kind in nets}
    for name in styles["full"].card["training"]["held_out"][: options.photos]:
        content = to_tensor(center_crop(read_picture(options.content_dir / name).bgr, SIDE))
        device = pick_device("cpu")
        with torch.no_grad(), autocast(device, pick_precision(device)):
            wanted = loss.content_features(content)
            totals = {kind: loss.per_picture(net(content), wanted).total.item() for kind, net in nets.items()}
        first = white_noise((SIDE, SIDE)) if options.start == "noise" else content
        counts = iterations_of(loss, content, first, totals, options.most)
        for kind, total in totals.items():
            rows[kind].append((total, counts[kind]))
    means = {kind: mean(total for total, _ in found) for kind, found in rows.items()}
    return {
        kind: {
            "objective": round(means[kind]), "to_full": round(means[kind] / means["full"], 2),
            "iterations": median(count for _, count in found),
        }
        for kind, found in rows.items()
    }  # fmt: skip


def iterations_of(
    loss: PerceptualLoss, content: torch.Tensor, first: torch.Tensor, totals: dict[str, float], most: int
) -> dict[str, int]:
    """Return by net after how many iterations the optimisation is at least as good; `most` if never."""
    counts: dict[str, int] = {}
    for iterate in optimise(loss, content, first, most, pick_precision(content.device)):
        for kind, total in totals.items():
            if iterate.objective <= total:
                counts.setdefault(kind, iterate.iteration)
        if len(counts) == len(totals):
            break
    return {kind: counts.get(kind, most) for kind in totals}


def warp_ratio(style: Style, clip: Path, frames: int) -> float:
    """Return how much the net flickers on a clip, without smoothing."""
    with open_engine(style) as engine:
        *_, (found, _, _) = flicker(engine, clip, CLIP_WH, Smoother(0), frames)
    return round(found.ratio, 3)


@cache
def milliseconds(file: Path, style: str, net: str) -> list[float]:
    """Return the net's time at each of SIZES. Styles that share a file share its time."""
    with open_engine(find_style(style, net)) as engine:
        return [round(1000 / net_only_fps(engine, size_wh, TIMED_S), 1) for size_wh in SIZES]


def row_of(kind: str, style: Style, found: dict[str, float], options: argparse.Namespace) -> dict[str, Any]:
    """Return one line of the table."""
    if options.clip is None:
        return {"style": style.name, "net": kind, **found}
    small, large = milliseconds(style.path, style.name, kind)
    return {
        "style": style.name, "net": kind, **found,
        "warp_ratio": warp_ratio(style, options.clip, options.frames),
        "ms_480p": small, "ms_720p": large, "mb": round(style.path.stat().st_size / 1e6, 1),
        "file": style.path.name,
    }  # fmt: skip


def main() -> None:
    """Print the rows, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("content_dir", type=Path)
    parser.add_argument("clip", type=Path, nargs="?")
    parser.add_argument("--styles", nargs="+", default=None)
    parser.add_argument("--photos", type=int, default=5)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--start", choices=("photograph", "noise"), default="photograph")
    parser.add_argument("--most", type=int, default=150, help="give up after so many iterations")
    options = parser.parse_args()
    rows = []
    for name in options.styles or list(dict.fromkeys(style.name for style in list_styles()[0])):
        styles = {kind: find_style(name, kind) for kind in NETS}
        found = worth(styles, options)
        for kind in NETS:
            rows.append(row_of(kind, styles[kind], found[kind], options))
            print(json.dumps(rows[-1]), flush=True)
    columns = [column for column in COLUMNS if column in rows[0]]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for row in rows:
        print("| " + " | ".join(str(row[column]) for column in columns) + " |")


if __name__ == "__main__":
    main()
