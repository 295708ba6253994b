"""Painted frames on their way to the disk, a segment at a time."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av

from stylecam.errors import SinkWriteError
from stylecam.filenames import ffmpeg_name
from stylecam.film.journal import Journal
from stylecam.film.task import Layout
from stylecam.film.work import Segment, Work
from stylecam.frames import Frame
from stylecam.sinks.codecs import Encoding, Plan
from stylecam.sinks.encoder import Encoder
from stylecam.sinks.file import cause_of, room_for
from stylecam.sinks.numbered import NumberedSink
from stylecam.sinks.pipe import PipeSink
from stylecam.wholefile import part_path, sync_file, sync_folder


@dataclass(frozen=True)
class Coding:
    """How the pictures of all segments are compressed: `plan` for files ending in `suffix`."""

    suffix: str
    plan: Plan
    fps: float | None
    time_base: Fraction


class Writer(ABC):
    """Where painted frames go. `check` is the CRC-32 of the source frame, where that is to be kept."""

    @property
    def wants_quit(self) -> bool:
        """Whether nobody is left to read what is written."""
        return False

    @abstractmethod
    def write(self, number: int, frame: Frame, check: int | None) -> None:
        """Take frame `number` of the part. Raises SinkError, PictureError."""

    @abstractmethod
    def finish(self, *, last: bool, whole: bool) -> None:
        """End: with the part's last frame, after a whole segment, or somewhere in the middle of one."""

    @abstractmethod
    def drop(self) -> None:
        """Stop where it is; what is recorded stays."""


class _Recording(Writer):
    """A writer that records each segment once it is on the disk."""

    def __init__(
        self, work: Work, layout: Layout, journal: Journal | None, damaged: Callable[[], list[float]]
    ) -> None:
        self.partial: Segment | None = None
        """What `finish` found of a segment that is not whole; it is not recorded."""
        self._work, self._layout = work, layout
        self._journal, self._damaged = journal, damaged
        self._times_s: list[float] = []
        self._checks: list[int] = []
        self._number = 0

    def write(self, number: int, frame: Frame, check: int | None) -> None:
        """See `Writer.write`."""
        if self._times_s and number % self._layout.length == 0:
            self._record(last=False)
        if not self._times_s:
            self._number = number // self._layout.length
            self._begin(self._number)
        self._put(frame)
        self._times_s.append(frame.timestamp_s)
        self._checks += [] if check is None else [check]

    def finish(self, *, last: bool, whole: bool) -> None:
        """See `Writer.finish`."""
        if self._times_s and whole:
            self._record(last=last)
        elif self._times_s:
            self.partial = self._ended(last=False)

    def _record(self, *, last: bool) -> None:
        segment = self._ended(last=last)
        self._sync(segment)
        self._work.record(segment)
        if self._journal:
            following = segment.number + 1
            self._journal.forget(self._layout.first(following) - self._layout.lead_in(following))

    def _ended(self, *, last: bool) -> Segment:
        self._end()
        begin_s, end_s = self._times_s[0], self._times_s[-1]
        damaged = [at_s for at_s in self._damaged() if begin_s <= at_s <= end_s]
        segment = Segment(self._number, self._times_s, self._checks, last, damaged)
        self._times_s, self._checks = [], []
        return segment

    @abstractmethod
    def _begin(self, number: int) -> None: ...

    @abstractmethod
    def _put(self, frame: Frame) -> None: ...

    @abstractmethod
    def _end(self) -> None: ...

    @abstractmethod
    def _sync(self, segment: Segment) -> None: ...


class SegmentWriter(_Recording):
    """Encode each segment into a file of its own in the work folder, with an encoder of its own."""

    def __init__(
        self,
        work: Work,
        layout: Layout,
        coding: Coding,
        journal: Journal | None = None,
        damaged: Callable[[], list[float]] = list,
    ) -> None:
        super().__init__(work, layout, journal, damaged)
        self.notes: list[str] = []
        self._coding = coding
        self._encoder: Encoder | None = None

    def drop(self) -> None:
        """See `Writer.drop`."""
        if self._encoder is not None:
            self._encoder.abandon()
            self._encoder = None
            self._part.unlink(missing_ok=True)

    @property
    def _path(self) -> Path:
        return self._work.media(self._number, self._coding.suffix)

    def _begin(self, number: int) -> None:
        coding = self._coding
        self._part = part_path(self._path)  # another process may be at the same segment
        self._encoder = Encoder(
            self._part, coding.suffix, fps=coding.fps, encoding=Encoding(), time_base=coding.time_base,
            plan=coding.plan,
        )  # fmt: skip

    def _put(self, frame: Frame) -> None:
        assert self._encoder is not None
        with _refusing(self._work):
            self._encoder.encode(frame)

    def _end(self) -> None:
        assert self._encoder is not None
        with _refusing(self._work):
            self._encoder.close()
            _check_whole(self._part, len(self._times_s))
            os.replace(self._part, self._path)
            self.notes = self._encoder.notes
            self._encoder = None

    def _sync(self, segment: Segment) -> None:
        with _refusing(self._work):
            sync_file(self._path)


class PictureWriter(_Recording):
    """Write numbered pictures, which are their own segments; what the work folder keeps are their times."""

    def __init__(
        self,
        sink: NumberedSink,
        work: Work,
        layout: Layout,
        journal: Journal | None = None,
        damaged: Callable[[], list[float]] = list,
    ) -> None:
        super().__init__(work, layout, journal, damaged)
        self._sink = sink

    def finish(self, *, last: bool, whole: bool) -> None:
        """See `Writer.finish`."""
        super().finish(last=last, whole=whole)
        self._sink.close()

    def drop(self) -> None:
        """See `Writer.drop`."""
        self._sink.discard()

    def _begin(self, number: int) -> None:
        self._sink.frames = self._layout.first(number)

    def _put(self, frame: Frame) -> None:
        self._sink.write(frame)

    def _end(self) -> None:
        self._sink.flush()

    def _sync(self, segment: Segment) -> None:
        first = self._layout.first(segment.number)
        with _refusing(self._work):
            for number in range(first + 1, first + 1 + len(segment.times_s)):
                sync_file(self._sink.path_of(number))
            sync_folder(self._sink.path_of(first + 1).parent)


class PipeWriter(Writer):
    """Hand every frame on to a pipe, which cannot be taken up again."""

    def __init__(self, sink: PipeSink) -> None:
        self._sink = sink

    @property
    def wants_quit(self) -> bool:
        """See `Writer.wants_quit`."""
        return self._sink.wants_quit

    def write(self, number: int, frame: Frame, check: int | None) -> None:
        """See `Writer.write`."""
        self._sink.write(frame)

    def finish(self, *, last: bool, whole: bool) -> None:
        """See `Writer.finish`."""
        self._sink.close()

    def drop(self) -> None:
        """See `Writer.drop`."""
        self._sink.discard()


class _refusing:
    """Turn what a disk refuses into a SinkWriteError."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (av.FFmpegError, OSError)):
            raise SinkWriteError(
                f"{self._work.folder} could not be written: {cause_of(error)}", room_for(error)
            ) from error


def _check_whole(path: Path, frames: int) -> None:
    """Read a segment back: every frame must be in it."""
    found = len(packet_times(path))
    if found != frames:
        raise OSError(f"{path} holds {found} frames of {frames}")


def packet_times(path: Path) -> list[int]:
    """Return each picture's time, in the file's ticks, in the order they are decoded in."""
    with av.open(ffmpeg_name(path)) as film:
        return [packet.pts for packet in film.demux(video=0) if packet.size and packet.pts is not None]
