"""How well pictures fulfil the objective their style was trained on."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean

import torch

from stylecam.frames import Pixels
from stylecam.neural.data import to_tensor
from stylecam.neural.device import autocast, pick_device, pick_precision
from stylecam.neural.losses import PerceptualLoss
from stylecam.neural.options import Objective
from stylecam.neural.vgg import load_vgg
from stylecam.styles import Style


def load_objective(style: Style) -> PerceptualLoss:
    """Return the objective the style was trained on; its Gram matrices travel with the weights."""
    objective = Objective.from_card(style.card["objective"])
    targets = {layer: torch.from_numpy(gram) for layer, gram in style.grams.items()}
    vgg = load_vgg(objective.backbone, objective.vgg)
    return PerceptualLoss(vgg, objective, targets).to(memory_format=torch.channels_last)


@dataclass
class Judge:
    """The mean objective of the stylized pictures it is shown, term by term, weighted."""

    loss: PerceptualLoss
    terms: list[dict[str, float]] = field(default_factory=list)

    @torch.no_grad()
    def add(self, source: Pixels, stylized: Pixels) -> None:
        """Judge one picture, both (H, W, 3) uint8 BGR."""
        device = pick_device("cpu")
        with autocast(device, pick_precision(device)):
            content = self.loss.content_features(to_tensor(source))
            found = self.loss.per_picture(to_tensor(stylized), content)
        self.terms.append({name: float(term) for name, term in found._asdict().items()})

    def figures(self) -> dict[str, float]:
        """Return the mean of each term, as `style_loss` and so on, and of their sum as `objective`."""
        means = {name: round(fmean(each[name] for each in self.terms), 1) for name in self.terms[0]}
        return {f"{name}_loss": mean for name, mean in means.items()} | {"objective": sum(means.values())}
