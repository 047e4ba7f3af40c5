"""`headrace materialize`, and batch views in the other commands."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from headrace.cli import app
from headrace.config import Project
from headrace.plan import Plan, write_plan
from tests.batch.examples import driver_rows, driver_view, table_of
from tests.training.conftest import PLAN

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with rows of two drivers: an hour old, and two hours old."""
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    project = Project.load(tmp_path)
    view = driver_view(ttl_s=5_400, has_created=False)
    hidden = view.model_copy(update={"name": "hidden", "online": False})
    views = {view.name: view, hidden.name: hidden}
    write_plan(Plan(project="p", sources={}, views={}, batch_views=views), project.plan_file)
    add_rows(project, 7, {1: 1.0, 2: 2.0})
    return project


def add_rows(project: Project, trips: int, ages_h: dict[int, float]) -> None:
    import random

    (any_row,) = driver_rows(random.Random(1), 1)
    rows = [
        any_row | {"driver": driver, "city": "a", "trips": trips, "event_timestamp": NOW - timedelta(hours=age)}
        for driver, age in ages_h.items()
    ]
    folder = project.repo / "drivers"
    folder.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table_of(rows), folder / f"{len(list(folder.iterdir()))}.parquet")


def run(project: Project, *arguments: str, code: int = 0) -> Any:
    done = runner.invoke(app, [*arguments, "--project", str(project.root), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def looked_up(project: Project, driver: int) -> dict[str, Any]:
    keys = ["--key", f"driver={driver}", "--key", "city=a"]
    found: dict[str, Any] = run(project, "lookup", "--feature", "drivers:trips", *keys)
    return found


def test_rows_are_materialized_and_looked_up(project: Project) -> None:
    assert looked_up(project, 1)["views"]["drivers"]["status"] == "unknown_key"
    (done,) = run(project, "materialize")["views"]
    assert (done["view"], done["start"], done["entities"], done["written"], done["left_out"]) == (
        *("drivers", None),
        *(2, 2, 0),
    )
    first, second = looked_up(project, 1), looked_up(project, 2)
    assert (first["features"], first["views"]["drivers"]["status"]) == ({"drivers__trips": 7}, "present")
    assert (second["features"], second["views"]["drivers"]["status"]) == ({"drivers__trips": None}, "expired")


def test_incremental_run_reads_on(project: Project) -> None:
    run(project, "materialize", "drivers", "--end", (NOW - timedelta(minutes=90)).isoformat())
    assert looked_up(project, 1)["views"]["drivers"]["status"] == "unknown_key"
    (done,) = run(project, "materialize", "--incremental")["views"]
    # It begins a day before the end of the last run. What is there already is read and written again.
    assert (done["entities"], done["written"]) == (2, 2)
    assert datetime.fromisoformat(done["start"]) == NOW - timedelta(minutes=90, days=1)
    add_rows(project, 8, {1: 0.5})
    (done,) = run(project, "materialize", "--incremental")["views"]
    assert (done["entities"], looked_up(project, 1)["features"]) == (2, {"drivers__trips": 8})
    run(project, "materialize")
    assert looked_up(project, 1)["features"] == {"drivers__trips": 8}


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        (["--start", "2026-01-01T10:00"], "has no time zone", "2026-01-01T10:00Z"),
        (["--end", "2026-01-01"], "has no time zone", "2026-01-01T00:00Z"),
        (["--end", "yesterday"], "is not a time", "2026-01-31T12:00Z"),
        (["--incremental", "--start", "2026-01-01T10:00Z"], "--start names another beginning", "Give one"),
        (["--start", "2026-02-01T00:00Z", "--end", "2026-01-01T00:00Z"], "begins at", "start before the end"),
        (["divers"], "no batch view named 'divers'", "drivers, hidden"),
    ],
)
def test_wrong_call_is_refused(project: Project, arguments: list[str], what: str, hint: str) -> None:
    failure = run(project, "materialize", *arguments, code=1)
    assert what in failure["error"]
    assert hint in failure["hint"]


def test_stream_views_are_not_materialized(project: Project) -> None:
    write_plan(PLAN, project.plan_file)
    assert "is a stream view" in run(project, "materialize", "city_rides", code=1)["error"]
    assert "no batch view to materialize" in run(project, "materialize", code=1)["error"]


def test_source_that_is_away_is_named(project: Project) -> None:
    for file in (project.repo / "drivers").iterdir():
        file.unlink()
    assert "driver_rows" in run(project, "materialize", code=1)["error"]


def test_text_names_the_view_and_what_was_left_out(project: Project) -> None:
    add_rows(project, 9, {None: 1.0})  # type: ignore[dict-item]
    done = runner.invoke(app, ["materialize", "--project", str(project.root)])
    assert done.exit_code == 0, done.output
    assert "drivers" in done.stdout
    assert "1 row lacks a join key or an event time" in done.stderr


def test_list_and_show_know_batch_views(project: Project) -> None:
    listed = run(project, "list")["views"]
    assert [(one["view"], one["of"], one["source"], one["features"]) for one in listed] == [
        ("drivers", "driver and city", "driver_rows", 7),
        ("hidden", "driver and city", "driver_rows", 7),
    ]
    shown = run(project, "show", "drivers")
    assert (shown["entities"], shown["materialized_until"]) == (0, None)
    assert "headrace materialize drivers" in shown["notes"][0]
    run(project, "materialize")
    shown = run(project, "show", "drivers")
    assert (shown["entities"], shown["ttl"], shown["notes"]) == (2, "90 min", [])
    assert "Parquet at drivers" in shown["is"]
    assert runner.invoke(app, ["show", "drivers", "--project", str(project.root)]).exit_code == 0
