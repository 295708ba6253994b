"""The slow path's walk: keyframes, their optimisation, what is left of each, the report, the film."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from stylecam.engines import open_engine
from stylecam.engines.base import Engine
from stylecam.errors import OptimiseError
from stylecam.frames import Pixels, check_size, resize, size_of
from stylecam.pictures import Picture, read_picture, write_picture
from stylecam.sinks.file import FileSink, check_film_path
from stylecam.slow.curves import draw_curves
from stylecam.slow.keyframes import (
    Keyframe,
    frames_at,
    frames_every,
    frames_of_scenes,
    read_pictures,
)
from stylecam.slow.options import SlowOptions
from stylecam.slow.report import write_report
from stylecam.slow.results import RESULT, CurvePoint, Equal, Result, load_result, save_json, save_text
from stylecam.slow.spread import Carrier, spread
from stylecam.sources import FileSource
from stylecam.styles import Style, find_style

if TYPE_CHECKING:
    from stylecam.neural.goals import GoalMaker
    from stylecam.neural.optimisation import Optimisation, Step
    from stylecam.neural.recipe import Recipe

STATE = "state.pt"
_TIMED = 3


@dataclass(frozen=True)
class Event:
    """Something to show: where the work is (`done` of `total` in `what`), and perhaps a line to say."""

    what: str
    done: float = 0
    total: float | None = None
    figures: str = ""
    note: str = ""


class SlowRun:
    """Paint every keyframe; `steps` does the work and `results` has what is finished.

    Making it reads what was asked for and loads nothing heavy twice. Raises StylecamError before
    anything is written where something is missing.
    """

    def __init__(self, options: SlowOptions, stack: ExitStack) -> None:
        self.options = options
        if options.film:
            check_film_path(options.film)
        self.keyframes = _keyframes(options)
        self.mask = _read_mask(options.mask)
        self.style = find_style(options.style, options.net) if options.style else None
        self.recipe = options.wishes.to_recipe(self.style.card["objective"] if self.style else None)
        self.maker = _maker(self.recipe, options, self.style)
        self.net: str | None = None
        self.engine = self._open_net(stack)
        self.results: list[Result] = []
        self.film_frames = 0

    @property
    def snapshot_every(self) -> int:
        """Every how many iterations the iterate is kept; the classic's pictures are 100 apart."""
        return self.options.snapshot_every or (100 if self.recipe.optimizer == "adam" else 25)

    @property
    def style_name(self) -> str:
        """The style's name, or the paintings'."""
        return self.style.name if self.style else "+".join(path.stem for path in self.options.style_images)

    def steps(self) -> Generator[Event, None, None]:
        """Do it all, telling of every step. Closing it early keeps the best picture so far, to go on with."""
        if self.engine:
            yield Event("net", note=f"the fast net: {self.engine.choice}")
        carrier = Carrier(self.options.inputs[0]) if self.recipe.initial == "previous" else None
        for keyframe in self.keyframes:
            yield from self._paint(keyframe, carrier)
        if self.options.film:
            yield from self._spread(self.options.film)

    def _paint(self, keyframe: Keyframe, carrier: Carrier | None) -> Generator[Event, None, None]:
        from stylecam.neural.optimisation import Optimisation, load_state

        folder = self.options.out_dir / keyframe.name
        follows = self.results[-1].index if carrier and self.results else None
        state = before = None
        if self.options.resume and (folder / STATE).exists():
            state, before = load_state(folder / STATE), load_result(folder)
        if carrier and before and before.follows != follows:
            state = before = None
            yield Event(keyframe.name, note=f"{keyframe.name}: began with another keyframe before: anew")
        content = resize(keyframe.bgr, check_size(self.recipe.work_size(size_of(keyframe.bgr))))
        fast, fast_s = self._net_paints(content)
        first = self._first(carrier, keyframe, content, fast)
        painting = Optimisation(self.maker, keyframe.bgr, first=first, mask=self.mask, state=state)
        for note in painting.notes:
            yield Event(keyframe.name, note=note)
        painter = _Painter(self, keyframe, painting, content, fast, fast_s, follows)
        kept = before if painting.ended else None
        if kept is not None and not self._lacks(kept):
            yield Event(keyframe.name, note=f"{keyframe.name}: finished before, {kept.ended}")
        else:
            yield from painter.steps()
            kept = painter.result
        self._keep(kept)
        yield Event(keyframe.name, note=_told(kept))

    def _lacks(self, kept: Result) -> bool:
        """Tell whether a finished picture must yet be compared: that was interrupted, or with another net."""
        if self.engine is None:
            return False
        other = kept.net is not None and kept.net != self.net
        return other or (kept.equal is None and self.options.compare > 0)

    def _keep(self, result: Result) -> None:
        """Take in one finished picture and write the report anew: what is done stays, whatever comes."""
        self.results.append(result)
        write_report(self.options.out_dir, self.results, self.about())

    def about(self) -> dict[str, Any]:
        """Return what held for all pictures, for the report."""
        goal, recipe = self.maker.objective, self.recipe
        told: dict[str, Any] = {
            "preset": recipe.preset, "loss": recipe.loss, "optimizer": recipe.optimizer,
            "begun at": recipe.initial, "backbone": f"{goal.backbone} ({goal.vgg})",
            "content": f"{goal.content_layer}, weight {goal.content_weight:g}",
            "style": f"{', '.join(goal.style_layers)}, weight {_weight(goal.style_weight)}",
            "TV": f"weight {goal.tv_weight:g}", "colour": "kept" if recipe.keep_color else "the painting's",
        }  # fmt: skip
        if self.engine:
            told["fast net"] = f"{self.options.net_name}, {self.engine.backend} in {self.engine.precision}"
        return {"style": self.style_name, "recipe": told, "objective": asdict(goal)}

    def _open_net(self, stack: ExitStack) -> Engine | None:
        name = self.options.net_name
        if name is None:
            return None
        mine = self.style if self.style and name == self.options.style else None
        style = mine or find_style(name, self.options.net)
        self.net = f"{style.name}, {style.net}"
        return stack.enter_context(open_engine(style))

    def _net_paints(self, content: Pixels) -> tuple[Pixels | None, float | None]:
        """Return the net's picture, and the median time of a few once it is warm."""
        if self.engine is None:
            return None, None
        painted, times_s = self.engine.infer(content[None])[0], []
        for _ in range(_TIMED):
            began_s = time.perf_counter()
            self.engine.infer(content[None])
            times_s.append(time.perf_counter() - began_s)
        return painted, median(times_s)

    def _first(
        self, carrier: Carrier | None, keyframe: Keyframe, content: Pixels, fast: Pixels | None
    ) -> Pixels | None:
        """Return what `--initial` fast or previous begins with."""
        if self.recipe.initial != "previous":
            return fast
        if carrier is None or not self.results or keyframe.index is None:
            return None
        before = self.results[-1]
        assert before.index is not None
        last = read_picture(self.options.out_dir / before.pictures["reference"]).bgr
        return carrier.carry(last, before.index, keyframe.index, content if fast is None else fast)

    def _spread(self, output: Path) -> Iterator[Event]:
        """Write the film, whole or not at all."""
        film, size_wh = self.options.inputs[0], self.results[0].size_wh
        references = [
            (result.index or 0, read_picture(self.options.out_dir / result.pictures["reference"]).bgr)
            for result in self.results
        ]
        with FileSource(film) as source:
            fps, count = source.fps, source.frame_count
        with FileSink(output, fps=fps, source_path=film) as sink:
            try:
                for done, frame in enumerate(spread(film, references, self._fallback, size_wh), 1):
                    sink.write(frame)
                    yield Event("film", done, count)
            except (GeneratorExit, KeyboardInterrupt):
                sink.discard()  # or it would keep what it has: a piece, in the place of a whole film
                raise
        self.film_frames = done
        yield Event("film", note=f"{output}: {self.film_frames} frames")

    def _fallback(self, content: Pixels) -> Pixels:
        from stylecam.neural.subject import finished_as

        assert self.engine is not None
        return finished_as(self.recipe, content, self.engine.infer(content[None])[0], self.mask)


class _Painter:
    """One keyframe under the brush: its files, and at the end its result."""

    def __init__(
        self,
        run: SlowRun,
        keyframe: Keyframe,
        painting: Optimisation,
        content: Pixels,
        fast: Pixels | None,
        fast_s: float | None,
        follows: int | None,
    ) -> None:
        self.run, self.keyframe, self.painting = run, keyframe, painting
        self.content, self.fast_s, self.follows = content, fast_s, follows
        self.fast = None if fast is None else painting.finished(fast)
        self.folder = run.options.out_dir / keyframe.name
        self.snapshots = self._old_snapshots()
        self.result: Result

    def steps(self) -> Generator[Event, None, None]:
        """Optimise, then find out what the net is worth; leave the files."""
        equal = None
        self._remove_other_snapshots()
        try:
            for step in self.painting.steps():
                if step.iteration % self.run.snapshot_every == 0:
                    self._snapshot(step)
                yield self._event(step)
            self._write_pictures()
            if self.fast is not None and self.run.options.compare:
                equal = yield from self._compare()
        except GeneratorExit:
            if not self.painting.ended:
                self.painting.ended = "it was interrupted"
            self._write_pictures()
            self._finish(None)
            self.run._keep(self.result)
            raise
        self._finish(equal)

    def _event(self, step: Step) -> Event:
        terms = " ".join(f"{name} {value:.3g}" for name, value in step.terms.items())
        size = "x".join(map(str, step.size_wh))
        return Event(
            self.keyframe.name, step.iteration, self.run.recipe.iterations,
            f"{step.total:.4g} ({terms}) at {size} in {self.painting.precision}",
        )  # fmt: skip

    def _snapshot(self, step: Step) -> None:
        name = f"{self.keyframe.name}/steps/{step.iteration:06d}.jpg"
        _write(self.run.options.out_dir / name, self.painting.iterate())
        self.snapshots.append((step.iteration, name))

    def _old_snapshots(self) -> list[tuple[int, str]]:
        """Return those of the run that is gone on with, up to where it had come."""
        if not self.painting.steps_done:
            return []
        last = self.painting.steps_done[-1].iteration
        return [
            (int(file.stem), f"{self.keyframe.name}/steps/{file.name}")
            for file in self._snapshot_files()
            if int(file.stem) <= last
        ]

    def _snapshot_files(self) -> list[Path]:
        return sorted(file for file in (self.folder / "steps").glob("*.jpg") if file.stem.isdigit())

    def _remove_other_snapshots(self) -> None:
        """Remove those of an earlier run: a later --resume would take them for this one's."""
        kept = {Path(name).name for _, name in self.snapshots}
        for file in self._snapshot_files():
            if file.name not in kept:
                file.unlink()

    def _compare(self) -> Generator[Event, None, Equal | None]:
        """Return how many iterations of plain L-BFGS from the photograph the net is worth."""
        from stylecam.neural.optimisation import iterations_to_equal

        painting = self.painting
        assert self.fast is not None
        total = sum(painting.terms_of(self.fast).values())
        most = self.run.options.compare
        for step in iterations_to_equal(
            self.run.maker, painting.content, total, most, painting.precision, painting.mask
        ):
            yield Event(f"{self.keyframe.name}: what the net is worth", step.iteration, most)
        return Equal(step.iteration, step.seconds, step.total <= total)

    def _write_pictures(self) -> None:
        pictures = {"content": self.content, "fast": self.fast, "reference": self.painting.picture()}
        for name, bgr in pictures.items():
            if bgr is not None:
                _write(self.folder / f"{name}.png", bgr)

    def _finish(self, equal: Equal | None) -> None:
        """Judge the pictures as they lie on disk, and leave result, curve and state."""
        from stylecam.neural.optimisation import save_state

        painting, name = self.painting, self.keyframe.name
        which = ["content", *(["fast"] if self.fast is not None else []), "reference"]
        files = {each: f"{name}/{each}.png" for each in which}
        last = painting.steps_done[-1]
        curve = [
            CurvePoint(step.iteration, step.seconds, step.size_wh, step.terms) for step in painting.steps_done
        ]
        pictures = {each: read_picture(self.run.options.out_dir / file).bgr for each, file in files.items()}
        self.result = Result(
            name=name, size_wh=size_of(self.content), pictures=files,
            terms={each: painting.terms_of(bgr) for each, bgr in pictures.items()},
            objective_terms=painting.best_terms(), curve=curve, iterations=last.iteration,
            evaluations=last.evaluations, optimize_s=painting.seconds, ended=painting.ended,
            precision=painting.precision, peak_mb=peak_mb(), index=self.keyframe.index,
            timestamp_s=self.keyframe.timestamp_s, fast_s=self.fast_s, net=self.run.net,
            follows=self.follows, equal=equal, snapshots=self.snapshots, notes=painting.notes,
        )  # fmt: skip
        levels = {"fast net": self.result.total("fast")} if self.fast is not None else {}
        save_text(self.folder / "loss.svg", draw_curves(curve, levels, f"loss curves of {name}"))
        save_state(painting.state_dict(), self.folder / STATE)
        save_json(self.folder / RESULT, self.result.to_json())


def peak_mb() -> int | None:
    """Return the most memory this process has held so far, in MB; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def _keyframes(options: SlowOptions) -> Sequence[Keyframe]:
    if not options.is_film:
        return read_pictures(options.inputs)
    film = options.inputs[0]
    if options.at:
        return frames_at(film, options.at)
    return frames_every(film, options.every) if options.every else frames_of_scenes(film)


def _maker(recipe: Recipe, options: SlowOptions, style: Style | None) -> GoalMaker:
    from stylecam.neural.device import pick_device
    from stylecam.neural.goals import GoalMaker, Painting

    shares = options.shares or tuple(1.0 for _ in options.style_images)
    paintings = [
        Painting(path.stem, read_picture(path).bgr, share)
        for path, share in zip(options.style_images, shares, strict=True)
    ]
    return GoalMaker(recipe, pick_device(recipe.device), paintings, style.grams if style else None)


def _read_mask(path: Path | None) -> Pixels | None:
    """Return the mask's luminance, (H, W) uint8."""
    return None if path is None else read_picture(path).bgr.max(-1)


def _write(path: Path, bgr: Pixels) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OptimiseError(
            f'folder "{path.parent}" cannot be made: {exc.strerror}', "choose another with -o"
        ) from exc
    write_picture(path, Picture(bgr))


def _weight(weight: float | tuple[float, ...]) -> str:
    return f"{weight:g}" if isinstance(weight, float) else ", ".join(f"{each:g}" for each in weight)


def _told(result: Result) -> str:
    """Return a line on a finished picture."""
    worth = f"; {result.sentence}" if result.sentence else ""
    return (
        f"{result.pictures['reference']}: objective {result.objective:.5g} after {result.iterations} "
        f"iterations, {result.optimize_s:.1f} s; {result.ended}{worth}"
    )
