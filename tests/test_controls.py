"""Settings that any thread may change, and the keys that change them."""

from __future__ import annotations

from dataclasses import fields
from threading import Thread
from typing import Any

import pytest

from stylecam.controls import Controls, Settings
from stylecam.errors import ControlError
from stylecam.keys import ARROWS, HELP, name_of, press

STYLES = ("composition", "starry", "wave")


@pytest.fixture
def controls() -> Controls:
    return Controls(Settings("starry"), STYLES)


def test_a_change_is_whole_or_not_at_all(controls: Controls) -> None:
    with pytest.raises(ControlError):
        controls.change(strength=0.5, smooth=7)
    assert controls.settings == Settings("starry")
    assert controls.version == 0
    changed = controls.change(strength=0.5, smooth=0.9)
    assert (changed.strength, changed.smooth, controls.version) == (0.5, 0.9, 1)
    assert controls.settings is changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strength": 1.5}, "out of range"),
        ({"strength": float("nan")}, "out of range"),
        ({"strength": "1"}, "not a number"),
        ({"strength": True}, "not a number"),
        ({"split": 1}, "not a switch"),
        ({"style": "sunflowers"}, "'sunflowers' is unknown"),
        ({"style": "starry:0.5,sunflowers:0.5"}, "'sunflowers' is unknown"),
        ({"style": "starry:x"}, "not a style"),
        ({"style": 3}, "not a text"),
        ({"style": ["wave"]}, "not a text"),
        ({"keep": "cat"}, "unknown"),
        ({"keep": "person"}, "needs a mask"),
        ({"colour": True}, "no setting 'colour'"),
    ],
)
def test_bad_values_are_named(controls: Controls, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ControlError, match=message) as raised:
        controls.change(**change)
    assert raised.value.hint
    assert controls.version == 0


def test_a_mask_allows_to_keep_a_part() -> None:
    controls = Controls(Settings("starry"), STYLES, has_mask=True)
    assert controls.change(keep="background").keep == "background"


def test_a_snapshot_is_taken_once(controls: Controls) -> None:
    assert not controls.take_snapshots()
    controls.ask_snapshot()
    assert [controls.take_snapshots(), controls.take_snapshots()] == [True, False]


def test_a_wait_ends_with_a_change(controls: Controls) -> None:
    Thread(target=controls.change, kwargs={"split": True}).start()
    assert controls.wait(0, 10) == 1
    assert controls.wait(1, 0.01) == 1


def test_to_dict_has_every_setting(controls: Controls) -> None:
    assert controls.to_dict().keys() == {field.name for field in fields(Settings)}


def keys(controls: Controls, *pressed: str) -> Settings:
    for key in pressed:
        press(controls, key)
    return controls.settings


def test_style_keys_go_round(controls: Controls) -> None:
    assert keys(controls, "right").style == "wave"
    assert keys(controls, "right").style == "composition"
    assert keys(controls, "left").style == "wave"
    assert keys(controls, "2").style == "starry"
    assert keys(controls, "4", "0").style == "starry"  # there are three
    controls.change(style="starry:0.5,wave:0.5")
    assert keys(controls, "right").style == "composition"  # from a mix to the first


def test_strength_keys_stop_at_the_ends(controls: Controls) -> None:
    assert keys(controls, "up").strength == 1
    assert keys(controls, *["down"] * 3).strength == 0.7
    assert keys(controls, *["down"] * 9).strength == 0


@pytest.mark.parametrize(
    ("key", "name"), [("c", "color"), ("m", "mirror"), ("s", "split"), ("r", "recording"), (" ", "paused")]
)
def test_switch_keys(controls: Controls, key: str, name: str) -> None:
    assert getattr(keys(controls, key), name)
    assert not getattr(keys(controls, key), name)


def test_other_keys(controls: Controls) -> None:
    assert not keys(controls, "f").figures
    press(controls, "p")
    assert controls.take_snapshots()
    assert keys(controls, "b").keep == "all"  # without a mask it does nothing
    masked = Controls(Settings("starry"), STYLES, has_mask=True)
    assert [keys(masked, "b").keep for _ in range(3)] == ["person", "background", "all"]
    version = controls.version
    assert keys(controls, "x", "", "h").style == "starry"
    assert controls.version == version
    press(controls, "q")
    assert controls.wants_quit


def test_codes_of_keys() -> None:
    assert {ARROWS[code] for code in ARROWS} == {"left", "right", "up", "down"}
    assert [name_of(code) for code in (65363, 2555904, 63235)] == ["right"] * 3
    assert [name_of(code) for code in (ord("q"), ord("Q"), 27, 0x100000 | ord("s"))] == ["q", "q", "q", "s"]
    assert [name_of(code) for code in (-1, 0, 0xFFFFFF)] == ["", "", ""]
    home, insert, f1, num_lock = 0xFF50, 0xFF63, 0xFFBE, 0x100000
    assert [name_of(code) for code in (home, insert, f1, num_lock | home, 0x240000)] == [""] * 5
    assert name_of(num_lock | 65361) == "left", "and not q, which is its low byte's letter"


def test_the_help_names_every_key() -> None:
    text = "\n".join(HELP)
    for key in ("1-9", "left", "up", "c:", "m:", "s:", "b:", "p:", "r:", "f:", "space:", "h:", "q:"):
        assert key in text
