"""`headrace history` without a spine, with pins, and with versions by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from headrace.cli import app
from headrace.config import Project
from headrace.log import EventLog
from headrace.plan import write_plan
from headrace.plan.view_versions import ViewVersions
from tests.training.conftest import PLAN, SOURCE, rides

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    project = Project.load(tmp_path)
    ViewVersions(project.view_versions).note(PLAN, 1)
    write_plan(PLAN, project.plan_file)
    log = EventLog(project.log_path, SOURCE)
    log.append(pa.concat_tables([rides(0, range(20)), rides(1, range(20))]), {0: 19, 1: 19})
    log.append(rides(0, range(20, 30)), {0: 29})
    return project


def run(project: Project, *arguments: str, code: int = 0) -> Any:
    asked = ["history", "--feature", "city_rides:n_10m", *arguments, "--project", str(project.root), "--json"]
    done = runner.invoke(app, asked)
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def test_all_entities_at_one_time(project: Project) -> None:
    assert run(project, "--at", "2013-01-01T00:20:30Z")["rows"] == [
        {"city": "a", "event_timestamp": "2013-01-01T00:20:30Z", "city_rides__n_10m": 10},
        {"city": "b", "event_timestamp": "2013-01-01T00:20:30Z", "city_rides__n_10m": 9},
    ]


def test_each_entity_at_the_times_of_its_events(project: Project, tmp_path: Path) -> None:
    found = run(project, "--start", "2013-01-01T00:18", "--end", "2013-01-01T00:21", "--as-of", "event")["rows"]
    assert [(row["city"], row["event_timestamp"][11:16]) for row in found] == [
        ("a", "00:18"),
        ("b", "00:18"),
        ("a", "00:19"),
        ("b", "00:19"),
        ("a", "00:20"),
    ]
    out = tmp_path / "all.parquet"
    asked = [
        "history",
        "--service",
        "model",
        "--start",
        "2013-01-01",
        "--out",
        str(out),
        "--project",
        str(project.root),
    ]
    assert runner.invoke(app, asked).exit_code == 0
    assert parquet.read_table(out).num_rows == 50


def test_pins_of_the_log_and_of_what_was_known(project: Project) -> None:
    at = ("--at", "2013-01-01T00:29:30Z", "--as-of", "event")
    counts = [
        [row["city_rides__n_10m"] for row in run(project, *at, *pin)["rows"]]
        for pin in ((), ("--log-version", "1"), ("--log-version", "rides=1"), ("--known-until", "2013-01-01T00:25:30Z"))
    ]
    assert counts == [[10, 0], [0, 0], [0, 0], [6, 0]]


def test_a_version_by_name(project: Project) -> None:
    view = PLAN.views["city_rides"]
    asked = (
        "--feature",
        "city_rides@v0:n_10m",
        "--feature",
        f"city_rides@{view.hash[:8]}:n_10m",
        "--at",
        "2013-01-01T00:20:30Z",
    )
    row = run(project, *asked)["rows"][0]
    assert row["city_rides@v0__n_10m"] == row[f"city_rides@{view.hash[:8]}__n_10m"] == row["city_rides__n_10m"] == 10
    told = run(project, "--feature", "city_rides@v1:n_10m", "--at", "2013-01-01", code=1)
    assert "no version 'v1'" in told["error"]
    assert f"v0 ({view.hash})" in told["hint"]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "does not say which rows are wanted"),
        (("--at", "2013-01-01", "--start", "2013-01-01"), "different ways"),
        (("--at", "soon"), "is not a date or time"),
        (("--at", "2013-01-01", "--log-version", "x"), "--log-version x is no version of the log"),
        (("--at", "2013-01-01", "--log-version", "1", "--log-version", "2"), "is no version of the log"),
        (("--at", "2013-01-01", "--log-version", "trips=1"), "names the topic 'trips'"),
    ],
)
def test_a_call_that_contradicts_itself_is_refused(project: Project, arguments: tuple[str, ...], what: str) -> None:
    assert what in run(project, *arguments, code=1)["error"]
