"""One side of `benchmarks.point_in_time`, in a process of its own.

    python -m benchmarks.spines_sides SIDE EVENTS SPINE [--out PATH]

It joins a few rows first, so that nothing is timed that happens once in a process, then the whole spine, and prints one
JSON object: seconds, the processor's seconds, and the process's peak of resident memory in MiB. With `--out` it writes
the answers, rows in the spine's order, for the sides to be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.spines_data import LATEST, PLAN, VALUES, WINDOWED
from headrace.plan import FeatureRef

__all__ = ["SIDES", "main"]

_WARM_ROWS = 100
_JOINED = ", ".join(f"e.{name}" for name in VALUES)

_PLAIN = f"""
SELECT {_JOINED}
FROM spine AS s
ASOF LEFT JOIN read_parquet($files) AS e ON e.user_id = s.user_id AND e.paid_at <= s.event_timestamp
ORDER BY s.row_id
"""  # noqa: S608 no value is the user's

_LATE = f"""
WITH log AS NOT MATERIALIZED (
    SELECT * FROM read_parquet($files, filename = true, file_row_number = true)
),
matched AS (
    SELECT s.row_id, e.filename, e.file_row_number
    FROM spine AS s
    ASOF LEFT JOIN (SELECT user_id, paid_at, filename, file_row_number FROM log) AS e
        ON e.user_id = s.user_id AND e.paid_at <= s.event_timestamp
)
SELECT {_JOINED}
FROM matched AS m
LEFT JOIN log AS e ON e.filename = m.filename AND e.file_row_number = m.file_row_number
ORDER BY m.row_id
"""  # noqa: S608 no value is the user's

_WINDOWS = """
SELECT
    {columns}
FROM (SELECT *, epoch_us(event_timestamp) AS t_us FROM spine) AS s
{joins}
ORDER BY s.row_id
"""

_WINDOW = """
LEFT JOIN (
    SELECT
        s.row_id,
        count(e.user_id) AS count_{label},
        coalesce(sum(e.amount_1), 0) AS sum_{label},
        avg(e.amount_1) AS mean_{label},
        min(e.amount_1) AS min_{label},
        max(e.amount_1) AS max_{label}
    FROM (SELECT *, epoch_us(event_timestamp) AS t_us FROM spine) AS s
    LEFT JOIN read_parquet($files) AS e
        ON e.user_id = s.user_id
        AND e._ts_us >= s.t_us // {slide} * {slide} + {slide} - {window}
        AND e._ts_us < s.t_us // {slide} * {slide} + {slide}
        AND e._known_at_us <= s.t_us
    GROUP BY s.row_id
) AS window_{label} ON window_{label}.row_id = s.row_id"""

Join = Callable[[pa.Table], pa.Table]


def headrace_latest(folder: Path) -> Join:
    """Ours: the latest value of ten columns."""
    return _headrace(folder, LATEST, "event")


def headrace_windowed(folder: Path) -> Join:
    """Ours: ten features of windows, as they were known."""
    return _headrace(folder, WINDOWED, "known")


def asof(folder: Path) -> Join:
    """DuckDB's ASOF join over the same files, as one writes it first."""
    return _duckdb(folder, _PLAIN)


def asof_late(folder: Path) -> Join:
    """DuckDB's ASOF join of keys, times and row numbers; the values are fetched for the rows that matched."""
    return _duckdb(folder, _LATE)


def windows_sql(folder: Path) -> Join:
    """Windows by plain SQL, row by row: what ours must equal, for few rows."""
    labels = {feature.name.rpartition("_")[2]: feature for feature in PLAN.views["windowed"].features}
    joins = "".join(
        _WINDOW.format(label=label, slide=one.slide_us, window=one.window_us) for label, one in labels.items()
    )
    return _duckdb(folder, _WINDOWS.format(columns=",\n    ".join(ref.feature for ref in WINDOWED), joins=joins))


def pandas(folder: Path) -> Join:
    """Pandas' merge_asof."""
    import pandas as pd

    def join(spine: pa.Table) -> pa.Table:
        columns = ["user_id", "paid_at", *VALUES]
        events = pd.read_parquet(folder / "events.parquet", columns=columns).sort_values("paid_at")
        rows = spine.to_pandas().sort_values("event_timestamp")
        merged = pd.merge_asof(rows, events, left_on="event_timestamp", right_on="paid_at", by="user_id")
        return pa.Table.from_pandas(merged.sort_values("row_id")[list(VALUES)], preserve_index=False)

    return join


def feast(folder: Path) -> Join:
    """Feast's get_historical_features on its DuckDB offline store."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64, Int64, String

    home = Path(tempfile.mkdtemp(prefix="feast-", dir=folder))
    config = RepoConfig(
        project="payments",
        provider="local",
        registry=str(home / "registry.db"),
        offline_store={"type": "duckdb"},
        online_store=None,
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    source = FileSource(name="payments", path=str(folder / "events.parquet"), timestamp_field="paid_at")
    fields = [Field(name=name, dtype=Float64 if name.startswith("amount") else Int64) for name in VALUES]
    schema = [Field(name="user_id", dtype=String), *fields]
    view = FeatureView(name="latest", entities=[user], ttl=timedelta(0), schema=schema, source=source, online=False)
    store.apply([user, source, view])

    def join(spine: pa.Table) -> pa.Table:
        found = store.get_historical_features(
            entity_df=spine.to_pandas(), features=[f"latest:{name}" for name in VALUES]
        ).to_arrow()
        return found.sort_by("row_id").select(list(VALUES))

    return join


SIDES: Mapping[str, Callable[[Path], Join]] = {
    "headrace": headrace_latest,
    "headrace windowed": headrace_windowed,
    "Feast": feast,
    "ASOF": asof,
    "ASOF late-materialised": asof_late,
    "pandas": pandas,
    "SQL of windows": windows_sql,
}
"""What makes each side's join, by its name."""


def main(arguments: list[str] | None = None) -> None:
    """Run one side.

    Args:
        arguments: The command line's; None is the process's own.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spines_sides")
    parser.add_argument("side", choices=list(SIDES))
    parser.add_argument("events", type=Path)
    parser.add_argument("spine", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    spine = pq.read_table(given.spine)
    join = SIDES[given.side](given.events)
    join(spine.slice(0, _WARM_ROWS))
    began, worked = time.perf_counter(), time.process_time()
    found = join(spine)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - worked
    if given.out is not None:
        pq.write_table(found, given.out)
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mib": _peak_mib(), "rows": found.num_rows}))


def _headrace(folder: Path, refs: list[FeatureRef], as_of: str) -> Join:
    from headrace.history import PointInTimeJoin
    from headrace.log import EventLog

    log = EventLog(folder / "log", PLAN.sources["payments"])

    def join(spine: pa.Table) -> pa.Table:
        found = PointInTimeJoin(PLAN, {"payments": log.snapshot()}).join(spine, refs, as_of=as_of).table
        return found.rename_columns([name.partition("__")[2] for name in found.column_names])

    return join


def _duckdb(folder: Path, query: str) -> Join:
    import duckdb

    files = [str(path) for path in sorted((folder / "log").glob("*/*/*.parquet"))]

    def join(spine: pa.Table) -> pa.Table:
        with tempfile.TemporaryDirectory(prefix="duckdb-") as spill, duckdb.connect() as con:
            con.execute(f"SET temp_directory = '{spill}'")
            con.register("spine", spine)
            return con.sql(query, params={"files": files}).to_arrow_table()

    return join


def _peak_mib() -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) / 1024 if found else float("nan")


if __name__ == "__main__":
    os.environ.setdefault("FEAST_USAGE", "False")
    main()
