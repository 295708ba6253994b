"""Styles: the weights files in the package and in the user's folder, and what they say of themselves."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper
from platformdirs import user_data_path

from stylecam.errors import StyleError

DEFAULT = "starry"
FAST = "-fast"
CARD_KEY = "stylecam"
GRAMS_KEY = "stylecam.grams"

Array: TypeAlias = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Style:
    """A named look: a weights file that has been read and found whole, and which of its styles to use.

    `card` is the model card, `model` the parsed graph: uint8 [N, H, W, 3] BGR in and out. `mix` holds
    a weight for each style of a net of several, None where the file as such is meant.
    """

    name: str
    path: Path
    card: dict[str, Any]
    model: onnx.ModelProto
    mix: tuple[float, ...] | None = None

    @property
    def net(self) -> str:
        """The kind of net: "full" or "fast"."""
        return str(self.card["net"]["kind"])

    @property
    def styles(self) -> list[str]:
        """The names of all styles that the net carries."""
        return [each["style"] for each in self.card.get("styles", ())] or [self.name]

    @cached_property
    def grams(self) -> dict[str, Array]:
        """The target Gram matrices, fp32 (styles, C, C) by style layer; one, mixed, where `mix` is set."""
        grams = unpack_grams(_metadata(self.model)[GRAMS_KEY])
        if self.mix is None:
            return grams
        mix = np.asarray([self.mix], np.float32)
        return {layer: np.tensordot(mix, gram, 1) for layer, gram in grams.items()}

    def mixed(self, weights: Mapping[str, float]) -> Style:
        """Return the mixture of this net's styles, its card speaking of these alone.

        `weights` by style are relative to each other. Raises StyleError.
        """
        missing = [name for name in weights if name not in self.styles]
        if missing:
            raise StyleError(f"{self.path} has no style {missing[0]!r}", f"it has {', '.join(self.styles)}")
        total = sum(weights.values())
        mix = tuple(weights.get(name, 0.0) / total for name in self.styles)
        each = [about for about in self.card["styles"] if weights.get(about["style"])]
        about = {key: " + ".join(dict.fromkeys(part[key] for part in each)) for key in each[0]}
        name = format_mix(weights)
        card = {key: value for key, value in self.card.items() if key != "styles"} | about | {"style": name}
        goal = card["objective"]
        if isinstance(goal["style_weight"], list):
            card["objective"] = goal | {"style_weight": float(np.dot(mix, goal["style_weight"]))}
        return Style(name, self.path, card, self.model, mix)

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """The net's learned numbers in fp32, under the names that the torch module gives them."""
        named = ((init.name, init) for init in self.model.graph.initializer)
        return {
            name.removeprefix("net."): numpy_helper.to_array(init).astype(np.float32)
            for name, init in named
            if name.startswith("net.")
        }


def weights_folders() -> list[Path]:
    """Return where weights files are looked for: the package, a checkout beside it, the user's folder."""
    package = Path(__file__).parent
    shipped = package / "weights" if (package / "weights").is_dir() else package.parent / "weights"
    return [shipped, user_data_path("stylecam") / "weights"]


def style_files() -> dict[str, Path]:
    """Return every weights file by name; the user's own goes before a shipped one of the same name."""
    return {file.stem: file for folder in weights_folders() for file in sorted(folder.glob("*.onnx"))}


def list_styles() -> tuple[list[Style], list[StyleError]]:
    """Read every weights file there is; those that are damaged are told beside the good ones.

    A net of several styles stands for each of them that has no net of its own of the same kind.
    """
    good, bad = [], []
    for path in style_files().values():
        try:
            good.append(read_style(path))
        except StyleError as exc:
            bad.append(exc)
    single = [style for style in good if len(style.styles) == 1]
    own = {(style.name, style.net) for style in single}
    shared = [
        several.mixed({name: 1})
        for several in good
        for name in several.styles
        if len(several.styles) > 1 and (name, several.net) not in own
    ]
    return sorted(single + shared, key=lambda style: (style.name, style.net)), bad


def find_style(name: str = DEFAULT, net: str = "auto", *, on_gpu: bool = False) -> Style:
    """Read the style called `name`, a mix ("starry:0.6,wave:0.4"), or the weights file at that path.

    `net` is "full", "fast", or "auto": full on a GPU, on a CPU fast where there is one. A style's own
    net goes before one that it shares with others. Raises StyleError for an unknown style (the message
    names the known ones), a missing net, a damaged file.
    """
    if names_file(name):
        style = read_style(Path(name))
        check_kind(name, style.net, net)
        return style
    weights = parse_mix(name)
    either = ["full", "fast"] if on_gpu else ["fast", "full"]
    for kind in either if net == "auto" else [net]:
        found = _find_single(next(iter(weights)), kind) if len(weights) == 1 else None
        found = found or _find_shared(weights, kind)
        if found:
            return found
    known = {each for style in list_styles()[0] for each in style.styles}
    unknown = [each for each in weights if each not in known]
    if unknown:
        listed = ", ".join(sorted(known)) or "none"
        raise StyleError(f"style {unknown[0]!r} is unknown", f"known: {listed}; or name a .onnx file")
    if len(weights) > 1:
        raise StyleError(
            f"no {net} net holds all of {', '.join(weights)}", "only styles of one net can be mixed"
        )
    other = "fast" if net == "full" else "full"
    raise StyleError(f"style {name!r} has no {net} net", f"name --net {other}")


def parse_mix(text: str) -> dict[str, float]:
    """Return the weight of each style of "starry:0.6,wave:0.4", or of a plain name. Raises StyleError."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, colon, number = part.strip().partition(":")
        try:
            weight = float(number) if colon else 1.0
        except ValueError:
            weight = math.nan
        if not name or name in weights or not 0 <= weight < math.inf:
            raise StyleError(
                f"{text!r} is not a style nor a mix of styles", 'write a mix like "starry:0.6,wave:0.4"'
            )
        weights[name] = weight
    if not any(weights.values()):
        raise StyleError(f"{text!r} gives every style the weight 0", "give one of them more")
    return {name: weight for name, weight in weights.items() if weight}


def format_mix(weights: Mapping[str, float]) -> str:
    """Undo `parse_mix`."""
    if len(weights) == 1:
        return next(iter(weights))
    return ",".join(f"{name}:{weight:g}" for name, weight in weights.items())


def _find_single(name: str, kind: str) -> Style | None:
    """Read the net of that kind, by the file's name first; a file may be called otherwise than its net is."""
    files = style_files()
    for stem in (name + FAST, name) if kind == "fast" else (name, name + FAST):
        style = read_style(files[stem]) if stem in files else None
        if style and style.net == kind:
            return style
    return None


def _find_shared(weights: Mapping[str, float], kind: str) -> Style | None:
    for path in style_files().values():
        with suppress(StyleError):  # a damaged file among the others is not this style's concern
            several = read_style(path)
            if len(several.styles) > 1 and several.net == kind and set(weights) <= set(several.styles):
                return several.mixed(weights)
    return None


def names_file(name: str) -> bool:
    """Tell whether a file is meant, and not a style that is looked up."""
    return name.endswith((".onnx", ".ckpt")) or "/" in name or "\\" in name


def check_kind(name: str, kind: str, wanted: str) -> None:
    """Raise StyleError where a file holds another kind of net than is wanted ("auto": any)."""
    if wanted not in ("auto", kind):
        raise StyleError(f"{name} holds a {kind} net, not a {wanted} one", f"name --net {kind}")


def read_style(path: Path) -> Style:
    """Read and verify one weights file. Raises StyleError."""
    hint = 'name a .onnx file that "stylecam export" wrote, or a style that "stylecam styles" lists'
    if not path.is_file():
        raise StyleError(f"there is no weights file {path}", hint)
    try:
        # Bytes that lie in other files are none of ours; whatever the suffix, only protobuf is.
        model = onnx.load(path, format="protobuf", load_external_data=False)
        card = json.loads(_metadata(model)[CARD_KEY])
        digest = card["graph_sha256"]
    except (DecodeError, OSError) as exc:
        raise StyleError(f"{path} is not a weights file, or is damaged: {exc}", hint) from exc
    except (KeyError, TypeError, ValueError) as exc:
        raise StyleError(f"{path} is an ONNX file without stylecam's model card", hint) from exc
    if digest != graph_digest(model):
        raise StyleError(
            f"{path} is damaged: its graph is not the one it was written with", "fetch or export it again"
        )
    return Style(path.stem.removesuffix(FAST), path, card, model)


def graph_digest(model: onnx.ModelProto) -> str:
    """Return the sha256 over the whole graph, nodes and numbers: the card's `graph_sha256`."""
    return hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()


def write_card(model: onnx.ModelProto, card: Mapping[str, Any], grams: Mapping[str, Array]) -> None:
    """Put the model card and the Gram matrices into the file's metadata, in place."""
    card = {**card, "graph_sha256": graph_digest(model)}
    entries = {CARD_KEY: json.dumps(card), GRAMS_KEY: pack_grams(grams)}
    onnx.helper.set_model_props(model, entries)


def pack_grams(grams: Mapping[str, Array]) -> str:
    """Return Gram matrices as text: the upper triangles in 8 bits, zipped, base64.

    What is kept of an entry is the square root of |G_ij| / sqrt(G_ii G_jj), which lies within 0..1,
    and its sign; beside it the diagonal in fp32. Every entry comes back to within 1 part in 250 of
    sqrt(G_ii G_jj), in half the room that half precision takes.
    """
    packed: dict[str, NDArray[Any]] = {}
    for layer, gram in grams.items():
        rows, columns = np.triu_indices(gram.shape[-1])
        energy = np.diagonal(gram, axis1=1, axis2=2)
        size = np.sqrt(np.maximum(energy, 1e-30))  # a channel may be silent
        cosine = gram[:, rows, columns] / (size[:, rows] * size[:, columns])
        packed[layer] = np.rint(255 * np.sqrt(np.minimum(np.abs(cosine), 1))).astype(np.uint8)
        packed[f"{layer}.energy"] = energy.astype(np.float32)
        packed[f"{layer}.minus"] = np.packbits(cosine < 0, axis=1)
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **packed)
    return base64.b64encode(file.getvalue()).decode()


def unpack_grams(text: str) -> dict[str, Array]:
    """Undo `pack_grams`, and what stood before it took 8 bits: triangles in half precision."""
    packed = np.load(io.BytesIO(base64.b64decode(text)))
    grams: dict[str, Array] = {}
    for layer in (name for name in packed.files if "." not in name):
        kept = packed[layer]
        side = int((8 * kept.shape[1] + 1) ** 0.5 - 1) // 2
        rows, columns = np.triu_indices(side)
        if kept.dtype == np.uint8:
            size = np.sqrt(packed[f"{layer}.energy"])
            minus = np.unpackbits(packed[f"{layer}.minus"], axis=1, count=kept.shape[1]).astype(bool)
            cosine = np.square(kept.astype(np.float32) / 255) * np.where(minus, np.float32(-1), np.float32(1))
            triangle = cosine * size[:, rows] * size[:, columns]
        else:
            triangle = kept.astype(np.float32) * packed[f"{layer}.scale"][:, None]
        gram = np.zeros((len(triangle), side, side), np.float32)
        gram[:, rows, columns] = gram[:, columns, rows] = triangle
        grams[layer] = gram
    return grams


def _metadata(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}
