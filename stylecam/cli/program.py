"""The program itself: how a function becomes a command, and what all commands that stylize share."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec

import typer

from stylecam import __version__
from stylecam.arguments import Backend, Device, NetKind, Precision
from stylecam.console import print_json, say, say_error, show
from stylecam.errors import BackendMissingError, SinkOpenError, StylecamError
from stylecam.interrupt import interruptible

if TYPE_CHECKING:
    from stylecam.engines.base import Engine
    from stylecam.meter import Meter
    from stylecam.styles import Style

P = ParamSpec("P")
READERS = ("stylecam-opening", "stylecam-reader")
"""Threads that may be left inside OpenCV, which waits for a stream for up to 15 s whatever happens."""

app = typer.Typer(
    name="stylecam",
    help="Paint a webcam, a film or a photo in the manner of a painting, in real time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Make a function a command: its errors become two lines and exit 1, Ctrl-C exit 130."""

    @wraps(function)
    def interrupted(*args: P.args, **kwargs: P.kwargs) -> None:
        with interruptible():
            function(*args, **kwargs)

    return command_that_ends(interrupted)


def command_that_ends(function: Callable[P, None]) -> Callable[P, None]:
    """Make a function a command that looks itself whether `was_interrupted`: Ctrl-C is only noted."""

    @app.command()
    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except StylecamError as exc:
            if kwargs.get("debug"):
                traceback.print_exc()
            say_error(exc)
            raise typer.Exit(1) from exc
        except KeyboardInterrupt as exc:
            say("interrupted")
            raise typer.Exit(130) from exc

    return wrapped


def end_as_wrong(error: StylecamError) -> NoReturn:
    """End the program as a command ends that raises `error`."""
    say_error(error)
    raise SystemExit(1) from error


def leave_readers(code: int) -> None:
    """End the process at once where a thread is left inside OpenCV; everything of ours is closed by now.

    One that comes back while Python shuts down aborts it ("terminate called without an active
    exception"), before Python 3.14.
    """
    if not any(thread.name in READERS for thread in threading.enumerate()):
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _show_version(wanted: bool) -> None:
    if wanted:
        show(f"stylecam {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def load(
    stack: ExitStack, style: str, net: NetKind, engine: Backend, device: Device, precision: Precision
) -> tuple[Style, Engine]:
    """Read a style and open it in an engine that `stack` closes; say what was chosen."""
    from stylecam.engines import on_gpu, open_engine
    from stylecam.styles import find_style

    found = find_style(style, net.value, on_gpu=on_gpu(engine.value, device.value))
    loaded = stack.enter_context(open_engine(found, engine.value, device.value, precision.value))
    say(f"{found.name} ({found.net} net): {loaded.choice}")
    return found, loaded


def chosen_smoothing(amount: float | None) -> float:
    """Return how much a film is smoothed, the default where nothing was asked for. Raises StylecamError."""
    from stylecam.temporal import DEFAULT_SMOOTHING, check_smoothing

    if amount is not None:
        check_smoothing(amount)
    return DEFAULT_SMOOTHING if amount is None else amount


def finish(
    json: bool, meter: Meter, size_wh: tuple[int, int], style: Style, engine: Engine, **more: Any
) -> None:
    """Print the figures that every command that stylizes has, where they were asked for."""
    if json:
        print_json(figures_of(meter, size_wh, style, engine) | more)


def figures_of(meter: Meter, size_wh: tuple[int, int], style: Style, engine: Engine) -> dict[str, Any]:
    """Return the figures that every command that stylizes has, by name."""
    return {
        "frames": meter.frames, "fps": round(meter.fps, 2), "wall_s": round(meter.wall_s, 3),
        "size_wh": size_wh, "engine": engine.backend, "device": engine.device,
        "precision": engine.precision, "style": style.name, "net": style.net,
    }  # fmt: skip


def check_not_same(film: Path, output: Path) -> None:
    if film.resolve() == output.resolve():
        raise SinkOpenError(f"{film} would be overwritten", "choose another name for what is made")


def neural(module: str) -> Any:
    """Import a module that needs torch, or say how to get it."""
    try:
        return import_module(f"stylecam.neural.{module}")
    except ModuleNotFoundError as exc:
        raise BackendMissingError(
            f"this needs the package {exc.name}", "pip install 'stylecam[train]'"
        ) from exc
