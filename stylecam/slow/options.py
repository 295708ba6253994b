"""What a run of the slow path is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from stylecam.errors import OptimiseError
from stylecam.neural.recipe import Wishes
from stylecam.slow.keyframes import is_film


@dataclass(frozen=True)
class SlowOptions:
    """Pictures, or one film, and how to paint them.

    The style is `style_images` (with `shares`, one for each, or all alike) or the style `style`, whose
    net is also the one to compare with; `fast` names another. Keyframes of a film are those `at`, one
    `every` so many seconds, or one for each scene. `film` is where the references go, spread over all
    frames. `compare` is the most iterations spent on finding out what the net is worth, 0 none.
    """

    inputs: tuple[Path, ...]
    out_dir: Path
    wishes: Wishes = field(default_factory=Wishes)
    style: str | None = None
    style_images: tuple[Path, ...] = ()
    shares: tuple[float, ...] = ()
    fast: str | None = None
    net: str = "auto"
    at: tuple[int, ...] = ()
    every: float | None = None
    film: Path | None = None
    mask: Path | None = None
    snapshot_every: int | None = None
    compare: int = 100
    resume: bool = False

    def __post_init__(self) -> None:
        if self.shares and len(self.shares) != len(self.style_images):
            raise OptimiseError(
                f"{len(self.shares)} shares for {len(self.style_images)} paintings", "give one for each"
            )
        if self.shares and (min(self.shares) < 0 or not sum(self.shares) > 0):
            raise OptimiseError(f"shares {self.shares} do not add up", "none is negative, one is above 0")
        films = [path for path in self.inputs if is_film(path)]
        if films and len(self.inputs) > 1:
            raise OptimiseError(
                f'"{films[0]}" is no picture: a film is painted alone', "name pictures, or one film"
            )
        if not self.is_film and (self.film or self.at or self.every):
            raise OptimiseError(
                f'"{self.inputs[0]}" is no film', "--at, --every and --film are for films, leave them out"
            )
        if self.every is not None and not 0 < self.every < math.inf:
            raise OptimiseError(f"every {self.every} s is out of range", "it is a number of seconds above 0")
        if self.at and min(self.at) < 0:
            raise OptimiseError(f"there is no frame {min(self.at)}", "--at counts frames from 0")
        if not self.is_film and self.wishes.more.get("initial") == "previous":
            raise OptimiseError(
                "--initial previous follows a film from keyframe to keyframe", "pictures have none"
            )
        if self.net_name is None and (self.film or self.wishes.more.get("initial") == "fast"):
            raise OptimiseError(
                "--film and --initial fast need a net beside the painting", "name one with --fast, or --style"
            )

    @property
    def is_film(self) -> bool:
        """Whether a film is to be painted, not pictures."""
        return is_film(self.inputs[0])

    @property
    def net_name(self) -> str | None:
        """The style whose net is compared with."""
        return self.fast or self.style
