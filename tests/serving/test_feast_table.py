"""Pushed rows as Arrow tables: columns found by name, values checked against the view and against its source."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from headrace.errors import RowsError
from headrace.plan import BatchSource, BatchView, Column, DType
from headrace.serving.feast_table import pushed_table, source_table

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SOURCE = BatchSource(
    name="drivers_file",
    kind="parquet",
    path="data/drivers",
    timestamp_field="at",
    created_field="made_at",
    field_mapping={"rate": "conv_rate"},
)
VIEW = BatchView(
    name="drivers",
    entities=(Column(name="driver", dtype=DType.INT64, nullable=False),),
    columns=(
        Column(name="conv_rate", dtype=DType.FLOAT64),
        Column(name="fare", dtype=DType.DECIMAL_2),
        Column(name="tags", dtype=DType.STRING_LIST),
    ),
    source=SOURCE,
    push="drivers_push",
)
ROWS: dict[str, list[Any]] = {
    "driver": [1, "2"],
    "conv_rate": [0.5, "NaN"],
    "fare": ["1.50", None],
    "tags": [["a"], []],
    "at": ["2024-05-01T12:00:00Z", "2024-05-01 12:00:00"],
}


def without(name: str) -> dict[str, list[Any]]:
    return {column: values for column, values in ROWS.items() if column != name}


def test_values_have_the_views_types_and_times_without_a_zone_are_utc() -> None:
    table = pushed_table(VIEW, {**ROWS, "other": [1, 2]})
    assert table.column_names == ["driver", "conv_rate", "fare", "tags", "at"]
    assert table["driver"].to_pylist() == [1, 2]
    assert table["conv_rate"][0].as_py() == 0.5
    assert math.isnan(table["conv_rate"][1].as_py())
    assert table["fare"].to_pylist() == [Decimal("1.50"), None]
    assert table["tags"].to_pylist() == [["a"], []]
    assert table["at"].to_pylist() == [NOON, NOON]
    assert table.schema.field("at").type == pa.timestamp("us", "UTC")


def test_columns_may_have_the_names_of_the_source_and_those_that_feasts_client_sends() -> None:
    sent = {**without("at"), "event_timestamp": ROWS["at"], "created": ["2024-05-01T13:00:00", None]}
    del sent["conv_rate"]
    table = pushed_table(VIEW, {**sent, "rate": [0.5, 0.25]})
    assert table["conv_rate"].to_pylist() == [0.5, 0.25]
    assert table["at"].to_pylist() == [NOON, NOON]
    assert table["made_at"].to_pylist() == [datetime(2024, 5, 1, 13, tzinfo=UTC), None]


@pytest.mark.parametrize("name", ["driver", "conv_rate", "at"])
def test_a_column_that_is_missing_is_named_with_those_that_are_needed(name: str) -> None:
    with pytest.raises(RowsError, match=rf"`df` has no column '{name}', which the view 'drivers' needs") as refused:
        pushed_table(VIEW, without(name))
    assert "driver, conv_rate, fare, tags, at" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("driver", [1, None], "Row 1 of `df` contradicts the view 'drivers': 'driver': it is null"),
        ("driver", [1, "x"], "'x' is no int64"),
        ("at", ["2024-05-01T12:00:00Z", None], "'at': it is null"),
        ("at", ["2024-05-01T12:00:00Z", 1714564800], "write times as ISO 8601"),
        ("at", ["noon", "2024-05-01T12:00:00Z"], "Row 0 .*write times as ISO 8601"),
        ("fare", ["1.505", "1"], "more than 2 digits"),
        ("tags", ["a", []], "'a' is no string_list"),
        ("conv_rate", [0.5, "high"], "'high' is no float64"),
        ("conv_rate", [0.5], "differ in length: driver has 2, conv_rate has 1"),
    ],
)
def test_a_value_that_contradicts_the_view_is_refused_with_its_row(column: str, values: list[Any], said: str) -> None:
    with pytest.raises(RowsError, match=said):
        pushed_table(VIEW, {**ROWS, column: values})


SCHEMA = pa.schema(
    [
        ("driver", pa.int32()),
        ("rate", pa.float32()),
        ("fare", pa.decimal128(10, 2)),
        ("tags", pa.list_(pa.string())),
        ("at", pa.timestamp("ns")),
        ("made_at", pa.timestamp("ms", "UTC")),
        ("note", pa.large_string()),
    ]
)
FULL = {**ROWS, "made_at": ["2024-05-01T13:00:00Z", None], "note": ["x", None]}


def test_rows_for_the_source_have_its_columns_and_types() -> None:
    table = source_table(SOURCE, SCHEMA, FULL)
    assert table.schema == SCHEMA
    assert table["rate"][0].as_py() == 0.5
    assert table["at"].cast(pa.timestamp("us")).to_pylist() == [NOON.replace(tzinfo=None)] * 2
    assert table["note"].to_pylist() == ["x", None]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"note": None}, "has no column 'note', which the source 'drivers_file' needs"),
        ({"extra": [1, 2]}, "The source 'drivers_file' has no column 'extra'"),
        ({"driver": [1, 2**40]}, "'driver' of `df` contradicts the source 'drivers_file'"),
        ({"made_at": ["2024-05-01T13:00:00.000001Z", None]}, "'made_at' of `df` contradicts"),
        ({"at": [None, "2024-05-01T13:00:00Z"]}, "'at': it is null"),
    ],
)
def test_rows_that_do_not_fit_the_source_are_refused(change: dict[str, Any], said: str) -> None:
    rows = {name: values for name, values in {**FULL, **change}.items() if values is not None}
    with pytest.raises(RowsError, match=said):
        source_table(SOURCE, SCHEMA, rows)


def test_a_source_with_a_type_that_json_cannot_fill_is_refused() -> None:
    schema = pa.schema([*SCHEMA, ("blob", pa.binary())])
    with pytest.raises(RowsError, match="'blob' of the source 'drivers_file' has the type binary"):
        source_table(SOURCE, schema, {**FULL, "blob": ["a", "b"]})
