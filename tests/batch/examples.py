"""A batch view of drivers, its rows in files, tables and queries, and a brute force that says which row counts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from deltalake import write_deltalake
from pyarrow import parquet

from headrace.plan import BatchSource, BatchView, Column, DType, Plan

__all__ = ["COLUMNS", "Row", "at", "counting", "driver_plan", "driver_rows", "driver_view", "table_of", "write_rows"]

Row = dict[str, Any]
Kind = Literal["parquet", "delta", "query"]

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = {
    "trips": (DType.INT64, pa.int64()),
    "rate": (DType.FLOAT64, pa.float64()),
    "level": (DType.STRING, pa.string()),
    "active": (DType.BOOL, pa.bool_()),
    "seen": (DType.TIMESTAMP, pa.timestamp("us", "UTC")),
    "tags": (DType.STRING_LIST, pa.list_(pa.string())),
    "times": (DType.TIMESTAMP_LIST, pa.list_(pa.timestamp("us", "UTC"))),
}


def at(seconds: float) -> datetime:
    """A time, by seconds since the examples begin."""
    return BEGIN + timedelta(seconds=seconds)


def driver_view(
    kind: Kind = "parquet", *, ttl_s: float | None = None, has_created: bool = True, path: str = "drivers"
) -> BatchView:
    """The view, over rows that `write_rows` writes."""
    sql = f"SELECT * FROM read_parquet('{path}/*.parquet')" if kind == "query" else None
    return BatchView(
        name="drivers",
        entities=(Column(name="driver", dtype=DType.INT64), Column(name="city", dtype=DType.STRING)),
        columns=tuple(Column(name=name, dtype=dtype) for name, (dtype, _) in COLUMNS.items()),
        source=BatchSource(
            name="driver_rows",
            kind=kind,
            timestamp_field="event_timestamp",
            created_field="created" if has_created else None,
            path=None if kind == "query" else path,
            sql=sql,
        ),
        ttl_us=None if ttl_s is None else int(ttl_s * 1_000_000),
    )


def driver_plan(view: BatchView) -> Plan:
    """A plan with only this view."""
    return Plan(project="drivers", sources={}, views={}, batch_views={view.name: view})


def driver_rows(rng: random.Random, count: int, *, keys: int = 5, moments: int = 12) -> list[Row]:
    """Random rows, many of one entity and at one time, some created much later, some without a created time."""
    rows: list[Row] = []
    for number in range(count):
        ts = rng.randrange(moments)
        rows.append(
            {
                "driver": rng.randrange(keys),
                "city": rng.choice(["a", "b"]),
                "event_timestamp": at(ts),
                "created": rng.choice([None, at(ts), at(ts + rng.randrange(1, 9)), at(rng.randrange(moments))]),
                "trips": None if rng.random() < 0.1 else number,
                "rate": rng.choice([None, 0.1 + number, -0.0, float("inf")]),
                "level": rng.choice([None, "", f"level {number}"]),
                "active": rng.choice([None, True, False]),
                "seen": rng.choice([None, at(number / 1_000_000)]),
                "tags": rng.choice([None, [], ["x", None, str(number)]]),
                "times": rng.choice([None, [], [at(number), None]]),
            }
        )
    return rows


def table_of(rows: Sequence[Row]) -> pa.Table:
    """Rows as a table."""
    types = {"driver": pa.int64(), "city": pa.string()}
    types |= dict.fromkeys(("event_timestamp", "created"), pa.timestamp("us", "UTC"))
    types |= {name: kind for name, (_, kind) in COLUMNS.items()}
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in types.items()})


def write_rows(repo: Path, rows: Sequence[Row], kind: Kind = "parquet", *, path: str = "drivers") -> None:
    """Write rows for a view's source; what was there before is kept."""
    folder = repo / path
    if kind == "delta":
        write_deltalake(str(folder), table_of(rows), mode="append")
        return
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.glob("*.parquet")))
    half = len(rows) // 2
    parquet.write_table(table_of(rows[:half]), folder / f"{number:03}.parquet")
    parquet.write_table(table_of(rows[half:]), folder / f"{number + 1:03}.parquet")


def counting(rows: Sequence[Row], driver: int, city: str, t: datetime, ttl_s: float | None, as_of: str) -> list[Row]:
    """The rows that may count at a time: several where they agree in both times, none where no row counts."""
    never = datetime.min.replace(tzinfo=UTC)
    there = [
        row
        for row in rows
        if (row["driver"], row["city"]) == (driver, city)
        and row["event_timestamp"] <= t
        and (as_of == "event" or row["created"] is None or row["created"] <= t)
    ]
    if not there:
        return []
    best = max((row["event_timestamp"], row["created"] or never) for row in there)
    if ttl_s is not None and best[0] < t - timedelta(seconds=ttl_s):
        return []
    return [row for row in there if (row["event_timestamp"], row["created"] or never) == best]
