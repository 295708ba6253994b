"""A trained net, wherever it lies: in a checkpoint, among the styles, in a weights file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stylecam import __version__
from stylecam.neural.checkpoint import load_checkpoint
from stylecam.neural.deploy import load_net
from stylecam.neural.transformer import StyleNet, count_params
from stylecam.styles import Array, check_kind, find_style


@dataclass(frozen=True)
class Trained:
    """A net for RGB in fp32 on the CPU, its model card, the paintings' Gram matrices."""

    net: StyleNet
    card: dict[str, Any]
    grams: dict[str, Array]


def load_trained(name: str, net: str = "auto") -> Trained:
    """Read a checkpoint (*.ckpt), a style or a weights file. Raises TrainError or StyleError.

    `net` says which net of a style, as in `find_style`, and what a file must hold.
    """
    if not name.endswith(".ckpt"):
        style = find_style(name, net)
        loaded = load_net(style)
        card = {**style.card, "net": loaded.spec.to_card(count_params(loaded))}
        return Trained(loaded, card, style.grams)
    kept = load_checkpoint(Path(name))
    check_kind(name, kept.spec.kind, net)
    built = kept.build_net()
    card = {
        **kept.about,
        "net": kept.spec.to_card(count_params(built)),
        "objective": kept.objective.to_card(),
        "checkpoint_sha256": kept.sha256,
        "version": __version__,
    }
    return Trained(built, card, {layer: gram.numpy() for layer, gram in kept.grams.items()})
