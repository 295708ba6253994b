"""The hidden folder beside a target, in which its segments wait until all of them are there."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stylecam.errors import SinkOpenError
from stylecam.machine import recall
from stylecam.sinks.codecs import CONTAINERS
from stylecam.wholefile import sync_file, sync_folder

_SETTINGS = "settings.json"
_DIGESTED = 65_536
"""Bytes at either end of a film by which it is known again."""


@dataclass(frozen=True)
class Segment:
    """One whole segment: its frames' times, and what is needed to go on after it and to join it.

    `times_s` are the frames' timestamps, `checks` the CRC-32 of the last source frames, `damaged` the
    times of frames that another stands in for.
    """

    number: int
    times_s: list[float]
    checks: list[int]
    last: bool
    damaged: list[float]


class Work:
    """What is done of a target. Several processes may add segments: the same one twice is the same.

    Raises OSError as the file system does.
    """

    def __init__(self, target: Path) -> None:
        self.folder = target.with_name(f".{target.name}.stylecam")
        self.frames = self.folder / "frames"

    @property
    def is_begun(self) -> bool:
        """Whether there is anything that a new run would have to do again."""
        return any(self.folder.glob("*.json")) and (
            any(self.folder.glob("[0-9]*.json")) or any(self.frames.glob("*.npy"))
        )

    @property
    def begun_with(self) -> dict[str, Any]:
        """The settings that a run which has left something was begun with; nothing where there is none."""
        return recall(self.folder / _SETTINGS) if self.is_begun else {}

    def open(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Make the folder, or find it made with the same settings; return those it was made with.

        Raises SinkOpenError where another film, style or option was meant.
        """
        self.folder.mkdir(exist_ok=True)
        path = self.folder / _SETTINGS
        if self.is_begun:
            return self._compared(json.loads(path.read_text(encoding="utf-8")), settings)
        _write(path, dict(settings))
        return dict(settings)

    def media(self, number: int, suffix: str) -> Path:
        """Return where a segment's pictures are."""
        return self.folder / f"{number:06d}{suffix}"

    def record(self, segment: Segment) -> None:
        """Note that a segment is whole, once its pictures are on the disk."""
        _write(self._path(segment.number), asdict(segment))

    def segment(self, number: int) -> Segment | None:
        """Return a whole segment, None where it is missing."""
        try:
            return Segment(**json.loads(self._path(number).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def forget(self, number: int) -> None:
        """Have a segment painted anew."""
        self._path(number).unlink(missing_ok=True)

    def segments(self) -> list[Segment]:
        """Return the whole segments from the first one up to the first that is missing."""
        found: list[Segment] = []
        while (segment := self.segment(len(found))) is not None:
            found.append(segment)
        return found

    def remove(self) -> None:
        """Delete the folder and all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.json"

    def _compared(self, old: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
        now = json.loads(json.dumps(dict(new)))
        for name in now:
            if old.get(name) != now[name]:
                raise SinkOpenError(
                    f"{self.folder} was begun with another {name}: {old.get(name)}, and not {now[name]}",
                    "give the options it was begun with, or delete that folder to begin anew",
                )
        return old


def check_not_begun(target: Path, work: Work) -> None:
    """Raise SinkOpenError where an earlier run has left something that is worth keeping."""
    if work.is_begun:
        done = sum(len(segment.times_s) for segment in work.segments())
        done = max(done, len(list(work.frames.glob("*.npy"))))
        raise SinkOpenError(
            f'"{target}" was begun before: {done} frames of it are in {work.folder}',
            "--resume goes on with it; delete that folder to begin anew",
        )


def known_by(path: Path) -> str:
    """Return what a film is known by, wherever it lies: its size and a digest of both ends."""
    size = path.stat().st_size
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_DIGESTED))
        file.seek(max(0, size - _DIGESTED))
        digest.update(file.read(_DIGESTED))
    return f"{size} bytes, {digest.hexdigest()[:16]}"


def segment_suffix(target: Path) -> str:
    """Return what segments end in: the target's own container, or lossless PNG in .mov.

    The latter is for what cannot be cut and joined: GIF, whose pictures build on each other, and y4m.
    """
    suffix = target.suffix.lower()
    return ".mov" if CONTAINERS[suffix].kind in ("gif", "yuv4mpegpipe") else suffix


def _write(path: Path, values: dict[str, Any]) -> None:
    # Not by the process's number: two machines may have the same one at the same time.
    part = path.with_suffix(f".{secrets.token_hex(4)}.part")
    try:
        part.write_text(json.dumps(values), encoding="utf-8")
        sync_file(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)
