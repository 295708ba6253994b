"""Styles: the weights files in the package and in the user's folder, and what they say of themselves."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
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
    """A named look: one weights file that has been read and found whole.

    `card` is the model card, `model` the parsed graph: uint8 [N, H, W, 3] BGR in and out.
    """

    name: str
    path: Path
    card: dict[str, Any]
    model: onnx.ModelProto

    @property
    def net(self) -> str:
        """The kind of net: "full" or "fast"."""
        return str(self.card["net"]["kind"])

    @cached_property
    def grams(self) -> dict[str, Array]:
        """The paintings' target Gram matrices, fp32 (styles, C, C) by style layer."""
        return unpack_grams(_metadata(self.model)[GRAMS_KEY])

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
    """Read every weights file there is; those that are damaged are told beside the good ones."""
    good, bad = [], []
    for path in style_files().values():
        try:
            good.append(read_style(path))
        except StyleError as exc:
            bad.append(exc)
    return good, bad


def find_style(name: str = DEFAULT, net: str = "auto", *, on_gpu: bool = False) -> Style:
    """Read the style called `name`, or the weights file at that path.

    `net` is "full", "fast", or "auto": full on a GPU, on a CPU fast where there is one. Raises StyleError
    for an unknown style (the message names the known ones), a missing net, a damaged file.
    """
    if name.endswith(".onnx") or "/" in name or "\\" in name:
        return _of_kind(read_style(Path(name)), net)
    files = style_files()
    known = sorted({stem.removesuffix(FAST) for stem in files})
    if name not in known:
        listed = ", ".join(known) or "none"
        raise StyleError(f"style {name!r} is unknown", f"known: {listed}; or name a .onnx file")
    either = [name, name + FAST] if on_gpu else [name + FAST, name]
    wanted = {"full": [name], "fast": [name + FAST], "auto": either}[net]
    found = [files[stem] for stem in wanted if stem in files]
    if not found:
        raise StyleError(f"style {name!r} has no {net} net", "leave --net out to take the one there is")
    return read_style(found[0])


def _of_kind(style: Style, net: str) -> Style:
    if net not in ("auto", style.net):
        raise StyleError(f"{style.path} holds a {style.net} net, not a {net} one", "leave --net out")
    return style


def read_style(path: Path) -> Style:
    """Read and verify one weights file. Raises StyleError."""
    hint = 'name a .onnx file that "stylecam export" wrote, or a style that "stylecam styles" lists'
    if not path.is_file():
        raise StyleError(f"there is no weights file {path}", hint)
    try:
        model = onnx.load(path)
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
    """Return Gram matrices as text: the upper triangles, scaled into half precision, zipped, base64."""
    packed: dict[str, Array] = {}
    for layer, gram in grams.items():
        scale = np.maximum(np.abs(gram).max((1, 2)), 1e-30)  # a layer may be silent
        rows, columns = np.triu_indices(gram.shape[-1])
        packed[layer] = (gram[:, rows, columns] / scale[:, None]).astype(np.float16)
        packed[f"{layer}.scale"] = scale.astype(np.float32)
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **packed)
    return base64.b64encode(file.getvalue()).decode()


def unpack_grams(text: str) -> dict[str, Array]:
    """Undo `pack_grams`, to within half precision's 1 part in 2000 of each matrix's largest entry."""
    packed = np.load(io.BytesIO(base64.b64decode(text)))
    grams: dict[str, Array] = {}
    for layer in _layers(packed.files):
        triangle = packed[layer].astype(np.float32) * packed[f"{layer}.scale"][:, None]
        side = int((8 * triangle.shape[1] + 1) ** 0.5 - 1) // 2
        rows, columns = np.triu_indices(side)
        gram = np.zeros((len(triangle), side, side), np.float32)
        gram[:, rows, columns] = gram[:, columns, rows] = triangle
        grams[layer] = gram
    return grams


def _layers(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.endswith(".scale")]


def _metadata(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}
