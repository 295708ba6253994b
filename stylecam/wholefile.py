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
