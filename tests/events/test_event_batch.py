"""A batch: columns as numpy values, and positions that order."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace.events.event_batch import ARROW_TYPES, EventBatch, column_values
from headrace.plan import Column, DType, Source

MOMENT = datetime(2013, 1, 1, 10, 0, 0, 5, tzinfo=UTC)
BEFORE_1970 = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
COLUMNS: dict[DType, tuple[list[Any], list[Any]]] = {
    DType.INT64: ([1, None, -(2**63)], [1, -(2**63)]),
    DType.FLOAT64: ([1.5, None, -math.inf], [1.5, -math.inf]),
    DType.BOOL: ([True, None, False], [1, 0]),
    DType.STRING: (["a", None, "ü"], ["a", "ü"]),
    DType.TIMESTAMP: ([MOMENT, None, BEFORE_1970], [1_357_034_400_000_005, -1]),
}


@pytest.mark.parametrize("dtype", COLUMNS)
@pytest.mark.parametrize("chunks", ["one chunk", "two chunks", "a slice"])
def test_column_becomes_values_and_validity(dtype: DType, chunks: str) -> None:
    given, expected = COLUMNS[dtype]
    kind = ARROW_TYPES[dtype]
    match chunks:
        case "one chunk":
            column = pa.chunked_array([pa.array(given, kind)])
        case "two chunks":
            column = pa.chunked_array([pa.array(given[:1], kind), pa.array(given[1:], kind)])
        case _:
            column = pa.chunked_array([pa.array([None, *given, given[0]], kind)]).slice(1, 3)
    data, valid = column_values(column)
    assert valid.tolist() == [True, False, True]
    assert data[valid].tolist() == expected
    assert data.dtype == {DType.FLOAT64: np.float64, DType.STRING: np.object_}.get(dtype, np.int64)


@pytest.mark.parametrize("dtype", COLUMNS)
def test_column_without_nulls_and_without_rows(dtype: DType) -> None:
    given, expected = COLUMNS[dtype]
    data, valid = column_values(pa.chunked_array([pa.array([given[0], given[2]], ARROW_TYPES[dtype])]))
    assert (data.tolist(), valid.tolist()) == (expected, [True, True])
    for empty in (pa.chunked_array([], ARROW_TYPES[dtype]), pa.chunked_array([pa.array([], ARROW_TYPES[dtype])])):
        data, valid = column_values(empty)
        assert (len(data), len(valid)) == (0, 0)


def test_nan_is_a_value_and_no_null() -> None:
    data, valid = column_values(pa.chunked_array([pa.array([math.nan, None], pa.float64(), from_pandas=False)]))
    assert valid.tolist() == [True, False]
    assert math.isnan(data[0])


def batch(partition: list[int], offset: list[int]) -> EventBatch:
    columns = (Column(name="at", dtype=DType.TIMESTAMP, nullable=False), Column(name="n", dtype=DType.INT64))
    source = Source(name="s", topic="t", model="m:M", key=None, timestamp_field="at", columns=columns)
    n = len(partition)
    ts = np.arange(n, dtype=np.int64)
    table = pa.table({"at": pa.array(ts, pa.timestamp("us", "UTC")), "n": pa.array(range(n), pa.int64())})
    return EventBatch(source, table, ts, np.array(partition, np.int64), np.array(offset, np.int64), ts, ts)


def test_position_orders_like_partition_and_then_offset() -> None:
    places = [(0, 0), (0, 1), (0, 2**47), (1, 0), (1, 5), (2, 0), (10_000, 2**48 - 1)]
    positions = batch(*(list(column) for column in zip(*places, strict=True))).position.tolist()
    assert positions == sorted(set(positions))
    assert [(position >> 48, position & (2**48 - 1)) for position in positions] == places


def test_values_are_converted_once() -> None:
    events = batch([0, 0], [1, 2])
    assert len(events) == 2
    assert events.values("n").data.tolist() == [0, 1]
    assert events.values("n") is events.values("n")
    with pytest.raises(KeyError, match="never"):
        events.values("never")


def test_batch_may_be_empty() -> None:
    nothing = batch([], [])
    assert (len(nothing), len(nothing.position), len(nothing.values("n").data)) == (0, 0, 0)
