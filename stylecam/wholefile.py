"""Output that appears whole or not at all: written beside its target, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def part_path(target: Path) -> Path:
    """Return a hidden, unused name in the target's folder, with the target's suffix.

    The same folder, because only a rename within one file system is atomic.
    """
    return target.with_name(f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}")


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give a path to write to that becomes `target` at the end, or vanishes on any exception.

    Raises OSError as the file system does.
    """
    part = part_path(target)
    try:
        yield part
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Have the disk take a file, so that a power cut cannot undo it. Raises OSError."""
    with path.open("rb+") as file:  # Windows syncs only what it may write to
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the disk take a folder's list of names, where the system knows that. Raises OSError."""
    if os.name == "posix":
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
