"""Spines as data scientists have them: every frame, index and type works, or the column is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from csv import reader
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from typer.testing import CliRunner

from headrace import Dataset, TrainingClient
from headrace.cli import app
from headrace.config import Project
from headrace.errors import DatasetError, LookupRequestError, SpineError
from headrace.training.output_files import write_result
from tests.training.conftest import START, spine_of

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
SPINE = spine_of([20.25, 20.5, 5, 20.25], ["a", "a", "b", "nowhere"])
WANTED = [9, 10, 5, 0]


def joined(project: Project, spine: Any, features: Any = "model", **more: Any) -> pa.Table:
    return TrainingClient(project).get_historical_features(spine, features, **more).to_arrow()


def counts(project: Project, spine: Any, **more: Any) -> list[Any]:
    found: list[Any] = joined(project, spine, **more).column("city_rides__n_10m").to_pylist()
    return found


def built(project: Project, spine: Any, out: Path) -> pa.Table:
    dataset = Dataset(name="d", features="model", spine=lambda _: spine, label="label", splits={"all": None})
    return parquet.read_table(TrainingClient(project).export(dataset, out).folder / "all" / "part-00000.parquet")


def with_column(name: str, column: Any) -> pa.Table:
    at = SPINE.column_names.index(name) if name in SPINE.column_names else SPINE.num_columns
    rest = SPINE.drop_columns([name]) if name in SPINE.column_names else SPINE
    return rest.add_column(at, name, column)


# --- keys and times of every layout

CITIES = SPINE.column("city").to_pylist()
TIMES = SPINE.column("event_timestamp").to_pylist()


@pytest.mark.parametrize(
    "key",
    [
        pa.array(CITIES, pa.string_view()),
        pa.array(CITIES, pa.large_string()),
        pa.array(CITIES).dictionary_encode(),
        pa.chunked_array([CITIES[:1], [], CITIES[1:]], pa.string()),
        pa.DictionaryArray.from_arrays(
            pa.array([0, 0, 1, 2], pa.uint8()), pa.array(["a", "b", "nowhere"], pa.string_view())
        ),
        pa.RunEndEncodedArray.from_arrays(pa.array([2, 3, 4], pa.int32()), pa.array(["a", "b", "nowhere"])),
        pa.ExtensionArray.from_storage(pa.json_(), pa.array(CITIES)),
    ],
    ids=lambda key: str(key.type),
)
def test_keys_of_any_layout_join_and_export(project: Project, tmp_path: Path, key: Any) -> None:
    assert counts(project, with_column("city", key)) == WANTED
    assert built(project, with_column("city", key), tmp_path / "out").column("city_rides__n_10m").to_pylist() == WANTED


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_times_of_any_unit_and_zone_join(project: Project, unit: str, zone: str) -> None:
    times = pa.array(TIMES, pa.timestamp(unit, zone))
    assert counts(project, with_column("event_timestamp", times)) == WANTED
    assert counts(project, with_column("event_timestamp", times.dictionary_encode())) == WANTED


def test_key_that_is_no_text_is_named(project: Project) -> None:
    uuids = pa.array([UUID(int=n).bytes for n in range(4)], pa.uuid())
    with pytest.raises(SpineError, match="The spine's 'city' is .*keyed by string"):
        joined(project, with_column("city", uuids))


# --- columns that only pass through


@pytest.mark.parametrize(
    "column",
    [
        pa.array([timedelta(hours=1), None] * 2, pa.duration("ns")),
        pa.array([timedelta(hours=1), None] * 2, pa.duration("s")),
        pa.array([np.float16(1.5), None] * 2, pa.float16()),
        pa.array([b"x", None] * 2, pa.binary_view()),
        pa.array([["x"], None] * 2, pa.list_(pa.string_view())),
        pa.array([[1], None] * 2, pa.list_view(pa.int64())),
        pa.array([{"a": "x"}, None] * 2, pa.struct([("a", pa.string_view())])),
        pa.array([Decimal("1.50"), None] * 2, pa.decimal128(9, 2)),
        pa.array([UUID(int=1).bytes, None] * 2, pa.uuid()),
        pa.array([datetime(2020, 1, 1), None] * 2, pa.timestamp("ns")),  # noqa: DTZ001
        pa.nulls(4),
        pa.array([1, 2**64 - 1, None, 0], pa.uint64()),
        pa.array([1, 1, 2, 2]).dictionary_encode(),
        pa.RunEndEncodedArray.from_arrays(pa.array([2, 4], pa.int32()), pa.array([1, 2])),
    ],
    ids=lambda column: str(column.type),
)
def test_column_that_passes_through_may_be_of_any_type(project: Project, tmp_path: Path, column: Any) -> None:
    spine = with_column("more", column)
    assert joined(project, spine).column("more").to_pylist() == column.to_pylist()
    assert built(project, spine, tmp_path / "out").column("more").to_pylist() == column.to_pylist()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["statistics"]["more"]["nulls"] == column.null_count


def test_column_that_parquet_cannot_hold_is_named(project: Project, tmp_path: Path) -> None:
    spine = with_column("pause", pa.array([(1, 2, 3)] * 4, pa.month_day_nano_interval()))
    assert counts(project, spine) == WANTED
    with pytest.raises(DatasetError, match="'pause' as month_day_nano_interval, which Parquet does not support"):
        built(project, spine, tmp_path / "out")


FRAME = SPINE.to_pandas()


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(pd.period_range("2020", periods=4, freq="M")),
        pd.Series(pd.interval_range(0, 4)),
        pd.Series(["x", "y"] * 2, dtype="category"),
        pd.Series([1, None] * 2, dtype="Int64"),
        pd.Series(["x", None] * 2, dtype="string[pyarrow]"),
        pd.Series([1, None] * 2, dtype=pd.ArrowDtype(pa.int32())),
        pd.Series([pd.Timedelta("1h")] * 4),
        pd.Series([1, 2] * 2, dtype="float16"),
    ],
    ids=lambda column: str(column.dtype),
)
def test_pandas_column_of_any_type_passes_through(project: Project, tmp_path: Path, column: pd.Series[Any]) -> None:
    spine = FRAME.assign(more=column)
    assert counts(project, spine) == WANTED
    assert built(project, spine, tmp_path / "out").num_rows == 4


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, "x"] * 2),
        pd.Series([object()] * 4),
        pd.Series([1 + 2j] * 4),
        pd.Series(pd.arrays.SparseArray(np.array([0, 1] * 2))),
        pd.Series([{"a": 1}, {"a": "x"}] * 2),
    ],
    ids=["mixed", "objects", "complex", "sparse", "mixed structs"],
)
def test_pandas_column_that_arrow_does_not_take_is_named(project: Project, column: pd.Series[Any]) -> None:
    with pytest.raises(SpineError, match=r"(?s)column 'more' cannot be taken.*leave the column out"):
        joined(project, FRAME.assign(more=column))


def test_pandas_keys_may_be_of_any_dtype_of_texts(project: Project) -> None:
    for dtype in ("category", "string", "string[pyarrow]", object, pd.ArrowDtype(pa.string())):
        assert counts(project, FRAME.astype({"city": dtype})) == WANTED


@pytest.mark.parametrize(
    ("spine", "said"),
    [
        (FRAME.set_index("city"), r"no column 'city', and its index is 'city'.*reset_index\(\)"),
        (
            FRAME[["city", "event_timestamp"]].set_index(["city", "event_timestamp"]),
            r"index is 'city', 'event_timestamp'",
        ),
        (pd.DataFrame(index=range(3)), r"3 rows and no column"),
        (FRAME.set_index(["city", "event_timestamp"]), r"index is 'city', 'event_timestamp'.*reset_index\(\)"),
        (
            FRAME.set_index("event_timestamp").rename_axis(None),
            r"DatetimeIndex.*reset_index\(names='event_timestamp'\)",
        ),
        (FRAME.groupby("city").agg({"event_timestamp": "max"}), r"its index is 'city'.*reset_index\(\)"),
    ],
)
def test_key_or_time_in_the_index_is_told(project: Project, spine: pd.DataFrame, said: str) -> None:
    with pytest.raises(SpineError, match=f"(?s){said}"):
        joined(project, spine)


def test_index_that_is_not_asked_for_does_not_matter(project: Project) -> None:
    for spine in (FRAME.set_axis([7, 7, 3, 1]), FRAME.assign(x=1).set_index("x"), FRAME.set_axis(list("wxyz"))):
        assert counts(project, spine) == WANTED


def test_column_that_is_there_twice_is_named(project: Project) -> None:
    with pytest.raises(SpineError, match="more than one column called 'label'"):
        joined(project, pd.concat([FRAME, FRAME[["label"]]], axis=1))


# --- other kinds


def test_rows_and_columns_of_pythons_own_values(project: Project) -> None:
    assert counts(project, SPINE.to_pylist()) == WANTED
    assert counts(project, SPINE.to_pydict()) == WANTED
    assert counts(project, [{"city": np.str_("a"), "event_timestamp": pd.Timestamp(TIMES[0])}]) == WANTED[:1]
    assert counts(project, SPINE.to_batches()[0]) == WANTED
    assert counts(project, SPINE.to_reader()) == WANTED
    with pytest.raises(SpineError, match="column 'more' cannot be taken"):
        joined(project, [{**row, "more": more} for row, more in zip(SPINE.to_pylist(), [1, "x", 1, 1], strict=True)])
    with pytest.raises(SpineError, match="differ in length"):
        joined(project, {"city": ["a"], "event_timestamp": []})
    with pytest.raises(SpineError, match="cannot be a int"):
        joined(project, 7)


def test_frame_that_is_read_as_a_stream_or_when_it_is_collected(project: Project) -> None:
    views = with_column("city", pa.array(CITIES, pa.string_view()))

    class Streams:
        def __arrow_c_stream__(self, schema: Any = None) -> Any:
            return views.__arrow_c_stream__(schema)

    lazy = SimpleNamespace(collect=Streams, collect_schema=lambda: None)
    assert counts(project, Streams()) == WANTED
    assert counts(project, lazy) == WANTED


def empty_files(folder: Path, table: pa.Table) -> dict[str, Path]:
    parquet.write_table(table, folder / "empty.parquet")
    csv.write_csv(table, folder / "empty.csv")
    (folder / "empty.jsonl").write_text("")
    return {kind: folder / f"empty.{kind}" for kind in ("parquet", "csv", "jsonl")}


@pytest.mark.parametrize(
    "of",
    [
        lambda none, _: none,
        lambda none, _: none.to_pandas(),
        lambda _, __: FRAME.iloc[:0].astype(object),
        lambda _, __: pd.DataFrame(columns=["city", "event_timestamp"]),
        lambda _, __: pd.DataFrame(),
        lambda none, _: duckdb.from_arrow(none),
        lambda _, __: [],
        lambda _, __: {"city": [], "event_timestamp": []},
        lambda none, _: none.to_reader(),
        lambda none, folder: empty_files(folder, none)["parquet"],
        lambda none, folder: empty_files(folder, none)["csv"],
        lambda none, folder: empty_files(folder, none)["jsonl"],
    ],
)
def test_empty_spine_gives_no_rows_with_the_right_columns(
    project: Project, tmp_path: Path, of: Callable[[pa.Table, Path], Any]
) -> None:
    found = joined(project, of(SPINE.slice(0, 0), tmp_path))
    assert found.num_rows == 0
    assert {"city", "event_timestamp", "city_rides__n_10m", "city_rides__last_at"} <= set(found.column_names)
    assert found.schema.field("city_rides__last_at").type == pa.timestamp("us", "UTC")


# --- files


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


def history(project: Project, spine: Path, out: Path) -> tuple[int, str]:
    done = runner.invoke(
        app,
        ["history", "--spine", str(spine), "--out", str(out), "--service", "model", "--project", str(project.root)],
    )
    return done.exit_code, done.output


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


# --- feature services


def service(name: str, **views: list[str]) -> Any:
    """What headrace needs of Feast's `FeatureService`."""
    projections = [
        SimpleNamespace(name=view, features=[SimpleNamespace(name=one) for one in features])
        for view, features in views.items()
    ]
    return SimpleNamespace(name=name, feature_view_projections=projections)


ALL = ["n_10m", "mean_price_10m", "seats_10m", "last_at", "max_price"]


def test_feature_service_may_be_given_itself(project: Project, tmp_path: Path) -> None:
    model = service("model", city_rides=ALL)
    by_name = joined(project, SPINE)
    assert joined(project, SPINE, model).equals(by_name)
    assert joined(project, SPINE, [model, "city_rides:n_10m"]).equals(by_name)
    assert joined(project, SPINE, service("model", city_rides=[])).equals(by_name)
    dataset = Dataset(name="d", features=model, spine=lambda _: SPINE, label="label")
    assert TrainingClient(project).export(dataset, tmp_path / "out").manifest["features"] == [
        f"city_rides:{one}" for one in ALL
    ]


def test_feature_service_that_is_not_as_applied_is_refused(project: Project) -> None:
    with pytest.raises(LookupRequestError, match=r"(?s)other features of 'city_rides' than.*headrace apply"):
        joined(project, SPINE, service("model", city_rides=ALL[:2]))
    with pytest.raises(LookupRequestError, match="no feature service named 'other'"):
        joined(project, SPINE, service("other", city_rides=ALL))
