from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stylecam.errors import StyleError
from stylecam.styles import (
    Style,
    find_style,
    format_mix,
    graph_digest,
    list_styles,
    pack_grams,
    parse_mix,
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


@pytest.fixture
def only_mine(user_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, and no other."""
    monkeypatch.setattr("stylecam.styles.weights_folders", lambda: [user_weights])
    return user_weights


@pytest.fixture
def shared(tiny_styles_path: Path) -> Style:
    """A net of the styles one, two and three."""
    return read_style(tiny_styles_path)


def put(path: Path, style: Style, kind: str = "full", **changes: Any) -> Path:
    """Write a copy of a style whose card says that its net is of this kind, and what else is changed."""
    model = onnx.ModelProto()
    model.CopyFrom(style.model)
    card = {**style.card, **changes, "net": {**style.card["net"], "kind": kind}}
    write_card(model, card, style.grams)
    onnx.save(model, path)
    return path


def called(*names: str) -> list[dict[str, str]]:
    """What a card says of styles of these names."""
    return [{"style": name, "title": name.title(), "painter": "Nobody", "year": "1889"} for name in names]


def sort_out(styles: list[Style]) -> list[tuple[str, str, str]]:
    return [(style.name, style.net, style.path.name) for style in styles]


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


def test_a_net_is_what_its_card_says_not_what_its_file_is_called(only_mine: Path, tiny_style: Style) -> None:
    bold = put(only_mine / "bold.onnx", tiny_style, "fast")
    for net in ("auto", "fast"):
        assert find_style("bold", net).path == bold
    with pytest.raises(StyleError, match="'bold' has no full net"):
        find_style("bold", "full")
    full = put(only_mine / "bold-fast.onnx", tiny_style)
    assert (find_style("bold", "full").path, find_style("bold", "fast").path) == (full, bold)
    for path, kind in ((bold, "full"), (full, "fast")):  # where both files could be meant, as they are called
        put(path, tiny_style, kind)
    put(bold, tiny_style, "fast")
    assert find_style("bold", "fast").path == full


def test_a_style_of_a_shared_net_is_found_by_its_name(only_mine: Path, shared: Style) -> None:
    path = put(only_mine / "gallery.onnx", shared)
    style = find_style("two")
    assert (style.name, style.path, style.net, style.mix) == ("two", path, "full", (0, 1, 0))
    assert (style.card["style"], style.card["title"], style.card["year"]) == ("two", "Two", "1881")
    assert "styles" not in style.card


def test_the_file_of_a_shared_net_can_be_named_itself(only_mine: Path, shared: Style) -> None:
    path = put(only_mine / "gallery.onnx", shared)
    for name in ("gallery", str(path)):
        style = find_style(name)
        assert (style.name, style.mix, style.styles) == ("gallery", None, ["one", "two", "three"])


def test_a_styles_own_net_goes_before_a_shared_one(only_mine: Path, tiny_style: Style, shared: Style) -> None:
    put(only_mine / "gallery.onnx", shared)
    put(only_mine / "gallery-fast.onnx", shared, "fast")
    own = put(only_mine / "two.onnx", tiny_style)
    assert find_style("two", "full").path == own
    assert find_style("two", "full").mix is None
    assert find_style("three", "full").path.name == "gallery.onnx"


def test_the_kind_of_net_goes_before_whose_net_it_is(
    only_mine: Path, tiny_style: Style, shared: Style
) -> None:
    own = put(only_mine / "two.onnx", tiny_style)
    gallery = put(only_mine / "gallery-fast.onnx", shared, "fast")
    assert find_style("two").path == find_style("two", "fast", on_gpu=True).path == gallery
    assert find_style("two", on_gpu=True).path == find_style("two", "full").path == own
    assert find_style("three", on_gpu=True).path == gallery
    with pytest.raises(StyleError, match="'three' has no full net"):
        find_style("three", "full")


def test_a_mix_comes_from_one_net(only_mine: Path, tiny_style: Style, shared: Style) -> None:
    put(only_mine / "one.onnx", tiny_style)
    full = put(only_mine / "gallery.onnx", shared)
    fast = put(only_mine / "gallery-fast.onnx", shared, "fast")
    style = find_style("three:3,one:1")
    assert (style.path, style.mix) == (fast, (0.25, 0, 0.75))
    assert find_style("three:3,one:1", "full").path == full
    assert find_style("three,one", on_gpu=True).mix == (0.5, 0, 0.5)
    assert find_style("three:1,one:0").name == "three"


def test_styles_of_different_nets_cannot_be_mixed(only_mine: Path, tiny_style: Style, shared: Style) -> None:
    put(only_mine / "gallery.onnx", shared)
    put(only_mine / "others.onnx", shared, styles=called("four", "five", "six"))
    put(only_mine / "seven.onnx", tiny_style)
    for mix in ("one,four", "one,seven", "one,two,six"):
        with pytest.raises(StyleError, match="holds all of one, ") as caught:
            find_style(mix)
        assert caught.value.hint == "only styles of one net can be mixed"
    with pytest.raises(StyleError, match="no fast net holds all of one, two"):
        find_style("one,two", "fast")


def test_unknown_names_list_the_styles_of_shared_nets_too(
    only_mine: Path, tiny_style: Style, shared: Style
) -> None:
    put(only_mine / "gallery.onnx", shared)
    put(only_mine / "dunes-fast.onnx", tiny_style, "fast")
    for name in ("tow", "one:2,tow:1"):
        with pytest.raises(StyleError, match="style 'tow' is unknown") as caught:
            find_style(name)
        assert caught.value.hint.startswith("known: dunes, one, three, two;")


def test_a_damaged_file_does_not_hide_a_shared_net(only_mine: Path, shared: Style) -> None:
    (only_mine / "a.onnx").write_text("no net")
    gallery = put(only_mine / "gallery.onnx", shared)
    assert find_style("two").path == gallery


def test_the_list_has_each_style_of_a_shared_net(only_mine: Path, tiny_style: Style, shared: Style) -> None:
    put(only_mine / "gallery.onnx", shared)
    put(only_mine / "two.onnx", tiny_style)
    put(only_mine / "three-fast.onnx", tiny_style, "fast")
    (only_mine / "broken.onnx").write_text("no net")
    good, bad = list_styles()
    assert sort_out(good) == [
        ("one", "full", "gallery.onnx"),
        ("three", "fast", "three-fast.onnx"),
        ("three", "full", "gallery.onnx"),
        ("two", "full", "two.onnx"),
    ]
    assert [style.mix for style in good] == [(1, 0, 0), None, (0, 0, 1), None]
    assert good[0].card["title"] == "One"
    assert ["broken.onnx" in error.message for error in bad] == [True]


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("starry", {"starry": 1}),
        ("starry:0.6,wave:0.4", {"starry": 0.6, "wave": 0.4}),
        ("wave:3, starry:1e0", {"wave": 3, "starry": 1}),
        ("starry,wave", {"starry": 1, "wave": 1}),
        ("starry:2,wave:0", {"starry": 2}),
    ],
)
def test_a_mix_is_read_and_written(text: str, weights: dict[str, float]) -> None:
    assert parse_mix(text) == weights
    assert parse_mix(format_mix(weights)).keys() == weights.keys()
    if len(weights) > 1:
        assert parse_mix(format_mix(weights)) == weights


@pytest.mark.parametrize(
    "text",
    ["", ",", "a,", "a:", ":1", "a:x", "a:-1", "a:inf", "a:nan", "a:1:2", "a:1,a:2", "a:0", "a:0,b:0"],
)
def test_what_is_no_mix_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(StyleError) as caught:
        parse_mix(text)
    assert repr(text) in caught.value.message
    assert "starry:0.6,wave:0.4" in caught.value.hint or "give one of them more" in caught.value.hint


def test_a_mixture_has_a_card_and_grams_of_its_own(shared: Style) -> None:
    before = json.dumps(shared.card)
    style = shared.mixed({"three": 3, "one": 1})
    assert style.mix == (0.25, 0, 0.75)
    said = {key: style.card[key] for key in ("style", "title", "painter", "year", "licence")}
    assert said == {
        "style": "three:3,one:1", "title": "One + Three", "painter": "Nobody", "year": "1880 + 1882",
        "licence": "CC0",
    }  # fmt: skip
    assert (style.name, style.styles) == ("three:3,one:1", ["three:3,one:1"])
    assert style.card["objective"]["style_weight"] == pytest.approx(0.25 * 5 + 0.75 * 11)
    assert style.card["net"] == shared.card["net"]
    for layer, grams in shared.grams.items():
        mixed = style.grams[layer]
        assert mixed.shape == (1, *grams.shape[1:])
        np.testing.assert_allclose(mixed[0], 0.25 * grams[0] + 0.75 * grams[2], rtol=1e-5, atol=1e-7)
    assert json.dumps(shared.card) == before


def test_one_style_weight_stays_as_it_is_in_a_mixture(only_mine: Path, shared: Style) -> None:
    objective = shared.card["objective"] | {"style_weight": 4.0}
    style = read_style(put(only_mine / "gallery.onnx", shared, objective=objective))
    assert style.mixed({"one": 1, "two": 1}).card["objective"]["style_weight"] == 4


def test_a_mixture_of_styles_that_the_net_lacks_is_refused(shared: Style) -> None:
    with pytest.raises(StyleError, match="has no style 'four'") as caught:
        shared.mixed({"one": 1, "four": 1})
    assert caught.value.hint == "it has one, two, three"


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


def foreign_net(path: Path, data: str = "weights.data") -> Path:
    """A net of somebody else's whose numbers should lie beside it, and do not."""
    numbers = numpy_helper.from_array(np.ones(9, np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [9])], [numbers],
    )  # fmt: skip
    onnx.save(helper.make_model(graph), path, save_as_external_data=True, location=data, size_threshold=0)
    path.with_name(data).unlink()
    return path


def test_a_foreign_net_without_its_numbers_is_refused_and_hides_no_other(
    only_mine: Path, tiny_style: Style
) -> None:
    foreign = foreign_net(only_mine / "foreign.onnx")
    with pytest.raises(StyleError, match="without stylecam's model card"):
        read_style(foreign)
    mine = put(only_mine / "mine.onnx", tiny_style)
    good, bad = list_styles()
    assert [style.path for style in good] == [mine]
    assert [str(foreign) in error.message for error in bad] == [True]


@pytest.mark.parametrize("name", ["report.json", "graph.textproto", "net.onnxtxt"])
def test_no_suffix_makes_a_file_of_something_else_a_net(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"style": "none"}')
    with pytest.raises(StyleError, match="is not a weights file"):
        read_style(tmp_path / name)


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


def test_grams_come_back_to_within_one_part_in_250() -> None:
    rng = np.random.default_rng(0)
    features = {"conv1_2": rng.normal(size=(2, 16, 90)) * 1e-4, "relu4_3": rng.random((2, 5, 90)) * 1e5}
    grams = {layer: (f @ f.transpose(0, 2, 1)).astype(np.float32) for layer, f in features.items()}
    assert (grams["conv1_2"] < 0).any()  # before a rectifier features correlate either way
    text = pack_grams(grams)
    json.dumps(text)
    found = unpack_grams(text)
    assert list(found) == list(grams)
    for layer, gram in grams.items():
        assert found[layer].dtype == np.float32
        np.testing.assert_array_equal(found[layer], found[layer].transpose(0, 2, 1))
        energy = np.diagonal(gram, axis1=1, axis2=2)
        np.testing.assert_allclose(np.diagonal(found[layer], axis1=1, axis2=2), energy, rtol=1e-6)
        off = np.abs(found[layer] - gram) / np.sqrt(energy[:, :, None] * energy[:, None, :])
        assert 0 < off.max() < 1 / 250


def test_grams_in_half_precision_of_earlier_files_are_read() -> None:
    old = io.BytesIO()
    parts: dict[str, Any] = {
        "relu1_2": np.asarray([[1, 0.25, 0.5]], np.float16),
        "relu1_2.scale": np.asarray([8], np.float32),
    }
    np.savez_compressed(old, allow_pickle=False, **parts)
    found = unpack_grams(base64.b64encode(old.getvalue()).decode())
    np.testing.assert_array_equal(found["relu1_2"], [[[8, 2], [2, 4]]])


def test_grams_of_a_black_painting_come_back() -> None:
    found = unpack_grams(pack_grams({"relu1_2": np.zeros((1, 4, 4), np.float32)}))
    np.testing.assert_array_equal(found["relu1_2"], np.zeros((1, 4, 4)))
