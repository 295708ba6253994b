"""What a training leaves to look at: a JSONL log, a plot of the losses, grids of samples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from stylecam.errors import TrainError
from stylecam.neural.data import center_crop, to_pixels, to_tensor
from stylecam.pictures import Picture, read_picture, write_picture

if TYPE_CHECKING:
    from stylecam.neural.train import TrainStep
    from stylecam.neural.transformer import StyleNet

SAMPLES = 6


class Progress:
    """Write DIR/NAME.jsonl, DIR/NAME-loss.png and DIR/NAME-samples/step-000250.jpg.

    `step` is where the run (re)starts: log lines from later steps, left by a run that was
    killed after its last checkpoint, are dropped, so the log is the history of the net. A log that is there
    stays as it is until this run has a step of its own to tell of.
    """

    def __init__(self, out_dir: Path, name: str, step: int) -> None:
        self.out_dir, self.name = out_dir, name
        self.path = out_dir / f"{name}.jsonl"
        with self._writing("choose another folder with -o"):
            out_dir.mkdir(parents=True, exist_ok=True)
            self.path.open("a").close()
            self._before = [line for line in self._lines() if line["step"] <= step] if step else []
        self._begun = False

    @contextmanager
    def _writing(self, hint: str = "free some space, then go on with --resume") -> Iterator[None]:
        """Translate what the file system raises."""
        try:
            yield
        except OSError as exc:
            raise TrainError(f"{self.out_dir} cannot be written: {exc}", hint) from exc

    def _lines(self) -> list[dict[str, float]]:
        if not self.path.exists():
            return []
        # A last line without its end was being written when the machine stopped.
        whole = [line for line in self.path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [json.loads(line) for line in whole]

    def log(self, done: TrainStep) -> None:
        """Add one line with the step's loss terms, rate and seconds."""
        row = {name: round(value, 4) for name, value in ({"total": done.total} | done.terms).items()}
        line = {"step": done.step, **row, "lr": round(done.lr, 7), "step_s": round(done.step_s, 3)}
        before = [] if self._begun else self._before
        with self._writing(), self.path.open("a" if self._begun else "w") as file:
            file.writelines(json.dumps(each) + "\n" for each in [*before, line])
        self._begun = True

    def draw(self, net: StyleNet, held_out: list[Path], device: torch.device) -> None:
        """Draw the loss curves, and photographs set aside above what the net makes of them."""
        self._draw_losses()
        if held_out:
            step = self._lines()[-1]["step"]
            folder = self.out_dir / f"{self.name}-samples"
            with self._writing():
                folder.mkdir(exist_ok=True)
            grid = sample_grid(net, held_out[:SAMPLES], device)
            write_picture(folder / f"step-{step:06.0f}.jpg", Picture(grid, None))

    def _draw_losses(self) -> None:
        from matplotlib.figure import Figure

        lines = self._lines()
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.subplots()
        for term in [name for name in lines[-1] if name not in ("step", "lr", "step_s")]:
            axes.plot([line["step"] for line in lines], [line[term] for line in lines], label=term, lw=0.8)
        axes.set(xlabel="step", ylabel="weighted loss", yscale="log", title=self.name)
        axes.legend()
        axes.grid(alpha=0.3)
        with self._writing():
            figure.savefig(self.out_dir / f"{self.name}-loss.png", dpi=110)


@torch.no_grad()
def sample_grid(net: StyleNet, files: list[Path], device: torch.device, side: int = 256) -> np.ndarray:
    """Return a uint8 BGR picture: the photographs in one row for each style below them."""
    photos = np.stack([center_crop(read_picture(file).bgr, side) for file in files])
    rows = [np.concatenate(list(photos), axis=1)]
    batch = to_tensor(photos).to(device)
    for index in range(net.spec.styles):
        mix = torch.eye(net.spec.styles, device=device)[index : index + 1]
        rows.append(np.concatenate(list(to_pixels(net(batch, mix))), axis=1))
    return np.concatenate(rows)
