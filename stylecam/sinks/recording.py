"""A film of a live run at one rate, which plays up to where it got however the run ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, cast

import cv2  # noqa: F401  before av: the other way round cv2.imshow hangs for ever

# isort: split
import av

from stylecam.errors import SinkOpenError, SinkWriteError
from stylecam.filenames import ffmpeg_name
from stylecam.frames import Frame
from stylecam.sinks.base import Sink
from stylecam.sinks.codecs import Encoding
from stylecam.sinks.encoder import Encoder, nominal_rate
from stylecam.sinks.file import cause_of, check_film_path, unwritable
from stylecam.sinks.lipsync import SoundTrack
from stylecam.sinks.microphone import Microphone
from stylecam.sinks.slots import Slots
from stylecam.sinks.target import highest_rate

_PATIENCE_S = 5.0
"""How long `close` waits for a disk that does not take what it was given."""


class RecordingSink(Sink):
    """Write a film under its own name from the first frame on, at exactly `fps` frames a second.

    Nobody can take a live run again, so what is written stays and plays: after `kill -9`, on a full
    disk, when anything else fails. `close` makes an ordinary film of it; without a frame there is no file.
    One that exists is not touched. `fps` is 30 by default, `bitrate` in bits a second. Frames go to their
    time's place as Slots says; `frames` counts those in the film. With a `microphone`, which stays the
    caller's to close, it has that one's sound, placed as LipSync says; `say` is told where that fails.
    Encodes in the thread that calls `write`. Raises SinkOpenError.
    """

    keeps_time = True

    def __init__(
        self,
        path: Path,
        *,
        fps: float | None,
        bitrate: int | None = None,
        microphone: Microphone | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        suffix = check_film_path(path)
        rate = nominal_rate(fps)
        if (highest := highest_rate(str(path))) is not None:
            rate = min(rate, highest)
        self.path = path
        self.frames = 0
        self._busy = Lock()
        self._closed = False
        self._slots = Slots(rate)
        self._file = _open_new(path)
        try:
            self._encoder = Encoder(
                cast(BinaryIO, self._file), suffix, fps=float(rate), time_base=1 / rate,
                encoding=Encoding(bitrate=bitrate, live=True),
                sound=None if microphone is None else SoundTrack(microphone, say),
            )  # fmt: skip
        except BaseException:
            self._let_go()
            raise

    @property
    def notes(self) -> list[str]:
        """What was chosen, and what could not be kept, a line each."""
        return self._encoder.notes

    def write(self, frame: Frame) -> None:
        """Encode what was shown up to this frame. Raises SinkWriteError; what was written before stays."""
        with self._busy:
            if self._closed:
                raise SinkWriteError(f'recording "{self.path}" is closed already', "open another one")
            self._guard(lambda: self._encode(self._slots.put(frame)))

    def close(self) -> None:
        """Encode the last frame and make an ordinary film of it. Raises SinkWriteError."""
        if not self._busy.acquire(timeout=_PATIENCE_S):
            raise self._broken_off("its disk does not answer")
        try:
            if not self._closed:
                self._guard(self._finish)
                self._let_go()
        finally:
            self._busy.release()

    def _encode(self, frames: Iterator[Frame]) -> None:
        for frame in frames:
            self._encoder.encode(frame)
            self.frames += 1

    def _finish(self) -> None:
        self._encode(self._slots.rest())
        self._encoder.close()

    def _guard(self, step: Callable[[], None]) -> None:
        """Take a step; where it fails, keep what there is and take no other."""
        error: BaseException | None = None
        try:
            step()
        except (av.FFmpegError, OSError) as exc:
            error = exc
        error = self._file.error or error
        if error is None:
            return self._file.keep()
        self._encoder.abandon()
        self._let_go()
        if not isinstance(error, Exception):  # Ctrl-C
            raise error
        raise self._broken_off(cause_of(error)) from error

    def _let_go(self) -> None:
        self._closed = True
        self._file.close()
        if not _plays(self.path):
            self.path.unlink(missing_ok=True)

    def _broken_off(self, cause: str) -> SinkWriteError:
        kept = "it plays up to there" if self.path.exists() else "nothing had been written yet"
        return SinkWriteError(
            f'recording "{self.path}" broke off: {cause}; {kept}',
            "look at the space left on its disk, then begin another one",
        )


class GrowingFile:
    """A new file at `path` that takes nothing more once something could not be written; `error` says what.

    It does not tell FFmpeg, which would go on to rewrite the beginning: what is there plays as it
    is. Raises OSError, FileExistsError among them.
    """

    def __init__(self, path: Path) -> None:
        self.error: BaseException | None = None
        self._file = path.open("xb", buffering=0)
        self._end = self._whole = 0

    def write(self, data: Any) -> int:
        """Append or overwrite; returns how much there was to write, whether or not it was."""
        rest = memoryview(data)
        try:
            while len(rest) and self.error is None:
                rest = rest[self._file.write(rest) :]
        except BaseException as exc:  # Ctrl-C too must not leave a hole
            self.error = exc
        self._end = max(self._end, self._file.tell())
        return memoryview(data).nbytes

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a place in the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place in the file."""
        return self._file.tell()

    def keep(self) -> None:
        """Take note that all that is written is of a piece."""
        self._whole = self._end

    def close(self) -> None:
        """Close it, and cut off what was written only in part."""
        if not self._file.closed:
            with suppress(OSError):
                if self.error is not None:
                    self._file.truncate(self._whole)
            self._file.close()


def _open_new(path: Path) -> GrowingFile:
    try:
        return GrowingFile(path)
    except FileExistsError as exc:
        raise SinkOpenError(
            f'recording "{path}" exists already', "take another name, or move that file away"
        ) from exc
    except OSError as exc:
        raise unwritable(path, exc) from exc


def _plays(path: Path) -> bool:
    """Tell whether there is at least one picture in it."""
    try:
        with av.open(ffmpeg_name(path)) as film:
            return next(film.decode(video=0), None) is not None
    except (av.FFmpegError, OSError, IndexError):
        return False
