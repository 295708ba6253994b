"""A checkpoint: all it takes to resume a training, or to export the net it has reached."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylecam.errors import TrainError
from stylecam.neural.options import Objective
from stylecam.neural.transformer import NetSpec, StyleNet, build_net
from stylecam.wholefile import whole_file

FORMAT = 1


@dataclass
class Checkpoint:
    """The state after `step` steps.

    `grams` are the paintings' targets, (styles, C, C) per style layer; `about` is what the
    model card says of style and training; `run` holds the options that a resumed run must share.
    """

    spec: NetSpec
    net: dict[str, Tensor]
    step: int
    objective: Objective
    grams: dict[str, Tensor]
    about: dict[str, Any]
    run: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    sha256: str = ""

    def build_net(self) -> StyleNet:
        """Return the net, in fp32 on the CPU, ready to run."""
        net = build_net(self.spec)
        net.load_state_dict(self.net)
        return net.eval()


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint whole or not at all. Raises TrainError where the disk refuses."""
    state = {name: getattr(checkpoint, name) for name in checkpoint.__dataclass_fields__ if name != "sha256"}
    state |= {
        "spec": asdict(checkpoint.spec),
        "objective": checkpoint.objective.to_card(),
        "format": FORMAT,
    }
    try:
        with whole_file(path) as part:
            torch.save(state, part)
    except (OSError, RuntimeError) as exc:
        raise TrainError(
            f"the checkpoint {path} could not be written: {exc}",
            "free some space or choose another folder with -o; the checkpoint before it is untouched",
        ) from exc


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote, tensors on the CPU. Raises TrainError."""
    hint = 'name the .ckpt file that "stylecam train" left'
    if not path.is_file():
        raise TrainError(f"there is no checkpoint {path}", hint)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    # torch.load raises whatever its unpickler met; every case means the same to the user.
    except Exception as exc:
        raise TrainError(f"{path} is not a checkpoint: {type(exc).__name__}", hint) from exc
    if not isinstance(state, dict) or state.pop("format", None) != FORMAT:
        raise TrainError(f"{path} is no checkpoint of this version", hint)
    state["spec"] = NetSpec(**state["spec"])
    state["objective"] = Objective.from_card(state["objective"])
    return Checkpoint(**state, sha256=digest)
