"""The trainer: one painting (or several) and a folder of photographs become a transform net."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from stylecam.errors import DivergedError, TrainError
from stylecam.neural.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from stylecam.neural.data import ContentFolder, load_painting
from stylecam.neural.device import autocast, pick_device, pick_precision
from stylecam.neural.losses import LossTerms, PerceptualLoss, style_targets
from stylecam.neural.options import TrainOptions, rank, world
from stylecam.neural.progress import Progress
from stylecam.neural.transformer import NetSpec, TransformerNet
from stylecam.neural.vgg import load_vgg

FLATTEST = 3.0
"""A batch whose pixels deviate less than this from their mean (of 255) shows one colour."""


@dataclass(frozen=True)
class TrainStep:
    """One finished step: its loss terms, and how long is left."""

    step: int
    steps: int
    content: float
    style: float
    tv: float
    lr: float
    step_s: float
    skipped: int
    restarted_from: int
    device: str
    precision: str

    @property
    def total(self) -> float:
        """The objective."""
        return self.content + self.style + self.tv


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
        self.data = ContentFolder(options.content_dir, options.crop, options.seed, options.held_out)
        paintings = [load_painting(p, options.objective.style_size) for p in options.style_images]
        vgg = load_vgg(options.objective.backbone, options.objective.vgg).to(self.device)
        self.grams = style_targets(vgg, options.objective, [p.to(self.device) for p in paintings])
        self.loss: nn.Module = PerceptualLoss(vgg, options.objective, self.grams)
        self.spec = NetSpec(width=options.width, styles=len(paintings), upsampling=options.upsampling)
        torch.manual_seed(options.seed)
        self.plain_net = TransformerNet(self.spec).to(self.device)
        self.optimizer = torch.optim.Adam(self.plain_net.parameters(), lr=options.lr)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.step, self.seconds = 0, 0.0
        self._restore()
        self.restarted_from = self.step
        self.net = self._parallel()
        self.progress = Progress(options.out_dir, options.name, self.step) if rank() == 0 else None

    def _restore(self) -> None:
        options = self.options
        if options.start and not options.resume:
            self._load_net(load_checkpoint(options.start))
        if not options.resume or not options.checkpoint.exists():
            return
        kept = load_checkpoint(options.checkpoint)
        wanted = options.must_match()
        changed = [f"{name} was {kept.run[name]}" for name in wanted if kept.run[name] != wanted[name]]
        if changed or kept.objective != options.objective:
            what = ", ".join(changed) or "another objective"
            raise TrainError(
                f"{options.checkpoint} was made with other options: {what}",
                "resume with the same options, or leave --resume out to start anew",
            )
        self._load_net(kept)
        self.optimizer.load_state_dict(kept.optimizer)
        self.scaler.load_state_dict(kept.scaler)
        self.step, self.seconds = kept.step, kept.seconds

    def _load_net(self, kept: Checkpoint) -> None:
        if kept.spec != self.spec:
            raise TrainError(f"the checkpoint holds another net: {kept.spec}", f"this run builds {self.spec}")
        self.plain_net.load_state_dict(kept.net)

    def _parallel(self) -> nn.Module:
        self.plain_net.to(memory_format=torch.channels_last)
        self.loss.to(memory_format=torch.channels_last)
        net: nn.Module = self.plain_net
        if world() > 1:
            net = DistributedDataParallel(net)
        if self.options.compile:
            self.loss = torch.compile(self.loss)  # type: ignore[assignment]
            net = torch.compile(net)  # type: ignore[assignment]
        return net

    def batches(self) -> Iterator[Tensor]:
        """Give this process's batches from the current step on, endlessly."""
        return self.data.batches(self.step, self.options.batch, rank(), world())

    def take_step(self, step: int, batch: Tensor) -> TrainStep:
        """Lower the loss on one batch (N, 3, crop, crop), and write what is due."""
        began = time.perf_counter()
        batch = batch.to(self.device).contiguous(memory_format=torch.channels_last)
        lr = learning_rate(step, self.options.steps, self.options.lr)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        painted, terms = self._forward(batch, step)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(terms.total).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._check(step, batch, painted, terms)
        self.step = step + 1
        took = time.perf_counter() - began
        self.seconds += took
        done = self._describe(terms, lr, took)
        self._write_due(done)
        return done

    def _forward(self, batch: Tensor, step: int) -> tuple[Tensor, LossTerms]:
        styles = mix = None
        if self.spec.styles > 1:  # the paintings take turns
            first = (step * world() + rank()) * len(batch)
            styles = (torch.arange(len(batch), device=batch.device) + first) % self.spec.styles
            mix = F.one_hot(styles, self.spec.styles).float()
        with autocast(self.device, self.precision):
            painted = self.net(batch, mix)
            return painted, self.loss(painted, batch, styles)

    def _check(self, step: int, batch: Tensor, painted: Tensor, terms: LossTerms) -> None:
        bad = None
        saves = (step + 1) % self.options.checkpoint_every == 0 or step + 1 == self.options.steps
        if not math.isfinite(terms.total.item()):
            bad = f"the loss is {terms.total.item()}"
        elif not torch.stack([numbers.isfinite().all() for numbers in self.plain_net.parameters()]).all():
            bad = "the gradient overflowed"  # where the loss itself does not, yet
        elif (step % 10 == 0 or saves) and _is_flat(painted) and not _is_flat(batch):
            bad = "the output has gone flat, one colour all over"
        if bad:
            raise DivergedError(
                f"training diverged at step {step + 1}: {bad}",
                "lower --lr or the style weight; the last good checkpoint is kept",
            )

    def _describe(self, terms: LossTerms, lr: float, took: float) -> TrainStep:
        content, style, tv = (term.item() for term in terms)
        return TrainStep(
            self.step, self.options.steps, content, style, tv, lr, took,
            len(self.data.skipped), self.restarted_from, str(self.device), self.precision,
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
            "data": options.about.get("data", options.content_dir.name), "seed": options.seed,
            "seconds": round(self.seconds), "held_out": [file.name for file in self.data.held_out],
        }  # fmt: skip
        about = {"style": options.name, "title": options.style_images[0].stem, "painter": "", "year": "",
                 "licence": ""} | {k: v for k, v in options.about.items() if k != "data"}  # fmt: skip
        return Checkpoint(
            spec=self.spec,
            net={name: value.cpu().contiguous() for name, value in self.plain_net.state_dict().items()},
            step=self.step,
            objective=options.objective,
            grams={layer: gram.cpu() for layer, gram in self.grams.items()},
            about=about | {"training": training},
            run=options.must_match(),
            optimizer=self.optimizer.state_dict(),
            scaler=self.scaler.state_dict(),
            seconds=self.seconds,
        )


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
