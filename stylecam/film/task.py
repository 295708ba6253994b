"""What is to be made of a film, and where its segments lie."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from stylecam.denoise import FilmDenoiser
from stylecam.engines.base import Engine
from stylecam.sinks.codecs import Encoding
from stylecam.sinks.target import has_one_rate, highest_rate
from stylecam.sources.pyav import FilmSource, TakeUp
from stylecam.temporal import DEFAULT_SMOOTHING, Smoother

AS_IT_SUITS = Encoding()
_SEGMENT_S = 2.0
_FEWEST, _MOST = 48, 240
_FALLBACK_FPS = 30.0
CHECKED = 2
"""So many frames before a segment are compared when it is taken up."""

_BATCH_PIXELS = 8_300_000
"""What goes through a graphics card's net at once: eight frames of 1280x720, one of 3840x2160."""

_LARGEST_BATCH = 8

_EACH_LANE = 2
"""Frames a lane has of each batch: at a batch's end some wait for the last."""


@dataclass(frozen=True)
class Task:
    """One film to stylize. Can be pickled: names and numbers alone.

    `source` is what FilmSource takes, `target` what `stylecam.sinks.target` knows. `size_wh` scales the
    frames first, `frames` ends after so many, `compare` puts the original on the left. `batch` None is
    chosen by device and size, `lanes` (`Engine.lanes`) None by measurement. The rest is as in FilmSource,
    Smoother and Encoding.
    """

    source: str
    target: str
    size_wh: tuple[int, int] | None = None
    smoothing: float = DEFAULT_SMOOTHING
    encoding: Encoding = AS_IT_SUITS
    start_s: float = 0.0
    end_s: float | None = None
    fps: Fraction | None = None
    frames: int | None = None
    compare: bool = False
    batch: int | None = None
    lanes: int | None = None

    def open_source(self, take_up: TakeUp | None = None) -> FilmSource:
        """Open the film, from its beginning or where it is taken up. Raises SourceOpenError."""
        return FilmSource(
            self.source, start_s=self.start_s, end_s=self.end_s, fps=self.fps,
            constant=has_one_rate(self.target), at_most=highest_rate(self.target), take_up=take_up,
        )  # fmt: skip

    @property
    def source_path(self) -> Path | None:
        """The film's file, None for a URL, stdin or numbered pictures."""
        path = Path(self.source)
        return path if path.is_file() else None


@dataclass(frozen=True)
class Layout:
    """Where segments begin, in frames counted from the first one of the part.

    Every segment can be painted by itself, and is the same whoever paints it: it has an encoder and a
    smoother of its own, batches begin with it, and the `lead` frames before it make the smoother what it
    would be. That is why the cuts depend on the film alone, and never on how fast it goes. What is painted
    has been through a `FilmDenoiser` of that `period`, which has to see some more frames before.
    """

    length: int
    lead: int
    batch: int
    period: int = 0

    def first(self, segment: int) -> int:
        """Return the number of a segment's first frame."""
        return segment * self.length

    def lead_in(self, segment: int) -> int:
        """Return how many frames before its first one painting begins: whole batches of the one before."""
        if segment == 0:
            return 0
        return self.length - (self.length - max(self.lead, CHECKED)) // self.batch * self.batch

    def sight(self, segment: int) -> int:
        """Return how many frames before its first one reading begins, for the denoiser's sake."""
        return self.lead_in(segment) + FilmDenoiser(self.period).memory if segment else 0

    def leads(self, number: int) -> bool:
        """Tell whether frame `number` is one that the next segment's smoother has to see."""
        return number % self.length >= self.length - self.lead


def plan_layout(task: Task, fps: float | None, size_wh: tuple[int, int], engine: Engine) -> Layout:
    """Return the layout for a film of nominally `fps`, painted at `size_wh` by `engine`."""
    length = segment_length(fps)
    lead = min(Smoother(task.smoothing).memory, length)
    layout = Layout(length, lead, min(task.batch or default_batch(size_wh, engine), length))
    if not task.smoothing:
        return layout
    # Reading begins within the segment before, whose times are known. With all batches but the largest the
    # period is the same, and so is the film.
    longest = max(layout.lead_in(1), max(lead, CHECKED) + min(_LARGEST_BATCH, length // 4))
    return replace(layout, period=max(0, length - longest) // 2)


def segment_length(fps: float | None) -> int:
    """Return how many frames a segment has in a film of nominally `fps`."""
    return min(max(round((fps or _FALLBACK_FPS) * _SEGMENT_S), _FEWEST), _MOST)


def default_batch(size_wh: tuple[int, int], engine: Engine) -> int:
    """Return how many frames go through the net at once; a CPU gains nothing by more than it has lanes."""
    if engine.device == "cpu":
        return 1 if engine.lanes == 1 else _EACH_LANE * engine.lanes
    return max(1, min(_LARGEST_BATCH, _BATCH_PIXELS // (size_wh[0] * size_wh[1])))
