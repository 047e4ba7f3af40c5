"""Spines as data scientists have them: every frame, index and type works, or the column is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
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

from headrace.config import Project
from headrace.errors import DatasetError, SpineError
from tests.training.spines import CITIES, SPINE, TIMES, WANTED, built, counts, joined


def with_column(name: str, column: Any) -> pa.Table:
    at = SPINE.column_names.index(name) if name in SPINE.column_names else SPINE.num_columns
    rest = SPINE.drop_columns([name]) if name in SPINE.column_names else SPINE
    return rest.add_column(at, name, column)


# --- keys and times of every layout


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
