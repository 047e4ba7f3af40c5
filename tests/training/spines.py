"""A spine of four rides, what is counted for it, and the ways that tests join features to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet
from typer.testing import CliRunner

from headrace import Dataset, TrainingClient
from headrace.cli import app
from headrace.config import Project
from tests.training.conftest import spine_of

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
SPINE = spine_of([20.25, 20.5, 5, 20.25], ["a", "a", "b", "nowhere"])
WANTED = [9, 10, 5, 0]
CITIES = SPINE.column("city").to_pylist()
TIMES = SPINE.column("event_timestamp").to_pylist()


def joined(project: Project, spine: Any, features: Any = "model", **more: Any) -> pa.Table:
    return TrainingClient(project).get_historical_features(spine, features, **more).to_arrow()


def counts(project: Project, spine: Any, **more: Any) -> list[Any]:
    found: list[Any] = joined(project, spine, **more).column("city_rides__n_10m").to_pylist()
    return found


def built(project: Project, spine: Any, out: Path) -> pa.Table:
    dataset = Dataset(name="d", features="model", spine=lambda _: spine, label="label", splits={"all": None})
    return parquet.read_table(TrainingClient(project).export(dataset, out).folder / "all" / "part-00000.parquet")


def history(project: Project, spine: Path, out: Path) -> tuple[int, str]:
    done = runner.invoke(
        app,
        ["history", "--spine", str(spine), "--out", str(out), "--service", "model", "--project", str(project.root)],
    )
    return done.exit_code, done.output
