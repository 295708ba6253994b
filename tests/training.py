"""Short trainings, and what they leave."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import torch
from nets import make_checkpoint
from torch import Tensor

from stylecam.neural.checkpoint import load_checkpoint, save_checkpoint
from stylecam.neural.options import Objective, TrainOptions
from stylecam.neural.train import TrainStep, train

Make: TypeAlias = Callable[..., TrainOptions]
"""Options for a training of some tenths of a second a step, with changes."""

CHANNELS = {"relu1_2": 64, "relu2_2": 128}


def run(options: TrainOptions) -> list[TrainStep]:
    return list(train(options))


def parameters(options: TrainOptions) -> dict[str, Tensor]:
    return load_checkpoint(options.checkpoint).net


def log_of(options: TrainOptions) -> list[dict[str, float]]:
    """The log without its times."""
    lines = (options.out_dir / f"{options.name}.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "step_s"} for line in lines]


def save_teacher(path: Path, objective: Objective, styles: int) -> str:
    """Write a tiny net as if it had learned that objective."""
    torch.manual_seed(5)
    grams = {}
    for layer, channels in CHANNELS.items():
        features = torch.rand(styles, channels, 30)
        grams[layer] = features @ features.mT / features[0].numel()
    goal = replace(objective, style_weight=(5.0, 7.0, 11.0)[:styles])
    save_checkpoint(replace(make_checkpoint(styles), objective=goal, grams=grams), path)
    return str(path)
