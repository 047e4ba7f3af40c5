from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.cli import app
from headrace.config import Project
from headrace.log import EventLog, LookupTable, Upkeep
from headrace.log.dataset_pins import note_pin
from headrace.plan import Plan, write_plan
from tests.log.conftest import SOURCE, rows

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose worker has appended six times."""
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    project = Project.load(tmp_path)
    write_plan(Plan(project="test", sources={"readings": SOURCE}, views={}), project.plan_file)
    log = EventLog(project.log_path, SOURCE, Upkeep(small_files=0))
    for first in range(0, 60, 10):
        log.append(rows(0, range(first, first + 10)), {0: first + 9})
    texts = dict.fromkeys(("plan", "keys", "features", "views", "evidence"), "{}")
    for number in range(3):
        LookupTable(project.audit_path).append([{"served_at_us": number, "at_us": number, "unrecorded": 0, **texts}])
    return project


def run(project: Project, *arguments: str) -> list[dict[str, Any]]:
    done = runner.invoke(app, ["log", *arguments, "--json", "--project", str(project.root)])
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)["tables"]
    return found


def test_log_is_shown_compacted_and_vacuumed(project: Project) -> None:
    log, lookups = run(project, "show")
    assert (log["table"], log["rows"], log["files"], log["small_files"], log["old_files"]) == ("readings", 60, 6, 6, 0)
    assert (lookups["table"], lookups["rows"], lookups["files"]) == ("recorded lookups", 3, 3)
    log, lookups = run(project, "compact")
    assert (log["before"], log["after"], log["rows"]) == (6, 1, 60)
    assert (lookups["before"], lookups["after"], lookups["rows"]) == (3, 1, 3)
    log, lookups = run(project, "vacuum")
    assert (log["files"], lookups["files"]) == (0, 0)  # a day has not passed
    log, lookups = run(project, "vacuum", "--retention", "0", "--dry-run")
    assert (log["files"], lookups["files"]) == (6, 3)
    log, lookups = run(project, "vacuum", "--retention", "0")
    assert (log["files"], lookups["files"]) == (6, 3)
    log, lookups = run(project, "show")
    assert (log["rows"], log["files"], log["old_files"]) == (60, 1, 0)
    assert log["commits"] == 3  # Delta notes a vacuum in two commits
    assert (lookups["rows"], lookups["files"], lookups["old_files"]) == (3, 1, 0)


def test_people_are_told_in_tables(project: Project) -> None:
    where = ["--project", str(project.root)]
    assert "readings" in runner.invoke(app, ["log", "show", *where]).output
    assert "stay for readers" in " ".join(runner.invoke(app, ["log", "compact", *where]).output.split())
    assert "Would be removed" in runner.invoke(app, ["log", "vacuum", "--dry-run", *where]).output
    assert "Removed" in runner.invoke(app, ["log", "vacuum", *where]).output


def test_one_topic_is_done_alone(project: Project) -> None:
    assert [row["table"] for row in run(project, "compact", "readings", "--target-mb", "1")] == ["readings"]


def test_unknown_topic_is_named(project: Project) -> None:
    done = runner.invoke(app, ["log", "compact", "orders", "--project", str(project.root)])
    assert done.exit_code == 1
    assert "no topic or source named 'orders'" in " ".join(done.output.split())


def test_project_without_a_log_has_nothing_to_do(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    project = Project.load(tmp_path)
    write_plan(Plan(project="test", sources={"readings": SOURCE}, views={}), project.plan_file)
    for command in ("show", "compact", "vacuum"):
        assert [row["version"] for row in run(project, command)] == [None, None]


def test_version_that_was_gone_before_is_told_with_what_pins_it(project: Project, tmp_path: Path) -> None:
    run(project, "vacuum", "--retention", "0")
    table_id = EventLog(project.log_path, SOURCE).table_id()
    manifest = {"dataset": "d", "files": [], "logs": {"readings": 2}, "tables": {"readings": table_id}}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "manifest.json").write_text(json.dumps(manifest))
    (log, _) = run(project, "vacuum", "--retention", "0")
    assert log["lost"] == {"2": [str(tmp_path / "elsewhere" / "manifest.json")]}


# --- datasets whose manifests are not where they were


def built_and_gone(project: Project, version: int) -> Path:
    """A dataset was built from a version, and its folder moved away since."""
    log = EventLog(project.log_path, SOURCE)
    manifest = project.root / "exports" / "old" / "manifest.json"
    note_pin(project.pins, manifest, {"readings": version}, {"readings": log.table_id()}, is_built=True)
    return manifest


def test_vacuum_does_not_break_a_dataset_that_was_moved_unasked(project: Project) -> None:
    manifest = built_and_gone(project, 3)
    run(project, "compact")
    vacuum = ["log", "vacuum", "--retention", "0", "--project", str(project.root)]
    refused = runner.invoke(app, vacuum)
    assert refused.exit_code == 1
    assert f"{manifest} is missing. It was built from version 3 of readings" in " ".join(refused.output.split())
    assert "--yes" in refused.output
    assert EventLog(project.log_path, SOURCE).snapshot(3).rows == 30
    (log, _) = run(project, "vacuum", "--retention", "0", "--dry-run")
    assert log["breaks"] == {"3": [str(manifest)]}
    (log, _) = run(project, "vacuum", "--retention", "0", "--yes")
    assert log["breaks"] == {"3": [str(manifest)]}
    (log, _) = run(project, "vacuum", "--retention", "0")  # it was given up, and is not asked about again
    assert log["breaks"] == {}


def test_vacuum_keeps_a_moved_dataset_that_it_is_shown(project: Project) -> None:
    built_and_gone(project, 3)
    moved = project.root.parent / f"{project.root.name}-moved"
    moved.mkdir()
    log = EventLog(project.log_path, SOURCE)
    facts = {"dataset": "old", "files": [], "logs": {"readings": 3}, "tables": {"readings": log.table_id()}}
    (moved / "manifest.json").write_text(json.dumps(facts))
    run(project, "compact")
    (kept, _) = run(project, "vacuum", "--retention", "0", "--datasets", str(moved))
    assert (kept["breaks"], kept["kept"]) == ({}, [3])
    assert log.snapshot(3).rows == 30


def test_vacuum_asks_nothing_where_no_dataset_would_lose_anything(project: Project) -> None:
    built_and_gone(project, 6)
    run(project, "compact")
    (log, _) = run(project, "vacuum")
    assert log["breaks"] == {}
