"""How a run of the command line begins: how it prints, which warnings it shows, and then the command."""

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
            # What is piped flows line by line, and what the terminal's encoding lacks is shown as an escape.
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    _show_only_own_warnings()
    from headrace.cli.commands import app

    app(prog_name="headrace")  # by whatever path it was called: completion goes by this name


def _show_only_own_warnings() -> None:
    """What libraries warn of is for their callers, which are us: users see it where they ask for it (`python -W`, PYTHONWARNINGS)."""
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
