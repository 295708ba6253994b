"""Tell how many L-BFGS iterations a style's net is worth, on photographs it was not trained on.

    python scripts/measure_objective.py CONTENT_DIR [--style starry] [--photos 10] [--sizes 256 512]
        [--start photograph|noise]

CONTENT_DIR is the folder it was trained on: the photographs set aside are named in the model card.
Each becomes a centred square. The net's objective is compared with that of the optimisation of
the same objective by strong-Wolfe L-BFGS, begun at the photograph, or at white noise as in Johnson et
al. 2016 (section 4.1), whose nets equal 50 to 100 such iterations; its time, as `stylecam image` runs it,
with that of 100 and 500 iterations.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch

from stylecam.engines import open_engine
from stylecam.engines.base import Engine
from stylecam.neural.canvas import white_noise
from stylecam.neural.data import center_crop, to_tensor
from stylecam.neural.deploy import load_net
from stylecam.neural.device import autocast, pick_device, pick_precision
from stylecam.neural.gatys import optimise
from stylecam.neural.judge import load_objective
from stylecam.neural.losses import PerceptualLoss
from stylecam.neural.transformer import StyleNet
from stylecam.pictures import read_picture
from stylecam.styles import find_style


def measure(
    photo: Path, net: StyleNet, loss: PerceptualLoss, side: int, most: int, start: str
) -> dict[str, float]:
    """Return the objective of photograph, net and optimisation, and the iterations that equal the net."""
    device = pick_device("cpu")
    precision = pick_precision(device)
    content = to_tensor(center_crop(read_picture(photo).bgr, side))
    with torch.no_grad(), autocast(device, precision):
        wanted = loss.content_features(content)
        terms, unpainted = (loss.per_picture(rgb, wanted) for rgb in (net(content), content))
    row = {"photo": unpainted.total.item(), "net": terms.total.item(), "net_style": terms.style.item()}
    began = time.perf_counter()
    first = white_noise((side, side)) if start == "noise" else content
    for iterate in optimise(loss, content, first, most, precision):
        row |= {"optimised": iterate.objective, "iterations": iterate.iteration}
        if iterate.objective <= row["net"]:
            break
    took = time.perf_counter() - began
    return row | {"s_per_iteration": took / max(1, row["iterations"])}


def net_seconds(engine: Engine, side: int) -> float:
    """Return the median time of the net on one square picture, after one that is not counted."""
    picture, times_s = np.full((1, side, side, 3), 127, np.uint8), []
    for _ in range(6):
        began_s = time.perf_counter()
        engine.infer(picture)
        times_s.append(time.perf_counter() - began_s)
    return median(times_s[1:])


def main() -> None:
    """Measure and print a line a photograph, then a JSON summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("content_dir", type=Path)
    parser.add_argument("--style", default="starry")
    parser.add_argument("--net", default="auto")
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--start", choices=("photograph", "noise"), default="photograph")
    parser.add_argument("--most", type=int, default=150, help="give up after so many iterations")
    options = parser.parse_args()
    style = find_style(options.style, options.net)
    net, loss = load_net(style), load_objective(style)
    names = style.card["training"]["held_out"][: options.photos]
    for side in options.sizes:
        rows = []
        for name in names:
            row = measure(options.content_dir / name, net, loss, side, options.most, options.start)
            print(name, side, {key: round(value, 2) for key, value in row.items()}, flush=True)
            rows.append(row)
        with open_engine(style) as engine:
            net_s = net_seconds(engine, side)
        iteration_s = median(row["s_per_iteration"] for row in rows)
        counts = sorted(row["iterations"] for row in rows)
        ratio = mean(row["net"] / row["photo"] for row in rows)
        figures = {
            "side": side,
            "start": options.start,
            "photos": len(rows),
            "iterations_median": median(counts),
            "iterations": counts,
            "net_s": round(net_s, 4),
            "s_per_iteration": round(iteration_s, 3),
            "times_100": round(100 * iteration_s / net_s),
            "times_500": round(500 * iteration_s / net_s),
        }
        print(json.dumps(figures | {"net_over_photo": round(ratio, 3)}), flush=True)


if __name__ == "__main__":
    main()
