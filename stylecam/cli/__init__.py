"""The command line: options become one call, and its figures are printed."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from stylecam.interrupt import note_interrupts


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the program on `arguments` (the process's own by default) and exit with its code."""
    note_interrupts()  # before any other import: a Ctrl-C that breaks into one leaves a traceback
    from stylecam.cli.commands import load_program
    from stylecam.cli.program import end_as_wrong, leave_readers
    from stylecam.errors import SinkWriteError

    try:
        load_program()(None if arguments is None else list(arguments), prog_name="stylecam")
    except OSError as exc:
        if exc.errno != errno.ENOSPC:
            raise
        # The parser prints the help itself, before there is a command that would say so.
        end_as_wrong(
            SinkWriteError(f"the help could not be printed: {exc.strerror}", "look at what reads it")
        )
    except SinkWriteError as exc:  # of --version, which is no command
        end_as_wrong(exc)
    except SystemExit as exc:
        if arguments is None:  # else the process is somebody else's, as in tests
            leave_readers(exc.code if isinstance(exc.code, int) else 0)
        raise
