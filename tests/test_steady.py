"""Training against flicker: what is moved, and what is compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training import Make, run

from stylecam.neural.steady import (
    BORDER,
    COARSEST_NOISE,
    COVER,
    COVERED,
    LARGEST_NOISE,
    LARGEST_SHIFT,
    LARGEST_ZOOM,
    LEAST_NOISE,
    NOISY,
    OUTLINE,
    Later,
    Movement,
    Noise,
    cover,
)
from stylecam.neural.train import Trainer

WHOLE = [Movement(3, -5, 1), Movement(-8, 8, 1), Movement(0, 0, 1), Movement(1, 0, 1)]
EVERYWHERE_ALIKE: list[Callable[[Tensor], Tensor]] = [
    lambda rgb: rgb,
    lambda rgb: 255 - rgb.flip(1),
    lambda rgb: rgb.square() / 255,
]
INSIDE = (..., slice(24, -24), slice(24, -24))
"""Where no movement brings anything in."""


def picture(height: int = 72, width: int = 88) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 255


def columns(rgb: Tensor) -> Tensor:
    """A picture that gets lighter from left to right, by 1 a pixel."""
    return torch.arange(rgb.shape[3]).float().expand(rgb.shape)


@pytest.mark.parametrize("movement", WHOLE)
def test_whole_pixels_are_moved_as_they_are(movement: Movement) -> None:
    rgb = picture()
    shifted = torch.roll(rgb, (int(movement.down), int(movement.right)), (2, 3))
    torch.testing.assert_close(movement.apply(rgb)[INSIDE], shifted[INSIDE], rtol=0, atol=0.02)


@pytest.mark.parametrize("movement", [Movement(2.5, 0, 1), Movement(0, 0, 1.04), Movement(-3.25, 1, 0.97)])
def test_a_zoom_is_about_the_centre_and_a_shift_in_pixels(movement: Movement) -> None:
    ramp = columns(picture())
    centre = (ramp.shape[3] - 1) / 2
    wanted = centre + (ramp - centre) / movement.zoom - movement.right
    torch.testing.assert_close(movement.apply(ramp)[INSIDE], wanted[INSIDE], rtol=0, atol=0.05)
    upright = movement.apply(ramp.mT).mT
    wanted += movement.right - movement.down
    torch.testing.assert_close(upright[INSIDE], wanted[INSIDE], rtol=0, atol=0.05)


@pytest.mark.parametrize("side", [64, 224])
def test_half_of_the_movements_are_whole_pixels_and_none_is_large(side: int) -> None:
    drawn = [Movement.draw(np.random.default_rng(seed), side) for seed in range(300)]
    whole = [each for each in drawn if (each.right % 1, each.down % 1, each.zoom) == (0, 0, 1)]
    assert 110 < len(whole) < 190
    furthest = max(max(abs(each.right), abs(each.down)) for each in drawn)
    assert 0.9 * LARGEST_SHIFT * side < furthest <= LARGEST_SHIFT * side + 0.5
    assert BORDER < LARGEST_SHIFT, "the border is compared with what is painted inside of it"
    assert all(abs(np.log(each.zoom)) <= LARGEST_ZOOM for each in drawn)
    assert Movement.draw(np.random.default_rng(7), side) == drawn[7]


def test_noise_is_often_weak_sometimes_strong_and_of_every_coarseness() -> None:
    rng = np.random.default_rng(0)
    drawn = [Noise.draw(rng) for _ in range(300)]
    strengths = [noise.strength for noise in drawn]
    assert LEAST_NOISE <= min(strengths) < 1.1 * LEAST_NOISE
    assert 0.9 * LARGEST_NOISE < max(strengths) <= LARGEST_NOISE
    assert np.median(strengths) == pytest.approx(np.sqrt(LEAST_NOISE * LARGEST_NOISE), rel=0.3)
    coarse = [noise.coarseness for noise in drawn]
    assert 0 <= min(coarse) < 0.1 * COARSEST_NOISE
    assert 0.9 * COARSEST_NOISE < max(coarse) <= COARSEST_NOISE


@pytest.mark.parametrize("coarseness", [0, 0.2, 1, 3])
def test_noise_has_its_strength_however_coarse_and_light_changes_by_a_little(coarseness: float) -> None:
    rgb = torch.full((2, 3, 64, 64), 128.0)
    noise = Noise(4, coarseness)
    for seed in range(10):
        seen = noise.add(rgb, np.random.default_rng(seed))
        assert 0.965 < float(seen.mean()) / 128 < 1.035
        assert float(seen.std()) == pytest.approx(4, rel=0.01)
        assert (seen[0] != seen[1]).any(), "each picture has its own"
        assert float((seen[:, 0] - seen[:, 1]).std()) > 4, "and so has each channel"
        step = float((seen[..., 1:] - seen[..., :-1]).square().mean().sqrt()) / 4
        assert step == pytest.approx(next_to_it(coarseness), rel=0.15)
        torch.testing.assert_close(noise.add(rgb, np.random.default_rng(seed)), seen, rtol=0, atol=0)
    bright = noise.add(torch.full((1, 3, 64, 64), 255.0), np.random.default_rng(0))
    assert float(bright.max()) == 255


def next_to_it(coarseness: float) -> float:
    """How far a pixel of noise of deviation 1 is from the next one, blurred or, below 0.3 px, not."""
    alike = np.exp(-1 / (4 * coarseness**2)) if coarseness > 0.3 else 0.0
    return float(np.sqrt(2 * (1 - alike)))


@pytest.mark.parametrize("movement", WHOLE)
def test_what_moves_with_the_scene_is_steady(movement: Movement) -> None:
    rgb = picture()
    for paint in EVERYWHERE_ALIKE:
        found = unsteadiness(paint(rgb), paint(movement.apply(rgb)), movement)
        assert found.shape == (2,)
        assert float(found.max()) < 1e-3


def unsteadiness(before: Tensor, after: Tensor, movement: Movement) -> Tensor:
    """As in training, all that a movement leaves in sight compared, places beside a border twice."""
    shown = movement.shown(before)
    counts = shown * (2 - inside(before)[:, :1]) / shown.mean((1, 2, 3), keepdim=True)
    return Later(before, movement, counts).unsteadiness(before, after)


def inside(rgb: Tensor) -> Tensor:
    """1 where a difference counts once, 0 beside a border, where it counts twice."""
    down, right = (round(side * BORDER) for side in rgb.shape[2:])
    mask = torch.zeros(rgb.shape)
    mask[..., down:-down, right:-right] = 1
    return mask


@pytest.mark.parametrize("movement", WHOLE)
def test_what_stays_where_it_was_while_the_scene_moves_is_not(movement: Movement) -> None:
    """A texture that sticks to the screen: of a ramp the distance is the way moved, squared."""
    rgb = picture()
    found = unsteadiness(rgb + columns(rgb), movement.apply(rgb) + columns(rgb), movement)
    shown = movement.shown(rgb)
    twice = 2 - float((inside(rgb)[:1, :1] * shown).sum() / shown.sum())
    wanted = torch.full((2,), twice * float(movement.right) ** 2)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def test_what_differs_beside_a_border_counts_twice() -> None:
    rgb, movement = picture(), Movement(0, 0, 1)
    within = unsteadiness(rgb, rgb + 5 * inside(rgb), movement)
    beside = unsteadiness(rgb, rgb + 5 * (1 - inside(rgb)), movement)
    share = float(inside(rgb).mean())
    torch.testing.assert_close(within, torch.full((2,), 25 * share), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(beside, torch.full((2,), 50 * (1 - share)), rtol=1e-3, atol=1e-3)


def test_each_picture_is_judged_for_itself() -> None:
    rgb, movement = picture(), Movement(0, 0, 1)
    moved = rgb + torch.tensor([0.0, 3.0])[:, None, None, None] * inside(rgb)
    torch.testing.assert_close(
        unsteadiness(rgb, moved, movement),
        9 * torch.tensor([0.0, float(inside(rgb).mean())]),
        rtol=0,
        atol=0.01,
    )


def test_what_came_in_from_the_border_is_not_compared() -> None:
    rgb, movement = picture(), Movement(3, -5, 1)
    moved = torch.full_like(rgb, 1e6)
    moved[..., :-5, 3:] = rgb[..., 5:, :-3]
    assert float(unsteadiness(rgb, moved, movement).max()) < 1e-3
    for row, column in ((0, 3), (-6, -1)):  # every pixel that was there before is compared
        off = moved.clone()
        off[..., row, column] += 100
        assert float(unsteadiness(rgb, off, movement).min()) > 1
    assert float(Movement(0, 0, 1).shown(rgb).min()) == 1
    assert 0.9 < float(Movement(0, 0, 0.98).shown(rgb).mean()) < 1, "smaller, it leaves a margin all round"
    assert float(Movement(0, 0, 1.02).shown(rgb).min()) == 1


def drawn(happens: str) -> list[Later]:
    """What happens to a picture a moment later, drawn 60 times: those times it is of that kind."""
    rgb = picture()
    found: dict[str, list[Later]] = {"noise": [], "movement": [], "cover": []}
    for seed in range(60):
        later = Later.draw(rgb, np.random.default_rng(seed))
        still = later.movement == Movement(0, 0, 1)
        kind = ("cover" if (later.counts == 0).any() else "noise") if still else "movement"
        found[kind].append(later)
    assert all(10 < len(each) < 30 for each in found.values())
    return found[happens]


def test_a_scene_in_which_nothing_happens_has_other_noise() -> None:
    """And the less noise there is, the more does a change count."""
    rgb, counted = picture(), []
    for later in drawn("noise"):
        light = float((later.seen.clamp(5, 250) / rgb.clamp(5, 250)).median())
        noise = float((later.seen - rgb * light).abs().mean())
        assert 0 < noise < 2 * LARGEST_NOISE
        within, beside = later.counts.min(), later.counts.max()
        assert beside == 2 * within
        off = later.unsteadiness(rgb, rgb + 3 * inside(rgb))
        torch.testing.assert_close(off, (9 * within * inside(rgb).mean()).expand(2), rtol=1e-4, atol=0)
        counted.append((float(within), noise))
    most, least = max(counted), min(counted)
    assert NOISY / (1 + LARGEST_NOISE / 2) < least[0] < NOISY / 3
    assert NOISY / 2 < most[0] < NOISY
    assert most[1] < least[1]


def test_a_scene_that_moves_is_seen_moved_with_noise() -> None:
    rgb = picture()
    for later in drawn("movement"):
        moved = later.movement.apply(rgb)
        assert 0 < float((later.seen - moved.clamp(0, 255)).abs().mean()) < 2 * LARGEST_NOISE
        torch.testing.assert_close(
            later.unsteadiness(rgb, moved + 3 * inside(rgb)),
            unsteadiness(rgb, moved + 3 * inside(rgb), later.movement),
        )


def test_a_scene_that_is_covered_stands_still_around_that() -> None:
    rgb = picture()
    for later in drawn("cover"):
        new = (later.seen != rgb).any(1, keepdim=True)
        assert COVER[0] ** 2 * 0.8 < float(new.float().mean()) < COVER[1] ** 2 * 1.2
        assert not (later.counts[new] > 0).any(), "what is new is not compared"
        assert 0.3 < float((later.counts > 0).float().mean()) < 1 - COVER[0] ** 2
        assert float(later.unsteadiness(rgb, torch.where(new, 1e6, rgb)).max()) < 1e-2
        off = later.unsteadiness(rgb, rgb + 3 * inside(rgb))
        assert 0.5 * COVERED * 9 < float(off.min()) <= float(off.max()) < 1.01 * COVERED * 9


@pytest.mark.parametrize("side", [32, 224])
def test_outlines_of_what_covers_a_scene_are_its_own_affair(side: int) -> None:
    rgb = picture(side, side)
    for seed in range(20):
        seen, apart = cover(rgb, np.random.default_rng(seed))
        new = (seen != rgb).any(1)[0].nonzero()
        (top, left), (bottom, right) = new.min(0).values.tolist(), new.max(0).values.tolist()
        near = round(side * OUTLINE)
        wanted = torch.ones(side, side)
        wanted[max(0, top - near) : bottom + 1 + near, max(0, left - near) : right + 1 + near] = 0
        assert torch.equal(apart[0, 0], wanted)
        assert wanted.any()


def temporal_terms(make: Make, painting: Path, *weights: float) -> list[float]:
    """The term in two steps, in which each of two paintings has its turn."""
    options = make(
        style_images=(painting, painting), steps=2, lr=1e-12, temporal_weight=weights, net="fast", width=0.25
    )
    return [step.terms["temporal"] for step in run(options)]


def test_each_painting_has_its_own_temporal_weight(make: Make, painting: Path) -> None:
    first, second = temporal_terms(make, painting, 1.0)
    assert first > 0 < second
    assert temporal_terms(make, painting, 0.0, 3.0) == pytest.approx([0, 3 * second], rel=1e-3)
    assert temporal_terms(make, painting, 2.0, 0.0) == pytest.approx([2 * first, 0], rel=1e-3)


def test_the_pair_is_not_painted_where_steadiness_does_not_count(make: Make) -> None:
    steps = run(make(steps=1)) + run(make(steps=1, temporal_weight=(0.5,)))
    assert ["temporal" in step.terms for step in steps] == [False, True]
    for term in ("content", "style", "tv"):  # those are of the photographs as they are
        assert steps[0].terms[term] == pytest.approx(steps[1].terms[term], rel=1e-4)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_that_cannot_be_halved_trains(make: Make, painting: Path, batch: int) -> None:
    options = make(style_images=(painting, painting), batch=batch, steps=2, temporal_weight=(1.0,))
    assert all(step.terms["temporal"] > 0 for step in run(options))


class HalfStuck(nn.Module):
    """Paint the first style plain, the second as a ramp that sticks to the screen."""

    def forward(self, rgb: Tensor, mix: Tensor) -> Tensor:
        ramp = columns(rgb) * mix[:, 1, None, None, None]
        return 100 + ramp


def stuck_terms(make: Make, painting: Path, batch: int, *weights: float) -> list[float]:
    options = make(style_images=(painting, painting), batch=batch, temporal_weight=weights)
    trainer = Trainer(options)
    photos = torch.rand(batch, 3, 64, 64) * 255
    steps = (trainer.goal.terms(HalfStuck(), photos, step)[1] for step in range(6))
    return [float(terms["temporal"]) for terms in steps]


@pytest.mark.parametrize("batch", [1, 3])
def test_a_pair_is_painted_in_one_style_and_weighs_as_that_does(
    make: Make, painting: Path, batch: int
) -> None:
    assert max(stuck_terms(make, painting, batch, 1.0, 0.0)) < 1e-3
    assert max(stuck_terms(make, painting, batch, 0.0, 1.0)) > 1


def test_every_style_has_its_turn_where_a_batch_holds_each_of_them(make: Make, painting: Path) -> None:
    assert max(stuck_terms(make, painting, 2, 0.0, 1.0)) > 1
