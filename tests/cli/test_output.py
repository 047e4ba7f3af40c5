"""What commands share: tables at 80 columns, failures as JSON, notes."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from headrace.cli.output import AsJson, command, note, print_json, table, warn
from headrace.errors import BrokerUnavailableError, ConfigError, MissingExtraError

WIDE = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}


def ran(run: Any, *arguments: str, stdin: str | None = None, columns: str = "80") -> Any:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command(run))
    return CliRunner(env={**WIDE, "COLUMNS": columns}).invoke(app, list(arguments), input=stdin)


# --- tables


def drawn(columns: list[str], rows: list[list[object]], width: int, **options: Any) -> list[str]:
    def run() -> None:
        table("Title", columns, rows, **options)

    lines: list[str] = ran(run, columns=str(width)).output.splitlines()
    assert max(map(len, lines)) <= width
    return lines


ROW = ["departures[0]", 120_963, 120_963, 0, 120_963, 120_963, "2013-12-31 23:59:00"]
COLUMNS = ["partition", "end", "applied", "lag", "committed", "logged", "newest record"]


def test_table_that_fits_has_lines() -> None:
    assert any("┃" in line for line in drawn(COLUMNS, [ROW], 120, numbers=COLUMNS[1:6]))


def test_table_that_nearly_fits_loses_its_lines_first() -> None:
    lines = drawn(COLUMNS, [ROW], 80, numbers=COLUMNS[1:6])
    assert not any("┃" in line for line in lines)
    assert any("departures[0]" in line and "2013-12-31 23:59:00" in line for line in lines)


def test_wide_table_turns_on_its_side() -> None:
    wide = [f"column {number}" for number in range(9)]
    lines = drawn(wide, [["word " * 6] * 9, [None] * 9], 80)
    assert lines[0] == "Title"
    assert [line.split()[:2] for line in lines[1:10]] == [["column", str(number)] for number in range(9)]
    assert lines[10].strip() == ""
    assert lines[11].split() == ["column", "0", "–"]


def test_text_is_folded_rather_than_the_table_turned() -> None:
    lines = drawn(["name", "reason"], [["a", "because " * 30]], 80)
    assert any("┃" in line for line in lines)
    assert sum(line.count("because") for line in lines) == 30


@pytest.mark.parametrize("value", [r"a\[/b]", r"^\[a-z]+$", "x\\", "1:100:2", ":x:", "[bold]x[/]", "[/]"])
def test_text_is_shown_as_it_is_in_cells_titles_and_messages(value: str) -> None:
    """Neither markup nor emoji are made of it."""

    def run() -> None:
        table(f"Of {value}", ["one"], [[value]])
        table("", ["one", "two"], [[value, "word " * 40]], whole=["two"])
        note(f"note {value}")
        warn(f"{value}")
        msg = f"what {value}"
        raise ConfigError(msg, hint=f"do {value}")

    said = ran(run).output
    for shown in (f"Of {value}\n", f"│ {value} ", f"one  {value}", f"note {value}", f"warning: {value}"):
        assert shown in said
    assert f"error: what {value}\n  → do {value}\n" in said


def test_what_a_value_holds_does_nothing_to_the_terminal() -> None:
    def run() -> None:
        table("", ["one"], [["\x1b[31mred\x07\r\x00 \ud800 é \u202e"]])
        note("\x1b]0;title\x07")

    said = ran(run).output
    assert r"\x1b[31mred\x07\r\x00 \ud800 é \u202e" in said
    assert r"\x1b]0;title\x07" in said


def test_brackets_in_cells_are_no_markup() -> None:
    assert any("[bold]x[/]" in line for line in drawn(["a"], [["[bold]x[/]"]], 80))
    assert any("[red]" in line for line in drawn([f"c{n}" for n in range(40)], [["[red]"] * 40], 80))


# --- failures


def failing(error: BaseException) -> Any:
    def run(as_json: AsJson = False) -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("It is wrong.", hint="Write it right."), 1),
        (BrokerUnavailableError("It is away."), 4),
        (MissingExtraError("faust", "stream"), 1),
        (KeyboardInterrupt(), 130),
        (typer.Exit(3), 3),
    ],
)
def test_failure_is_one_json_document_with_its_exit_code(error: BaseException, code: int) -> None:
    done = ran(failing(error), "--json")
    told = json.loads(done.stdout)
    assert set(told) == {"error", "hint", "kind", "exit_code"}
    assert told["exit_code"] == done.exit_code == code
    assert ran(failing(error)).stdout == ""


def test_unexpected_failure_is_json_too_and_its_traceback_goes_to_standard_error() -> None:
    done = ran(failing(ZeroDivisionError("by zero")), "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"] == "ZeroDivisionError: by zero"
    assert "Traceback" in done.stderr


def test_document_that_was_printed_stays_the_only_one() -> None:
    def run(as_json: AsJson = False) -> None:
        print_json({"ok": False})
        raise typer.Exit(1)

    assert json.loads(ran(run, "--json").stdout) == {"ok": False}


def test_note_before_a_failure_is_its_error() -> None:
    def run(as_json: AsJson = False) -> None:
        note("No worker runs.")
        raise typer.Exit(4)

    assert json.loads(ran(run, "--json").stdout)["error"] == "No worker runs."


def test_missing_extra_is_one_line() -> None:
    done = ran(failing(MissingExtraError("faust", "stream")))
    (line,) = done.stderr.splitlines()
    assert "pip install 'headrace[stream]'" in line


def test_missing_package_of_an_extra_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> None:
        import feast  # noqa: F401

    monkeypatch.setitem(sys.modules, "feast", None)
    monkeypatch.setattr("headrace.extras.find_spec", lambda name: None)
    done = ran(run)
    assert done.exit_code == 1
    assert "pip install 'headrace[feast]'" in done.stderr


def test_message_that_goes_to_a_file_is_one_line_whatever_its_length() -> None:
    (line,) = ran(failing(ConfigError("word " * 100))).stderr.splitlines()
    assert line.count("word") == 100


def test_interrupted_command_says_what_stays() -> None:
    interrupt = KeyboardInterrupt()
    interrupt.add_note("5 events were sent")
    done = ran(failing(interrupt))
    assert (done.exit_code, done.stderr) == (130, "interrupted: 5 events were sent\n")


def test_warning_is_marked_as_one() -> None:
    done = ran(lambda: warn("Nothing was known."))
    assert "warning: Nothing was known." in done.stderr
    assert done.stdout == ""
