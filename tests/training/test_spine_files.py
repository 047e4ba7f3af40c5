"""Spines in Parquet, CSV and JSON lines: text stays text, and what cannot be read is named with its row."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from pyarrow import parquet

from headrace.config import Project
from headrace.errors import SpineError
from tests.training.conftest import START
from tests.training.spines import SPINE, history, joined


def test_text_key_of_a_csv_spine_stays_text(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "spine.csv"
    path.write_text(
        "city,event_timestamp,n,code,price,when\n"
        "007,2013-01-01T00:20:15Z,7,007,1.5,2013-01-01\n"
        '"a",2013-01-01 00:20:30+00,,"x, ""y""",,\n'
        "NA,2013-01-01 01:20:15 +0100,9,1,2,2013-01-01\n"
    )
    found = joined(project, path)
    assert found.column("city").to_pylist() == ["007", "a", "NA"]
    assert found.column("n").to_pylist() == [7, None, 9]
    assert found.column("code").to_pylist() == ["007", 'x, "y"', "1"]
    assert found.column("price").to_pylist() == [1.5, None, 2.0]
    assert found.column("city_rides__n_10m").to_pylist() == [0, 10, 0]
    assert found.column("event_timestamp").to_pylist() == [
        START + timedelta(seconds=seconds) for seconds in (1215, 1230, 1215)
    ]


def test_spine_whose_rows_break_the_standard_is_refused_by_line(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "spine.csv"
    path.write_text('city,event_timestamp\na,2013-01-01T00:20:15Z\na 5" b,2013-01-01T00:20:15Z\na\n')
    with pytest.raises(SpineError, match=r"(?s)line 3 \(row 2\).*line 4 \(row 3\).*has 1 field"):
        joined(project, path)


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (["2013-01-01T00:20:15Z", "soon"], "Row 2 of the spine: 'event_timestamp' is wrong: 'soon' is no time"),
        (
            ["2013-13-01T00:20:15Z", "2013-01-01T00:20:15Z"],
            "Row 1 .* 'event_timestamp' is wrong: '2013-13-01",
        ),
        (["2013-01-01T00:20:15Z", "2013-01-01 00:20:15"], "Row 2 .* '2013-01-01 00:20:15' has no time zone"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_time_that_is_none_is_named_with_its_row(
    project: Project, tmp_path: Path, times: list[str], said: str, ending: str
) -> None:
    path = tmp_path / f"spine.{ending}"
    rows = [{"city": "a", "event_timestamp": time} for time in times]
    lines = [json.dumps(row) if ending == "jsonl" else ",".join(row.values()) for row in rows]
    path.write_text("\n".join(["city,event_timestamp"] * (ending == "csv") + lines))
    with pytest.raises(SpineError, match=said) as refused:
        joined(project, path)
    assert "2013-01-31T10:00:00Z" in (refused.value.hint or "")


def test_spine_without_times_is_told_the_option_of_the_command(project: Project, tmp_path: Path) -> None:
    parquet.write_table(SPINE.drop_columns(["event_timestamp"]), tmp_path / "spine.parquet")
    code, said = history(project, tmp_path / "spine.parquet", tmp_path / "out.csv")
    assert (code, "--time-column NAME" in said) == (1, True)


def test_spine_in_json_lines(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "spine.jsonl"
    path.write_text(
        '{"city": "a", "event_timestamp": "2013-01-01T00:20:15Z", "y": 1}\n'
        '{"city": "2013-01-01", "event_timestamp": "2013-01-01 00:20:15+00", "y": 2}\n'
    )
    found = joined(project, path)
    assert found.column("city").to_pylist() == ["a", "2013-01-01"]
    assert found.column("city_rides__n_10m").to_pylist() == [9, 0]


def test_file_of_an_unknown_kind_is_refused(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "spine.xlsx"
    path.write_bytes(b"PK")
    with pytest.raises(SpineError, match=r"must end in \.parquet, \.csv"):
        joined(project, path)
