"""What a training and its objective depend on, with every default; free of torch, for the command line."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stylecam.errors import TrainError


@dataclass(frozen=True)
class Objective:
    """What is minimised: layers and weights, in VGG16's own range of features."""

    backbone: str = "vgg16"
    vgg: str = "wheel"
    content_layer: str = "relu3_3"
    content_weight: float = 1.0
    style_layers: tuple[str, ...] = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
    style_weight: float = 5.0
    tv_weight: float = 1e-3
    style_size: int = 512

    @classmethod
    def from_card(cls, card: dict[str, Any]) -> Objective:
        """Rebuild the objective from a model card or checkpoint."""
        return cls(**{**card, "style_layers": tuple(card["style_layers"])})

    def to_card(self) -> dict[str, Any]:
        """Return a JSON object from which `from_card` rebuilds this."""
        return {**asdict(self), "style_layers": list(self.style_layers)}

    @property
    def layers(self) -> tuple[str, ...]:
        """Every VGG layer the objective looks at."""
        return (*self.style_layers, self.content_layer)


@dataclass(frozen=True)
class TrainOptions:
    """What a training depends on. Sizes in pixels; `batch` is per process."""

    style_images: tuple[Path, ...]
    content_dir: Path
    out_dir: Path
    name: str = "style"
    steps: int = 2000
    batch: int = 4
    crop: int = 256
    width: float = 1.0
    upsampling: str = "nearest"
    objective: Objective = field(default_factory=Objective)
    lr: float = 1e-3
    seed: int = 0
    held_out: int = 20
    checkpoint_every: int = 100
    sample_every: int = 250
    device: str = "auto"
    precision: str = "auto"
    compile: bool = False
    resume: bool = False
    start: Path | None = None
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or not 64 <= self.crop <= 4096:
            raise TrainError(
                f"steps {self.steps}, batch {self.batch} or crop {self.crop} is out of range",
                "steps and batch are at least 1, the crop lies between 64 and 4096 pixels",
            )
        if not 0 < self.lr <= 1:
            raise TrainError(f"learning rate {self.lr} is out of range", "it lies above 0 and at most at 1")

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
        names = ("batch", "crop", "seed", "held_out", "steps", "lr")
        return {name: getattr(self, name) for name in names} | {"world": world()}


def rank() -> int:
    """Return which of torchrun's processes this is."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    """Return how many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))
