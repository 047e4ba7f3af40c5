"""What commands share: how they print, for people and for machines, and how they end.

Exit codes: 0 done; 1 it could not be done (the message says why and what to do); 2 the command was called wrongly; 3 it was done and the
answer is no (a check found a difference); 4 something is away just now (broker, store, disk) and trying again may help; 130 interrupted.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from headrace.errors import HeadraceError, NotConfirmedError, RetryableError

__all__ = [
    "AsJson",
    "DIFFERENT",
    "FAILED",
    "Folder",
    "Yes",
    "command",
    "confirm",
    "console",
    "errors",
    "note",
    "print_json",
    "table",
]

P = ParamSpec("P")

FAILED, DIFFERENT, AWAY, INTERRUPTED = 1, 3, 4, 130

_LIBRARIES = {"faust", "mode", "aiokafka", "kafka", "asyncio"}

_WIDE = 120
"""Columns where the output is no terminal: a pipe or a CI log has no width of its own."""

console = Console(width=None if sys.stdout.isatty() else _WIDE)
errors = Console(stderr=True, width=None if sys.stderr.isatty() else _WIDE)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")]
Folder = Annotated[
    Path | None, typer.Option("--project", help="The project's folder, if not the current one.", show_default=False)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before something is destroyed; for scripts.")]


def command(run: Callable[P, None]) -> Callable[P, None]:
    """Make a function a command that ends with the exit codes above and never with a traceback for what users can mend."""

    @wraps(run)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            run(*args, **kwargs)
        except HeadraceError as error:
            errors.print(f"[bold red]error:[/] {_escape(error.what)}", highlight=False)
            if error.cure:
                errors.print(f"  [cyan]→[/] {_escape(error.cure)}", highlight=False)
            raise typer.Exit(AWAY if isinstance(error, RetryableError) else FAILED) from None
        except KeyboardInterrupt:
            errors.print("interrupted")
            raise typer.Exit(INTERRUPTED) from None

    return wrapped


def confirm(question: str, *, yes: bool) -> None:
    """Ask a person before something is destroyed. Print what will be destroyed before you ask.

    Args:
        question: What is about to be done, as a question: "Erase all of this for good?"
        yes: Whether `--yes` was given, so that nobody is asked.

    Raises:
        NotConfirmedError: The answer is no, or nobody can be asked as there is no terminal.
    """
    if yes:
        return
    if not can_ask():
        msg = f"{question} Nobody can be asked, as there is no terminal. Nothing was changed."
        raise NotConfirmedError(msg, cure="Say --yes to do it without being asked.")
    try:
        agreed = typer.confirm(question, default=False, err=True)
    except typer.Abort:
        raise KeyboardInterrupt from None
    if not agreed:
        msg = "Nothing was changed."
        raise NotConfirmedError(msg)


def can_ask() -> bool:
    """Whether a person sits at the terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def set_up_logging(*, verbose: bool) -> None:
    """Warnings of ours to standard error; with `verbose`, also what the libraries say."""
    handler = RichHandler(console=errors, show_path=False, markup=False, rich_tracebacks=False)
    logging.basicConfig(
        level=logging.INFO if verbose else logging.ERROR, handlers=[handler], format="%(message)s", force=True
    )
    logging.getLogger("headrace").setLevel(logging.INFO if verbose else logging.WARNING)
    if not verbose:
        # What ends a worker is raised and shown once, by us; the libraries would show it again with their tracebacks.
        handler.addFilter(lambda record: record.name.partition(".")[0] not in _LIBRARIES)


def print_json(value: Any) -> None:
    """One JSON document on standard output; numbers that JSON lacks are an error, not an extension of JSON."""
    typer.echo(json.dumps(value, allow_nan=False, default=str))


def note(text: str) -> None:
    """A remark for people, on standard error."""
    errors.print(_escape(text), style="dim", highlight=False)


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    numbers: Sequence[str] = (),
    whole: Sequence[str] = (),
) -> None:
    """Print a table.

    Args:
        title: Its title.
        columns: The columns' names.
        rows: One sequence per row; None shows as a dash.
        numbers: The columns to align right.
        whole: The columns that are never folded.
    """
    drawn = Table(title=title, title_justify="left", title_style="bold")
    for name in columns:
        justify: Literal["left", "right"] = "right" if name in numbers else "left"
        drawn.add_column(name, justify=justify, overflow="fold", no_wrap=name in whole)
    for row in rows:
        drawn.add_row(*(_cell(value) for value in row))
    console.print(drawn)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"
    return _escape(str(value))


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
