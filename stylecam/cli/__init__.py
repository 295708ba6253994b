"""The command line: options become one call, and its figures are printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from typer.main import get_command

# In the order in which the help lists their commands.
# isort: off
from stylecam.cli import live, film, play, slow, make, look  # noqa: F401

# isort: on
from stylecam.cli.program import app
from stylecam.interrupt import interrupt_on_terminate

__all__ = ["app", "run"]


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the program on `arguments` (the process's own by default) and exit with its code."""
    with suppress(ValueError):  # not on the main thread, as in some tests
        interrupt_on_terminate()
    _command()(None if arguments is None else list(arguments), prog_name="stylecam")


@cache
def _command() -> Callable[..., Any]:
    """Return what typer makes of all the signatures, 30 ms of work; only tests run the program twice."""
    return get_command(app)
