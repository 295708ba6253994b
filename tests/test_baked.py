"""A mix of styles that is part of the net, and OpenVINO's ways with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from nets import KINDS, THIRDS, MakeFile, distance, make_checkpoint, noise, paint, with_half_weights

from stylecam.engines import openvino as openvino_module
from stylecam.engines.baked import bake
from stylecam.engines.openvino import Key, OpenVinoEngine
from stylecam.engines.ort import open_session, provider_options, run_bound
from stylecam.neural.transformer import StyleNet
from stylecam.styles import Style, read_style

SHAPE = (1, 34, 46, 3)
FIRST, LAST = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
MIX = tuple(THIRDS)


@pytest.fixture
def kind() -> str:
    return "fast"


@pytest.fixture
def style(tiny_styles_path: Path) -> Style:
    return read_style(tiny_styles_path)


@pytest.fixture
def net(kind: str) -> StyleNet:
    """The truth about `style`."""
    return with_half_weights(make_checkpoint(styles=3, kind=kind).build_net())


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Key]:
    """Everything that OpenVINO compiles."""
    keys: list[Key] = []
    compile_it = OpenVinoEngine._compile

    def noting(self: OpenVinoEngine, key: Key, precision: str) -> object:
        keys.append(key)
        return compile_it(self, key, precision)

    monkeypatch.setattr(OpenVinoEngine, "_compile", noting)
    monkeypatch.setattr(openvino_module, "_SETTLED", 3)
    return keys


@pytest.fixture
def engine(style: Style, compiled: list[Key]) -> Iterator[OpenVinoEngine]:
    with OpenVinoEngine(style, precision="fp32") as opened:
        compiled.clear()
        yield opened


def settle(engine: OpenVinoEngine, mix: tuple[float, ...]) -> None:
    """Give a mix the time to be compiled in."""
    for _ in range(3):
        engine.infer(noise(*SHAPE), mix)
    assert engine._coming is not None
    engine._coming[1].result(timeout=60)


def uses(engine: OpenVinoEngine, mix: tuple[float, ...]) -> tuple[float, ...] | None:
    """The mix that is compiled into the net that a batch runs in."""
    return engine._request(SHAPE, mix)[0][1]


@pytest.mark.parametrize("each_kind", KINDS)
@pytest.mark.parametrize("mix", [FIRST, LAST, MIX])
def test_a_baked_net_paints_as_one_that_is_told_the_mix(
    make_onnx: MakeFile, each_kind: str, mix: tuple[float, ...]
) -> None:
    style = read_style(make_onnx(each_kind, 3))
    before = style.model.SerializeToString(deterministic=True)
    model = bake(style.model, mix)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["frames"]
    assert style.model.SerializeToString(deterministic=True) == before
    free, baked = (
        open_session(each.SerializeToString(), provider_options("cpu")) for each in (style.model, model)
    )
    frames = noise(2, 33, 47, 3)
    told = run_bound(free, {"frames": frames, "style": np.array([mix], np.float32)}, "cpu")
    assert distance(run_bound(baked, {"frames": frames}, "cpu"), told) <= 1


def test_what_it_was_opened_for_is_compiled_in(style: Style, net: StyleNet, compiled: list[Key]) -> None:
    frames = noise(*SHAPE)
    for opened_for, mix in ((style, FIRST), (style.mixed({"two": 3, "three": 1}), (0, 0.75, 0.25))):
        compiled.clear()
        with OpenVinoEngine(opened_for, precision="fp32") as engine:
            assert distance(engine.infer(frames), paint(net, frames, list(mix))) <= 1
        assert {baked for _, baked in compiled} == {mix}


def test_another_mix_is_an_input_until_it_settles(
    engine: OpenVinoEngine, net: StyleNet, compiled: list[Key]
) -> None:
    frames = noise(*SHAPE)
    for mix in (LAST, LAST, MIX, LAST, MIX, MIX, LAST):
        assert distance(engine.infer(frames, mix), paint(net, frames, list(mix))) <= 1
    assert compiled == [(SHAPE, None)]


def test_a_mix_that_has_settled_is_compiled_in(
    engine: OpenVinoEngine, net: StyleNet, compiled: list[Key]
) -> None:
    frames = noise(*SHAPE)
    settle(engine, MIX)
    assert compiled == [(SHAPE, None), (SHAPE, MIX)]
    assert distance(engine.infer(frames, MIX), paint(net, frames, THIRDS)) <= 1
    assert uses(engine, MIX) == MIX
    # Any other is an input again, and all that is there stays.
    assert uses(engine, LAST) is None
    assert distance(engine.infer(frames, LAST), paint(net, frames, list(LAST))) <= 1
    assert len(compiled) == 2


def test_the_first_mix_comes_back_compiled_in(
    engine: OpenVinoEngine, net: StyleNet, compiled: list[Key]
) -> None:
    frames = noise(*SHAPE)
    first = engine.infer(frames)
    settle(engine, MIX)
    np.testing.assert_array_equal(engine.infer(frames), first)
    assert uses(engine, FIRST) == FIRST
    assert sum(baked == FIRST for _, baked in compiled) == 1
    assert distance(first, paint(net, frames, list(FIRST))) <= 1


def test_it_can_be_closed_while_it_compiles(engine: OpenVinoEngine) -> None:
    for _ in range(3):
        engine.infer(noise(*SHAPE), MIX)
    engine.close()
    engine.close()


def test_a_net_of_one_style_has_nothing_to_bake(tiny_style: Style, compiled: list[Key]) -> None:
    with OpenVinoEngine(tiny_style, precision="fp32") as engine:
        for _ in range(4):
            engine.infer(noise(*SHAPE), [1.0])
        assert {baked for _, baked in compiled} == {None}
        assert engine._coming is None
