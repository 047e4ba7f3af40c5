"""Rows that are handed over: they are typed as the view, or refused with the field and what to do."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest

from headrace.batch.write import push_rows, rows_of
from headrace.errors import RowsError
from headrace.plan import Column, DType
from headrace.records.entity_keys import entity_key
from headrace.rows import RowCodec, Written
from headrace.rows.memory_rows import MemoryRows
from headrace.times import us_of
from tests.batch.examples import at, driver_rows, driver_view, table_of

VIEW = driver_view()


def good(**changed: Any) -> pa.Table:
    columns: dict[str, Any] = {
        "driver": pa.array([1, 2], pa.int32()),
        "city": ["a", "b"],
        "event_timestamp": pa.array([at(1), at(2)], pa.timestamp("ns", "Europe/Berlin")),
        "trips": pa.array([1.0, None]),
        "rate": pa.array([1, 2]),
    }
    return pa.table({name: value for name, value in (columns | changed).items() if value is not None})


def test_rows_are_typed_as_the_view() -> None:
    first, second = rows_of(VIEW, good(created=pa.array([at(3), None], pa.timestamp("ms", "UTC"))))
    assert (first.entity, first.event_us, first.created_us) == (entity_key([1, "a"]), us_of(at(1)), us_of(at(3)))
    assert RowCodec(VIEW.columns).decode(first.values) == [1, 1.0, None, None, None, None, None]
    assert (second.entity, second.created_us) == (entity_key([2, "b"]), None)
    assert RowCodec(VIEW.columns).decode(second.values)[:2] == [None, 2.0]


def test_all_columns_come_back() -> None:
    rows = [row | {"driver": 1, "city": "a"} for row in driver_rows(random.Random(1), 50)]
    for row, encoded in zip(rows, rows_of(VIEW, table_of(rows)), strict=True):
        trips, rate, level, active, seen, tags, times = RowCodec(VIEW.columns).decode(encoded.values)
        assert (trips, rate, level, active, tags) == tuple(
            row[name] for name in ("trips", "rate", "level", "active", "tags")
        )
        assert seen == (None if row["seen"] is None else us_of(row["seen"]))
        wanted = row["times"] and [None if one is None else us_of(one) for one in row["times"]]
        assert times == wanted


def test_no_rows_are_no_rows() -> None:
    assert rows_of(VIEW, good().slice(0, 0)) == []
    assert push_rows(MemoryRows(), VIEW, good().slice(0, 0)) == Written(0, 0)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"event_timestamp": None}, "no column 'event_timestamp'"),
        ({"event_timestamp": pa.array([at(1).replace(tzinfo=None)] * 2, pa.timestamp("us"))}, "no time zone"),
        ({"event_timestamp": ["2026-01-01", "2026-01-02"]}, "no timestamp"),
        ({"event_timestamp": pa.array([at(1), None], pa.timestamp("us", "UTC"))}, "null in row 1"),
        ({"event_timestamp": pa.nulls(2)}, "null in row 0"),
        ({"driver": None}, "no column 'driver'"),
        ({"driver": pa.array([None, 1])}, "null in row 0"),
        ({"driver": ["1", "2"]}, "'driver' as string"),
        ({"driver": pa.array([1.5, 2.0])}, "'driver' that int64 cannot hold"),
        ({"city": [1, 2]}, "'city' as int64"),
        ({"trips": pa.array([1.5, 2.0])}, "'trips' that int64 cannot hold"),
        ({"trips": pa.array([2**63, 1], pa.uint64())}, "'trips' that int64 cannot hold"),
        ({"trips": ["1", "2"]}, "'trips' as string"),
        ({"rate": [True, False]}, "'rate' as bool"),
        ({"active": [1, 0]}, "'active' as int64"),
        ({"tags": ["a", "b"]}, "'tags' as string"),
        ({"speed": [1, 2]}, "'speed', which the view does not"),
    ],
)
def test_rows_that_contradict_the_view_are_refused(changed: dict[str, Any], said: str) -> None:
    rows = MemoryRows()
    with pytest.raises(RowsError, match=said) as refused:
        push_rows(rows, VIEW, good(**changed))
    assert "drivers" in str(refused.value)
    assert rows.views() == set()


def test_a_column_given_twice_is_refused() -> None:
    table = good().append_column("trips", pa.array([1, 2]))
    with pytest.raises(RowsError, match="more than one column 'trips'"):
        rows_of(VIEW, table)


def test_source_names_are_taken_too() -> None:
    source = VIEW.source.model_copy(update={"field_mapping": {"driver_no": "driver", "n": "trips"}})
    view = VIEW.model_copy(update={"source": source})
    renamed = good().rename_columns(["driver_no", "city", "event_timestamp", "n", "rate"])
    assert rows_of(view, renamed) == rows_of(VIEW, good())


def test_dictionaries_and_large_texts_are_texts() -> None:
    table = good(city=pa.array(["a", "b"]).dictionary_encode(), level=pa.array(["x", None], pa.large_string()))
    (first, _) = rows_of(VIEW, table)
    assert RowCodec(VIEW.columns).decode(first.values)[2] == "x"


def test_view_with_one_feature() -> None:
    view = VIEW.model_copy(update={"columns": (Column(name="trips", dtype=DType.INT64),)})
    (first, _) = rows_of(view, good(rate=None))
    assert first.entity == entity_key([1, "a"])
