"""`headrace token`: made, listed and revoked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.cli import app
from headrace.config import Project
from headrace.plan import write_plan
from headrace.serving.tokens import KnownTokens, Tokens
from tests.training.conftest import PLAN

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    project = Project.load(tmp_path)
    write_plan(PLAN, project.plan_file)
    return project


def run(project: Project, *arguments: str, code: int = 0) -> Any:
    done = runner.invoke(app, ["token", *arguments, "--project", str(project.root), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def test_a_token_is_made_listed_and_revoked(project: Project) -> None:
    made = run(project, "create", "job", "--may", "read-online", "--may", "write", "--service", "model", "--view", "*")
    assert (made["name"], made["may"], made["services"], made["views"]) == (
        "job",
        ["read-online", "write"],
        ["model"],
        ["*"],
    )
    assert made["status"] == "valid"
    assert KnownTokens(Tokens(project.serve_state), lambda: 0.0).find(made["token"], 0) is not None
    (listed,) = run(project, "list")["tokens"]
    assert listed == {name: value for name, value in made.items() if name != "token"}
    assert [one["status"] for one in run(project, "revoke", "job")["revoked"]] == ["revoked"]
    assert run(project, "revoke", "job")["revoked"] == []
    assert [one["status"] for one in run(project, "list")["tokens"]] == ["revoked"]


def test_standard_output_has_the_token_alone(project: Project) -> None:
    done = runner.invoke(app, ["token", "create", "job", "--may", "admin", "--project", str(project.root)])
    assert done.exit_code == 0
    assert done.stdout.startswith("hr_")
    assert len(done.stdout.splitlines()) == 1
    assert "cannot be shown again" in done.stderr


def test_names_that_the_plan_does_not_have_are_noted(project: Project) -> None:
    arguments = ["token", "create", "job", "--may", "read-online", "--service", "modell", "--view", "city_rides"]
    done = runner.invoke(app, [*arguments, "--project", str(project.root)])
    assert done.exit_code == 0
    assert "The plan has no feature service modell now. It has: model." in done.stderr


def test_a_lifetime_is_a_length_of_time(project: Project) -> None:
    made = run(project, "create", "job", "--may", "admin", "--expires", "30d")
    assert made["expires"] > made["created"]
    for wrong in ("30", "d", "-1d", "30 years", "1.5d", ""):
        told = run(project, "create", "other", "--may", "admin", "--expires", wrong, code=1)
        assert "--expires must be a length of time" in told["error"]


def test_what_cannot_be_a_token_is_refused(project: Project) -> None:
    assert "of nothing" in run(project, "create", "job", "--may", "read-online", code=1)["error"]
    assert run(project, "create", "job", "--may", "read", code=2)["kind"] == "usage"
    assert run(project, "create", "job", code=2)["kind"] == "usage"
    assert "no token named 'job'" in run(project, "revoke", "job", code=1)["error"]
    assert run(project, "list")["tokens"] == []


def test_an_empty_list_says_how_to_make_a_token(project: Project) -> None:
    done = runner.invoke(app, ["token", "list", "--project", str(project.root)])
    assert "headrace token create" in done.stderr
