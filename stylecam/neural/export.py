"""From a checkpoint to a file that others can run: ONNX, TorchScript or torch.export.

Every file takes and gives `uint8 [N, H, W, 3]`, BGR, with N, H and W free. It is run and
compared with the net before it gets its name.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from stylecam.errors import ExportError, ParityError
from stylecam.frames import Pixels
from stylecam.neural.deploy import DeployableNet, script
from stylecam.neural.onnx_graph import example, store_half, to_onnx
from stylecam.neural.trained import Trained, load_trained
from stylecam.styles import Array, pack_grams, write_card
from stylecam.wholefile import whole_file

FORMATS = {"onnx": ".onnx", "torchscript": ".ts", "pt2": ".pt2"}
_TRY_SHAPES = ((1, 64, 96), (2, 75, 50), (1, 75, 50), (2, 64, 96))
_HALF_PSNR_DB = 40.0


def export(name: str, path: Path, file_format: str | None = None, half: bool = True) -> Path:
    """Write the checkpoint or style `name` to `path`, as `write_net` does."""
    return write_net(load_trained(name), path, file_format, half)


def write_net(trained: Trained, path: Path, file_format: str | None = None, half: bool = True) -> Path:
    """Write a net to `path`; the suffix tells the format if none is given.

    `half` stores an ONNX file's weights in half precision (they are computed with in fp32).
    The file is run on four shapes first: within 1 of 255 of the net whose weights it holds, and
    at 40 dB or better of the fp32 net. Raises ParityError, and then leaves no file.
    """
    file_format = file_format or _format_of(path)
    if not path.parent.is_dir():  # torch.jit raises its own kind of error for that
        raise ExportError(
            f"{path} could not be written: folder {path.parent} does not exist", "make the folder first"
        )
    try:
        with whole_file(path) as part:
            if file_format == "onnx":
                _write_onnx(trained, part, half)
            else:
                _write_torch(trained, part, file_format)
    except OSError as exc:
        raise ExportError(f"{path} could not be written: {exc}", "choose another place with -o") from exc
    return path


def _format_of(path: Path) -> str:
    for name, suffix in FORMATS.items():
        if path.suffix.lower() == suffix:
            return name
    raise ExportError(
        f"the suffix {path.suffix!r} tells no format", f"use {', '.join(FORMATS.values())}, or give --format"
    )


def _write_onnx(trained: Trained, part: Path, half: bool) -> None:
    original, net = trained.net, trained.net
    if half:
        net = copy.deepcopy(original)
        net.load_state_dict({name: value.half().float() for name, value in net.state_dict().items()})
    model = to_onnx(net)
    if half:
        store_half(model)
    write_card(model, trained.card, trained.grams)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, part)
    session = onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"])
    several = net.spec.styles > 1

    def run(frames: Pixels, style: Array) -> Pixels:
        found: Pixels = session.run(None, {"frames": frames, **({"style": style} if several else {})})[0]
        return found

    check_parity(DeployableNet(net), run, least_psnr_db=None)
    check_parity(DeployableNet(original), run, least_psnr_db=_HALF_PSNR_DB)


def _write_torch(trained: Trained, part: Path, file_format: str) -> None:
    deployable = DeployableNet(trained.net).eval()
    extra = {"stylecam": json.dumps(trained.card), "stylecam.grams": pack_grams(trained.grams)}
    reopened: Callable[..., Tensor]
    if file_format == "torchscript":
        script(deployable).save(str(part), _extra_files=extra)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch.jit is deprecated, and still works
            reopened = torch.jit.load(str(part))
    elif file_format == "pt2":
        args, shapes = example(trained.net.spec.styles)
        program = torch.export.export(deployable, args, dynamic_shapes=shapes)
        with part.open("wb") as file:
            torch.export.save(program, file, extra_files=extra)
        reopened = torch.export.load(str(part)).module()
    else:
        raise ExportError(f"format {file_format!r} is unknown", f"known: {', '.join(FORMATS)}")
    several = trained.net.spec.styles > 1

    def run(frames: Pixels, style: Array) -> Pixels:
        args = (torch.from_numpy(frames), *((torch.from_numpy(style),) if several else ()))
        with torch.inference_mode():
            return reopened(*args).numpy()

    check_parity(deployable, run, least_psnr_db=None)


def check_parity(
    deployable: DeployableNet, run: Callable[[Pixels, Array], Pixels], *, least_psnr_db: float | None
) -> None:
    """Compare `run(frames, style)` with the torch net at two sizes and two batches.

    Within 1 of 255 everywhere, or at `least_psnr_db` or better if that is given. Raises ParityError.
    """
    rng = np.random.default_rng(0)
    styles = deployable.net.spec.styles
    mix = np.full((1, styles), 1 / styles, np.float32)
    for shape in _TRY_SHAPES:
        frames = rng.integers(0, 256, (*shape, 3), np.uint8)
        with torch.inference_mode():
            wanted = deployable(torch.from_numpy(frames), torch.from_numpy(mix)).numpy()
        found = run(frames, mix)
        if found.shape != frames.shape:
            raise ParityError(f"frames of {frames.shape} came back as {found.shape}", "please report this")
        off = np.abs(found.astype(np.int16) - wanted)
        psnr_db = 10 * np.log10(255**2 / max(float(np.square(off, dtype=np.float64).mean()), 1e-9))
        if off.max() > 1 if least_psnr_db is None else psnr_db < least_psnr_db:
            raise ParityError(
                f"at {shape} the file is off by up to {off.max()} of 255, {psnr_db:.1f} dB",
                "export with --full-precision, or check the versions of torch and onnxruntime",
            )
