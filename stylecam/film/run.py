"""One film from beginning to end, or from where it was left."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av

from stylecam import __version__
from stylecam.engines.base import Engine, default_mix
from stylecam.errors import SinkOpenError, SinkWriteError, SourceOpenError, StylecamError
from stylecam.filenames import numbering_of
from stylecam.film.join import Piece, Timing, join
from stylecam.film.journal import Journal
from stylecam.film.parts import Part
from stylecam.film.render import NotTheSameFilmError, Span, render
from stylecam.film.segments import Coding, PictureWriter, PipeWriter, SegmentWriter, Writer
from stylecam.film.sharing import choose_lanes
from stylecam.film.task import Layout, Task, plan_layout
from stylecam.film.work import Segment, Work, check_not_begun, known_by, segment_suffix
from stylecam.frames import check_size
from stylecam.meter import Meter
from stylecam.sinks.codecs import CONTAINERS, Encoding, plan_encoding
from stylecam.sinks.file import cause_of, check_film_path, room_for, unwritable
from stylecam.sinks.numbered import NumberedSink
from stylecam.sinks.target import check_no_codec, kind_of_target, numbered_path, open_stdout
from stylecam.sinks.tracks import Tracks
from stylecam.sources.opened import STDIN
from stylecam.sources.pyav import TakeUp, clock, damage_notes
from stylecam.styles import Style
from stylecam.wholefile import part_path, sync_file, sync_folder


@dataclass
class Outcome:
    """What a run has done: `frames` in the target, `resumed` of them by earlier runs."""

    frames: int = 0
    resumed: int = 0
    damaged: list[float] = field(default_factory=list)
    missing_s: float = 0.0


class FilmRun:
    """A task under way. Opens source and target, so that what cannot work is said before a net is loaded.

    `say` is told, line by line, what is changed on the way; `notes` keeps it. `meter` counts what this run
    has painted, `busy_s` how long each stage has worked. `resume` goes on with what an earlier run
    left. Raises SourceOpenError, SinkOpenError.
    """

    def __init__(self, task: Task, say: Callable[[str], None], *, resume: bool = False) -> None:
        self.task, self.outcome = task, Outcome()
        self.meter, self.busy_s = Meter(), dict.fromkeys(("decode", "net", "smooth", "encode"), 0.0)
        self._say = say
        self.notes: list[str] = []
        self._kind = kind_of_target(task.target)
        self._target = numbered_path(task.target) if self._kind == "pictures" else Path(task.target)
        self._work = None if self._kind == "stdout" else Work(_home(self._kind, self._target))
        self._stack = ExitStack()
        with ExitStack() as opening:
            opening.enter_context(self._stack)
            self._check_target(resume)
            self.source = self._stack.enter_context(task.open_source())
            self.size_wh = check_size(task.size_wh or self.source.size_wh)
            if self._kind == "film":
                self._plan_film()
            elif self._kind == "pictures":
                NumberedSink(self._target).close()  # makes the folder, or says why not
            opening.pop_all()
        self._tell(self.source.changes)

    @property
    def frame_count(self) -> int | None:
        """How many frames there will be, by the container's word."""
        counts = [count for count in (self.source.frame_count, self.task.frames) if count is not None]
        return min(counts, default=None)

    @property
    def output_wh(self) -> tuple[int, int]:
        """Width and height of what is written."""
        return self.size_wh[0] * (1 + self.task.compare), self.size_wh[1]

    def share_threads(self, engine: Engine, style: Style) -> None:
        """Have the engine compute as many frames at once as the run did that is gone on with.

        Where there was none, as many as the task names, or as go fastest.
        """
        begun = self._work.begun_with.get("--lanes") if self._work and self.task.lanes is None else None
        if begun is None:
            begun = choose_lanes(
                self.task, engine, style, self.size_wh, self.frame_count,
                lambda task: _fps_of(task, engine, style), self._say,
            )  # fmt: skip
        engine.share_threads(begun)

    def run(self, engine: Engine, style: Style) -> Generator[int]:
        """Paint what is not painted yet, yielding how many frames are; then make the film. Once.

        On Ctrl-C the target holds what there is by then, and --resume can still go on. Whatever else goes
        wrong, there is no target, and what is done stays for --resume. Raises StylecamError.
        """
        try:
            self.share_threads(engine, style)
            layout = plan_layout(self.task, self.source.fps, self.size_wh, engine)
            yield from self._run(engine, layout, style)
        except StylecamError as exc:
            self._keep_or_remove(exc)
            raise
        except (av.FFmpegError, OSError) as exc:
            error = self._refused(exc)
            self._keep_or_remove(error)
            raise error from exc
        except (KeyboardInterrupt, GeneratorExit):
            self._keep_or_remove(None)
            raise

    def paint_part(self, engine: Engine, style: Style, part: Part) -> Generator[int]:
        """Paint and record those segments of a film, yielding how many frames are; the next run goes on.

        Several processes may do that at once, each with its part. What is done of a part is not painted
        again; a segment whose frames are not those foretold is forgotten. Parts come in order.
        Raises StylecamError.
        """
        assert self._work is not None
        engine.share_threads(self.task.lanes or 1)
        layout = plan_layout(self.task, self.source.fps, self.size_wh, engine)
        numbers = range(part.first, part.stop)
        try:
            self._work.open(self._settings(engine, layout, style))
            missing = (number for number in numbers if not self._is_as_foretold(part, number, layout))
            first = next(missing, None)
            if first is None:
                return
            done = layout.first(first) - layout.first(part.first)
            for number in self._paint_rest(engine, layout, part.from_segment(first, layout.length)):
                yield done + number
        except (av.FFmpegError, OSError) as exc:
            raise self._refused(exc) from exc
        for number in numbers:
            if not self._is_as_foretold(part, number, layout):
                self._work.forget(number)

    def _paint_rest(self, engine: Engine, layout: Layout, part: Part) -> Generator[int]:
        """Paint a part of which nothing is done but what its journal holds."""
        assert self._work is not None
        at_s = part.begins_s(layout)
        if at_s is not None:
            self._open_again(TakeUp(at_s, self.source.begins_s))
        first = layout.first(part.first)
        journal = Journal(self._work.frames, first - layout.lead_in(part.first))
        span = Span(part.first, None if part.last else part.stop)
        for number in self._paint(engine, layout, span, self._writer(layout, journal), journal):
            yield max(0, number - first)

    def _is_as_foretold(self, part: Part, number: int, layout: Layout) -> bool:
        assert self._work is not None
        segment = self._work.segment(number)
        return segment is not None and segment.times_s == part.times_of(number, layout.length)

    def close(self) -> None:
        """Close the source. May be called twice."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_target(self, resume: bool) -> None:
        if self._kind != "film":
            check_no_codec(self.task.target, self.task.encoding)
        else:
            check_film_path(self._target)
        if self._work is None and resume:
            raise SinkOpenError("what goes to stdout cannot be resumed", "leave --resume out")
        if self._work is not None and not resume:
            check_not_begun(self._target, self._work)
        if self._work is not None and resume and not self._work.is_begun:
            self._say(f'nothing of "{self._target}" is begun: from the beginning')

    def _plan_film(self) -> None:
        """Choose the encoder, and what becomes of the other tracks."""
        suffix = self._target.suffix.lower()
        container = CONTAINERS[suffix]
        plan = plan_encoding(container, suffix, self.task.encoding)
        keeps_alpha, own = plan.keeps_alpha, segment_suffix(self._target)
        if own != suffix:
            plan = plan_encoding(CONTAINERS[own], own, Encoding("png"))
        self._coding = Coding(own, plan, self.source.fps, self.source.time_base)
        self._tell([plan.note] if plan.note else [])
        if self.source.has_alpha and not keeps_alpha:
            self._tell([f"transparency is lost: {plan.encoder} in {suffix} has none"])
        self._tracks = None if self.source.path is None else Tracks(self.source.path)
        if self._tracks is not None:
            self._stack.callback(self._tracks.close)
            self._tracks.plan_for(suffix)
            self._tell(self._tracks.notes)
        probe = part_path(self._target)
        try:
            probe.open("xb").close()
            probe.unlink()
        except OSError as exc:
            raise unwritable(self._target, exc) from exc

    def _run(self, engine: Engine, layout: Layout, style: Style) -> Generator[int]:
        if self._work is None:
            yield from self._paint(engine, layout, Span(), PipeWriter(open_stdout(self.source.fps)), None)
            return
        self._work.open(self._settings(engine, layout, style))
        done = self._work.segments()
        self.outcome.resumed = sum(len(segment.times_s) for segment in done)
        if not (done and done[-1].last):
            yield from self._paint_on(engine, layout, done)
            done = self._work.segments()
        self._conclude(done, None)
        self._tell_older()
        self._work.remove()

    def _paint_on(self, engine: Engine, layout: Layout, done: list[Segment]) -> Generator[int]:
        """Paint all segments after those that are done."""
        assert self._work is not None
        before = done[-1] if done else None
        if before is not None:
            self._say(f"goes on after {clock(before.times_s[-1])}: {self.outcome.resumed} frames are done")
        for seeks in (True, False):
            journal = Journal(self._work.frames)
            writer = self._writer(layout, journal)
            try:
                self._take_up(layout, done, seeks=seeks)
                span = Span(first=len(done), before=before)
                yield from self._paint(engine, layout, span, writer, journal)
                return
            except (NotTheSameFilmError, SourceOpenError):
                if not seeks or before is None or self.task.source == STDIN:
                    raise
                self._say("this film cannot be sought to the frame: it is decoded from its beginning")
            except (KeyboardInterrupt, GeneratorExit):
                self._conclude(self._work.segments(), writer.partial)
                raise

    def _paint(
        self, engine: Engine, layout: Layout, span: Span, writer: Writer, journal: Journal | None
    ) -> Generator[int]:
        try:
            for number in render(
                self.task, self.source, engine, writer, layout, span, size_wh=self.size_wh,
                journal=journal, meter=self.meter, busy_s=self.busy_s, say=self._say,
            ):  # fmt: skip
                self.outcome.frames = number
                yield number
            if journal:
                journal.finish()
        finally:
            if journal:
                journal.drop()
            self.outcome.missing_s = self.source.missing_s
            self.outcome.damaged = self.source.damaged
            self._tell(self.source.changes)

    def _take_up(self, layout: Layout, done: list[Segment], *, seeks: bool) -> None:
        """Open the source anew where reading goes on."""
        if not done:
            return
        at_s = done[-1].times_s[-layout.sight(len(done))]
        if self.task.source == STDIN:
            self.source.skip_to(at_s)
            return
        self._open_again(TakeUp(at_s, self.source.begins_s, seeks))

    def _open_again(self, take_up: TakeUp) -> None:
        self.source.close()
        self.source = self._stack.enter_context(self.task.open_source(take_up))

    def _writer(self, layout: Layout, journal: Journal | None) -> SegmentWriter | PictureWriter:
        assert self._work is not None
        damaged: Callable[[], list[float]] = lambda: self.source.damaged  # noqa: E731
        if self._kind == "pictures":
            return PictureWriter(NumberedSink(self._target), self._work, layout, journal, damaged)
        return SegmentWriter(self._work, layout, self._coding, journal, damaged)

    def _conclude(self, done: list[Segment], partial: Segment | None) -> None:
        """Make the film of all segments there are, and book what is in it."""
        assert self._work is not None
        segments = [*done, *([partial] if partial else [])]
        self.outcome.frames = sum(len(segment.times_s) for segment in segments)
        damaged = {at_s for segment in segments for at_s in segment.damaged}
        self.outcome.damaged = sorted(damaged)
        self._tell(damage_notes(self.outcome.damaged))
        if self._kind != "film" or not segments:
            return
        pieces = [
            Piece(self._work.media(segment.number, self._coding.suffix), segment.times_s)
            for segment in segments
        ]
        timing = Timing(self._coding.fps, self._coding.time_base, self.task.start_s > 0, self.task.end_s)
        part = part_path(self._target)
        self.source.check_whole()  # its sound is read only now
        try:
            join(part, pieces, timing, self._tracks)
            self._tell(self._tracks.notes if self._tracks else [])
            self._tell_lost_tags(part)
            sync_file(part)
            os.replace(part, self._target)
            sync_folder(self._target.parent)
        finally:
            part.unlink(missing_ok=True)

    def _tell_older(self) -> None:
        """Tell of numbered pictures that another run has left: with those of this one they are one film."""
        pictures = numbering_of(self._target) if self._kind == "pictures" else None
        numbers = pictures.numbers() if pictures else []
        older = [number for number in numbers if not 1 <= number <= self.outcome.frames]
        if pictures and older:
            first = pictures.path_of(older[0])
            self._tell(
                [f"older pictures are there, {len(older)} from {first} on: {self._target} means them too"]
            )

    def _tell_lost_tags(self, film: Path) -> None:
        suffix = film.suffix.lower()
        if (
            self._tracks is not None
            and self._coding.suffix == suffix
            and (lost := self._tracks.lost_tags(film))
        ):
            self._tell([f"tags left out, for {suffix} has no place for them: {', '.join(lost)}"])

    def _settings(self, engine: Engine, layout: Layout, style: Style) -> dict[str, Any]:
        """Return all that the pictures depend on, by the name that a person would give it."""
        task, path = self.task, self.task.source_path
        kept: dict[str, Any] = {
            "film": task.source if path is None else known_by(path),
            "style": f"{style.name} ({style.net}, {style.card['graph_sha256'][:16]}, {default_mix(style)})",
            "engine": f"{engine.backend}, {engine.device}, {engine.precision}",
            "size": f"{self.size_wh[0]}x{self.size_wh[1]}",
            "--smooth": task.smoothing, "--start": task.start_s, "--end": task.end_s,
            "--fps": str(task.fps), "--frames": task.frames, "--compare": task.compare,
            "--lanes": engine.lanes, "layout": asdict(layout), "begin": str(self.source.begins_s),
            "version": f"stylecam {__version__}, FFmpeg {av.library_versions['libavcodec']}",
        }  # fmt: skip
        if self._kind == "film":
            plan = self._coding.plan
            kept["codec"] = f"{plan.encoder} {plan.options} {plan.bitrate}"
        return kept

    def _keep_or_remove(self, error: StylecamError | None) -> None:
        """Leave what is worth going on with, and say so; else leave nothing."""
        if self._work is None:
            return
        if not self._work.is_begun:
            if error is None and self._kind == "film" and self.outcome.frames:
                # The folder stays: by it --resume tells such a film from one that is finished.
                self._say(f"{self._target} ends there: --resume paints it anew")
            else:
                self._work.remove()
            return
        kept = f"what is done is kept in {self._work.folder}: --resume goes on with it"
        if error is None:
            self._say(kept)
        elif "--resume" not in error.hint and "delete that folder" not in error.hint:
            error.hint = f"{error.hint}; {kept}"

    def _refused(self, exc: BaseException) -> SinkWriteError:
        return SinkWriteError(f'film "{self._target}" could not be written: {cause_of(exc)}', room_for(exc))

    def _tell(self, notes: list[str]) -> None:
        for note in notes:
            if note not in self.notes:
                self.notes.append(note)
                self._say(note)


def _fps_of(task: Task, engine: Engine, style: Style) -> float:
    """Paint a task for its rate's sake."""
    with FilmRun(task, lambda text: None) as run:
        for _ in run.run(engine, style):
            pass
        return run.meter.fps


def _home(kind: str, target: Path) -> Path:
    """Return what the work folder is named after: a film, or the folder that pictures go to."""
    return target if kind == "film" else target.parent.resolve()
