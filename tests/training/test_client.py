from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from headrace import TrainingClient
from headrace.config import Project
from headrace.errors import HeadraceWarning, LogError, LookupRequestError, PlanError, SpineError
from headrace.log import EventLog
from headrace.plan import write_plan
from headrace.times import us_of
from tests.training.conftest import PLAN, SOURCE, START, rides, spine_of

SPINE = spine_of([20.25, 20.5, 5, 20.25], ["a", "a", "b", "nowhere"])


def test_features_stand_beside_the_spine_in_its_order(project: Project) -> None:
    result = TrainingClient(project).get_historical_features(SPINE, "model").to_arrow()
    assert result.column_names[:3] == SPINE.column_names
    assert result.select(SPINE.column_names).equals(SPINE)
    assert result.column("city_rides__n_10m").to_pylist() == [9, 10, 5, 0]
    assert result.column("city_rides__seats_10m").to_pylist() == [20, 20, 10, 0]
    assert result.column("city_rides__last_at").to_pylist() == [
        START + timedelta(minutes=19),
        START + timedelta(minutes=20),
        START + timedelta(minutes=4),
        None,
    ]


def test_as_of_event_asks_what_an_instant_pipeline_would_have_known(project: Project) -> None:
    result = TrainingClient(project).get_historical_features(SPINE, ["city_rides:n_10m"], as_of="event").to_arrow()
    assert result.column("city_rides__n_10m").to_pylist() == [10, 10, 6, 0]


def test_features_may_be_a_list(project: Project) -> None:
    asked = ["city_rides:max_price", "city_rides:n_10m"]
    result = TrainingClient(project).get_historical_features(SPINE, asked).to_arrow()
    assert result.column_names[3:] == ["city_rides__max_price", "city_rides__n_10m"]


def as_pandas(table: pa.Table, _: Path) -> Any:
    return table.to_pandas()


def as_relation(table: pa.Table, _: Path) -> Any:
    return duckdb.from_arrow(table)


def as_parquet(table: pa.Table, folder: Path) -> Any:
    parquet.write_table(table, folder / "spine.parquet")
    return folder / "spine.parquet"


def as_csv(table: pa.Table, folder: Path) -> Any:
    csv.write_csv(table, folder / "spine.csv")
    return str(folder / "spine.csv")


def as_reader(table: pa.Table, _: Path) -> Any:
    return table.to_reader()


@pytest.mark.parametrize("given", [as_pandas, as_relation, as_parquet, as_csv, as_reader])
def test_a_spine_may_be_what_one_has_at_hand(project: Project, tmp_path: Path, given: Any) -> None:
    client = TrainingClient(project)
    wanted = client.get_historical_features(SPINE, "model").to_arrow()
    found = client.get_historical_features(given(SPINE, tmp_path), "model").to_arrow()
    assert found.column_names == wanted.column_names
    assert found.select(wanted.column_names[3:]).equals(wanted.select(wanted.column_names[3:]))


def test_result_is_arrow_pandas_or_duckdb(project: Project) -> None:
    result = TrainingClient(project).get_historical_features(SPINE, "model")
    frame = result.to_df()
    assert isinstance(frame, pd.DataFrame)
    assert frame["city_rides__n_10m"].tolist() == [9, 10, 5, 0]
    counts = result.to_duckdb().filter("city = 'a'").project("city_rides__n_10m").fetchall()
    assert sorted(counts) == [(9,), (10,)]


def test_project_may_be_a_path(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert TrainingClient(project.root).plan == TrainingClient(project).plan
    monkeypatch.chdir(project.root)
    assert TrainingClient().plan == TrainingClient(project).plan


def test_old_version_of_the_log_can_be_asked(project: Project) -> None:
    EventLog(project.log_path, SOURCE).append(rides(0, range(60, 70)), {0: 69})
    client, spine = TrainingClient(project), spine_of([65], ["a"])
    count = ["city_rides:n_10m"]
    assert client.get_historical_features(spine, count).to_arrow().column(3).to_pylist() == [9]
    before = client.get_historical_features(spine, count, log_version={"rides": 1}).to_arrow()
    assert before.column(3).to_pylist() == [4]
    nothing = client.get_historical_features(spine, count, log_version={"rides": None}).to_arrow()
    assert nothing.column(3).to_pylist() == [0]


def test_nothing_logged_yet_reads_zeros_and_nulls(bare_project: Project) -> None:
    result = TrainingClient(bare_project).get_historical_features(SPINE, "model").to_arrow().to_pylist()[0]
    assert result["city_rides__n_10m"] == 0
    assert result["city_rides__last_at"] is None


def test_empty_spine_gives_an_empty_result(project: Project) -> None:
    result = TrainingClient(project).get_historical_features(SPINE.slice(0, 0), "model").to_arrow()
    assert result.num_rows == 0
    assert result.schema == TrainingClient(project).get_historical_features(SPINE, "model").to_arrow().schema


def test_spine_with_a_features_name_is_refused(project: Project) -> None:
    spine = SPINE.append_column("city_rides__n_10m", pa.array([0, 0, 0, 0]))
    with pytest.raises(SpineError, match="already has columns named like features: city_rides__n_10m"):
        TrainingClient(project).get_historical_features(spine, "model")


def test_spine_without_its_time_column_is_refused(project: Project) -> None:
    with pytest.raises(SpineError, match="has no column 'when', the time of each row. It has: city"):
        TrainingClient(project).get_historical_features(SPINE, "model", time_column="when")


def test_csv_with_naive_times_is_refused(project: Project, tmp_path: Path) -> None:
    (tmp_path / "spine.csv").write_text("city,event_timestamp\na,2013-01-01 00:20:00\n")
    with pytest.raises(SpineError, match=r"(?s)no time zone.*with a Z"):
        TrainingClient(project).get_historical_features(tmp_path / "spine.csv", "model")


def test_file_that_is_no_spine_is_refused(project: Project, tmp_path: Path) -> None:
    (tmp_path / "spine.parquet").write_text("not parquet")
    with pytest.raises(SpineError, match=r"spine\.parquet cannot be read"):
        TrainingClient(project).get_historical_features(tmp_path / "spine.parquet", "model")
    with pytest.raises(SpineError, match="There is no spine at"):
        TrainingClient(project).get_historical_features(tmp_path / "nowhere.parquet", "model")
    with pytest.raises(SpineError, match="cannot be a list"):
        TrainingClient(project).get_historical_features([1, 2], "model")


def test_unknown_feature_is_refused(project: Project) -> None:
    with pytest.raises(LookupRequestError, match="no feature named 'n_1h'"):
        TrainingClient(project).get_historical_features(SPINE, ["city_rides:n_1h"])


def test_lost_file_of_the_log_is_named(project: Project) -> None:
    (file,) = EventLog(project.log_path, SOURCE).snapshot().files
    Path(file.path).unlink()
    with pytest.raises(LogError, match=r"log/rides \(version 1\) cannot be read"):
        TrainingClient(project).get_historical_features(SPINE, "model")


def test_project_without_a_plan_is_refused(project: Project) -> None:
    project.state_files.delete("plan.json")
    with pytest.raises(PlanError, match="There is no plan"):
        TrainingClient(project)


# --- history that was replayed under the system clock


def replayed(path: Path, known_after: timedelta) -> Project:
    """Rides of one city, all known long after they happened."""
    path.mkdir(exist_ok=True)
    (path / "headrace.toml").write_text("[headrace]\n")
    project = Project.load(path)
    write_plan(PLAN, project.plan_file)
    rows = rides(0, range(60))
    known = pa.array([us_of(START + known_after)] * 60)
    rows = rows.set_column(rows.column_names.index("_known_at_us"), "_known_at_us", known)
    EventLog(project.log_path, SOURCE).append(rows, {0: 59})
    return project


def test_rows_before_anything_was_known_are_warned_of_with_what_to_do(tmp_path: Path) -> None:
    client = TrainingClient(replayed(tmp_path, timedelta(days=9)))
    with pytest.warns(HeadraceWarning, match="At 2 of 3 rows nothing of the topic rides was known yet") as said:
        found = client.get_historical_features(
            spine_of([5, 20, 60 * 24 * 10], ["a", "a", "a"]), ["city_rides:max_price"]
        )
    assert found.to_arrow().column("city_rides__max_price").to_pylist()[:2] == [None, None]
    assert 'as_of="event"' in str(said[0].message)
    assert 'clock = "record"' in str(said[0].message)


def test_nothing_is_warned_of_where_it_makes_no_difference(tmp_path: Path) -> None:
    """Warnings are errors here: rows after everything was known, rows by event time, a stream with an early start."""
    late = TrainingClient(replayed(tmp_path / "late", timedelta(days=9)))
    late.get_historical_features(spine_of([60 * 24 * 10], ["a"]), ["city_rides:max_price"])
    late.get_historical_features(spine_of([5], ["a"]), ["city_rides:max_price"], as_of="event")
    prompt = TrainingClient(replayed(tmp_path / "prompt", timedelta(minutes=59)))
    prompt.get_historical_features(spine_of([5], ["a"]), ["city_rides:max_price"])
