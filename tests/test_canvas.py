from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stylecam.neural.canvas import Canvas, to_grey


def _picture(seed: int) -> Tensor:
    return torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(seed)) * 255


@pytest.mark.parametrize("normalised", [False, True])
def test_pixels_stand_for_the_picture_they_were_made_of(normalised: bool) -> None:
    canvas, rgb = Canvas(_picture(0), normalised=normalised), _picture(1)
    pixels = canvas.pixels_of(rgb)
    torch.testing.assert_close(canvas.picture(pixels), rgb)
    assert (pixels.abs().max() < 3) == normalised


def test_normalised_pixels_are_those_of_tutorials() -> None:
    rgb = torch.tensor([255.0, 0.0, 127.5]).view(1, 3, 1, 1)
    pixels = Canvas(rgb, normalised=True).pixels_of(rgb).flatten()
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.5 - 0.406) / 0.225]
    torch.testing.assert_close(pixels, torch.tensor(expected))


@pytest.mark.parametrize("normalised", [False, True])
def test_a_kept_colour_is_the_contents(normalised: bool) -> None:
    content = _picture(0)
    canvas = Canvas(content, keep_color=True, normalised=normalised)
    pixels = canvas.pixels_of(_picture(1))
    judged = canvas.picture(pixels)
    assert pixels.shape[1] == 1
    assert torch.equal(judged, judged[:, :1].expand(-1, 3, -1, -1))
    finished = canvas.finished(judged)
    # Red over green, blue over green: what is left of a colour once its luminance is gone.
    torch.testing.assert_close(finished[:, 0] - finished[:, 1], content[:, 0] - content[:, 1])
    torch.testing.assert_close(finished[:, 2] - finished[:, 1], content[:, 2] - content[:, 1])
    torch.testing.assert_close(to_grey(finished), to_grey(_picture(1)), rtol=1e-4, atol=1e-2)


def test_off_the_mask_the_picture_is_the_content_and_nothing_moves() -> None:
    content, mask = _picture(0), torch.zeros(1, 1, 6, 8)
    mask[..., :4] = 1
    canvas = Canvas(content, mask=mask)
    pixels = canvas.pixels_of(_picture(1)).requires_grad_()
    rgb = canvas.picture(pixels)
    assert torch.equal(rgb[..., 4:], content[..., 4:])
    torch.testing.assert_close(rgb[..., :4], _picture(1)[..., :4])
    rgb.sum().backward()
    assert pixels.grad is not None
    assert torch.equal(pixels.grad, mask.expand(-1, 3, -1, -1))
