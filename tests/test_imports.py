"""The shape of the house: who may import whom, and what the live path must not bring with it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stylecam

PACKAGE = Path(stylecam.__file__).parent
FILES = {
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted(PACKAGE.rglob("*.py"))
}
TESTS = sorted(Path(__file__).parent.glob("*.py"))

FLOORS = (
    {"errors", "wholefile", "filenames", "meter", "interrupt", "backoff"},
    {"frames", "machine", "console", "packets"},
    {"denoise"},
    {"pictures", "styles", "temporal", "sheet", "arguments"},
    {"controls"},
    {"keys"},
    {"sources.base", "engines.base", "sinks.base"},
    {"reader", "masks"},
    {"neural"},
    {"web"},
    {"sources", "engines", "sinks"},
    {"pipeline", "photos", "live"},
    {"bench", "doctor", "slow", "film"},
    {"cli"},
    {"__main__"},
)
"""Imports go downwards: a module knows its own package and the floors below. A new one moves in here."""

USES_TORCH = ("stylecam.neural", "stylecam.engines.torchscript")
TORCH = {"torch", "torchvision", "safetensors", "matplotlib", "onnxscript"}


def imported(file: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it, `from a import b` as both a and a.b."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(file: Path) -> set[str]:
    """The modules of this package that a file imports, without `stylecam.`; names in modules left out."""
    return {name.removeprefix("stylecam.") for name in imported(file) if name in FILES and name != "stylecam"}


def floor_of(module: str) -> int:
    for name in (module, module.split(".")[0]):
        for number, floor in enumerate(FLOORS):
            if name in floor:
                return number
    pytest.fail(f"{module} has no floor yet: say in FLOORS what it may import")


@pytest.mark.parametrize("module", [name.removeprefix("stylecam.") for name in FILES if name != "stylecam"])
def test_imports_go_one_way(module: str) -> None:
    package = module.split(".")[0]
    for other in own(FILES[f"stylecam.{module}"]) - {module}:
        same_house = other.split(".")[0] == package and not module.endswith(".base")
        assert same_house or floor_of(other) < floor_of(module), f"{module} imports {other}"


def test_errors_import_nothing() -> None:
    assert {name for name in imported(FILES["stylecam.errors"]) if "__future__" not in name} == set()


@pytest.mark.parametrize("module", ["pipeline", "photos", "live.run", "live.painter", "live.looks"])
def test_the_loops_know_interfaces_alone(module: str) -> None:
    known = {
        other
        for other in own(FILES[f"stylecam.{module}"])
        if other.split(".")[0] in ("sources", "engines", "sinks")
    }
    # `from sources.base import Source` names the package too, of which nothing is used.
    assert known <= {"sources.base", "engines.base", "sinks.base"}


def test_the_command_line_knows_no_pixels() -> None:
    commands = [name for name in FILES if name.startswith("stylecam.cli")]
    assert len(commands) > 3
    for module in (*commands, "stylecam.arguments", "stylecam.console"):
        tops = {name.split(".")[0] for name in imported(FILES[module])}
        assert not tops & {"cv2", "av", "torch", "numpy", "onnx"}, module


@pytest.mark.parametrize("module", FILES)
def test_who_may_import_torch(module: str) -> None:
    if not module.startswith(USES_TORCH):
        assert not {name.split(".")[0] for name in imported(FILES[module])} & TORCH


@pytest.mark.parametrize("module", FILES)
def test_nobody_prints_or_exits_below_the_command_line(module: str) -> None:
    if module in ("stylecam.cli.program", "stylecam.console"):
        return
    assert not set(imported(FILES[module])) & {"sys.exit", "os._exit", "traceback"}
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in ("print", "exit", "quit", "sys.exit", "os._exit")
        elif isinstance(node, ast.Raise) and node.exc is not None:
            assert not ast.unparse(node.exc).startswith("SystemExit")


def top_level_order(file: Path) -> list[str]:
    nodes = (node for node in ast.parse(file.read_text(encoding="utf-8")).body)
    names: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("file", [*FILES.values(), *TESTS], ids=lambda file: file.stem)
def test_cv2_stands_before_av(file: Path) -> None:
    order = top_level_order(file)
    if "av" in order:
        assert "cv2" in order, f"{file} imports av without cv2 before it"
        assert order.index("cv2") < order.index("av")


def run_apart(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


USERS_OF_AV = [name for name, file in FILES.items() if "av" in {n.split(".")[0] for n in imported(file)}]


@pytest.mark.slow
@pytest.mark.parametrize("module", USERS_OF_AV)
def test_cv2_is_loaded_before_av(module: str) -> None:
    """With av first, cv2.imshow hangs for ever; what stands first in the file may still be loaded second."""
    loaded = run_apart(f"import {module}, sys; print(*sys.modules)").split()
    assert "av" in loaded
    assert loaded.index("cv2") < loaded.index("av")


def test_somebody_imports_av_and_torch() -> None:
    assert "stylecam.sinks.encoder" in USERS_OF_AV
    assert "torch" in set(imported(FILES["stylecam.engines.torchscript"]))


def test_the_command_line_starts_light() -> None:
    """`stylecam --help` answers at once: nothing heavy is loaded for it."""
    loaded = set(
        run_apart(
            "import sys; from stylecam.cli.commands import load_program; load_program(); print(*sys.modules)"
        ).split()
    )
    assert not loaded & (TORCH | {"onnx", "onnxruntime", "openvino", "av", "stylecam.pipeline"})


LIVE = """
import sys
sys.modules["torch"] = None  # as where it is not installed
from stylecam.cli import run
arguments = ["--source", "demo", "--size", "64x48", "--sink", "null", "--seconds", "0.2", *sys.argv[1:]]
try:
    run(["live", *arguments])
except SystemExit as ended:
    print(ended.code or 0, *(name for name, module in sys.modules.items() if module is not None))
"""


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_live_needs_no_torch(tiny_style_path: Path, engine: str) -> None:
    code, *loaded = run_apart(LIVE, "--style", str(tiny_style_path), "--engine", engine).split()
    assert code == "0"
    assert not {name.split(".")[0] for name in loaded} & TORCH
