"""Columns of a source in every type that goes with a declared one, and sources in an object store."""

from __future__ import annotations

import uuid
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from headrace.batch.join import BatchJoin
from headrace.errors import BatchSourceError
from headrace.plan import BatchSource, BatchView, Column, DType
from tests.batch.examples import at, driver_plan

MOMENT = pa.array([at(1)], pa.timestamp("us", "UTC"))


def read(repo: Path, column: pa.Array | str, dtype: DType) -> Any:
    """The value of a source's only column, as a feature of a type; text is SQL."""
    common: dict[str, Any] = {"name": "rows", "timestamp_field": "t"}
    if isinstance(column, str):
        sql = f"SELECT 1 AS k, TIMESTAMPTZ '2026-01-01 00:00:01+00' AS t, {column} AS c"
        source = BatchSource(kind="query", sql=sql, **common)
    else:
        parquet.write_table(pa.table({"k": [1], "t": MOMENT, "c": column}), repo / "rows.parquet")
        source = BatchSource(kind="parquet", path="rows.parquet", **common)
    view = BatchView(
        name="drivers",
        entities=(Column(name="k", dtype=DType.INT64),),
        columns=(Column(name="c", dtype=dtype),),
        source=source,
    )
    spine = pa.table({"k": [1], "event_timestamp": MOMENT})
    plan = driver_plan(view)
    return BatchJoin(plan, repo, threads=1).join(spine, plan.resolve(["drivers:c"])).column(0)[0].as_py()


@pytest.mark.parametrize(
    ("column", "dtype", "value"),
    [
        (pa.array([7], pa.uint8()), DType.INT64, 7),
        (pa.array([-7.0], pa.float32()), DType.INT64, -7),
        (pa.array([Decimal("7.00")]), DType.INT64, 7),
        ("CAST(9223372036854775807 AS HUGEINT)", DType.INT64, 2**63 - 1),
        (pa.array([0.1], pa.float32()), DType.FLOAT64, pa.array([0.1], pa.float32())[0].as_py()),
        (pa.array([7], pa.int16()), DType.FLOAT64, 7.0),
        (pa.array([Decimal("0.25")]), DType.FLOAT64, 0.25),
        (pa.array(["x"]).dictionary_encode(), DType.STRING, "x"),
        (pa.array(["x"], pa.large_string()), DType.STRING, "x"),
        (pa.array([date(2026, 1, 2)]), DType.STRING, "2026-01-02"),
        ("CAST('00000000-0000-0000-0000-000000000007' AS UUID)", DType.STRING, str(uuid.UUID(int=7))),
        ("CAST('a' AS ENUM ('a', 'b'))", DType.STRING, "a"),
        (pa.array([date(2026, 1, 1)]), DType.TIMESTAMP, at(0)),
        (pa.array([at(5)], pa.timestamp("s", "Europe/Berlin")), DType.TIMESTAMP, at(5)),
        (pa.array([date(2026, 1, 2)]), DType.DATE, date(2026, 1, 2)),
        (pa.array([{"b": 1, "a": None}]), DType.JSON, '{"b":1,"a":null}'),
        ("MAP {'x': [1, 2]}", DType.JSON, '{"x":[1,2]}'),
        (pa.array(['{"as": "it is"}']), DType.JSON, '{"as": "it is"}'),
        (pa.array([[1, None, 3]], pa.list_(pa.int32())), DType.INT64_LIST, [1, None, 3]),
        (pa.array([[1, 2]], pa.list_(pa.int32(), 2)), DType.INT64_LIST, [1, 2]),
        (pa.array([[0.5]], pa.large_list(pa.float32())), DType.FLOAT64_LIST, [0.5]),
        (pa.array([[at(1), None]]), DType.TIMESTAMP_LIST, [at(1), None]),
        (pa.array([[date(2026, 1, 2)]]), DType.DATE_LIST, [date(2026, 1, 2)]),
        (pa.array([[True, None]]), DType.BOOL_LIST, [True, None]),
        (pa.array([["", None]]), DType.STRING_LIST, ["", None]),
        (pa.array([[]], pa.list_(pa.int64())), DType.INT64_LIST, []),
    ],
)
def test_value_is_read_exactly(tmp_path: Path, column: pa.Array | str, dtype: DType, value: object) -> None:
    found = read(tmp_path, column, dtype)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        (pa.array([2**64 - 1], pa.uint64()), DType.INT64),
        (pa.array([0.5]), DType.INT64),
        (pa.array([float("nan")]), DType.INT64),
        (pa.array([1e300]), DType.INT64),
        (pa.array([Decimal("0.5")]), DType.INT64),
        (pa.array([True]), DType.INT64),
        (pa.array([1]), DType.BOOL),
        (pa.array([1]), DType.STRING),
        (pa.array([True]), DType.FLOAT64),
        (pa.array(["2026-01-01"]), DType.TIMESTAMP),
        (pa.array([1]), DType.TIMESTAMP),
        (pa.array([[0.5]]), DType.INT64_LIST),
        (pa.array([1]), DType.INT64_LIST),
        (pa.array([[1]]), DType.INT64),
    ],
)
def test_value_that_the_type_cannot_hold_is_refused(tmp_path: Path, column: pa.Array, dtype: DType) -> None:
    with pytest.raises(BatchSourceError, match="'rows' of the view 'drivers'"):
        read(tmp_path, column, dtype)
