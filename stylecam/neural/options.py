"""What a training and its objective depend on, with every default; free of torch, for the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stylecam.errors import TrainError


@dataclass(frozen=True)
class Objective:
    """What is minimised: layers and weights, in VGG16's own range of features.

    `style_weight` is one number for all paintings, or one for each.
    """

    backbone: str = "vgg16"
    vgg: str = "wheel"
    content_layer: str = "relu3_3"
    content_weight: float = 1.0
    style_layers: tuple[str, ...] = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
    style_weight: tuple[float, ...] = (5.0,)
    tv_weight: float = 1e-3
    style_size: int = 512

    @classmethod
    def from_card(cls, card: dict[str, Any]) -> Objective:
        """Rebuild the objective from a model card or checkpoint."""
        weight = card["style_weight"]
        several = tuple(weight) if isinstance(weight, list) else (weight,)
        return cls(**{**card, "style_layers": tuple(card["style_layers"]), "style_weight": several})

    def to_card(self) -> dict[str, Any]:
        """Return a JSON object from which `from_card` rebuilds this."""
        weight = list(self.style_weight) if len(self.style_weight) > 1 else self.style_weight[0]
        return {**asdict(self), "style_layers": list(self.style_layers), "style_weight": weight}

    @property
    def layers(self) -> tuple[str, ...]:
        """Every VGG layer the objective looks at."""
        return (*self.style_layers, self.content_layer)


@dataclass(frozen=True)
class TrainOptions:
    """What a training depends on. Sizes in pixels; `batch` is per process.

    With a `teacher` (a style, weights file or checkpoint) the net learns to paint as that one does
    and takes its paintings and objective over: `perceptual_weight` says how much these still
    count. `temporal_weight` is one number for all styles, or one for each; so is `turns`, how many
    photographs each style paints in a round. `start` names what the net begins as; `tone_weight` says
    how much a drift from that one's tones counts.
    """

    style_images: tuple[Path, ...]
    content_dir: Path
    out_dir: Path
    name: str = "style"
    steps: int = 2000
    batch: int = 4
    crop: int = 256
    net: str = "full"
    width: float = 1.0
    upsampling: str = "nearest"
    objective: Objective = field(default_factory=Objective)
    teacher: str | None = None
    perceptual_weight: float = 0.0
    temporal_weight: tuple[float, ...] = (0.0,)
    turns: tuple[int, ...] = (1,)
    pattern_weight: float | None = None
    tone_weight: float = 0.0
    lr: float | None = None
    seed: int = 0
    held_out: int = 20
    checkpoint_every: int = 100
    sample_every: int = 250
    device: str = "auto"
    precision: str = "auto"
    compile: bool = False
    resume: bool = False
    start: str | None = None
    data: str | None = None
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or not 64 <= self.crop <= 4096:
            raise TrainError(
                f"steps {self.steps}, batch {self.batch} or crop {self.crop} is out of range",
                "steps and batch are at least 1, the crop lies between 64 and 4096 pixels",
            )
        if not 0 < self.peak_lr <= 1:
            raise TrainError(f"learning rate {self.lr} is out of range", "it lies above 0 and at most at 1")
        if min(self.turns) < 1:
            raise TrainError(
                f"a style with {min(self.turns)} turns would never be trained", "give each 1 or more"
            )
        if not self.style_images and self.teacher is None:
            raise TrainError("there is nothing to learn from", "name a --style-image, or a --teacher")
        if self.tone_weight and self.start is None:
            raise TrainError("there are no tones to keep", "a weight of tones goes with a --start")

    @property
    def pattern(self) -> float:
        """How much a pattern of cells counts; left open, what serves a net of this sort.

        Against differences of pixels from a teacher a weight of 3 does for the fast net, and none is needed
        for the full one. Against the objective 10000 does for the fast net, which works on cells alone, and
        3000 for the full one, whose body does: without, starry's laid a weave of 4 px over plain walls.
        """
        if self.pattern_weight is not None:
            return self.pattern_weight
        if self.net == "full":
            return 0.0 if self.teacher else 3000.0
        return 3.0 if self.teacher else 10000.0

    @property
    def peak_lr(self) -> float:
        """The highest learning rate; left open, what serves a net of this sort."""
        return self.lr if self.lr is not None else 4e-3 if self.teacher else 1e-3

    @property
    def checkpoint(self) -> Path:
        """Where the checkpoint goes: DIR/NAME.ckpt."""
        return self.out_dir / f"{self.name}.ckpt"

    @property
    def is_first_process(self) -> bool:
        """Whether this is the process that writes files, of those torchrun started."""
        return rank() == 0

    def must_match(self) -> dict[str, Any]:
        """Return what a resumed run has to share with the run it goes on with."""
        names = ("batch", "crop", "seed", "held_out", "steps", "teacher", "perceptual_weight")
        run = {name: getattr(self, name) for name in names}
        return run | {
            "optimizer": "muon and adam",
            "lr": self.peak_lr,
            "world": world(),
            "pattern": self.pattern,
            "tone_weight": self.tone_weight,
            "temporal_weight": list(self.temporal_weight),
            "turns": list(self.turns),
        }


def describe_paintings(
    images: Sequence[Path], titles: Sequence[str], painters: Sequence[str], years: Sequence[str], licence: str
) -> dict[str, Any]:
    """Return what a model card says of its paintings; of each, where there are several.

    Without images (a teacher has them) that is the licence, where one is named. Titles, painters and
    years are one for all or one for each. Each style of several is called as its painting's file is.
    Raises TrainError.
    """
    lists = {"title": titles, "painter": painters, "year": years}
    for what, texts in lists.items():
        if len(texts) not in (1, len(images)) and images:
            raise TrainError(
                f"{len(texts)} values of --{what} for {len(images)} paintings", "give one, or one for each"
            )
    names = [image.stem for image in images]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TrainError(f"several paintings are called {twice}", "rename one: a style is called as its file")
    each = [
        {"style": image.stem, **{what: texts[i % len(texts)] for what, texts in lists.items()}}
        for i, image in enumerate(images)
    ]
    if len(each) == 1:
        return each[0] | {"licence": licence}
    if each:
        return {"licence": licence, "styles": each}
    return {"licence": licence} if licence else {}


def rank() -> int:
    """Return which of torchrun's processes this is."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    """Return how many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))
