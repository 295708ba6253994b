"""What machine this is, what was measured on it, and whether its cache can be used."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from platformdirs import user_cache_path

from stylecam.wholefile import whole_file

CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8")


def describe_cpu() -> str:
    """Return the processor's name, its cores and the instructions that matter here."""
    flags: set[str] = set()
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")  # Linux only; elsewhere the flags are left out
    if cpuinfo.exists():
        fields = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        rows = {key.strip(): value.strip() for key, value in fields.items()}
        flags, name = set(rows.get("flags", "").split()), rows.get("model name", name)
    known = " ".join(flag for flag in CPU_FLAGS if flag in flags)
    return f"{name}, {os.cpu_count()} cores{', ' + known if known else ''}"


def cache_problem() -> str:
    """Return why nothing can be kept in the user's cache folder; nothing where it can be."""
    folder = user_cache_path("stylecam")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError as exc:
        return f"the cache {folder} cannot be written: {exc.strerror or exc}"
    return ""


def recall(file: Path) -> dict[str, Any]:
    """Return what earlier measurements found, by key; nothing where the file is missing or damaged."""
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def remember(file: Path, key: str, found: object) -> None:
    """Add what a measurement found to a file. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as part:
        part.write_text(json.dumps(recall(file) | {key: found}, indent=1), encoding="utf-8")
