"""What this machine can do, and what stands in its way."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

import numpy as np
from platformdirs import user_cache_path

from stylecam import __version__
from stylecam.engines import BACKENDS, PACKAGES, open_engine
from stylecam.engines.cuda import cuda_problem, has_tensorrt
from stylecam.machine import cache_problem, describe_cpu
from stylecam.sinks.window import display_problem
from stylecam.sources import find_cameras
from stylecam.styles import find_style, list_styles, style_files, weights_folders

RIVALS = (
    ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
    ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino"),
)
"""Packages that overwrite each other's files; pip does not notice."""


@dataclass(frozen=True)
class Finding:
    """One line of the report. `ok` is False where something should be mended."""

    subject: str
    value: str
    ok: bool = True


def examine() -> Iterator[Finding]:
    """Look at one thing after another. Engines are tried on a small frame, not just imported."""
    yield Finding("stylecam", __version__)
    yield Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Finding("cpu", describe_cpu())
    problem = cuda_problem()
    yield Finding("cuda", problem or f"ready{', with TensorRT' if has_tensorrt() else ''}")
    yield from (_try_engine(backend) for backend in BACKENDS)
    yield Finding("styles", f"{len(style_files())} weights files", bool(style_files()))
    yield from (Finding("weights file", exc.message, ok=False) for exc in list_styles()[1])
    for folder in weights_folders():
        yield Finding("weights folder", f"{folder}{'' if folder.is_dir() else ' (not there yet)'}")
    yield _cameras()
    yield Finding("window", display_problem() or "a screen is there")
    yield _cache()
    yield from _conflicts()


def _try_engine(backend: str) -> Finding:
    if find_spec(PACKAGES[backend]) is None:
        return Finding(backend, f"not installed ({PACKAGES[backend]})", ok=backend == "torchscript")
    version = metadata.version(_distribution(PACKAGES[backend]))
    try:
        with open_engine(find_style(), backend) as engine:
            engine.infer(np.zeros((1, 64, 64, 3), np.uint8))
            return Finding(backend, f"{version}, runs {engine.choice.removeprefix(f'{backend} ')}")
    except Exception as exc:  # whatever a library raises, the report goes on
        return Finding(backend, f"{version}, but {getattr(exc, 'message', None) or exc}", ok=False)


def _distribution(package: str) -> str:
    return metadata.packages_distributions()[package][0]


def _cameras() -> Finding:
    listed = ", ".join(str(camera) for camera in find_cameras())
    return Finding("cameras", listed or "none (use --source demo, a film or a URL)")


def _cache() -> Finding:
    if problem := cache_problem():
        return Finding("cache", problem, ok=False)
    folder = user_cache_path("stylecam")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Finding("cache", f"{folder}, {size / 1e6:.0f} MB")


def _conflicts() -> Iterator[Finding]:
    installed = {name for dist in metadata.distributions() if (name := dist.metadata["Name"])}
    for rivals in RIVALS:
        found = [name for name in rivals if name in installed]
        if len(found) > 1:
            mend = f"{sys.executable} -m pip uninstall {' '.join(found)}, then install one of them"
            yield Finding("conflict", f"{' and '.join(found)} overwrite each other: {mend}", ok=False)
