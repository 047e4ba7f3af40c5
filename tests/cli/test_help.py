"""Every command explains itself, and wrong calls end with 2."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from headrace import __version__
from headrace.cli import app

COMMANDS = {
    "init": ["name", "--template"],
    "apply": ["--json", "--project"],
    "plan": ["--check", "--json"],
    "dev": ["--port"],
    "produce": ["--speed", "--from", "--until", "--limit", "--resume", "--late", "--seed", "--json"],
    "stream": [
        "--until-end",
        "--rebuild",
        "--accept-gap",
        "--accept-new-topic",
        "--accept-cluster",
        "--json",
        "--verbose",
    ],
    "lookup": ["--service", "--feature", "--key", "--at", "--json"],
    "history": [
        *("--spine", "--at", "--start", "--end", "--service", "--as-of", "--time-column", "--known-until"),
        *("--log-version", "--out", "--json"),
    ],
    "token create": ["name", "--may", "--service", "--view", "--expires", "--json"],
    "token list": ["--json"],
    "token revoke": ["name", "--json"],
    "dataset build": ["name", "--out", "--json"],
    "dataset verify": ["manifest", "--json"],
    "status": ["--watch", "--json"],
    "audit": ["--since", "--json"],
    "backfill": ["view", "--no-wait", "--cancel", "--yes", "--json"],
    "rollback": ["view", "--to", "--list", "--no-wait", "--yes", "--json"],
    "forget": ["entity", "keys", "--key", "--datasets", "--dry-run", "--yes", "--json"],
    "reset": ["--datasets", "--yes", "--json"],
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
    "list": ["--json"],
    "show": ["name", "--kind", "--json"],
    "log head": ["topic", "--rows", "--oldest", "--json"],
    "log compact": ["topics", "--target-mb", "--json"],
    "log vacuum": ["topics", "--retention", "--datasets", "--dry-run", "--yes", "--json"],
    "deadletters": ["--limit", "--replay", "--yes", "--json"],
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
    assert "headrace init" in done.stderr
    told = json.loads(done.stdout)
    assert (told["kind"], told["exit_code"]) == ("ConfigError", 1)
    assert "headrace.toml" in told["error"]
    assert "headrace init" in told["hint"]


def test_wrong_call_is_told_as_json_where_json_is_asked_for() -> None:
    done = runner.invoke(app, ["lookup", "--speed", "--json"])
    told = json.loads(done.stdout)
    assert (told["kind"], told["exit_code"], done.exit_code) == ("usage", 2, 2)
    assert "--speed" in told["error"]


def test_short_options_and_the_version() -> None:
    assert runner.invoke(app, ["lookup", "-h"]).exit_code == 0
    assert runner.invoke(app, ["--version"]).stdout == f"headrace {__version__}\n"


def test_every_command_has_a_whole_line_at_80_columns() -> None:
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["--help"]).output
    assert "..." not in shown.partition("Commands:")[2]


def test_mistyped_command_gets_a_suggestion() -> None:
    assert "Did you mean 'lookup'?" in runner.invoke(app, ["lokup"]).output


def test_completion_is_shown_to_the_shell_that_asks() -> None:
    # The shell is found among the processes above; `:` keeps bash from being replaced by the command.
    asked = f"{shlex.quote(sys.executable)} -m headrace --show-completion && :"
    shown = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert "_HEADRACE_COMPLETE" in shown.stdout


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("headrace lo", {"lookup", "log"}), ("headrace lookup --serv", {"--service"}), ("headrace log co", {"compact"})],
)
def test_completion_completes_commands_and_options(typed: str, completed: set[str]) -> None:
    asked = {"_HEADRACE_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    headrace = "import sys; sys.argv[0] = 'headrace'; from headrace.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", headrace], env={**os.environ, **asked}, capture_output=True, text=True, check=False
    )
    assert set(done.stdout.split()) == completed
