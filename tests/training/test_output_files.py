"""Results in files: Parquet, CSV and JSON lines, as the file's name says."""

from __future__ import annotations

import json
from csv import reader
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from headrace.config import Project
from headrace.training.output_files import write_result
from tests.training.spines import CITIES, SPINE, TIMES, WANTED, history


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out.pq", "out.jsonl", "OUT.CSV"])
def test_history_writes_what_the_name_says(project: Project, tmp_path: Path, name: str) -> None:
    parquet.write_table(SPINE, tmp_path / "spine.parquet")
    code, said = history(project, tmp_path / "spine.parquet", tmp_path / name)
    assert code == 0, said
    out = tmp_path / name
    if name.endswith((".parquet", ".pq")):
        rows = parquet.read_table(out).to_pylist()
    elif name == "out.jsonl":
        rows = [json.loads(line) for line in out.read_text().splitlines()]
    else:
        rows = pd.read_csv(out).to_dict("records")
    assert [row["city_rides__n_10m"] for row in rows] == WANTED
    assert [row["city"] for row in rows] == CITIES
    assert [pd.Timestamp(row["event_timestamp"]) for row in rows] == TIMES


def test_history_refuses_a_name_that_says_nothing_and_a_folder_that_is_not_there(
    project: Project, tmp_path: Path
) -> None:
    parquet.write_table(SPINE, tmp_path / "spine.parquet")
    code, said = history(project, tmp_path / "spine.parquet", tmp_path / "out.xlsx")
    assert (code, "must end in .parquet, .csv or .jsonl" in said) == (1, True)
    code, said = history(project, tmp_path / "spine.parquet", tmp_path / "nowhere" / "out.csv")
    assert (code, "cannot be written" in said) == (1, True)
    assert [path.name for path in tmp_path.glob("*out*")] == []


def test_csv_holds_lists_and_what_else_it_lacks_as_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "list": pa.array([[1, 2], None]),
            "struct": pa.array([{"a": datetime(2013, 1, 1, tzinfo=UTC)}, None]),
            "wait": pa.array([timedelta(hours=1), None]),
            "half": pa.array([np.float16(1.5), None], pa.float16()),
            "kind": pa.array(["x", None]).dictionary_encode(),
            "price": pa.array([Decimal("1.50"), None]),
            "text": pa.array(['a "b",\nc', ""]),
        }
    )
    write_result(table, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        header, first, second = list(reader(file))
    assert header == table.column_names
    assert first == ["[1, 2]", '{"a": "2013-01-01T00:00:00+00:00"}', "1:00:00", "1.5", "x", "1.50", 'a "b",\nc']
    assert second == [""] * 7
