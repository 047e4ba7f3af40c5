"""The log and the spines of `benchmarks.point_in_time`: made from a seed, once for all sides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.events.columns import IntArray
from headrace.log import EventLog
from headrace.plan import Column, DType, Feature, Plan, Source, View

__all__ = ["KEYS", "LATEST", "PLAN", "VALUES", "WINDOWED", "make_events", "make_spine"]

KEYS = 10_000
"""How many users there are, so that a log of 1M events has 100 of each and one of 10M has 1,000."""

_MINUTE_US = 60_000_000
_HOUR_US = 60 * _MINUTE_US
_DAY_US = 24 * _HOUR_US
_START_US = 1_704_067_200_000_000
_DAYS = 30
_LATE = 0.05
_LATE_US = 6 * _HOUR_US
_PORTION = 1_000_000

_AMOUNTS = tuple(f"amount_{number}" for number in range(1, 6))
_COUNTS = tuple(f"pieces_{number}" for number in range(1, 6))
VALUES = (*_AMOUNTS, *_COUNTS)
"""The ten columns whose latest values are asked for."""

_SOURCE = Source(
    name="payments",
    topic="payments",
    model="events:Payment",
    key="user_id",
    timestamp_field="paid_at",
    columns=(
        Column(name="user_id", dtype=DType.STRING, nullable=False),
        Column(name="paid_at", dtype=DType.TIMESTAMP, nullable=False),
        *(Column(name=name, dtype=DType.FLOAT64, nullable=False) for name in _AMOUNTS),
        *(Column(name=name, dtype=DType.INT64, nullable=False) for name in _COUNTS),
    ),
)
_USER = _SOURCE.columns[:1]


def _windowed() -> Iterator[Feature]:
    for label, window, slide in (("1d", _DAY_US, 15 * _MINUTE_US), ("7d", 7 * _DAY_US, _HOUR_US)):
        for function in ("count", "sum", "mean", "min", "max"):
            yield Feature(
                name=f"{function}_{label}",
                function=function,
                column="*" if function == "count" else "amount_1",
                window_us=window,
                slide_us=slide,
                dtype=DType.INT64 if function == "count" else DType.FLOAT64,
            )


_LATEST_VIEW = View(
    name="latest",
    source="payments",
    entities=_USER,
    features=tuple(
        Feature(
            name=name, function="last", column=name, window_us=None, slide_us=None, dtype=_SOURCE.column(name).dtype
        )
        for name in VALUES
    ),
)
_WINDOWED_VIEW = View(name="windowed", source="payments", entities=_USER, features=tuple(_windowed()))
PLAN = Plan(
    project="payments",
    sources={"payments": _SOURCE},
    views={view.name: view for view in (_LATEST_VIEW, _WINDOWED_VIEW)},
)
LATEST = PLAN.resolve(["latest:*"])
WINDOWED = PLAN.resolve(["windowed:*"])


def make_events(folder: Path, events: int) -> None:
    """Write a log of events, in the order in which they became known; one in twenty came up to six hours late.

    Args:
        folder: Where. `log` is headrace's; `events.parquet` has the same events in the same order, for the other sides.
        events: How many.
    """
    random = np.random.default_rng(7)
    ts_us = random.integers(_START_US, _START_US + _DAYS * _DAY_US, events)
    late = random.random(events) < _LATE
    known_us = ts_us + np.where(late, random.integers(1, _LATE_US, events), 0)
    order = np.argsort(known_us)
    ts_us, known_us = ts_us[order], known_us[order]
    user = random.integers(0, KEYS, events)
    log, writer = EventLog(folder / "log", _SOURCE), None
    for first in range(0, events, _PORTION):
        some = slice(first, min(first + _PORTION, events))
        table = _events(random, user[some], ts_us[some], known_us[some], first)
        log.append(table, {0: some.stop - 1})
        plain = table.select([column.name for column in _SOURCE.columns])
        writer = writer or pq.ParquetWriter(folder / "events.parquet", plain.schema, compression="zstd")
        writer.write_table(plain)
    if writer is not None:
        writer.close()


def make_spine(path: Path, rows: int) -> None:
    """Write a spine of random users and moments.

    Args:
        path: The Parquet file to write.
        rows: How many rows.
    """
    random = np.random.default_rng(11)
    t_us = random.integers(_START_US + _DAY_US, _START_US + _DAYS * _DAY_US, rows)
    columns = {
        "row_id": np.arange(rows),
        "user_id": _names(random.integers(0, KEYS, rows)),
        "event_timestamp": pa.array(t_us).cast(pa.timestamp("us", "UTC")),
    }
    pq.write_table(pa.table(columns), path)


def _events(random: np.random.Generator, user: IntArray, ts_us: IntArray, known_us: IntArray, first: int) -> pa.Table:
    rows = len(user)
    amounts = {name: np.round(random.gamma(2.0, 20.0, rows), 2) for name in _AMOUNTS}
    pieces = {name: random.integers(1, 100, rows) for name in _COUNTS}
    own = {
        "_ts_us": ts_us,
        "_known_at_us": known_us,
        "_partition": np.zeros(rows, np.int32),
        "_offset": np.arange(first, first + rows),
        "_record_ts_us": known_us,
    }
    times = pa.array(ts_us).cast(pa.timestamp("us", "UTC"))
    return pa.table({"user_id": _names(user), "paid_at": times, **amounts, **pieces, **own})


def _names(user: IntArray) -> pa.Array:
    names = pa.array([f"user-{number:06d}" for number in range(KEYS)])
    return names.take(pa.array(user))
