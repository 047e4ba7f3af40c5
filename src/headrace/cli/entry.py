"""The start of the command line: set up output and warnings, then run the command."""

from __future__ import annotations

import sys
import warnings
from io import TextIOWrapper
from typing import Any

from headrace.errors import HeadraceWarning

__all__ = ["run"]


def run() -> None:
    """Run the command that the arguments name."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Print piped output line by line, and characters that the encoding does not have as escapes.
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    _show_only_own_warnings()
    from headrace.cli.commands import app

    app(prog_name="headrace")  # shell completion needs this name, also where the program was called by a path


def _show_only_own_warnings() -> None:
    """Show warnings of libraries only where the user asks for them (`python -W`, PYTHONWARNINGS)."""
    if sys.warnoptions:
        return
    warnings.simplefilter("ignore")
    warnings.simplefilter("always", HeadraceWarning)
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not issubclass(category, HeadraceWarning):
            shown(message, category, *where, **more)
            return
        from headrace.cli.output import warn

        warn(str(message))

    warnings.showwarning = show
