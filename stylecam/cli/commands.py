"""All commands together."""

from __future__ import annotations

from functools import cache
from typing import Any

from typer.main import get_command

# In the order in which the help lists their commands.
# isort: off
from stylecam.cli import live, film, play, slow, make, look  # noqa: F401

# isort: on
from stylecam.cli.program import app


@cache
def load_program() -> Any:
    """Return what typer (click) makes of all the signatures, 30 ms of work; only tests use it twice."""
    return get_command(app)
