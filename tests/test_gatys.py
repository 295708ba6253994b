"""The optimisation lowers the objective, iteration by iteration, from wherever it starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stylecam.neural.gatys import Descent, optimise
from stylecam.neural.losses import LossTerms, PerceptualLoss, style_targets
from stylecam.neural.options import Objective
from stylecam.neural.spectrum import Spectrum
from stylecam.neural.vgg import load_vgg


def _loss(vgg_file: Path) -> PerceptualLoss:
    objective = Objective(
        backbone="vgg16", vgg=str(vgg_file), content_layer="relu2_2", style_layers=("relu1_2", "relu2_2")
    )
    vgg = load_vgg("vgg16", str(vgg_file))
    return PerceptualLoss(vgg, objective, style_targets(vgg, objective, [_picture(1)]))


def _picture(seed: int) -> torch.Tensor:
    return torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(seed)) * 255


def test_every_iteration_is_lower_and_the_first_is_the_start(vgg_file: Path) -> None:
    loss, content, start = _loss(vgg_file), _picture(2), _picture(3)
    iterates = list(optimise(loss, content, start, 12))
    objectives = [iterate.objective for iterate in iterates]
    assert [iterate.iteration for iterate in iterates] == list(range(13))
    assert torch.equal(iterates[0].rgb, start)
    # A line search that is cut short accepts steps uphill.
    assert objectives == sorted(objectives, reverse=True)
    assert objectives[-1] < 0.5 * objectives[0]


def test_small_weights_are_lowered_too(vgg_file: Path) -> None:
    """L-BFGS leaves alone what has a gradient below 1e-7, unless it is told not to."""
    picture = _picture(2)

    def judge(pixels: torch.Tensor) -> LossTerms:
        zero = torch.zeros(())
        return LossTerms(zero, zero, 1e-9 * (pixels - 7).square().mean())

    descent = Descent(judge, picture)
    before = float(descent.look().total)
    for _ in range(3):
        descent.step()
    assert float(descent.look().total) < 1e-3 * before


def test_no_point_is_judged_twice(vgg_file: Path) -> None:
    loss, content = _loss(vgg_file), _picture(2)
    wanted, seen = loss.content_features(content), []

    def judge(rgb: torch.Tensor) -> LossTerms:
        seen.append(rgb.detach().clone())
        return LossTerms(*(term.sum() for term in loss.per_picture(rgb, wanted)))

    descent = Descent(judge, _picture(3))
    for _ in range(8):
        descent.step()
        descent.look()
    assert descent.evaluations == len(seen)
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])
    assert len(seen) < 16  # torch's own loop would begin every iteration with one more


def test_pixels_stay_within_their_limits(vgg_file: Path) -> None:
    """The best place within the limits is found: at one of them, or between."""
    wanted = torch.tensor([-50.0, 100.0, 400.0]).view(1, 3, 1, 1)
    zero = torch.zeros(())
    descent = Descent(
        lambda pixels: LossTerms(zero, zero, (pixels - wanted).square().mean()), _picture(1), limits=(0, 255)
    )
    for _ in range(15):
        descent.step()
        assert descent.pixels.min() >= 0
        assert descent.pixels.max() <= 255
    best = torch.tensor([0.0, 100.0, 255.0]).view(1, 3, 1, 1).expand_as(descent.pixels)
    torch.testing.assert_close(descent.pixels.detach(), best, rtol=0, atol=1)


def test_a_tuned_descent_needs_fewer_evaluations(vgg_file: Path) -> None:
    """To the same objective, from the same place, its first line search included."""
    picture, wanted = 100 + 20 * _picture(2) / 255, 100 + 20 * _picture(3) / 255
    down, across = torch.fft.fftfreq(32)[:, None], torch.fft.rfftfreq(40)[None]
    steepness = (down.square() + across.square()).sqrt().clamp(min=0.025) ** 0.3

    def judge(pixels: torch.Tensor) -> LossTerms:
        """Steeper along fine structure than along coarse, as the perceptual net's objective is."""
        far = torch.fft.irfft2(torch.fft.rfft2(pixels - wanted) * steepness, s=(32, 40))
        return LossTerms(torch.zeros(()), torch.zeros(()), far.square().mean())

    def evaluations(first_step: float | None) -> int:
        descent = Descent(judge, picture, first_step=first_step)
        start = float(descent.look().total)
        while float(descent.look().total) > 1e-4 * start:
            descent.step()
        return descent.evaluations

    assert evaluations(0.5) < 0.6 * evaluations(None)


def test_a_tuned_descent_stays_within_its_limits(vgg_file: Path) -> None:
    loss, content = _loss(vgg_file), _picture(2)
    wanted = loss.content_features(content)
    descent = Descent(
        lambda rgb: LossTerms(*(term.sum() for term in loss.per_picture(rgb, wanted))),
        content, limits=(0, 255), first_step=2.0,
    )  # fmt: skip
    totals = [float(descent.look().total)]
    for _ in range(15):
        descent.step()
        totals.append(float(descent.look().total))
        assert descent.pixels.min() >= 0
        assert descent.pixels.max() <= 255
        with torch.no_grad():
            judged = loss.per_picture(descent.pixels, wanted).total.item()
        assert judged == pytest.approx(totals[-1], rel=1e-3)
    assert totals == sorted(totals, reverse=True)
    assert totals[-1] < 0.3 * totals[0]


def test_a_spectrum_is_undone_and_its_own_transpose() -> None:
    for size in ((32, 40), (31, 17), (1, 5)):
        one, other = (torch.randn(1, 3, *size) for _ in range(2))
        spectrum = Spectrum(one)
        torch.testing.assert_close(spectrum.pixels(spectrum.variables(one)), one, rtol=1e-4, atol=1e-5)
        left, right = (spectrum.pixels(one) * other).sum(), (one * spectrum.pixels(other)).sum()
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-3)


def test_an_iterate_has_the_objective_it_says(vgg_file: Path) -> None:
    loss, content = _loss(vgg_file), _picture(2)
    for iterate in optimise(loss, content, content, 3):
        with torch.no_grad():
            terms = loss.per_picture(iterate.rgb, loss.content_features(content))
        torch.testing.assert_close(terms.total.item(), iterate.objective, rtol=1e-4, atol=1e-6)
