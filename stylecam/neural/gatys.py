"""The optimisation of Gatys et al. 2016: the pixels themselves are moved until the objective is low."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from stylecam.neural.device import autocast
from stylecam.neural.losses import PerceptualLoss


@dataclass(frozen=True)
class Iterate:
    """The picture after `iteration` steps: `rgb` (1, 3, H, W), not clamped, and its objective."""

    iteration: int
    rgb: Tensor
    objective: float


def optimise(
    loss: PerceptualLoss, content: Tensor, start: Tensor, iterations: int, precision: str = "fp32"
) -> Iterator[Iterate]:
    """Lower `loss` with L-BFGS and a strong Wolfe line search, giving `start` and then every iterate.

    `content` and `start` are float (1, 3, H, W), RGB, 0..255. An iteration is one line search,
    about 1.25 evaluations. Without the strong Wolfe conditions this objective goes to NaN.
    """
    with autocast(content.device, precision):
        target = loss.content_features(content)
    # L-BFGS flattens with view(-1), which channels_last memory refuses.
    rgb = start.clone().contiguous().requires_grad_()
    # max_eval defaults to 1.25 times max_iter and bounds the line search too: left at 1 it would
    # accept steps uphill.
    optimizer = torch.optim.LBFGS(
        [rgb], max_iter=1, max_eval=30, history_size=20, line_search_fn="strong_wolfe"
    )

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        with autocast(rgb.device, precision):
            total = loss.per_picture(rgb, target).total.sum()
        total.backward()
        return total

    for iteration in range(iterations):
        before = rgb.detach().clone()
        yield Iterate(iteration, before, float(optimizer.step(evaluate).detach()))
    yield Iterate(iterations, rgb.detach(), float(evaluate().detach()))
