from __future__ import annotations

import json

import pytest

from stylecam.meter import Meter, percentile_ms


def test_fps_leaves_start_up_out() -> None:
    meter = Meter(clock=lambda: 0.0)
    for i in range(11):
        meter.count_batch([100 + i / 10 - 0.02], [100 + i / 10], 0.01)
    assert meter.fps == pytest.approx(10)
    assert meter.wall_s == pytest.approx(101)
    assert meter.latency_p50_ms == pytest.approx(20)
    assert meter.net_p95_ms == pytest.approx(10)


def test_fps_of_batches_is_not_flattered_by_the_first() -> None:
    meter = Meter(clock=lambda: 0.0)
    for i in range(3):
        meter.count_batch([0.0] * 4, [1.0 + i] * 4, 0.8)
    assert meter.frames == 12
    assert meter.fps == pytest.approx(4)
    assert meter.net_p50_ms == pytest.approx(200)


def test_a_single_batch_and_none_at_all() -> None:
    meter = Meter(clock=lambda: 0.0)
    assert meter.fps == meter.recent_fps == meter.latency_p95_ms == 0.0
    meter.count_batch([0.0, 0.0], [0.5, 0.5], 0.4)
    assert meter.fps == pytest.approx(4)


def test_recent_figures_forget_the_past() -> None:
    meter = Meter(clock=lambda: 0.0)
    for i in range(50):
        meter.count_batch([i - 0.9], [float(i)], 0.1)
    for i in range(1, 41):
        meter.count_batch([49 + i / 20 - 0.01], [49 + i / 20], 0.1)
    assert meter.recent_fps == pytest.approx(20)
    assert meter.recent_latency_ms == pytest.approx(10)
    assert meter.latency_p95_ms == pytest.approx(900)


def test_a_slow_net_still_has_a_rate() -> None:
    meter = Meter(clock=lambda: 0.0)
    for i in range(3):
        meter.count_batch([4.0 * i], [4.0 * i + 3], 3.0)
    assert meter.recent_fps == pytest.approx(0.25)


def test_a_run_that_stands_still_has_no_rate() -> None:
    now_s = 0.0
    meter = Meter(clock=lambda: now_s)
    for i in range(20):
        meter.count_batch([i / 10], [i / 10], 0.1)
    now_s = 3.0
    assert meter.recent_fps == pytest.approx(10)
    now_s = 5.0
    assert meter.recent_fps == 0.0


def test_percentiles() -> None:
    values = [i / 1000 for i in range(1, 101)]
    assert percentile_ms(values, 50) == pytest.approx(50)
    assert percentile_ms(values, 95) == pytest.approx(95)
    assert percentile_ms([0.002, 0.001], 95) == pytest.approx(2)


def test_memory_is_bounded_and_figures_are_json() -> None:
    meter = Meter()
    for i in range(5000):
        meter.count_batch([0.0], [float(i)], 0.0)
    assert len(meter._latencies_s) == len(meter._recent) == 4096
    assert json.loads(json.dumps(meter.to_dict()))["frames"] == 5000
