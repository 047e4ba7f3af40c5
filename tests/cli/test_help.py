"""Every command explains itself, and wrong calls end with 2."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from headrace.cli import app

COMMANDS = {
    "init": ["name"],
    "apply": ["--json", "--project"],
    "plan": ["--check", "--json"],
    "dev": ["--port"],
    "produce": ["--speed", "--from", "--until", "--limit", "--resume", "--late", "--seed", "--json"],
    "stream": ["--until-end", "--rebuild", "--json", "--verbose"],
    "lookup": ["--service", "--feature", "--key", "--at", "--json"],
    "history": ["--spine", "--service", "--as-of", "--time-column", "--out", "--json"],
    "dataset build": ["name", "--out", "--json"],
    "dataset verify": ["manifest", "--json"],
    "status": ["--json"],
    "audit": ["--since", "--json"],
    "forget": ["entity", "keys", "--key", "--datasets", "--json"],
    "import": [
        "source",
        "--from",
        "--query",
        "--database",
        "--known-at",
        "--map",
        "--id",
        "--skip-bad",
        "--dry-run",
        "--json",
    ],
    "log show": ["topics", "--json"],
    "log compact": ["topics", "--target-mb", "--json"],
    "log vacuum": ["topics", "--retention", "--datasets", "--dry-run", "--json"],
    "deadletters": ["--limit", "--json"],
    "demo": ["--late", "--lookups", "--limit"],
}

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


@pytest.mark.parametrize(("command", "options"), COMMANDS.items())
def test_command_explains_itself_and_its_options(command: str, options: list[str]) -> None:
    shown = runner.invoke(app, [*command.split(), "--help"])
    assert shown.exit_code == 0
    for option in options:
        assert option in shown.output.lower()


def test_help_names_every_command_and_the_exit_codes() -> None:
    shown = runner.invoke(app, ["--help"]).output
    for command in COMMANDS:
        assert command.split()[0] in shown
    assert "Exit codes" in shown


@pytest.mark.parametrize("arguments", [["nope"], ["lookup"], ["stream", "--fast"], ["dataset", "build"]])
def test_wrong_call_ends_with_2(arguments: list[str]) -> None:
    assert runner.invoke(app, arguments).exit_code == 2


def test_command_outside_a_project_says_how_to_start_one(tmp_path: object) -> None:
    command = [sys.executable, "-m", "headrace.cli", "status", "--json"]
    done = subprocess.run(command, cwd=str(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "headrace init" in done.stderr
