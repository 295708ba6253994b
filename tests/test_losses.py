from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from stylecam.errors import TrainError
from stylecam.neural.losses import PerceptualLoss, cell_pattern, gram_matrix, style_targets, total_variation
from stylecam.neural.options import Objective
from stylecam.neural.vgg import Vgg, load_vgg

GOAL = Objective(
    content_layer="relu2_1",
    content_weight=3.0,
    style_layers=("relu1_2", "relu2_1"),
    style_weight=(7.0,),
    tv_weight=0.11,
)


@pytest.fixture(scope="module")
def vgg(vgg_file: Path) -> Vgg:
    return load_vgg("vgg16", str(vgg_file))


@pytest.fixture(scope="module")
def loss(vgg: Vgg) -> PerceptualLoss:
    torch.manual_seed(3)
    goal = replace(GOAL, style_weight=(7.0, 13.0))
    return PerceptualLoss(vgg, goal, style_targets(vgg, goal, [pictures(1), pictures(1)]))


def pictures(count: int) -> Tensor:
    return torch.rand(count, 3, 20, 24) * 255


def test_gram_matrix_is_the_sum_over_all_places() -> None:
    features = torch.randn(2, 3, 4, 5)
    wanted = np.zeros((2, 3, 3))
    for n in range(2):
        for a in range(3):
            for b in range(3):
                for y in range(4):
                    for x in range(5):
                        wanted[n, a, b] += float(features[n, a, y, x]) * float(features[n, b, y, x])
    np.testing.assert_allclose(gram_matrix(features), wanted / (3 * 4 * 5), rtol=1e-5, atol=1e-6)


def test_gram_matrix_stays_in_fp32_under_autocast() -> None:
    features = torch.rand(1, 8, 32, 32) * 4
    with torch.autocast("cpu", torch.bfloat16):
        gram = gram_matrix(features)
    flat = features.double().reshape(8, -1)
    assert gram.dtype == torch.float32
    torch.testing.assert_close(gram[0].double(), flat @ flat.mT / (8 * 32 * 32), rtol=1e-5, atol=0)


def test_gram_matrix_of_half_precision_features_does_not_overflow() -> None:
    gram = gram_matrix(torch.full((1, 2, 64, 64), 200.0, dtype=torch.float16))
    torch.testing.assert_close(gram, torch.full((1, 2, 2), 200.0**2 / 2))


def test_total_variation_is_the_mean_squared_difference_of_neighbours() -> None:
    rgb = torch.rand(2, 3, 4, 5) * 255
    for n in range(2):
        picture = rgb[n].double().numpy()
        across = [(picture[c, y, x + 1] - picture[c, y, x]) ** 2
                  for c in range(3) for y in range(4) for x in range(4)]  # fmt: skip
        down = [(picture[c, y + 1, x] - picture[c, y, x]) ** 2
                for c in range(3) for y in range(3) for x in range(5)]  # fmt: skip
        assert float(total_variation(rgb)[n]) == pytest.approx(np.mean(across) + np.mean(down), rel=1e-5)


def test_a_pattern_of_cells_is_the_spread_of_the_means_of_each_place() -> None:
    rgb = torch.rand(2, 3, 24, 40) * 255
    for n in range(2):
        spreads = []
        for c in range(3):
            for top, left in product((0, 8), (0, 8, 16, 24)):  # windows of 4 x 4 cells
                window = rgb[n, c, top : top + 16, left : left + 16].double().numpy()
                means = [window[y::4, x::4].mean() for y in range(4) for x in range(4)]
                spreads.append(np.var(means, ddof=1))
        assert float(cell_pattern(rgb, 4, 4)[n]) == pytest.approx(np.mean(spreads), rel=1e-4)


def test_a_part_of_a_cell_at_the_edge_is_left_out() -> None:
    rgb = torch.rand(1, 3, 100, 71) * 255
    torch.testing.assert_close(cell_pattern(rgb), cell_pattern(rgb[..., :96, :64]), rtol=0, atol=0)


def test_only_what_repeats_from_cell_to_cell_is_a_pattern() -> None:
    tile = torch.rand(1, 3, 8, 8) * 255
    plain, wallpaper = torch.full((1, 3, 64, 64), 90.0), tile.repeat(1, 1, 8, 8)
    finer = (torch.rand(1, 3, 4, 4) * 255).repeat(1, 1, 16, 16)
    wide = (torch.rand(1, 3, 8, 8) * 255).repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert float(cell_pattern(plain)) == float(cell_pattern(wide)) == pytest.approx(0, abs=1e-6)
    spread = tile.flatten(2).var(2).mean()
    torch.testing.assert_close(cell_pattern(wallpaper), spread[None], rtol=1e-4, atol=0)
    torch.testing.assert_close(
        cell_pattern(finer), finer[..., :8, :8].flatten(2).var(2).mean()[None], rtol=1e-4, atol=0
    )


def test_terms_follow_their_formulas(vgg: Vgg, loss: PerceptualLoss) -> None:
    rgb, original = pictures(2), pictures(2)
    terms = loss.per_picture(rgb, loss.content_features(original), torch.tensor([1, 0]))
    for n, style, weight in ((0, 1, 13), (1, 0, 7)):
        found = vgg(rgb[n : n + 1], ("relu1_2", "relu2_1"))
        goal = vgg(original[n : n + 1], ("relu2_1",))["relu2_1"]
        content = float((found["relu2_1"] - goal).double().square().mean())
        by_style = 0.0
        for layer, features in found.items():
            flat = features[0].double().flatten(1)
            target = getattr(loss, f"target_{layer}")[style].double()
            by_style += float((flat @ flat.mT / flat.numel() - target).square().mean())
        assert float(terms.content[n]) == pytest.approx(3 * content, rel=1e-4)
        assert float(terms.style[n]) == pytest.approx(weight * by_style, rel=1e-4)
        assert float(terms.tv[n]) == pytest.approx(0.11 * float(total_variation(rgb)[n]), rel=1e-4)


@pytest.mark.parametrize("weights", [(), (1.0, 2.0), (1.0, 2.0, 3.0, 4.0)])
def test_a_wrong_number_of_style_weights_is_refused(vgg: Vgg, weights: tuple[float, ...]) -> None:
    targets = style_targets(vgg, GOAL, [pictures(1)] * 3)
    with pytest.raises(TrainError, match=f"{len(weights)} style weights for 3 paintings") as caught:
        PerceptualLoss(vgg, replace(GOAL, style_weight=weights), targets)
    assert "give one for all, or one for each" in caught.value.hint


def test_one_style_weight_serves_all_paintings(vgg: Vgg) -> None:
    rgb, original, targets = pictures(2), pictures(2), style_targets(vgg, GOAL, [pictures(1), pictures(1)])
    one, each = (PerceptualLoss(vgg, replace(GOAL, style_weight=w), targets) for w in ((7.0,), (7.0, 7.0)))
    order = torch.tensor([1, 0])
    torch.testing.assert_close(one(rgb, original, order), each(rgb, original, order), rtol=0, atol=0)


def test_forward_is_the_mean_over_the_batch(loss: PerceptualLoss) -> None:
    rgb, original = pictures(3), pictures(3)
    each = loss.per_picture(rgb, loss.content_features(original))
    mean = loss(rgb, original)
    for term in ("content", "style", "tv"):
        torch.testing.assert_close(getattr(mean, term), getattr(each, term).mean())
    torch.testing.assert_close(mean.total, (each.content + each.style + each.tv).mean())


def test_the_painting_itself_has_no_style_loss_and_the_photograph_no_content_loss(vgg: Vgg) -> None:
    painting = pictures(1)
    loss = PerceptualLoss(vgg, GOAL, style_targets(vgg, GOAL, [painting]))
    terms = loss(painting, painting)
    assert float(terms.content) == 0
    assert float(terms.style) < 1e-6 * float(loss(pictures(1), painting).style)


@pytest.mark.parametrize("term", ["content", "style", "tv"])
def test_gradient_is_the_slope(loss: PerceptualLoss, term: str) -> None:
    torch.manual_seed(1)
    rgb, original = pictures(1).requires_grad_(), pictures(1)
    getattr(loss(rgb, original), term).backward()
    assert rgb.grad is not None
    uphill = rgb.grad / rgb.grad.norm()
    with torch.no_grad():
        ahead, behind = (float(getattr(loss(rgb + far * uphill, original), term)) for far in (0.5, -0.5))
    assert ahead - behind == pytest.approx(float(rgb.grad.norm()), rel=0.02)


def test_content_features_carry_no_gradient(loss: PerceptualLoss) -> None:
    assert not loss.content_features(pictures(1).requires_grad_()).requires_grad
