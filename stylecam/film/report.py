"""What a run achieved, stage by stage."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from stylecam.errors import SinkOpenError, SinkWriteError
from stylecam.film.run import FilmRun
from stylecam.film.task import Task
from stylecam.wholefile import whole_file


def check_report(path: Path, task: Task) -> None:
    """Raise SinkOpenError where a report could not be written, before any work is done."""
    if path.resolve() in (Path(task.source).resolve(), Path(task.target).resolve()):
        raise SinkOpenError(f'report "{path}" would overwrite the film', "choose another name for --report")
    cause = "it is a folder" if path.is_dir() else ""
    if not path.parent.is_dir():
        cause = f'folder "{path.parent}" does not exist'
    elif not os.access(path.parent, os.W_OK):
        cause = "Permission denied"
    if cause:
        raise SinkOpenError(f'report "{path}" cannot be written: {cause}', "choose another name for --report")


def write_report(path: Path, figures: dict[str, Any], run: FilmRun) -> None:
    """Write `figures`, and of each stage its rate and seconds of work, as JSON. Raises SinkWriteError.

    Stages work beside each other, so the slowest one's rate is about that of the whole. `fps` of a stage
    is over the time it worked, without what it waited.
    """
    source = run.task.source_path
    target = Path(run.task.target)
    report = figures | {
        "dropped": run.meter.dropped,
        "damaged_at_s": run.outcome.damaged,
        "stages": {
            name: {"fps": round(run.meter.frames / busy_s, 2) if busy_s else None, "busy_s": round(busy_s, 3)}
            for name, busy_s in run.busy_s.items()
        },
        "source_wh": run.source.size_wh,
        "source_bytes": None if source is None else source.stat().st_size,
        "output_bytes": target.stat().st_size if target.is_file() else None,
        "peak_memory_mb": peak_memory_mb(),
        "notes": run.notes,
    }
    try:
        with whole_file(path) as part:
            part.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    except OSError as exc:
        raise SinkWriteError(
            f'report "{path}" could not be written: {exc.strerror}', "choose another name for --report"
        ) from exc


def peak_memory_mb() -> float | None:
    """Return the most memory this process has had, None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(most / (1_048_576 if sys.platform == "darwin" else 1024), 1)
