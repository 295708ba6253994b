"""Several films or folders of them: which are meant, and where each of them goes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from stylecam.errors import SinkOpenError, SourceOpenError
from stylecam.filenames import is_numbered, pictures_called
from stylecam.sinks.codecs import CONTAINERS
from stylecam.sinks.target import STDOUT, kind_of_target, numbered_path

T = TypeVar("T")

_READ_ALONE = {".avi", ".m4v", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp"}
FILMS = tuple(sorted({*CONTAINERS} | _READ_ALONE))
"""What a folder is searched for."""


def plan_films(inputs: Sequence[str], output: str) -> list[tuple[str, str]]:
    """Pair every film with its target; a folder gives the films in it, hidden ones and subfolders left out.

    `output` becomes a folder where there are several films or an input is a folder. There a film keeps its
    name, its ending too where it can be written, else it is .mp4. Raises SourceOpenError, SinkOpenError.
    """
    if len(inputs) == 1 and not Path(inputs[0]).is_dir():
        return [(inputs[0], output)]
    films = [film for entry in inputs for film in _films_of(entry)]
    folder = _folder_of(output)
    names = [Path(film) for film in films]
    targets = [
        folder / (name.name if name.suffix.lower() in CONTAINERS else f"{name.stem}.mp4") for name in names
    ]
    twice = [target.name for target, count in Counter(targets).items() if count > 1]
    if twice:
        raise SinkOpenError(f"several films are called {min(twice)}", "stylize them into different folders")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise SinkOpenError(f'folder "{folder}" cannot be made: {exc.strerror}', "choose another") from exc
    return [(film, str(target)) for film, target in zip(films, targets, strict=True)]


def check_spared(source: str, target: str) -> None:
    """Raise SinkOpenError where a film, or one of its pictures, is what would be written."""
    kind = kind_of_target(target)
    if kind == "stdout":
        return
    # Any number: how many pictures will be written is not known yet.
    made = _by_place(pictures_called(numbered_path(target)) if kind == "pictures" else [Path(target)])
    for place, path in _by_place([Path(source), *pictures_called(Path(source))]).items():
        if place in made:
            raise SinkOpenError(f"{path} would be overwritten", "choose another name for what is made")


def _by_place(paths: Iterable[Path]) -> dict[tuple[int, int], Path]:
    """Return those files that are there by where they lie on the disk: one may have several names."""
    places: dict[tuple[int, int], Path] = {}
    for path in paths:
        with suppress(OSError):
            status = path.stat()
            places[status.st_dev, status.st_ino] = path
    return places


def _folder_of(output: str) -> Path:
    """Return the folder that several films go to, or raise SinkOpenError where another thing is meant."""
    folder = Path(output)
    named = output == STDOUT or is_numbered(output) or folder.suffix.lower() in CONTAINERS
    if named and not folder.is_dir():
        raise SinkOpenError(f'"{output}" cannot hold several films', "give a folder with -o")
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise SinkOpenError(f'"{folder}" cannot be a folder: "{there}" is a file', "choose another with -o")
    return folder


def _films_of(entry: str) -> list[str]:
    folder = Path(entry)
    if not folder.is_dir():
        return [entry]
    found = (path for path in folder.iterdir() if path.suffix.lower() in FILMS)
    films = sorted(str(path) for path in found if path.is_file() and not path.name.startswith("."))
    if not films:
        raise SourceOpenError(
            f'"{folder}" is a folder without a film in it',
            f"give a film, or a folder of films: their names end in {', '.join(FILMS)}",
        )
    return films


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """Return (index from 0, count) for "2/4". Raises ValueError."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f'"{text}" is not a shard: write 2/4 for the second of four')
    return int(found[1]) - 1, int(found[2])


def shard_of(items: Sequence[T], shard: tuple[int, int] | None) -> list[T]:
    """Return this shard's share: every so many-th."""
    return list(items) if shard is None else list(items[shard[0] :: shard[1]])
