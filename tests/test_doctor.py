from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import as_user_style, stylecam
from nets import MakeFile

from stylecam import doctor
from stylecam.doctor import Finding, examine
from stylecam.engines import BACKENDS, open_engine
from stylecam.errors import DeviceUnavailableError
from stylecam.machine import describe_cpu


@dataclass
class Distribution:
    """As much of an installed package as is looked at."""

    metadata: dict[str, str | None]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, make_onnx: MakeFile) -> Iterator[None]:
    """No search for cameras, and a small net as the default style."""
    monkeypatch.setattr(doctor, "find_cameras", list)
    full, fast = make_onnx("full", 1), make_onnx("fast", 1)
    with as_user_style(full, "starry"), as_user_style(fast, "starry-fast"):
        yield


def findings(subject: str) -> list[Finding]:
    return [finding for finding in examine() if finding.subject == subject]


def install(monkeypatch: pytest.MonkeyPatch, *names: str | None) -> None:
    found = [Distribution({"Name": name}) for name in names]
    monkeypatch.setattr("stylecam.doctor.metadata.distributions", lambda: found)


@pytest.mark.usefixtures("quick")
def test_engines_are_tried_and_say_what_they_run_on() -> None:
    found = {finding.subject: finding for finding in examine()}
    for backend in BACKENDS:
        assert found[backend].ok, found[backend]
        assert "runs on cpu in " in found[backend].value or "runs on cuda in " in found[backend].value


@pytest.mark.usefixtures("quick")
def test_an_engine_that_fails_is_not_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    real = open_engine

    def failing(style: Any, backend: str) -> Any:
        if backend == "onnxruntime":
            raise DeviceUnavailableError("onnxruntime fell back from CUDA to the CPU", "install CUDA")
        return real(style, backend)

    monkeypatch.setattr(doctor, "open_engine", failing)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name in ("torch", "openvino") else name)
    found = {finding.subject: finding for finding in examine()}
    assert not found["onnxruntime"].ok
    assert "fell back from CUDA" in found["onnxruntime"].value
    assert not found["openvino"].ok
    assert found["torchscript"] == Finding("torchscript", "not installed (torch)", ok=True)


@pytest.mark.usefixtures("quick")
def test_packages_that_overwrite_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_try_engine", lambda backend: Finding(backend, ""))
    install(monkeypatch, "numpy", "opencv-python", "opencv-python-headless", "onnxruntime", None)
    (conflict,) = findings("conflict")
    assert not conflict.ok
    assert "pip uninstall opencv-python opencv-python-headless" in conflict.value
    install(monkeypatch, "onnxruntime", "onnxruntime-gpu", "opencv-contrib-python", "opencv-python")
    assert len(findings("conflict")) == 2
    install(monkeypatch, "onnxruntime-gpu", "opencv-python", "OpenVINO")
    assert findings("conflict") == []


@pytest.mark.usefixtures("quick")
def test_no_style_is_not_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_try_engine", lambda backend: Finding(backend, ""))
    monkeypatch.setattr(doctor, "style_files", dict)
    assert findings("styles") == [Finding("styles", "0 weights files", ok=False)]


@pytest.mark.usefixtures("quick")
def test_a_damaged_weights_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_try_engine", lambda backend: Finding(backend, ""))
    assert findings("weights file") == []
    (tmp_path / "bad.onnx").write_text("no net")
    with as_user_style(tmp_path / "bad.onnx", "bad") as bad:
        (found,) = findings("weights file")
    assert not found.ok
    assert str(bad) in found.value


@pytest.mark.usefixtures("quick")
def test_a_cache_that_cannot_be_written_is_not_ok(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    found = {finding.subject: finding for finding in examine()}
    assert all(found[backend].ok for backend in BACKENDS), found
    assert not found["cache"].ok
    assert str(tmp_path / "file") in found["cache"].value


@pytest.mark.usefixtures("quick")
def test_an_error_of_a_librarys_own_does_not_end_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(style: Any, backend: str) -> Any:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(doctor, "open_engine", failing)
    (found,) = findings("openvino")
    assert not found.ok
    assert found.value.endswith("but no such instruction")


def test_the_cpu() -> None:
    assert "cores" in describe_cpu()


@pytest.mark.usefixtures("quick")
def test_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_try_engine", lambda backend: Finding(backend, "runs"))
    install(monkeypatch, "opencv-python")
    good = stylecam("doctor")
    assert good.code == 0
    assert all(line.startswith("ok ") for line in good.out.splitlines())
    for subject in ("python", "cpu", "cuda", *BACKENDS, "styles", "cameras", "window", "cache"):
        assert f"\nok  {subject} " in good.out
    install(monkeypatch, "opencv-python", "opencv-python-headless")
    bad = stylecam("doctor", "--json")
    assert bad.code == 1
    assert bad.err.startswith("error: ")
    (wrong,) = (finding for finding in bad.figures["findings"] if not finding["ok"])
    assert wrong["subject"] == "conflict"
    assert "!!  conflict" in stylecam("doctor").out
