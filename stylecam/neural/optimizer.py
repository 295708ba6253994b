"""What moves a net's numbers: Muon for the kernels of its convolutions, Adam for all the rest.

Muon (Jordan et al. 2024) makes each step of a kernel orthogonal: no direction is left behind. Measured on
the fast net, begun at a finished one: what Adam reached in 60 steps it reached in 28, at 2% more time a step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from stylecam.neural.transformer import InstanceNorm, StyleNet

NORM_BOOST = 10.0
"""How much faster than the rest the numbers may move that tell the styles of one net apart.

They lie near 1 where the convolutions' are near 0.05, and each sees few of the pictures: at the rate of the
rest all styles stay alike.
"""

_SMALLEST_SIDE = 16
"""A kernel with fewer outputs (the last one's three colours) has too few directions to balance."""


class NetOptimizer:
    """Both optimisers of one net, as if they were one."""

    def __init__(self, net: StyleNet) -> None:
        quick = {id(p) for norm in _conditional_norms(net) for p in norm.parameters()}
        self._kernels = [p for p in net.parameters() if _is_kernel(p)]
        known = quick | {id(kernel) for kernel in self._kernels}
        groups = [
            {"params": [p for p in net.parameters() if id(p) not in known], "boost": 1.0},
            {"params": [p for p in net.parameters() if id(p) in quick], "boost": NORM_BOOST},
        ]
        self._adam = torch.optim.Adam([group for group in groups if group["params"]])
        # Torch's Muon takes matrices alone: (outputs, inputs x height x width), copied both ways each step.
        self._flat = [nn.Parameter(kernel.detach().flatten(1).clone()) for kernel in self._kernels]
        muon = {"params": self._flat, "boost": 1.0}
        self._muon = torch.optim.Muon([muon], weight_decay=0.0, adjust_lr_fn="match_rms_adamw")

    def zero_grad(self) -> None:
        """Forget the last step's gradients."""
        self._adam.zero_grad()
        for kernel in self._kernels:
            kernel.grad = None

    def step(self, lr: float, scaler: torch.amp.GradScaler) -> None:
        """Lower the loss that was run backward through `scaler`, at rate `lr`."""
        for kernel, flat in zip(self._kernels, self._flat, strict=True):
            flat.data.copy_(kernel.detach().flatten(1))
            flat.grad = None if kernel.grad is None else kernel.grad.flatten(1).contiguous()
        for optimizer in (self._adam, self._muon):
            for group in optimizer.param_groups:
                group["lr"] = lr * group["boost"]
            scaler.step(optimizer)
        scaler.update()
        for kernel, flat in zip(self._kernels, self._flat, strict=True):
            kernel.data.copy_(flat.detach().view(kernel.shape))

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"adam": self._adam.state_dict(), "muon": self._muon.state_dict()}

    def load_state_dict(self, kept: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._adam.load_state_dict(kept["adam"])
        self._muon.load_state_dict(kept["muon"])


def _is_kernel(parameter: nn.Parameter) -> bool:
    return parameter.ndim == 4 and min(parameter.shape[0], parameter[0].numel()) >= _SMALLEST_SIDE


def _conditional_norms(net: StyleNet) -> list[InstanceNorm]:
    return [module for module in net.modules() if isinstance(module, InstanceNorm) and not module.single]
