"""What commands share: how they print, for people and for machines, and how they end.

Exit codes: 0 done; 1 it could not be done (the message says why and what to do); 2 the command was called wrongly; 3 it was done and the
answer is no (a check found a difference); 4 something is away just now (broker, store, disk) and trying again may help; 130 interrupted.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import Console
from rich.text import Text

from headrace.cli.interrupts import INTERRUPTED, raise_while_working
from headrace.errors import HeadraceError, MissingExtraError, NotConfirmedError, RetryableError
from headrace.extras import needing

__all__ = [
    "AWAY",
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
    "tell_failure",
    "warn",
]

P = ParamSpec("P")

FAILED, DIFFERENT, AWAY = 1, 3, 4

_WIDE = 120
"""Columns where the output is no terminal and COLUMNS says nothing: a pipe or a CI log has no width of its own."""

_FOLDED = 24
"""Columns that a column of text is at least given before a table turns on its side."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that would do something to a terminal, or that it cannot be sent: producers choose what a value holds."""

console = Console(emoji=False)
errors = Console(stderr=True, emoji=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")]
Folder = Annotated[
    Path | None, typer.Option("--project", help="The project's folder, if not the current one.", show_default=False)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before something is destroyed; for scripts.")]


_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
"""What a disk refuses, be it the state's or the one that the output goes to."""


class DiskError(RetryableError):
    """A file cannot be read or written just now."""


class _Told:
    """What the running command has printed so far."""

    json = False
    note: str | None = None

    @classmethod
    def forget(cls) -> None:
        """Another command begins."""
        cls.json, cls.note = False, None


def command(run: Callable[P, None]) -> Callable[P, None]:
    """Make a function a command that ends with the exit codes above and never with a traceback for what users can fix.

    Where it takes `as_json` and is asked for JSON, a failure is JSON on standard output too: one document, whatever happens.
    """

    @wraps(run)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        for shown in (console, errors):
            if not shown.is_terminal:
                columns = os.environ.get("COLUMNS", "")
                shown.width = int(columns) if columns.isdecimal() else _WIDE
        _Told.forget()
        as_json = bool(kwargs.get("as_json"))
        raise_while_working()
        try:
            with needing():
                run(*args, **kwargs)
        except HeadraceError as error:
            raise typer.Exit(tell_failure(error, as_json=as_json)) from None
        except KeyboardInterrupt as error:
            told = "; ".join(getattr(error, "__notes__", []))
            typer.echo(f"interrupted: {told}" if told else "interrupted", err=True)
            _fail(as_json, INTERRUPTED, "interrupted", told or None, "interrupted")
        except typer.Exit as ended:
            if ended.exit_code:
                _fail(as_json, ended.exit_code, _Told.note or "It was not done.", None, "HeadraceError")
            raise
        except OSError as error:
            if error.errno not in _OF_THE_DISK:
                raise
            told_by = DiskError(f"{error.strerror}{f': {error.filename}' if error.filename else ''}.")
            raise typer.Exit(tell_failure(told_by, as_json=as_json)) from None
        except Exception as error:
            if as_json and not _Told.json:
                traceback.print_exc()
                _fail(as_json, FAILED, f"{type(error).__name__}: {error}", None, "unexpected")
            raise

    return wrapped


def tell_failure(error: HeadraceError, *, as_json: bool, one_line: bool = False) -> int:
    """Say why a command fails, for people and where asked for machines; returns the exit code."""
    _tell(error, one_line=one_line or isinstance(error, MissingExtraError))
    code = AWAY if isinstance(error, RetryableError) else FAILED
    _say_failure(as_json, code, error.what, error.hint, type(error).__name__)
    return code


def _tell(error: HeadraceError, *, one_line: bool) -> None:
    what = Text.assemble(("error:", "bold red"), f" {_plain(error.what)}")
    hint = Text.assemble(("→", "cyan"), f" {_plain(error.hint)}") if error.hint else Text()
    # A terminal breaks lines between words; what goes elsewhere is searched by line.
    unbroken = not errors.is_terminal
    errors.print(what.append(" ").append_text(hint) if one_line and hint else what, soft_wrap=unbroken)
    if hint and not one_line:
        errors.print(Text("  ").append_text(hint), soft_wrap=unbroken)


def _fail(as_json: bool, code: int, what: str, hint: str | None, kind: str) -> None:
    _say_failure(as_json, code, what, hint, kind)
    raise typer.Exit(code)


def _say_failure(as_json: bool, code: int, what: str, hint: str | None, kind: str) -> None:
    if as_json and not _Told.json:
        print_json({"error": what, "hint": hint, "kind": kind, "exit_code": code})


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
        raise NotConfirmedError(msg, hint="Say --yes to do it without being asked.")
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


def print_json(value: Any) -> None:
    """One JSON document on standard output; numbers that JSON lacks are an error, not an extension of JSON."""
    typer.echo(json.dumps(value, allow_nan=False, default=str))
    _Told.json = True


def note(text: str) -> None:
    """A remark for people, on standard error."""
    _Told.note = text
    errors.print(Text(_plain(text), style="dim"), soft_wrap=not errors.is_terminal)


def warn(text: str) -> None:
    """What the user should know before trusting the answer, on standard error."""
    told = Text.assemble(("warning:", "bold yellow"), f" {_plain(text)}")
    errors.print(told, soft_wrap=not errors.is_terminal)


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    numbers: Sequence[str] = (),
    whole: Sequence[str] = (),
    headed: bool = True,
) -> None:
    """Print a table, in the narrowest form that it needs: with lines, without, or on its side, a line per value.

    Args:
        title: Its title.
        columns: The columns' names.
        rows: One sequence per row; None shows as a dash.
        numbers: The columns to align right.
        whole: The columns that are never folded.
        headed: Whether the columns' names are shown.
    """
    from rich import box
    from rich.table import Table

    cells = [[_cell(value) for value in row] for row in rows]
    needed = [
        _needed(name, [row[at] for row in cells], name in numbers or name in whole) for at, name in enumerate(columns)
    ]
    lined = sum(needed) + 3 * len(needed) + 1 <= console.width
    if not lined and sum(needed) + 2 * len(needed) > console.width:
        _on_its_side(title, columns, cells)
        return
    _title(title)
    drawn = Table(show_header=headed)
    if not lined:
        drawn.box, drawn.pad_edge, drawn.collapse_padding = box.SIMPLE_HEAD, False, True
        drawn.padding = (0, 1)
        drawn.show_edge = False
    for name in columns:
        drawn.add_column(
            name,
            justify="right" if name in numbers else "left",
            overflow="fold",
            no_wrap=name in whole or name in numbers,
        )
    for row in cells:
        drawn.add_row(*map(Text, row))
    console.print(drawn)


def _title(title: str) -> None:
    """A title of its own: as a table's it would be broken at the table's width."""
    if title:
        console.print(Text(_plain(title), style="bold"))


def _needed(name: str, values: Sequence[str], unfolded: bool) -> int:
    """How wide a column must be: a few words of text may be folded, a number is not."""
    from rich.cells import cell_len

    longest = max((cell_len(line) for value in (name, *values) for line in value.splitlines()), default=0)
    return longest if unfolded else min(longest, _FOLDED)


def _on_its_side(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table

    _title(title)
    drawn = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    drawn.add_column(style="dim", no_wrap=True)
    drawn.add_column(overflow="fold")
    for number, row in enumerate(rows):
        if number:
            drawn.add_row("", "")
        for name, value in zip(columns, row, strict=True):
            drawn.add_row(Text(f"  {name}"), Text(value))
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
    return _plain(str(value))


def _plain(text: str) -> str:
    """Text that does nothing to a terminal."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)
