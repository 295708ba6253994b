"""Films in full: every frame at its own time, upright, in the right colours, read by PyAV."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, dropwhile
from pathlib import Path
from tempfile import gettempdir
from threading import Lock

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av

from stylecam.errors import SourceLostError, SourceOpenError
from stylecam.frames import Frame, size_of
from stylecam.packets import begins_anew, lack_times
from stylecam.sources.base import Source
from stylecam.sources.colour import Converter, Shown
from stylecam.sources.decode import Decoder
from stylecam.sources.opened import open_film
from stylecam.sources.resample import at_constant_rate

_FALLBACK_RATE = Fraction(30)
_EARLY_S = 0.5
_CLOSE_S = 2.0
_JOINED = ("mpegts", "mpeg")
"""Recordings that can be joined by their bytes, by FFmpeg's names: then a time may come twice."""

_MARGIN_S = 1
"""Where a film is taken up again, decoding begins so much earlier: deinterlacing looks back."""


@dataclass(frozen=True)
class TakeUp:
    """Where to go on in a film: at the frame whose `timestamp_s` was `at_s`.

    `begins_s` is what FilmSource called so when the same part was read from its beginning. Without
    `seeks` all that lies before is decoded once more: slow, and exact with every film.
    """

    at_s: float
    begins_s: Fraction
    seeks: bool = True


class FilmSource(Source):
    """Every frame of a film in order, as a player shows it. Raises SourceOpenError.

    `name` is a path, a pattern of pictures (frames/%06d.png), a URL or "-" for stdin. Only frames
    with start_s <= time < end_s come, in seconds from the film's first frame. With `fps` they come at
    that constant rate, repeated or left out; of pictures it is the rate they are taken at. `constant`
    without it is the film's own nominal rate. What is faster than `at_most` comes at that constant rate.
    `take_up` goes on in the middle.
    `path` is where sound and other tracks can be copied from, None where there are none;
    `time_base` is the tick that all times are multiples of; `begins_s` the time of the first frame of
    the part; `notes` says what was changed. A file that shrinks meanwhile is a SourceLostError.
    """

    is_live = False

    def __init__(
        self,
        name: str | Path,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        fps: Fraction | None = None,
        constant: bool = False,
        at_most: Fraction | None = None,
        take_up: TakeUp | None = None,
    ) -> None:
        self.name = str(name)
        # What 0.2 means is a fifth, and not the nearest float, which lies above it.
        self._start_s = Fraction(str(start_s))
        self._end_s = math.inf if end_s is None else Fraction(str(end_s))
        self._take_up = take_up
        self._from_s = self._start_s
        if take_up is not None and take_up.seeks:
            self._from_s = max(self._start_s, Fraction(take_up.at_s) - _MARGIN_S)
        try:
            self._opened = open_film(self.name, fps)
        except OSError as exc:  # nothing was opened for reading yet: stdin is kept in a file meanwhile
            raise SourceOpenError(
                f'film "{self.name}" could not be kept while it is read: {exc.strerror}',
                f"make room in {gettempdir()}",
            ) from exc
        self._bytes = None if self.path is None else self.path.stat().st_size
        self._lock = Lock()
        self._closed = self._ended = False
        self._last_s = Fraction(0)
        try:
            self._begin(seek=self._from_s > 0)
            self._resampled = fps
            if constant and fps is None:
                self._resampled = self._opened.rate or _FALLBACK_RATE
            own = self._resampled or self._opened.rate
            if at_most is not None and own is not None and own > at_most:
                self._resampled = at_most
                self._opened.notes.append(
                    f"{float(own):.5g} fps become {at_most}, the most that players show"
                )
            self.rate = self._resampled or self._opened.rate
            self.fps = float(self.rate) if self.rate else None
            self._pictures = self._chosen()
            self._first = next(self._pictures, None)
            if self._first is None or self._first.time_s is None:
                raise self._without_pictures()
        except BaseException:
            self._opened.close()
            raise
        self.size_wh, alpha = size_of(self._first.bgr), self._first.alpha
        # A GIF is always decoded with alpha. What its first picture covers its later ones cannot bare.
        is_bare = self._opened.video.codec_context.name != "gif" or (alpha is not None and alpha.min() < 255)
        self.has_alpha = alpha is not None and is_bare
        self.begins_s = self._first.time_s if take_up is None else take_up.begins_s

    @property
    def path(self) -> Path | None:
        """The file that sound, subtitles and chapters can be copied from."""
        return self._opened.path

    @property
    def time_base(self) -> Fraction:
        """Seconds that every frame's time is a multiple of."""
        if self._resampled:
            return 1 / self._resampled
        return Fraction(self._opened.video.time_base or Fraction(1, 1000))

    @property
    def step_s(self) -> float:
        """Seconds from one frame to the next at the nominal rate, 1/30 where none is known."""
        return float(1 / (self.rate or _FALLBACK_RATE))

    @property
    def frame_count(self) -> int | None:
        """How many frames there will be, by the container's word: for a progress bar."""
        lasts_s = self._opened.lasts_s
        if lasts_s is None:
            return None
        part_s = float(min(lasts_s, self._end_s) - self._start_s)
        whole = not self._resampled and part_s >= lasts_s
        return (whole and self._opened.video.frames) or max(1, round(part_s / self.step_s))

    @property
    def changes(self) -> list[str]:
        """What was changed on the way in, a line each, known with the first frame as a rule."""
        return [*self._opened.notes, *self._converter.notes]

    @property
    def notes(self) -> list[str]:
        """What was changed on the way in, and what was damaged, a line each."""
        return [*self.changes, *damage_notes(self.damaged)]

    @property
    def damaged(self) -> list[float]:
        """The times, in seconds, of frames that could not be decoded and repeat the one before."""
        zero_s = self._zero_s or 0
        return [float(at - zero_s) for at in self._decoder.damaged if self._is_within(at - zero_s)]

    @property
    def missing_s(self) -> float:
        """Seconds of film that the container promises and that did not come; known at the end."""
        if not self._ended or self._opened.lasts_s is None:
            return 0.0
        came_s = float((self._decoder.ends_s or 0) - (self._zero_s or 0))
        missing_s = float(min(self._opened.lasts_s, self._end_s)) - max(
            came_s, float(self._last_s) + self.step_s
        )
        return missing_s if missing_s > _EARLY_S else 0.0

    def read(self) -> Frame | None:
        """Decode the next frame."""
        with self._lock:
            shown, self._first = self._first, None
            if shown is None and not self._closed:
                shown = next(self._pictures, None)
            if shown is None or self._closed or shown.time_s is None:
                return None
            return Frame(shown.bgr, float(shown.time_s), time.perf_counter(), shown.alpha)

    def skip_to(self, at_s: float) -> None:
        """Leave out the frames before the one at `at_s`: for what cannot be opened twice, such as a pipe."""
        first, self._first = self._first, None
        pictures = chain([] if first is None else [first], self._pictures)
        self._pictures = dropwhile(lambda shown: float(shown.time_s or 0) < at_s, pictures)

    def check_whole(self) -> None:
        """Raise SourceLostError where the file has become smaller than it was."""
        if self.path is not None and self._bytes is not None and self.path.is_file():
            now = self.path.stat().st_size
            if now < self._bytes:
                raise SourceLostError(
                    f"{self.path} shrank from {self._bytes} to {now} bytes while it was read",
                    "put the whole film back",
                )

    def close(self) -> None:
        """Close the film, waiting a moment for a read under way in another thread."""
        self._closed = True
        if self._lock.acquire(timeout=_CLOSE_S):
            self._opened.close()
            self._lock.release()

    def _begin(self, *, seek: bool) -> None:
        opened = self._opened
        self._zero_s = opened.zero_s
        if seek and self._zero_s is not None and opened.video.time_base and self._is_sought_by_time():
            target_s = self._zero_s + self._from_s
            with suppress(av.FFmpegError):  # what cannot be sought is read from its beginning
                opened.film.seek(math.floor(target_s / opened.video.time_base), stream=opened.video)
        self._decoder = Decoder(opened.film, opened.video, self.check_whole)
        self._converter = Converter(opened.video.sample_aspect_ratio)

    def _is_sought_by_time(self) -> bool:
        video = self._opened.video
        if lack_times(video):  # pictures are counted, and behind a key frame some may not come
            return False
        if self.path is None or self._opened.film.format.name not in _JOINED:
            return True
        with suppress(av.FFmpegError):
            return not begins_anew(self.path, video.index)
        return True

    def _chosen(self) -> Iterator[Shown]:
        """Yield the pictures of the part at the rate asked for, from where it is taken up."""
        pictures, up = self._part(), self._take_up
        if self._resampled:
            pictures = at_constant_rate(pictures, self._resampled, up.begins_s if up else None)
        return (
            pictures if up is None else dropwhile(lambda shown: float(shown.time_s or 0) < up.at_s, pictures)
        )

    def _part(self) -> Iterator[Shown]:
        """Yield the pictures from start to end, their times counted from the film's first."""
        shown = self._timed(self._all())
        first = next(shown, None)
        if self._from_s > 0 and not self._early_enough(first):
            # Some formats seek to after what was asked for, or nowhere: then the whole film is walked.
            self._opened = self._opened.again()
            self._begin(seek=False)
            shown = self._timed(self._all())
            first = next(shown, None)
        while first is not None:
            assert first.time_s is not None
            if first.time_s >= self._end_s:
                return
            if self._is_within(first.time_s):
                yield first
            first = next(shown, None)
        self._ended = True

    def _all(self) -> Iterator[Shown]:
        for frame in self._decoder.frames():
            yield from self._converter.convert(frame)
        yield from self._converter.flush()

    def _timed(self, pictures: Iterator[Shown]) -> Iterator[Shown]:
        """Count times from the film's first frame, and keep them rising where a film has none."""
        last_s: Fraction | None = None
        step_s = 1 / (self._opened.rate or _FALLBACK_RATE)
        for shown in pictures:
            if shown.time_s is not None and self._zero_s is None:
                self._zero_s = shown.time_s
            time_s = None if shown.time_s is None else shown.time_s - (self._zero_s or 0)
            if time_s is None or (last_s is not None and time_s <= last_s):
                time_s = Fraction(0) if last_s is None else last_s + step_s
            last_s = self._last_s = time_s
            yield replace(shown, time_s=time_s)

    def _early_enough(self, first: Shown | None) -> bool:
        return first is not None and first.time_s is not None and first.time_s <= self._from_s

    def _is_within(self, time_s: Fraction) -> bool:
        return self._start_s <= time_s < self._end_s

    def _without_pictures(self) -> SourceOpenError:
        if self._start_s or self._end_s < math.inf:
            start, end = f"{float(self._start_s):g} s", f"{float(self._end_s):g} s"
            lasts_s = self._opened.lasts_s
            length = "look at its length" if lasts_s is None else f"it lasts {lasts_s:.3f} s"
            return SourceOpenError(
                f'film "{self.name}" has no frame '
                + (f"from {start} on" if self._end_s == math.inf else f"between {start} and {end}"),
                f"{length}: look at --start and --end",
            )
        return SourceOpenError(
            f'not one frame of "{self.name}" could be decoded', "check that it plays in a player"
        )


def damage_notes(damaged: Sequence[float]) -> list[str]:
    """Return a line on the frames that another stands in for, by their times in seconds; none for none."""
    if not damaged:
        return []
    where = ", ".join(clock(at) for at in damaged[:5])
    more = ", ..." if len(damaged) > 5 else ""
    return [f"damaged frames: {len(damaged)}, the last good one stands in, at {where}{more}"]


def clock(seconds: float) -> str:
    """Return a time as people write it, 0:00.700."""
    minutes, rest = divmod(max(seconds, 0.0), 60)
    return f"{int(minutes)}:{rest:06.3f}"
