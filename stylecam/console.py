"""What is printed: messages and progress to stderr, figures to stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

messages = Console(stderr=True, highlight=False, soft_wrap=True)
figures = Console(highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a line for the person at the terminal."""
    messages.print(text, markup=False)


def show(text: str) -> None:
    """Print a line of a result, to stdout."""
    print(text, flush=True)


def print_json(values: dict[str, Any], *, to_stderr: bool = False) -> None:
    """Print one JSON object on a line of its own; to stderr where stdout carries something else."""
    print(json.dumps(values), file=sys.stderr if to_stderr else sys.stdout)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table without a frame."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    figures.print(table)


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
