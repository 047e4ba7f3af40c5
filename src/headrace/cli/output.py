"""Output and exit codes, the same for all commands.

Exit codes: 0 done; 1 failed (the message says why and what to do); 2 the command was called wrongly; 3 a check found a
difference; 4 something is not available now (broker, store, disk), try again; 130 interrupted.
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
    "report_failure",
    "table",
    "warn",
]

P = ParamSpec("P")

FAILED, DIFFERENT, AWAY = 1, 3, 4

_WIDE = 120
"""The width where the output is no terminal and COLUMNS is not set, as in a pipe or a CI log."""

_FOLDED = 24
"""The least width of a column of text. A table that needs more width than there is prints one line per value."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that control a terminal, or that cannot be sent to it. Values from producers can have any character."""

console = Console(emoji=False)
errors = Console(stderr=True, emoji=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")]
Folder = Annotated[
    Path | None, typer.Option("--project", help="The project's folder, if not the current one.", show_default=False)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before something is destroyed; for scripts.")]


_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
"""Errors of a disk: of the state folder, or of where the output goes."""


class DiskError(RetryableError):
    """A file cannot be read or written now."""


class _Printed:
    """What the running command has printed."""

    json = False
    note: str | None = None

    @classmethod
    def reset(cls) -> None:
        """Begin another command."""
        cls.json, cls.note = False, None


def command(run: Callable[P, None]) -> Callable[P, None]:
    """Make a function a command, which ends with the exit codes above. Errors that users can fix give no traceback.

    With `as_json`, a failure is printed as JSON on standard output too. So a command prints exactly one document.
    """

    @wraps(run)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        for shown in (console, errors):
            if not shown.is_terminal:
                columns = os.environ.get("COLUMNS", "")
                shown.width = int(columns) if columns.isdecimal() else _WIDE
        _Printed.reset()
        as_json = bool(kwargs.get("as_json"))
        raise_while_working()
        try:
            with needing():
                run(*args, **kwargs)
        except HeadraceError as error:
            raise typer.Exit(report_failure(error, as_json=as_json)) from None
        except KeyboardInterrupt as error:
            hint = "; ".join(getattr(error, "__notes__", []))
            typer.echo(f"interrupted: {hint}" if hint else "interrupted", err=True)
            _fail(as_json, INTERRUPTED, "interrupted", hint or None, "interrupted")
        except typer.Exit as ended:
            if ended.exit_code:
                _fail(as_json, ended.exit_code, _Printed.note or "It was not done.", None, "HeadraceError")
            raise
        except OSError as error:
            if error.errno not in _DISK_ERRORS:
                raise
            disk_error = DiskError(f"{error.strerror}{f': {error.filename}' if error.filename else ''}.")
            raise typer.Exit(report_failure(disk_error, as_json=as_json)) from None
        except Exception as error:
            if as_json and not _Printed.json:
                traceback.print_exc()
                _fail(as_json, FAILED, f"{type(error).__name__}: {error}", None, "unexpected")
            raise

    return wrapped


def report_failure(error: HeadraceError, *, as_json: bool, one_line: bool = False) -> int:
    """Print why a command fails, as text and with `as_json` as JSON too; returns the exit code."""
    _print_error(error, one_line=one_line or isinstance(error, MissingExtraError))
    code = AWAY if isinstance(error, RetryableError) else FAILED
    _print_failure_json(as_json, code, error.what, error.hint, type(error).__name__)
    return code


def _print_error(error: HeadraceError, *, one_line: bool) -> None:
    what = Text.assemble(("error:", "bold red"), f" {_plain(error.what)}")
    hint = Text.assemble(("→", "cyan"), f" {_plain(error.hint)}") if error.hint else Text()
    # On a terminal lines break between words. In a file or a pipe they stay whole, for searching.
    unbroken = not errors.is_terminal
    errors.print(what.append(" ").append_text(hint) if one_line and hint else what, soft_wrap=unbroken)
    if hint and not one_line:
        errors.print(Text("  ").append_text(hint), soft_wrap=unbroken)


def _fail(as_json: bool, code: int, what: str, hint: str | None, kind: str) -> None:
    _print_failure_json(as_json, code, what, hint, kind)
    raise typer.Exit(code)


def _print_failure_json(as_json: bool, code: int, what: str, hint: str | None, kind: str) -> None:
    if as_json and not _Printed.json:
        print_json({"error": what, "hint": hint, "kind": kind, "exit_code": code})


def confirm(question: str, *, yes: bool) -> None:
    """Ask a person before something is destroyed. Callers print first what will be destroyed.

    Args:
        question: The question: "Erase all of this permanently?"
        yes: Whether `--yes` was given: then nobody is asked.

    Raises:
        NotConfirmedError: The answer is no, or there is no terminal to ask at.
    """
    if yes:
        return
    if not can_ask():
        msg = f"{question} There is no terminal to ask at. Nothing was changed."
        raise NotConfirmedError(msg, hint="Give --yes to do it without a question.")
    try:
        agreed = typer.confirm(question, default=False, err=True)
    except typer.Abort:
        raise KeyboardInterrupt from None
    if not agreed:
        msg = "Nothing was changed."
        raise NotConfirmedError(msg)


def can_ask() -> bool:
    """Whether there is a terminal to ask at."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def print_json(value: Any) -> None:
    """Print one JSON document on standard output. NaN and infinities are an error, because JSON has none."""
    typer.echo(json.dumps(value, allow_nan=False, default=str))
    _Printed.json = True


def note(text: str) -> None:
    """Print a remark for people, on standard error."""
    _Printed.note = text
    errors.print(Text(_plain(text), style="dim"), soft_wrap=not errors.is_terminal)


def warn(text: str) -> None:
    """Print, on standard error, what the user should know before trusting the answer."""
    warning = Text.assemble(("warning:", "bold yellow"), f" {_plain(text)}")
    errors.print(warning, soft_wrap=not errors.is_terminal)


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    numbers: Sequence[str] = (),
    whole: Sequence[str] = (),
    headed: bool = True,
) -> None:
    """Print a table in the widest form that fits: with lines, without lines, or with one line per value.

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
        _one_line_per_value(title, columns, cells)
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
    """Print the title apart from the table, which would break it at the table's width."""
    if title:
        console.print(Text(_plain(title), style="bold"))


def _needed(name: str, values: Sequence[str], unfolded: bool) -> int:
    """The least width of a column. Text may be folded, numbers may not."""
    from rich.cells import cell_len

    longest = max((cell_len(line) for value in (name, *values) for line in value.splitlines()), default=0)
    return longest if unfolded else min(longest, _FOLDED)


def _one_line_per_value(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
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
    """Text without control characters."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)
