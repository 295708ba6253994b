"""What a training lowers: the objective, a teacher's pictures, lost tones, unsteadiness, pattern of cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylecam.errors import TrainError
from stylecam.neural.data import load_painting
from stylecam.neural.device import autocast
from stylecam.neural.distill import Imitation, Tones
from stylecam.neural.losses import PerceptualLoss, cell_pattern, per_style, style_targets
from stylecam.neural.options import Objective, TrainOptions, rank, world
from stylecam.neural.steady import Later
from stylecam.neural.trained import Trained, load_trained
from stylecam.neural.transformer import StyleNet
from stylecam.neural.vgg import load_vgg, smallest_side
from stylecam.styles import names_file


class TrainingLoss:
    """Every term of a training's loss; `objective` and `grams` are those the model card will name.

    With a teacher these are the teacher's, and no VGG is loaded unless the objective counts as well.
    Raises TrainError, StyleError, PictureError, VggError.
    """

    def __init__(self, options: TrainOptions, device: torch.device, precision: str) -> None:
        self.options, self.device, self.precision = options, device, precision
        self.teacher: Trained | None = None
        self._origin: StyleNet | None = None
        self.objective = options.objective
        self._imitation: nn.Module | None = None
        self._perceptual: nn.Module | None = None
        self._tones: nn.Module | None = None
        if options.teacher:
            kind = "auto" if names_file(options.teacher) else "full"
            self.teacher = load_trained(options.teacher, kind)
            self.objective = Objective.from_card(self.teacher.card["objective"])
            self._imitation = Imitation(self.teacher.net).to(device)
        self.grams = self._load_grams()
        self.styles = len(next(iter(self.grams.values())))
        if options.start and options.tone_weight:
            self._origin = load_trained(options.start, options.net).net
            self._tones = Tones(self._origin).to(device)
        self._temporal_weight = per_style(options.temporal_weight, self.styles, "temporal weights").to(device)
        self._round = _take_turns(per_style(options.turns, self.styles, "turns").tolist()).to(device)

    def _load_grams(self) -> dict[str, Tensor]:
        """Return the paintings' Gram matrices, and open the VGG where it is needed."""
        goal = self.objective
        if self.teacher:
            grams = {layer: torch.from_numpy(gram) for layer, gram in self.teacher.grams.items()}
            if not self.options.perceptual_weight:
                return grams
        paintings = () if self.teacher else self.options.style_images
        pictures = [load_painting(path, goal.style_size).to(self.device) for path in paintings]
        vgg = load_vgg(goal.backbone, goal.vgg).to(self.device)
        vgg.check_layers(goal.layers)
        for path, picture in zip(paintings, pictures, strict=True):
            _check_size(path, picture, goal)
        if pictures:
            grams = style_targets(vgg, goal, pictures)
        self._perceptual = PerceptualLoss(vgg, goal, grams).to(self.device)
        return grams

    def prepare(self) -> None:
        """Lay out memory as convolutions like it, and compile where that was asked for."""
        for name in ("_imitation", "_perceptual", "_tones"):
            loss: nn.Module | None = getattr(self, name)
            if loss is not None:
                loss = loss.to(memory_format=torch.channels_last)
                setattr(self, name, torch.compile(loss) if self.options.compile else loss)

    def take_noise(self, net: StyleNet) -> None:
        """Give the nets that this one is compared with its fixed noise: strokes lie where that says."""
        for other in (self.teacher.net if self.teacher else None, self._origin):
            if other is not None:
                other.take_noise(net)

    def terms(self, net: nn.Module, batch: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a net's paintings of a batch (N, 3, crop, crop), and every term by name, weighted."""
        styles = self._styles_of(step, len(batch))
        mix = None if styles is None else F.one_hot(styles, self.styles).float()
        seen, later = batch, None
        twice = torch.empty(0, dtype=torch.long, device=batch.device)
        if self._temporal_weight.any():  # half of the batch is painted a second time, as of a moment later
            rng = np.random.default_rng((self.options.seed, step, rank()))
            # Not always the first half: that could be the same styles at every step.
            twice = torch.from_numpy(rng.permutation(len(batch))[: (len(batch) + 1) // 2]).to(batch.device)
            later = Later.draw(batch[twice], rng)
            seen = torch.cat([batch, later.seen]).contiguous(memory_format=torch.channels_last)
        with autocast(self.device, self.precision):
            both = net(seen, mix if mix is None else torch.cat([mix, mix[twice]]))
            painted = both[: len(batch)]
            terms = self._painting_terms(painted, batch, styles, mix)
            if self._tones is not None:
                terms["tones"] = self.options.tone_weight * self._tones(painted, batch, mix)
        if later:
            weight = self._temporal_weight[:1] if styles is None else self._temporal_weight[styles[twice]]
            terms["temporal"] = (weight * later.unsteadiness(painted[twice], both[len(batch) :])).mean()
        if self.options.pattern:
            terms["pattern"] = self.options.pattern * cell_pattern(painted.float()).mean()
        return painted, terms

    def _styles_of(self, step: int, count: int) -> Tensor | None:
        """Return the style of each picture of a batch: rounds without end. None for a single one."""
        if self.styles == 1:
            return None
        first = (step * world() + rank()) * count
        return self._round[(torch.arange(count, device=self.device) + first) % len(self._round)]

    def _painting_terms(
        self, painted: Tensor, batch: Tensor, styles: Tensor | None, mix: Tensor | None
    ) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        if self._imitation is not None:
            terms |= self._imitation(painted, batch, mix)._asdict()
        if self._perceptual is not None:
            scale = self.options.perceptual_weight if self.teacher else 1.0
            found = self._perceptual(painted, batch, styles)._asdict()
            terms |= {name: scale * term for name, term in found.items()}
        return terms


def _check_size(path: Path, painting: Tensor, goal: Objective) -> None:
    least, deepest = smallest_side(goal.style_layers)
    height, width = painting.shape[2:]
    if min(height, width) < least:
        raise TrainError(
            f"painting {path} is too small at {width}x{height}: the layer {deepest} needs {least} px",
            "choose a larger --style-size, a painting less narrow, or --style-layers less deep",
        )


def _take_turns(turns: list[int]) -> Tensor:
    """Return one round of styles in which each has so many turns, spread evenly: 1, 1 and 2 give 2 0 1 2."""
    places = [((turn + 0.5) / count, style) for style, count in enumerate(turns) for turn in range(count)]
    return torch.tensor([style for _, style in sorted(places)])
