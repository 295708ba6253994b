"""The trainer: one painting (or several) and a folder of photographs become a transform net."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from stylecam.errors import DivergedError, TrainError
from stylecam.neural.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from stylecam.neural.data import ContentFolder
from stylecam.neural.device import pick_device, pick_precision
from stylecam.neural.optimizer import NetOptimizer
from stylecam.neural.options import TrainOptions, rank, world
from stylecam.neural.progress import Progress
from stylecam.neural.trained import Trained, load_trained
from stylecam.neural.training_loss import TrainingLoss
from stylecam.neural.transformer import NetSpec, StyleNet, build_net
from stylecam.styles import FAST, check_kind

ABOUT = ("title", "painter", "year", "licence", "styles")
"""What a pupil's model card takes over from its teacher's."""

FLATTEST = 3.0
"""A batch whose pixels deviate less than this from their mean (of 255) shows one colour."""

_ALIKE = 0.01
"""Gram matrices that differ by no larger part than this are of one painting."""

_SOON = 100
"""A run in which two gradients overflow within so many steps has diverged; one now and then has not."""


@dataclass(frozen=True)
class TrainStep:
    """One finished step: its weighted loss terms by name, and how it went."""

    step: int
    steps: int
    terms: dict[str, float]
    lr: float
    step_s: float
    skipped: int
    left_out: int
    restarted_from: int
    device: str
    precision: str

    @property
    def total(self) -> float:
        """The objective."""
        return sum(self.terms.values())


def train(options: TrainOptions) -> Generator[TrainStep, None, None]:
    """Train, giving every step once it is done; the last one leaves the finished checkpoint.

    Closing the iterator early (Ctrl-C in the command) leaves a checkpoint too. Under torchrun
    every process calls this, and the first one writes. Raises TrainError: DatasetEmptyError,
    DivergedError (the last good checkpoint stays).
    """
    with _process_group():
        trainer = Trainer(options)
        try:
            for step, batch in zip(range(trainer.step, options.steps), trainer.batches(), strict=False):
                yield trainer.take_step(step, batch)
        except GeneratorExit:
            trainer.save()
            raise
        trainer.save()


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Return the rate of a step: a short linear rise to `peak`, then half a cosine down to 1% of it.

    A departure from Johnson's constant rate: at the same number of steps the objective ends lower.
    """
    warmup = min(50, max(1, steps // 10))
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


class Trainer:
    """The net, its optimiser and its data; `take_step` is the training loop's body."""

    def __init__(self, options: TrainOptions) -> None:
        self.options = options
        self.device = pick_device(options.device)
        if self.device.type == "cuda":
            self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        self.precision = pick_precision(self.device, options.precision)
        resumes = options.resume and options.checkpoint.exists()
        kept = load_checkpoint(options.checkpoint) if resumes else None
        if kept:
            check_kind(str(options.checkpoint), kept.spec.kind, options.net)
        start = load_trained(options.start, options.net) if options.start and not resumes else None
        about = kept.about if kept else start.card if start else {"training": {}}
        self.data = ContentFolder(
            options.content_dir, options.crop, options.seed, options.held_out,
            judged_on=about["training"].get("held_out", ()),
        )  # fmt: skip
        self.goal = TrainingLoss(options, self.device, self.precision)
        begun = kept.spec if kept else start.net.spec if start else None
        grids = begun.grids if begun else 2 if options.net == "fast" else 1
        noise = kept.spec.noise if kept else True
        self.spec = NetSpec(options.net, options.width, self.goal.styles, options.upsampling, grids, noise)
        torch.manual_seed(options.seed)
        self.plain_net = build_net(self.spec).to(self.device)
        self.optimizer = NetOptimizer(self.plain_net)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.step, self.seconds, self.left_out = 0, 0.0, 0
        self._overflowed_at = -_SOON
        self.started: dict[str, Any] = {}
        if kept:
            self._restore(kept)
        elif start:
            self._begin_as(start.net)
            self.started = describe_origin(start)
        self.restarted_from = self.step
        self.net = self._parallel()
        self.progress = Progress(options.out_dir, options.name, self.step) if rank() == 0 else None

    def _restore(self, kept: Checkpoint) -> None:
        """Go on from a checkpoint of the same run. Raises TrainError where it is of another."""
        options = self.options
        wanted = options.must_match()
        changed = [
            f"{name} was {kept.run.get(name)}" for name in wanted if kept.run.get(name) != wanted[name]
        ]
        if kept.objective != self.goal.objective:
            changed.append("the objective was another")
        if kept.spec != self.spec:
            changed.append(f"the net was {kept.spec}")
        elif not changed and not _are_alike(kept.grams, self.goal.grams):
            changed.append("the painting was another")
        if changed:
            raise TrainError(
                f"{options.checkpoint} was made with other options: {', '.join(changed)}",
                "resume with the same options, or leave --resume out to start anew",
            )
        self.plain_net.load_state_dict(kept.net)
        self.optimizer.load_state_dict(kept.optimizer)
        self.scaler.load_state_dict(kept.scaler)
        self.step, self.seconds = kept.step, kept.seconds
        self.started = kept.about["training"].get("start", {})

    def _begin_as(self, net: StyleNet) -> None:
        """Take a net's numbers over; each style of a net of several begins as the single one.

        One without noise is given some, weak at first.
        """
        if net.spec.styles == 1:
            net = net.with_styles(torch.ones(self.spec.styles, 1))
        if replace(net.spec, noise=self.spec.noise) != self.spec:
            raise TrainError(f"--start holds another net: {net.spec}", f"this run builds {self.spec}")
        self.plain_net.load_state_dict(self.plain_net.state_dict() | net.state_dict())

    def _parallel(self) -> nn.Module:
        self.plain_net.to(memory_format=torch.channels_last)
        net: nn.Module = self.plain_net
        if world() > 1:
            net = DistributedDataParallel(net)
        self.goal.prepare()
        if self.options.compile:
            net = torch.compile(net)  # type: ignore[assignment]
        return net

    def batches(self) -> Iterator[Tensor]:
        """Give this process's batches from the current step on, endlessly."""
        return self.data.batches(self.step, self.options.batch, rank(), world())

    def take_step(self, step: int, batch: Tensor) -> TrainStep:
        """Lower the loss on one batch (N, 3, crop, crop), and write what is due."""
        began = time.perf_counter()
        batch = batch.to(self.device).contiguous(memory_format=torch.channels_last)
        lr = learning_rate(step, self.options.steps, self.options.peak_lr)
        self.plain_net.roll_noise(np.random.default_rng((self.options.seed, step)))
        self.goal.take_noise(self.plain_net)
        painted, terms = self.goal.terms(self.net, batch, step)
        total = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad()
        self.scaler.scale(total).backward()
        self._move(step, lr, total.item())
        self._check(step, batch, painted)
        self.step = step + 1
        took = time.perf_counter() - began
        self.seconds += took
        done = self._describe(terms, lr, took)
        self._write_due(done)
        return done

    def _move(self, step: int, lr: float, total: float) -> None:
        """Move the net. A step whose gradient overflows is left out; a second one soon after is the end."""
        if not math.isfinite(total):
            raise _diverged(step, f"the loss is {total}")
        gradients = [numbers.grad for numbers in self.plain_net.parameters() if numbers.grad is not None]
        if self.scaler.is_enabled() or _are_finite(gradients):  # a scaler sees to overflows by itself
            self.optimizer.step(lr, self.scaler)
            return
        if step - self._overflowed_at < _SOON:
            raise _diverged(step, "the gradient overflowed")
        self._overflowed_at = step
        self.left_out += 1

    def _check(self, step: int, batch: Tensor, painted: Tensor) -> None:
        bad = None
        saves = (step + 1) % self.options.checkpoint_every == 0 or step + 1 == self.options.steps
        if not _are_finite(self.plain_net.parameters()):
            bad = "the gradient overflowed"  # where neither it nor the loss does, yet
        elif (step % 10 == 0 or saves) and _is_flat(painted) and not _is_flat(batch):
            bad = "the output has gone flat, one colour all over"
        if bad:
            raise _diverged(step, bad)

    def _describe(self, terms: dict[str, Tensor], lr: float, took: float) -> TrainStep:
        return TrainStep(
            self.step, self.options.steps, {name: term.item() for name, term in terms.items()}, lr, took,
            len(self.data.skipped), self.left_out, self.restarted_from, str(self.device), self.precision,
        )  # fmt: skip

    def _write_due(self, done: TrainStep) -> None:
        if self.progress is None:
            return
        self.progress.log(done)
        if self.options.sample_every and done.step % self.options.sample_every == 0:
            self.progress.draw(self.plain_net, self.data.held_out, self.device)
        if done.step % self.options.checkpoint_every == 0:
            self.save()

    def save(self) -> None:
        """Write the checkpoint, from the first process alone."""
        if self.progress is not None and self.step:
            save_checkpoint(self._checkpoint(), self.options.checkpoint)

    def _checkpoint(self) -> Checkpoint:
        options = self.options
        training = {
            "steps": self.step, "batch": options.batch * world(), "crop": options.crop,
            "data": options.data or options.content_dir.name, "seed": options.seed,
            "seconds": round(self.seconds), "held_out": [file.name for file in self.data.held_out],
        }  # fmt: skip
        training |= {"temporal_weight": list(options.temporal_weight), "lr": options.peak_lr}
        training["pattern_weight"] = options.pattern
        if options.tone_weight:
            training["tone_weight"] = options.tone_weight
        if self.goal.styles > 1:
            training["turns"] = list(options.turns)
        if self.started:
            training["start"] = self.started
        teacher = self.goal.teacher
        if teacher:
            training |= {
                "teacher": describe_origin(teacher), "perceptual_weight": options.perceptual_weight
            }  # fmt: skip
        about = {key: teacher.card[key] for key in ABOUT if key in teacher.card} if teacher else {}
        about |= options.about | {"style": options.name.removesuffix(FAST), "training": training}
        return Checkpoint(
            spec=self.spec,
            net={name: value.cpu().contiguous() for name, value in self.plain_net.state_dict().items()},
            step=self.step,
            objective=self.goal.objective,
            grams={layer: gram.cpu() for layer, gram in self.goal.grams.items()},
            about=about,
            run=options.must_match(),
            optimizer=self.optimizer.state_dict(),
            scaler=self.scaler.state_dict(),
            seconds=self.seconds,
        )


def describe_origin(trained: Trained) -> dict[str, Any]:
    """Return what a model card says of the net that another began as, or learned from."""
    return {
        "style": trained.card["style"],
        "net": trained.net.spec.kind,
        "steps": trained.card["training"]["steps"],
    }


def _diverged(step: int, why: str) -> DivergedError:
    return DivergedError(
        f"training diverged at step {step + 1}: {why}",
        "lower --lr or the style weight; the last good checkpoint is kept",
    )


def _are_alike(kept: dict[str, Tensor], grams: dict[str, Tensor]) -> bool:
    """Tell whether the Gram matrices of the same layers are of the same paintings, in the same order.

    Not to the bit: another device rounds otherwise, TF32 by a thousandth. Paintings differ by tenths.
    """
    pairs = [(kept[layer], gram.cpu()) for layer, gram in grams.items()]
    near = [(old - new).norm(dim=(1, 2)) <= _ALIKE * new.norm(dim=(1, 2)) for old, new in pairs]
    return bool(torch.stack(near).all())


def _are_finite(tensors: Iterable[Tensor]) -> bool:
    return bool(torch.stack([each.isfinite().all() for each in tensors]).all())


def _is_flat(rgb: Tensor) -> bool:
    return bool(rgb.detach().float().std(dim=(2, 3)).mean() < FLATTEST)


@contextmanager
def _process_group() -> Iterator[None]:
    """Join the other processes where torchrun started several; otherwise do nothing."""
    if world() == 1:
        yield
        return
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()
