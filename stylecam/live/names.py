"""Names of the files that a live run leaves when somebody presses a key."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path


def new_path(folder: Path, suffix: str) -> Path:
    """Return a name made of the time, in local time to the second, that no file has yet."""
    stem = time.strftime("stylecam-%Y%m%d-%H%M%S")
    tries = (folder / f"{stem}{'' if n == 1 else f'-{n}'}{suffix}" for n in count(1))
    return next(path for path in tries if not path.exists())
