"""Names of files: those that stand for numbered pictures, and what FFmpeg makes of a name."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_PLACE = re.compile(r"%0?(\d{0,2})d")


def ffmpeg_name(path: Path) -> str:
    """Return the name by which FFmpeg finds a file: as it stands, rec-12:30.mp4 would be a protocol."""
    return str(path.absolute())


def is_numbered(name: str) -> bool:
    """Tell whether a name has a place for a number in its last part, as out/%06d.png has."""
    return _PLACE.search(Path(name).name) is not None


@dataclass(frozen=True)
class Numbering:
    """Pictures in `folder` that are called alike but for a number, of `digits` digits at least."""

    folder: Path
    before: str
    digits: int
    after: str

    def path_of(self, number: int) -> Path:
        """Return the name of one picture."""
        return self.folder / f"{self.before}{number:0{self.digits}d}{self.after}"

    def numbers(self) -> list[int]:
        """Return the numbers of the pictures that are there, rising; none where they cannot be listed."""
        try:
            names = os.listdir(self.folder)
        except OSError:
            return []
        # Whether A1.png is a1.png is for the disk to say.
        named = re.compile(re.escape(self.before) + r"(\d+)" + re.escape(self.after), re.IGNORECASE)
        found = [named.fullmatch(name) for name in names]
        numbers = sorted({int(match[1]) for match in found if match})
        return [number for number in numbers if os.path.isfile(self.path_of(number))]

    @property
    def ffmpeg_name(self) -> str:
        """What FFmpeg's image2 calls them: there every % that begins no number is written twice."""
        folder, before, after = (
            text.replace("%", "%%") for text in (ffmpeg_name(self.folder), self.before, self.after)
        )
        return str(Path(folder) / f"{before}%0{self.digits}d{after}")


def numbering_of(pattern: Path) -> Numbering | None:
    """Return what a name like out/%06d.png stands for, None where it has no place for a number, or several.

    All else in it is meant as it is written, % too.
    """
    parts = _PLACE.split(pattern.name)
    if len(parts) != 3:
        return None
    before, digits, after = parts
    return Numbering(pattern.parent, before, int(digits or 0), after)


def pictures_called(pattern: Path) -> list[Path]:
    """Return the pictures that are there of those that a name like out/%06d.png stands for."""
    pictures = numbering_of(pattern)
    return [pictures.path_of(number) for number in pictures.numbers()] if pictures else []
