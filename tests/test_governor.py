"""Holding a rate: the ladder, down in a hurry, up with patience."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stylecam.errors import StylecamError
from stylecam.live.governor import FULL_COST, Governor, Rung, make_ladder, open_governor

HD = (1280, 720)


def test_the_ladder_falls_in_cost_and_keeps_the_shape() -> None:
    ladder = make_ladder(HD, ["full", "fast"])
    assert ladder[0] == Rung("full", HD)
    assert Rung("fast", HD) in ladder
    costs = [rung.cost for rung in ladder]
    assert costs == sorted(costs, reverse=True)
    for rung in ladder:
        assert rung.size_wh[0] % 8 == rung.size_wh[1] % 8 == 0
        assert rung.size_wh[0] / rung.size_wh[1] == pytest.approx(16 / 9, rel=0.03)
    assert {rung.net for rung in make_ladder(HD, ["fast"])} == {"fast"}
    assert len(make_ladder(HD, ["full"])) == len(make_ladder(HD, ["fast"]))


def test_small_frames_have_a_ladder_too() -> None:
    assert make_ladder((64, 48), ["fast"]) == (Rung("fast", (64, 48)),)


def test_every_size_can_be_held_as_it_is() -> None:
    for net in ("full", "fast"):
        governor = open_governor("30", None, (48, 32), net, ["full", "fast"])
        assert governor is not None
        assert governor.rung == Rung(net, (48, 32))


def test_the_first_frame_of_a_rung_tells_nothing() -> None:
    """Its net may have been compiled in that time; counted, it would send the run far down."""
    governor = Governor(make_ladder(HD, ["fast"]), 30)
    took_s = machine(1280 * 720 * 24)
    now_s = 2.0
    governor.observe(2.0, now_s)
    run(governor, took_s, 1.0, now_s)
    assert took_s(governor.rung) <= 0.92 / 30
    assert governor.index == 1


def run(governor: Governor, took_s: Callable[[Rung], float], seconds: float, now_s: float = 0.0) -> float:
    """Let time pass: each frame takes what its rung takes, or comes at the rate held."""
    end_s = now_s + seconds
    while now_s < end_s:
        took = took_s(governor.rung)
        now_s += max(took, 1 / governor.fps)
        governor.observe(took, now_s)
    return now_s


def machine(pixels_per_s: float) -> Callable[[Rung], float]:
    return lambda rung: rung.cost / pixels_per_s


def test_it_goes_down_quickly_and_as_far_as_it_must() -> None:
    governor = Governor(make_ladder(HD, ["fast"]), 30)
    slow = machine(1280 * 720 * 8)  # 8 fps at full size
    run(governor, slow, 1.0)
    assert slow(governor.rung) <= 1 / 30
    assert governor.index == min(i for i, rung in enumerate(governor.ladder) if slow(rung) <= 0.92 / 30)


def test_a_single_late_frame_is_nothing() -> None:
    governor = Governor(make_ladder(HD, ["fast"]), 30)
    for number in range(60):
        governor.observe(0.2 if number == 30 else 0.02, number / 30)
    assert governor.index == 0


def test_it_comes_back_up_when_the_machine_is_free_again() -> None:
    governor = Governor(make_ladder(HD, ["fast"]), 30)
    now_s = run(governor, machine(1280 * 720 * 12), 2.0)
    low = governor.index
    assert low > 0
    now_s = run(governor, machine(1280 * 720 * 60), 2.0, now_s)
    assert governor.index == low, "not before it has been easy for a while"
    run(governor, machine(1280 * 720 * 60), 20.0, now_s)
    assert governor.index == 0


def test_it_does_not_swing() -> None:
    """Where a step up is too much, the next attempt is put off further each time."""
    governor = Governor(make_ladder(HD, ["fast"]), 30)
    liar = {governor.ladder[0].size_wh: 0.05}  # its cost is more than its pixels tell
    changes = 0
    now_s = 0.0
    for _ in range(30 * 120):
        took = liar.get(governor.rung.size_wh, 0.01)
        now_s += max(took, 1 / 30)
        changes += governor.observe(took, now_s)
    assert 3 <= changes <= 14


def test_the_full_net_is_tried_where_it_fits() -> None:
    governor = open_governor("30", None, HD, "fast", ["full", "fast"])
    assert governor is not None
    assert governor.rung == Rung("fast", HD)
    run(governor, machine(1280 * 720 * 30 * FULL_COST * 2), 20.0)
    assert governor.rung == Rung("full", HD)


def test_what_may_come_next_is_known() -> None:
    governor = Governor(make_ladder(HD, ["fast"]), 30, start=1)
    assert governor.likely == (*governor.ladder[2:], governor.ladder[0])


def test_what_is_aimed_at_is_made_ready_first_and_what_is_not_ready_is_not_taken() -> None:
    governor = Governor(make_ladder(HD, ["full", "fast"]), 30)
    full, fast = governor.ladder[:2], governor.ladder[2:]
    ready = {full[0]}

    def late(frames: int = 6) -> Rung:
        for number in range(frames):
            governor.observe(0.3, number / 5, ready.__contains__)
        return governor.rung

    assert governor.likely == (*full[1:], *fast)
    assert late() == full[0], "there is nothing else yet"
    assert governor.likely[0] == fast[1]
    ready.add(full[1])
    assert late(1) == full[1], "better than nothing"
    ready.add(fast[-1])
    assert late() == fast[-1]
    ready.update(fast)
    assert governor.likely[0] != governor.rung
    assert governor.rung not in governor.likely


def test_a_step_up_waits_until_it_is_ready_and_a_rung_that_holds_stays() -> None:
    governor, ready = Governor(make_ladder(HD, ["fast"]), 30, start=2), set[Rung]()
    now_s = 0.0
    for _ in range(300):
        now_s += 1 / 30
        governor.observe(0.005, now_s, ready.__contains__)
    assert governor.index == 2
    assert governor.likely[0] == governor.ladder[1]
    ready.add(governor.ladder[1])
    assert governor.observe(0.005, now_s, ready.__contains__)
    assert governor.index == 1
    for took_s in (0.005, 0.2, 0.2, 0.2, 0.2, 0.01):
        assert not governor.observe(took_s, now_s, set[Rung]().__contains__)
    assert governor.likely[0] == governor.ladder[2], "what was late for a moment is forgotten"


def test_the_rate_that_is_held() -> None:
    assert open_governor(None, 30, HD, "fast", ["fast"]) is None
    found = open_governor("source", 25, HD, "fast", ["fast"])
    assert found is not None
    assert found.fps == 25
    for wanted, source_fps in (("source", None), ("fast", 30), ("0", 30), ("inf", 30)):
        with pytest.raises(StylecamError):
            open_governor(wanted, source_fps, HD, "fast", ["fast"])
