"""What the bench compares with: torch's eager net, and the cores' own rate of multiplication."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from stylecam.neural.deploy import DeployableNet, load_net
from stylecam.neural.device import DTYPES, pick_precision
from stylecam.styles import Style

_SIDE = 4096
_RUNS = 3


class EagerNet:
    """The same net as most people run it: PyTorch, eager, fp32, on the CPU."""

    def __init__(self, style: Style, size_wh: tuple[int, int]) -> None:
        self._net = DeployableNet(load_net(style)).eval()
        self._mix = torch.eye(int(style.card["net"]["styles"]))[:1]
        self._frames = torch.randint(0, 256, (1, size_wh[1], size_wh[0], 3), dtype=torch.uint8)

    @torch.inference_mode()
    def seconds(self) -> float:
        """Return the median time of a frame over a few, after one that is not counted."""
        return _median_s(lambda: self._net(self._frames, self._mix))


def matmul_precision() -> str:
    """Return what the matrix product is computed in: bf16 where the CPU has instructions for it, or fp32."""
    return pick_precision(torch.device("cpu"))


@torch.inference_mode()
def matmul_tflops() -> float:
    """Return the rate of a 4096 x 4096 x 4096 product in `matmul_precision` on all cores, in TFLOP/s."""
    a, b = (torch.randn(_SIDE, _SIDE, dtype=DTYPES[matmul_precision()]) for _ in range(2))
    return 2 * _SIDE**3 / _median_s(lambda: a @ b) / 1e12


def net_gflop(style: Style, size_wh: tuple[int, int]) -> float:
    """Return the floating-point operations of one frame (a multiply-add is two), in 10^9."""
    net = load_net(style)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        mix = torch.ones(1, net.spec.styles)
        net.to("meta")(torch.zeros(1, 3, size_wh[1], size_wh[0]), mix)
    return float(counter.get_total_flops()) / 1e9


def _median_s(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return median(times)
