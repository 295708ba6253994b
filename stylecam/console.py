"""What is printed: messages and progress to stderr, figures to stdout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from stylecam.errors import SinkWriteError, StylecamError

messages = Console(stderr=True, highlight=False, soft_wrap=True)
figures = Console(highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a line for the person at the terminal."""
    messages.print(text, markup=False)


def say_error(error: StylecamError) -> None:
    """Print what is wrong, and what to do about it."""
    say(f"error: {error.message}\nhint: {error.hint}")


def show(text: str) -> None:
    """Print a line of a result, to stdout. Raises SinkWriteError."""
    with _writing(sys.stdout):
        print(text, flush=True)


def print_json(values: dict[str, Any], *, to_stderr: bool = False) -> None:
    """Print one JSON object on a line of its own; to stderr where stdout carries something else.

    Raises SinkWriteError.
    """
    stream = sys.stderr if to_stderr else sys.stdout
    with _writing(stream, whole=True):
        print(json.dumps(values), file=stream, flush=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table without a frame. Raises SinkWriteError."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    with _writing(sys.stdout):
        figures.print(table)


@contextmanager
def _writing(stream: TextIO, whole: bool = False) -> Iterator[None]:
    """Translate what a full disk says, and a closed pipe where only the `whole` is of use.

    A pipe that `head` closed has shown its reader enough: click ends quietly then, with exit 1.
    """
    try:
        yield
    except OSError as exc:
        if isinstance(exc, BrokenPipeError) and not whole:
            raise
        if stream is sys.__stdout__:  # what it still holds would be tried, and told, again at exit
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        cause = exc.strerror or exc
        raise SinkWriteError(f"the figures could not be printed: {cause}", "look at what reads them") from exc


@contextmanager
def progress(what: str, total: float | None, visible: bool = True) -> Iterator[Callable[[float, str], None]]:
    """Show a bar (or, with no total, a running line) and give the function that moves it.

    That function takes how much is done in all, and a few figures to show beside the bar.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(30),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
    )
    spinner = (SpinnerColumn(), TextColumn("{task.description}"))
    ends = (TextColumn("{task.fields[figures]}"), TimeRemainingColumn())
    with Progress(
        *(columns if total else spinner),
        *(ends if total else ends[:1]),
        console=messages,
        disable=not visible,
    ) as bar:
        task = bar.add_task(what, total=total, figures="")

        def move(done: float, text: str) -> None:
            # A container's count of its frames can be too low.
            whole = None if total is None else max(total, done)
            bar.update(task, completed=done, total=whole, figures=text)

        yield move
