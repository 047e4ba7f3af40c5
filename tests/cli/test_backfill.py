"""`headrace rollback` and `backfill --cancel`: what they take back is said, and never more than was asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.cli import app
from headrace.config import Project
from headrace.plan import View, write_plan
from headrace.stores import CatalogueChange, open_store
from headrace.worker.handoff_requests import Request, ask, read_requests
from headrace.worker.startup import refill
from tests.erasure.shop import PLAN as SHOP_PLAN
from tests.erasure.shop import RECORDS, Shop
from tests.worker.handoffs import VERSIONS, plan_of
from tests.worker.shop import SOURCE

NAME = "shop_sales"

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose view has had windows of ten minutes, and then of twenty; no worker runs."""
    (tmp_path / "headrace.toml").write_text('[headrace]\nclock = "record"\n')
    project = Project.load(tmp_path)
    write_plan(SHOP_PLAN, project.plan_file)
    with open_store(project.store_url, writable=True) as store:
        Shop(project, store).deliver(*RECORDS)
        refill(store, project, plan_of(VERSIONS[10]))
    declare(project, VERSIONS[20])
    assert run(project, "backfill", NAME)["live"] is True
    return project


def declare(project: Project, view: View) -> None:
    write_plan(plan_of(view), project.plan_file)


def invoke(project: Project, *arguments: str) -> Any:
    return runner.invoke(app, [*arguments, "--project", str(project.root)])


def run(project: Project, *arguments: str) -> dict[str, Any]:
    done = invoke(project, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def live(project: Project) -> str:
    with open_store(project.store_url, writable=False) as store:
        return store.catalogue().live[NAME]


def test_rollback_serves_the_version_before(project: Project) -> None:
    assert run(project, "rollback", NAME)["version"] == VERSIONS[10].hash
    assert live(project) == VERSIONS[10].hash


def test_second_rollback_does_not_roll_forward(project: Project) -> None:
    run(project, "rollback", NAME)
    again = invoke(project, "rollback", NAME)
    assert again.exit_code == 1
    assert "no version before it is kept" in again.output
    assert f"--to {VERSIONS[20].hash}" in again.output
    assert live(project) == VERSIONS[10].hash


def test_version_that_was_rolled_back_from_is_served_again_by_name(project: Project) -> None:
    run(project, "rollback", NAME)
    assert run(project, "rollback", NAME, "--to", VERSIONS[20].hash[:8])["version"] == VERSIONS[20].hash
    assert run(project, "rollback", NAME)["version"] == VERSIONS[10].hash  # which is the one before again


def test_rollback_after_forward_again_by_backfill_goes_back(project: Project) -> None:
    run(project, "rollback", NAME)
    run(project, "backfill", NAME)
    assert live(project) == VERSIONS[20].hash
    assert run(project, "rollback", NAME)["version"] == VERSIONS[10].hash


def test_rollback_goes_back_one_version_of_three(project: Project) -> None:
    declare(project, VERSIONS[30])
    run(project, "backfill", NAME)
    assert run(project, "rollback", NAME)["version"] == VERSIONS[20].hash
    assert invoke(project, "rollback", NAME).exit_code == 1


def test_store_of_an_earlier_headrace_rolls_back_once_too(project: Project) -> None:
    with open_store(project.store_url, writable=True) as store:
        store.change(CatalogueChange().since(VERSIONS[10].hash, None).since(VERSIONS[20].hash, None))
    assert run(project, "rollback", NAME)["version"] == VERSIONS[10].hash
    assert invoke(project, "rollback", NAME).exit_code == 1


def test_versions_are_shown(project: Project) -> None:
    run(project, "rollback", NAME)
    found = run(project, "rollback", NAME, "--list")["versions"]
    assert [(one["version"], one["role"], one["declared"]) for one in found] == [
        (VERSIONS[10].hash, "live", False),
        (VERSIONS[20].hash, "undone", True),
    ]
    shown = invoke(project, "rollback", NAME, "--list").output
    assert f"{NAME}@{VERSIONS[20].hash}" in shown


@pytest.mark.parametrize("to", ["0123", "", "shop_sales@"])
def test_version_that_is_not_held_is_refused(project: Project, to: str) -> None:
    refused = invoke(project, "rollback", NAME, "--to", to)
    assert refused.exit_code == 1
    assert VERSIONS[10].hash in refused.output
    assert live(project) == VERSIONS[20].hash


def begin_building(project: Project) -> None:
    """As a worker leaves it that was stopped while it built the windows of thirty minutes."""
    view = VERSIONS[30]
    declare(project, view)
    ask(project.requests, Request(view=view, source=SOURCE))
    with open_store(project.store_url, writable=True) as store:
        store.change(CatalogueChange().building(NAME, view))


@pytest.mark.parametrize("command", [["backfill", NAME, "--cancel"], ["rollback", NAME]])
def test_version_that_is_being_built_is_not_thrown_away_unasked(project: Project, command: list[str]) -> None:
    begin_building(project)
    refused = invoke(project, *command)
    assert refused.exit_code == 1
    assert f"{VERSIONS[30].versioned_name} is being built" in refused.output
    assert read_requests(project.requests)[NAME].view.hash == VERSIONS[30].hash
    assert invoke(project, *command, "--yes").exit_code == 0


def test_cancel_of_nothing_asks_nothing(project: Project) -> None:
    assert run(project, "backfill", NAME, "--cancel") == {"view": NAME, "cancelled": False}


def test_ctrl_c_while_it_is_built_says_that_the_request_remains(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> bool:
        raise KeyboardInterrupt

    declare(project, VERSIONS[30])
    with monkeypatch.context() as broken:
        broken.setattr("headrace.worker.startup.hand_off_alone", interrupt)
        stopped = invoke(project, "backfill", NAME)
    assert stopped.exit_code == 130
    assert "remains; run the same command again" in stopped.output
    assert len(stopped.output.strip().splitlines()) == 1
    assert run(project, "backfill", NAME)["version"] == VERSIONS[30].hash


def test_previous_version_is_still_the_one_before_for_the_store(project: Project) -> None:
    with open_store(project.store_url, writable=False) as store:
        assert store.catalogue().previous[NAME] == VERSIONS[10].hash
