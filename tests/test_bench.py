from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch
from commands import stylecam, tree

from stylecam.bench import WARM_UP_FRAMES, bench, flicker
from stylecam.engines import open_engine
from stylecam.frames import Pixels
from stylecam.neural import judge
from stylecam.neural.losses import PerceptualLoss, style_targets
from stylecam.neural.options import Objective
from stylecam.neural.vgg import load_vgg
from stylecam.sinks.file import FileSink
from stylecam.sources import DemoSource
from stylecam.styles import Style
from stylecam.temporal import Smoother

BENCH = ("bench", "--size", "64x48", "--seconds", "0.2")


def test_the_first_frames_are_not_counted(tiny_style: Style, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []
    with open_engine(tiny_style, "onnxruntime", "cpu") as engine:
        infer = engine.infer

        def noted(frames: Pixels, style: object = None) -> Pixels:
            shapes.append(frames.shape)
            return infer(frames)

        monkeypatch.setattr(engine, "infer", noted)
        *_, meter = bench(engine, (64, 48), 0.1)
    assert meter.wall_s >= 0.1
    assert meter.frames == len(shapes) - WARM_UP_FRAMES > 0
    assert set(shapes) == {(1, 48, 64, 3)}
    assert 0 < meter.net_p50_ms <= meter.net_p95_ms


def test_the_command(tiny_style_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = stylecam(*BENCH, "-s", tiny_style_path, "--json")
    assert done.code == 0, done.err
    common = {"frames", "fps", "wall_s", "size_wh", "engine", "device", "precision", "style", "net", "output"}
    assert done.figures.keys() == common | {"net_ms", "net_only_fps", "cpu"}
    assert done.figures["net_ms"].keys() == {"p50", "p95"}
    assert (done.figures["size_wh"], done.figures["output"]) == ([64, 48], "null")
    assert f"{done.figures['fps']:.2f} fps at 64x48" in done.out
    assert tree(tmp_path) == {}


def test_frames_go_with_a_clip() -> None:
    done = stylecam(*BENCH, "--frames", 5)
    assert done.code == 2
    assert "--temporal" in done.err


@pytest.mark.slow
def test_compare(tiny_style_path: Path) -> None:
    done = stylecam(*BENCH, "-s", tiny_style_path, "--compare", "--json")
    assert done.code == 0, done.err
    compared = done.figures["compare"]
    fps = compared["fps"]
    assert fps.keys() == {"engine", "onnxruntime_cpu", "torch_eager_fp32"}
    for rival in ("onnxruntime_cpu", "torch_eager_fp32"):
        assert compared[f"times_{rival}"] == pytest.approx(fps["engine"] / fps[rival], abs=0.02)
    assert compared["matmul_tflops"] > 0
    assert compared["matmul_precision"] in ("bf16", "fp32")
    assert compared["net_over_ideal"] > 0


@pytest.mark.slow
def test_the_count_of_operations(tiny_style: Style) -> None:
    """By hand: each convolution is 2 * kernel^2 * ins * outs operations for each pixel it gives."""
    from stylecam.neural.yardstick import net_gflop

    width, height = 64, 48
    a, b, c = 8, 16, 32
    down = 81 * 3 * a + 9 * a * b / 4 + 9 * b * c / 16
    body = (5 * 2 * 9 * c + 4) * c / 16  # and the noise's four planes
    up = 9 * c * b / 4 + 9 * b * a + 81 * a * 3
    assert net_gflop(tiny_style, (width, height)) == pytest.approx(2e-9 * width * height * (down + body + up))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """The first frames of the built-in clip."""
    path = tmp_path / "clip.mp4"
    with DemoSource((96, 64)) as source, FileSink(path, fps=30) as sink:
        for frame in islice(iter(source.read, None), 8):
            sink.write(frame)
    return path


def test_flicker_of_a_clip(tiny_style: Style, clip: Path) -> None:
    with open_engine(tiny_style, "onnxruntime", "cpu") as engine:
        seen = [out for _, _, out in flicker(engine, clip, (64, 48), Smoother(0), 5)]
        *_, (measured, source, _) = flicker(engine, clip, (64, 48), Smoother(0), 5)
        assert len(seen) == 5
        assert source.shape == (48, 64, 3)
        assert (engine.infer(source[None])[0] == seen[-1]).all()
        *_, (smoothed, _, _) = flicker(engine, clip, (64, 48), Smoother(1), 5)
    assert measured.figures()["detail"] > 0
    assert smoothed.figures()["warp_error"] < measured.figures()["warp_error"]


def test_the_command_measures_flicker_and_style(tiny_style_path: Path, clip: Path, vgg_file: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    vgg, goal = load_vgg("vgg16", str(vgg_file)), Objective(style_weight=(1e9,))
    targets = style_targets(vgg, goal, [torch.rand(1, 3, 64, 64) * 255])
    monkeypatch.setattr(judge, "load_objective", lambda _: PerceptualLoss(vgg, goal, targets))
    done = stylecam("bench", "-s", tiny_style_path, "--temporal", clip, "--size", "64x48", "--json")
    assert done.code == 0, done.err
    assert {"warp_ratio", "still_error", "detail", "style_loss", "objective"} <= done.figures.keys()
    assert (done.figures["frames"], done.figures["size_wh"]) == (8, [64, 48])
    assert done.figures["style_loss"] > 0


def test_a_clip_that_is_missing_is_found_missing_before_the_net_is_opened(tmp_path: Path) -> None:
    """A net's opening takes seconds, and its compiling many."""
    clip, net = tmp_path / "clip.mp4", tmp_path / "net.onnx"
    done = stylecam("bench", "-s", net, "--temporal", clip)
    assert done.code == 1
    assert f'"{clip}"' in done.err
    assert net.name not in done.err
