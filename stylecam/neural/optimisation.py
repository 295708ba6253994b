"""One picture made by optimisation, from coarse to fine, that can be stopped and resumed anywhere."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from stylecam.errors import OptimiseError
from stylecam.frames import Pixels, resize, size_of
from stylecam.neural.canvas import white_noise
from stylecam.neural.data import to_tensor
from stylecam.neural.device import autocast, pick_precision
from stylecam.neural.gatys import Descent
from stylecam.neural.goals import GoalMaker, digest
from stylecam.neural.subject import Subject, finished_as, floats
from stylecam.wholefile import whole_file

FORMAT = 3

COARSE_SHARE = 10
"""Each size but the last has at most a tenth of all iterations: it lays out the large strokes. At 160 px
16 iterations at half the size pay for themselves, 30 of 60 leave the objective a tenth higher."""

FIRST_STEP = 0.03
"""L-BFGS's first trial, as a share of a photograph's deviation: three evaluations; torch's takes seven."""

ALIKE = 0.02
"""Half precision serves where it gives the objective of the start to within this share."""


@dataclass(frozen=True)
class Step:
    """The objective after `iteration` iterations, of which the last were made at `size_wh`.

    `terms` are weighted; `seconds` is the time inside the optimisation so far.
    """

    iteration: int
    size_wh: tuple[int, int]
    terms: dict[str, float]
    seconds: float
    evaluations: int

    @property
    def total(self) -> float:
        """The objective."""
        return sum(self.terms.values())


class Optimisation:
    """Make one picture; `steps` does the work, and everything else may be asked between two steps.

    `content` is (H, W, 3) uint8 BGR of any size. `first` is what `--initial` fast and previous begin
    with, `mask` (H, W) uint8 says where style is wanted. `state` is what `save_state` kept. Raises
    OptimiseError: sizes too small, an objective that is not finite. `seconds` is the time inside so far.
    """

    def __init__(
        self,
        maker: GoalMaker,
        content: Pixels,
        *,
        first: Pixels | None = None,
        mask: Pixels | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.maker, self.recipe, self.content = maker, maker.recipe, content
        self.first, self.mask = first, mask
        self.sizes = self.recipe.work_sizes(size_of(content))
        for size_wh in self.sizes:
            maker.check_size(size_wh, "the picture")
        if mask is not None and not mask.any():
            raise OptimiseError("the mask is black all over", "style goes where it is white")
        self.ended = ""
        self.steps_done: list[Step] = []
        self.notes: list[str] = []
        self._level, self.seconds, self._evaluations = 0, 0.0, 0
        self._kept = state or {}
        self._best: Tensor | None = None
        self._best_total = math.inf
        self.precision = pick_precision(maker.device, self.recipe.precision)
        self._restore()
        self.subject = self._subject()
        self._choose_precision()
        self.descent = self._descent(self._first_pixels())
        # A higher limit or a lower tolerance than the last time lets it go on.
        self.ended = self._reason() if self.steps_done else ""

    def steps(self) -> Iterator[Step]:
        """Give the start, then every iteration once it is done, until one of the limits is reached.

        `ended` then says which. Closing it early loses nothing: ask for `picture` and `state_dict`.
        """
        if not self.steps_done:
            yield self._note_step()
        while not self.ended:
            began_s = time.perf_counter()
            while self._level_is_done():
                self._level += 1
                self._climb()
            self.descent.step()
            step = self._note_step(began_s)
            self.ended = self._reason()
            yield step

    def picture(self) -> Pixels:
        """Return the best picture so far, (H, W, 3) uint8 BGR at its final size."""
        best = self._best if self._best is not None else self.descent.pixels
        return resize(self.subject.shown(best), self.sizes[-1])

    def iterate(self) -> Pixels:
        """Return the picture as it is now, (H, W, 3) uint8 BGR at the size it is being painted at."""
        return self.subject.shown(self.descent.pixels)

    def best_terms(self) -> dict[str, float]:
        """Return the terms in fp32 of the best pixels so far, not rounded; left off early, of the picture."""
        if not self.is_fine:
            return self.terms_of(self.picture())
        best = self._best if self._best is not None else self.descent.pixels
        return self.subject.terms_of_pixels(best)

    def finished(self, bgr: Pixels) -> Pixels:
        """Return another's picture of the content with this one's mask and, where kept, its colours."""
        return finished_as(self.recipe, resize(self.content, size_of(bgr)), bgr, self.mask)

    def terms_of(self, bgr: Pixels) -> dict[str, float]:
        """Judge any picture of the content, (H, W, 3) uint8 BGR at its final size, in fp32."""
        return self._final_subject().terms_of(bgr)

    def _final_subject(self) -> Subject:
        # Interrupted at a smaller size, it is judged at the one its picture is written in.
        if self.is_fine:
            return self.subject
        return Subject(self.maker, self.content, self.sizes[-1], self.mask, self.precision)

    @property
    def is_fine(self) -> bool:
        """Whether the last size has been reached: before, no objective compares with another's."""
        return self._level == len(self.sizes) - 1

    def state_dict(self, with_optimizer: bool = True) -> dict[str, Any]:
        """Return all it takes to go on; the optimiser's memory is most of it."""
        return {
            "format": FORMAT, "run": self._run(), "made_of": self._made_of(), "level": self._level,
            "ended": self.ended, "pixels": self.descent.pixels.detach().cpu(),
            "best": None if self._best is None else self._best.cpu(), "best_total": self._best_total,
            "steps": [asdict(step) for step in self.steps_done], "precision": self.precision,
            "optimizer": self.descent.state_dict() if with_optimizer else {},
        }  # fmt: skip

    def _run(self) -> dict[str, Any]:
        return self.recipe.must_match() | {"share": tuple(self.maker.shares) or (1.0,)}

    def _made_of(self) -> dict[str, str | None]:
        return {
            "content image": digest(self.content),
            "painting": self.maker.style_digest(),
            "mask": None if self.mask is None else digest(self.mask),
        }

    def _changed_options(self) -> Iterator[str]:
        wanted = self._run()
        for name, value in self._kept["run"].items():
            # Another --loss has other weights: that it is another says it all.
            if wanted.get(name, value) != value:
                yield f"{name} was {_written(value)}"

    def _changed_pictures(self) -> Iterator[str]:
        wanted = self._made_of()
        for name, value in self._kept["made_of"].items():
            if wanted[name] != value:
                yield f"the {name} was another" if value else f"there was no {name}"

    def _restore(self) -> None:
        if not self._kept:
            return
        if changed := [*self._changed_options(), *self._changed_pictures()]:
            raise OptimiseError(
                f"the picture was begun with other options: {', '.join(changed)}",
                "resume with the same options and pictures, or leave --resume out to start anew",
            )
        self._level, self.precision = self._kept["level"], self._kept["precision"]
        self.steps_done = [
            Step(**{**step, "size_wh": tuple(step["size_wh"])}) for step in self._kept["steps"]
        ]
        last = self.steps_done[-1]
        self.seconds, self._evaluations = last.seconds, last.evaluations
        self._best, self._best_total = self._kept["best"].to(self.maker.device), self._kept["best_total"]

    def _subject(self) -> Subject:
        return Subject(self.maker, self.content, self.sizes[self._level], self.mask, self.precision)

    def _choose_precision(self) -> None:
        """Fall back from half precision where it does not give the objective that fp32 does, and say so."""
        if self._kept or self.precision == "fp32" or self.recipe.precision != "auto":
            return
        pixels = self._first_pixels()
        with torch.no_grad(), autocast(self.maker.device, self.precision):
            half = sum(floats(self.subject.judge(pixels)).values())
        full = sum(self.subject.terms_of_pixels(pixels).values())
        if not abs(half - full) <= ALIKE * abs(full):
            self.notes.append(f"{self.precision} gives {half:.4g} where fp32 gives {full:.4g}: using fp32")
            self.precision = "fp32"
            self.subject = self._subject()

    def _descent(self, pixels: Tensor) -> Descent:
        return Descent(
            self.subject.judge, pixels, self.recipe.optimizer, lr=self.recipe.lr, precision=self.precision,
            limits=None if self.recipe.normalised else (0.0, 255.0),
            first_step=FIRST_STEP * self.subject.canvas.deviation, state=self._kept.get("optimizer"),
        )  # fmt: skip

    def _first_pixels(self) -> Tensor:
        if self._kept:
            kept: Tensor = self._kept["pixels"].to(self.maker.device)
            return kept
        return self.subject.canvas.pixels_of(self._first_rgb().to(self.maker.device))

    def _first_rgb(self) -> Tensor:
        size_wh, initial = self.subject.size_wh, self.recipe.initial
        if initial == "noise":
            return white_noise(size_wh, self.recipe.seed)
        if initial == "style":
            if not self.maker.paintings:
                raise OptimiseError(
                    "there is no painting to begin with: a style of the gallery has only its Gram matrices",
                    "name one with --style-image, or choose another --initial",
                )
            return to_tensor(resize(self.maker.paintings[0].bgr, size_wh))
        if initial in ("fast", "previous") and self.first is not None:
            return to_tensor(resize(self.first, size_wh))
        return self.subject.canvas.content

    def _climb(self) -> None:
        """Go on at the next size, from what the last one has become."""
        rgb = self.subject.canvas.picture(self.descent.pixels.detach())
        self._evaluations += self.descent.evaluations
        self._kept, self._best, self._best_total = {}, None, math.inf
        self.subject = self._subject()
        width, height = self.subject.size_wh
        grown = F.interpolate(rgb, (height, width), mode="bicubic", align_corners=False)
        self.descent = self._descent(self.subject.canvas.pixels_of(grown))

    def _note_step(self, began_s: float | None = None) -> Step:
        """Judge where the descent has come to; keep it where it is the best so far."""
        began_s = time.perf_counter() if began_s is None else began_s
        point = self.descent.look()
        total = float(point.total)
        self.seconds += time.perf_counter() - began_s
        iteration = self.steps_done[-1].iteration + 1 if self.steps_done else 0
        if not math.isfinite(total):
            raise OptimiseError(
                f"the objective is {total} after {iteration} iterations",
                "lower the content, style or TV weight or the learning rate; --precision fp32 may help",
            )
        if total < self._best_total:
            self._best, self._best_total = self.descent.pixels.clone(), total
        evaluations = self._evaluations + self.descent.evaluations
        step = Step(iteration, self.subject.size_wh, floats(point.terms), self.seconds, evaluations)
        self.steps_done.append(step)
        return step

    def _level_is_done(self) -> bool:
        if self.is_fine:
            return False
        each = min(-(-self.recipe.iterations // COARSE_SHARE), self.recipe.iterations // len(self.sizes))
        return self.steps_done[-1].iteration >= each * (self._level + 1) or self._has_stopped_falling()

    def _reason(self) -> str:
        if self.steps_done[-1].iteration >= self.recipe.iterations:
            return f"all {self.recipe.iterations} iterations are made"
        if self.is_fine and self._has_stopped_falling():
            back, share = self.recipe.patience, 100 * self.recipe.tolerance
            return f"the objective has stopped falling: by less than {share:g}% in {back} iterations"
        return ""

    def _has_stopped_falling(self) -> bool:
        here = [step.total for step in self.steps_done if step.size_wh == self.subject.size_wh]
        if self.recipe.tolerance <= 0:
            return len(here) > 2 and self.recipe.optimizer == "lbfgs" and here[-1] == here[-2] == here[-3]
        if len(here) <= self.recipe.patience:
            return False
        before, now = min(here[: -self.recipe.patience]), min(here)
        return before - now < self.recipe.tolerance * abs(before)


def iterations_to_equal(
    maker: GoalMaker, content: Pixels, total: float, most: int, precision: str, mask: Pixels | None = None
) -> Iterator[Step]:
    """Lower the objective by strong-Wolfe L-BFGS from the photograph until it is at most `total`.

    The last step tells how many iterations a picture of that objective is worth; after `most` it
    gives up. `content` is (H, W, 3) uint8 BGR, painted at the recipe's size.
    """
    subject = Subject(maker, content, maker.recipe.work_size(size_of(content)), mask, precision)
    descent = Descent(subject.judge, subject.canvas.pixels_of(subject.canvas.content), precision=precision)
    seconds = 0.0
    for iteration in range(most + 1):
        began_s = time.perf_counter()
        if iteration:
            descent.step()
        terms = floats(descent.look().terms)
        seconds += time.perf_counter() - began_s
        yield Step(iteration, subject.size_wh, terms, seconds, descent.evaluations)
        if sum(terms.values()) <= total:
            return


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write a state whole or not at all. Raises OptimiseError where the disk refuses."""
    try:
        with whole_file(path) as part:
            torch.save(state, part)
    except (OSError, RuntimeError) as exc:
        raise OptimiseError(
            f"{path} could not be written: {exc}", "free some space or choose another folder with -o"
        ) from exc


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote, tensors on the CPU. Raises OptimiseError."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    # torch.load raises whatever its unpickler met; every case means the same to the user.
    except Exception as exc:
        raise OptimiseError(
            f"{path} is no state of an optimisation: {type(exc).__name__}",
            "leave --resume out to start anew",
        ) from exc
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise OptimiseError(f"{path} is no state of this version", "leave --resume out to start anew")
    return state


def _written(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
