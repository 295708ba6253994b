"""The optimisation of Gatys et al. 2016: the pixels themselves are moved until the objective is low."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from stylecam.neural.device import autocast
from stylecam.neural.losses import LossTerms, PerceptualLoss
from stylecam.neural.spectrum import Spectrum

HISTORY = 20
"""Steps that L-BFGS remembers; each costs two pictures of memory."""

_REMEMBERED = 3
"""A line search ends at one of the points it has just looked at."""


@dataclass(frozen=True)
class Iterate:
    """The picture after `iteration` steps: `rgb` (1, 3, H, W), not clamped, and its objective."""

    iteration: int
    rgb: Tensor
    objective: float


@dataclass(frozen=True)
class Point:
    """A place that was judged: the optimiser's variables, the objective, its gradient and its terms."""

    variables: Tensor
    total: Tensor
    gradient: Tensor
    terms: LossTerms


class Evaluator:
    """The closure an optimiser calls: the objective at `variables`, whose gradient it sets.

    torch's L-BFGS asks again, at the start of each step, for the point where the line search of the
    last one ended. The newest points are remembered, which saves about every second evaluation.
    """

    def __init__(self, judge: Callable[[Tensor], LossTerms], variables: Tensor, precision: str) -> None:
        self.judge, self.variables, self.precision = judge, variables, precision
        self.evaluations, self.scale = 0, 1.0
        self._points: list[Point] = []

    def __call__(self) -> Tensor:
        point = self.look()
        self.variables.grad = point.gradient * self.scale
        return point.total * self.scale

    def scale_up(self) -> None:
        """Show the optimiser an objective of small weights as a larger one, lest it see only rounding.

        torch's L-BFGS compares with absolute numbers in several places, and its first step is never
        longer than the gradient: below a sum of 1 it would hardly move.
        """
        steep = float(self.look().gradient.abs().sum())
        self.scale = 1 / steep if 0 < steep < 1 else 1.0

    def look(self) -> Point:
        """Return what is known of the variables as they are now, judging them where nothing is."""
        here = self.variables.detach()
        for point in self._points:
            if torch.equal(point.variables, here):
                return point
        self.know(self._judged(here))
        return self._points[-1]

    def know(self, point: Point) -> None:
        """Remember a point that was judged."""
        self._points = [*self._points[1 - _REMEMBERED :], point]

    def move(self, variables: Tensor) -> None:
        """Go to other variables that stand for the same picture: they need not be judged again."""
        point = self.look()
        with torch.no_grad():
            self.variables.copy_(variables)
        self._points[-1] = replace(point, variables=self.variables.detach().clone())

    def _judged(self, here: Tensor) -> Point:
        self.evaluations += 1
        self.variables.grad = None
        with autocast(here.device, self.precision):
            terms = self.judge(self.variables)
            total = terms.total
        total.backward()
        assert self.variables.grad is not None
        kept = LossTerms(*(term.detach() for term in terms))
        return Point(here.clone(), total.detach(), self.variables.grad.detach().clone(), kept)


class Descent:
    """Move pixels downhill, one iteration at a time; for L-BFGS an iteration is one line search.

    `judge` gives the terms of `pixels` (1, channels, H, W), which are not changed. Without the strong
    Wolfe conditions L-BFGS goes to NaN on this objective. `state` is what an earlier descent's
    `state_dict` gave. With `limits` the pixels stay between them: the judge sees them cut off there,
    and every iteration ends inside. With `first_step` L-BFGS (not Adam) is tuned: it moves a
    `Spectrum` of the pixels, and its first trial moves them so far, in the root mean square.
    """

    def __init__(
        self,
        judge: Callable[[Tensor], LossTerms],
        pixels: Tensor,
        optimizer: str = "lbfgs",
        *,
        lr: float = 1.0,
        precision: str = "fp32",
        limits: tuple[float, float] | None = None,
        first_step: float | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        self._limits, self._first_step = limits, first_step
        self._spectrum = Spectrum(pixels) if first_step and optimizer != "adam" else None
        variables = self._spectrum.variables(pixels) if self._spectrum else pixels
        self.variables = variables.detach().clone().contiguous().requires_grad_()
        self._evaluator = Evaluator(lambda each: judge(self._shown(each)), self.variables, precision)
        self._optimizer: torch.optim.Optimizer
        if optimizer == "adam":
            self._optimizer = torch.optim.Adam([self.variables], lr=lr)
        else:
            # max_eval defaults to 1.25 times max_iter and bounds the line search too: left at 1 it
            # would accept steps uphill. When to end is for the caller to say, hence no tolerances.
            self._optimizer = torch.optim.LBFGS(
                [self.variables], max_iter=1, max_eval=30, tolerance_grad=0, tolerance_change=0,
                history_size=HISTORY, line_search_fn="strong_wolfe",
            )  # fmt: skip
        if state:
            self._go_on(state)

    @property
    def pixels(self) -> Tensor:
        """The pixels as they are, within the limits."""
        return self._shown(self.variables.detach())

    @property
    def evaluations(self) -> int:
        """How often the objective and its gradient were computed."""
        return self._evaluator.evaluations

    def look(self) -> Point:
        """Return the objective at the pixels as they are."""
        return self._evaluator.look()

    def step(self) -> None:
        """Make one iteration."""
        before = self.look().variables
        self._step()
        if self._limits:
            if torch.equal(before, self.variables):
                # What was learned before pixels came to lie on a limit can point back inside, uphill.
                self._optimizer.state.clear()
                self._step()
            pixels = self.pixels
            self._evaluator.move(self._spectrum.variables(pixels) if self._spectrum else pixels)

    def state_dict(self) -> dict[str, Any]:
        """Return what the optimiser has learned of the objective's shape, to go on with."""
        point = self.look()
        return {
            "optimizer": self._optimizer.state_dict(), "scale": self._evaluator.scale,
            "variables": point.variables.cpu(), "gradient": point.gradient.cpu(),
            "terms": [float(term) for term in point.terms], "total": float(point.total),
        }  # fmt: skip

    def _go_on(self, state: dict[str, Any]) -> None:
        """Take up an earlier descent's state, and the point where it stood, which was judged."""
        self._evaluator.scale = state["scale"]
        self._optimizer.load_state_dict(state["optimizer"])
        device = self.variables.device
        with torch.no_grad():
            self.variables.copy_(state["variables"])
        terms = LossTerms(*(torch.tensor(term, device=device) for term in state["terms"]))
        total, gradient = torch.tensor(state["total"], device=device), state["gradient"].to(device)
        self._evaluator.know(Point(self.variables.detach().clone(), total, gradient, terms))

    def _step(self) -> None:
        fresh = not self._optimizer.state
        if fresh and isinstance(self._optimizer, torch.optim.LBFGS):
            self._evaluator.scale_up()
        if self._spectrum and self._first_step:
            rate = self._first_rate(self._spectrum, self._first_step) if fresh else 1.0
            self._optimizer.param_groups[0]["lr"] = rate
        self._optimizer.step(self._evaluator)  # type: ignore[arg-type]

    def _first_rate(self, spectrum: Spectrum, moved: float) -> float:
        """Return the rate at which the first trial moves the pixels so far, in the root mean square.

        That of torch, a sum of 1 over all pixels, costs the line search four evaluations to enlarge.
        """
        gradient = self.look().gradient * self._evaluator.scale
        steep = float(spectrum.pixels(gradient).square().mean().sqrt())
        torchs = min(1.0, 1 / max(float(gradient.abs().sum()), 1e-30))
        return moved / max(steep * torchs, 1e-30)

    def _shown(self, variables: Tensor) -> Tensor:
        pixels = self._spectrum.pixels(variables) if self._spectrum else variables
        return within(pixels, self._limits) if self._limits else pixels


class _Within(torch.autograd.Function):
    """Cut off below and above; the gradient passes where it leads inwards."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(pixels)
        ctx.limits = low, high
        return pixels.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (pixels,), (low, high), (gradient,) = ctx.saved_tensors, ctx.limits, gradients
        outwards = ((pixels >= high) & (gradient < 0)) | ((pixels <= low) & (gradient > 0))
        return gradient.masked_fill(outwards, 0), None, None


def within(pixels: Tensor, limits: tuple[float, float]) -> Tensor:
    """Return the pixels cut off at the limits; a projected gradient comes back through it.

    What lies beyond and what lies on the limit have the same value and the same gradient, so pixels
    may be moved onto it without judging them again.
    """
    cut: Tensor = _Within.apply(pixels, *limits)
    return cut


def optimise(
    loss: PerceptualLoss, content: Tensor, start: Tensor, iterations: int, precision: str = "fp32"
) -> Iterator[Iterate]:
    """Lower `loss` with L-BFGS and a strong Wolfe line search, giving `start` and then every iterate.

    `content` and `start` are float (1, 3, H, W), RGB, 0..255. An iteration is one line search,
    about 1.25 evaluations.
    """
    with autocast(content.device, precision):
        target = loss.content_features(content)
    descent = Descent(lambda rgb: _summed(loss.per_picture(rgb, target)), start, precision=precision)
    for iteration in range(iterations):
        yield Iterate(iteration, descent.pixels.detach().clone(), float(descent.look().total))
        descent.step()
    yield Iterate(iterations, descent.pixels.detach(), float(descent.look().total))


def _summed(terms: LossTerms) -> LossTerms:
    return LossTerms(*(term.sum() for term in terms))
