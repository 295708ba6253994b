from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from stylecam.errors import StyleError
from stylecam.styles import (
    Style,
    find_style,
    graph_digest,
    pack_grams,
    read_style,
    style_files,
    unpack_grams,
    weights_folders,
    write_card,
)


@pytest.fixture
def user_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = weights_folders()[-1]
    folder.mkdir(parents=True)
    return folder


def put(path: Path, style: Style, kind: str = "full") -> Path:
    """Write a copy of a style whose card says that its net is of this kind."""
    model = onnx.ModelProto()
    model.CopyFrom(style.model)
    write_card(model, {**style.card, "net": {**style.card["net"], "kind": kind}}, style.grams)
    onnx.save(model, path)
    return path


def test_the_users_folder_goes_before_the_packages(user_weights: Path, tiny_style: Style) -> None:
    mine = put(user_weights / "starry.onnx", tiny_style)
    assert style_files()["starry"] == mine
    assert find_style("starry", "full").path == mine
    assert weights_folders()[0] != user_weights


def test_an_unknown_style_lists_the_known(user_weights: Path, tiny_style: Style) -> None:
    for name in ("waves.onnx", "waves-fast.onnx", "dunes-fast.onnx"):
        put(user_weights / name, tiny_style)
    with pytest.raises(StyleError, match="style 'wavs' is unknown") as caught:
        find_style("wavs")
    names = caught.value.hint.split(";")[0].removeprefix("known: ").split(", ")
    assert {"waves", "dunes"} <= set(names)
    assert "waves-fast" not in names


def test_full_on_a_gpu_and_fast_on_a_cpu(user_weights: Path, tiny_style: Style) -> None:
    full = put(user_weights / "waves.onnx", tiny_style)
    fast = put(user_weights / "waves-fast.onnx", tiny_style, "fast")
    assert find_style("waves").path == fast
    assert find_style("waves", on_gpu=True).path == full
    assert find_style("waves", "full").path == full
    assert find_style("waves", "fast", on_gpu=True).path == fast
    assert find_style("waves", "fast").name == "waves"
    full.unlink()
    assert find_style("waves", on_gpu=True).path == fast
    with pytest.raises(StyleError, match="'waves' has no full net"):
        find_style("waves", "full")


def test_a_path_is_read_as_it_is(tiny_style_path: Path) -> None:
    style = find_style(str(tiny_style_path), "full")
    assert (style.name, style.net, style.path) == ("tiny", "full", tiny_style_path)
    with pytest.raises(StyleError, match="holds a full net, not a fast one"):
        find_style(str(tiny_style_path), "fast")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StyleError, match="no weights file"):
        find_style(str(tmp_path / "gone.onnx"))


@pytest.mark.parametrize("content", [b"", b"This is no net.\n" * 50, b"\xff\xd8\xff\xe0" + bytes(2000)])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(StyleError):
        read_style(tmp_path / "a.onnx")


@pytest.mark.parametrize("part", [0.01, 0.3, 0.7, 0.95, 0.999])
def test_a_file_cut_off_is_refused(tmp_path: Path, tiny_style_path: Path, part: float) -> None:
    whole = tiny_style_path.read_bytes()
    (tmp_path / "a.onnx").write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(StyleError):
        read_style(tmp_path / "a.onnx")


def test_altered_weights_are_noticed(tmp_path: Path, tiny_style: Style, tiny_style_path: Path) -> None:
    whole = bytearray(tiny_style_path.read_bytes())
    weights = next(
        init.raw_data for init in tiny_style.model.graph.initializer if init.name == "net.paint.weight"
    )
    whole[whole.index(weights) + 100] ^= 1
    (tmp_path / "a.onnx").write_bytes(whole)
    with pytest.raises(StyleError, match="damaged: its graph is not the one"):
        read_style(tmp_path / "a.onnx")


@pytest.mark.parametrize("what", ["shape", "type", "name"])
def test_damaged_descriptions_of_weights_are_noticed(tmp_path: Path, tiny_style: Style, what: str) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(tiny_style.model)
    init = next(init for init in model.graph.initializer if init.name == "net.paint.weight")
    if what == "shape":
        init.dims[0] += 1
    elif what == "type":
        init.data_type = TensorProto.UNDEFINED
    whole = model.SerializeToString()
    if what == "name":
        whole = whole.replace(b"net.paint.weight", b"net.paint.we\xffght")
    (tmp_path / "a.onnx").write_bytes(whole)
    with pytest.raises(StyleError):
        read_style(tmp_path / "a.onnx")


def test_damage_anywhere_is_refused_or_harmless(tmp_path: Path, tiny_style_path: Path) -> None:
    """Whatever byte is hit, no other kind of error comes out."""
    whole = tiny_style_path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.integers(0, len(whole), 150).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "a.onnx").write_bytes(damaged)
        try:
            read_style(tmp_path / "a.onnx")
        except StyleError:
            refused += 1
    assert refused > 100


def test_a_foreign_net_is_refused(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])  # fmt: skip
    model = helper.make_model(graph)
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(StyleError, match="without stylecam's model card"):
        read_style(tmp_path / "a.onnx")
    for card in ("not json", "[]", "{}", "3"):
        helper.set_model_props(model, {"stylecam": card})
        onnx.save(model, tmp_path / "a.onnx")
        with pytest.raises(StyleError, match="without stylecam's model card"):
            read_style(tmp_path / "a.onnx")


def test_the_digest_covers_nodes_names_and_numbers(tiny_style: Style) -> None:
    def copy() -> onnx.ModelProto:
        model = onnx.ModelProto()
        model.CopyFrom(tiny_style.model)
        return model

    assert graph_digest(copy()) == tiny_style.card["graph_sha256"]
    renamed, rewired = copy(), copy()
    renamed.graph.initializer[0].name += "x"
    rewired.graph.node[-1].op_type = "Identity"
    assert graph_digest(renamed) != graph_digest(copy()) != graph_digest(rewired)


def test_grams_come_back_to_within_half_precision() -> None:
    rng = np.random.default_rng(0)
    features = {"relu1_2": rng.normal(size=(2, 16, 90)) * 1e-4, "relu4_3": rng.normal(size=(2, 5, 90)) * 1e5}
    grams = {layer: (f @ f.transpose(0, 2, 1)).astype(np.float32) for layer, f in features.items()}
    text = pack_grams(grams)
    json.dumps(text)
    found = unpack_grams(text)
    assert list(found) == list(grams)
    for layer, gram in grams.items():
        assert found[layer].dtype == np.float32
        np.testing.assert_array_equal(found[layer], found[layer].transpose(0, 2, 1))
        for style in range(2):
            largest = np.abs(gram[style]).max()
            np.testing.assert_allclose(found[layer][style], gram[style], rtol=0, atol=largest / 2000)


def test_grams_of_a_black_painting_come_back() -> None:
    found = unpack_grams(pack_grams({"relu1_2": np.zeros((1, 4, 4), np.float32)}))
    np.testing.assert_array_equal(found["relu1_2"], np.zeros((1, 4, 4)))
