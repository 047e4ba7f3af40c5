"""Materializing batch views: the newest row of each entity goes from the source to the row store.

Of a source's rows in a range of event times, each entity's newest is written; a row that the store has already, or has
a newer one of, changes nothing. So a run can be repeated, cut short and run again, and several may run at once.

An incremental run goes on from the end of the last one. It also reads rows that were created since then with an older
event time, where the source has created times; without them such rows are only found by a full run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from headrace.batch.materialized import MaterializedTimes
from headrace.batch.source_relation import (
    SourceRelation,
    batch_connection,
    feature_name,
    key_name,
    source_errors,
    subject_of,
)
from headrace.config import Project
from headrace.errors import ConfigError
from headrace.plan import BatchView
from headrace.records.entity_keys import entity_keys
from headrace.rows import Row, RowCodec, RowStore, open_rows
from headrace.times import iso_time

__all__ = ["Materialized", "materialize", "materialize_views"]

_BATCH_ROWS = 20_000
_OVERLAP_US = 24 * 60 * 60 * 1_000_000
"""How far an incremental run goes back behind the end of the last one. A job stamps `created` when it computes a row,
and the file with the row may be there much later. Reading a row twice changes nothing."""


class Materialized(NamedTuple):
    """What materializing one view did.

    Attributes:
        view: The view.
        start_us: The first event time read, in µs; None is from the beginning.
        end_us: The last event time read, in µs.
        entities: How many entities had a row in that range.
        changed: How many of their rows the store took.
        left_out: How many rows of the source lack a join key or an event time.
    """

    view: str
    start_us: int | None
    end_us: int
    entities: int
    changed: int
    left_out: int


def materialize(
    view: BatchView,
    rows: RowStore,
    repo: Path,
    times: MaterializedTimes,
    *,
    end_us: int,
    start_us: int | None = None,
    incremental: bool = False,
    overlap_us: int = _OVERLAP_US,
    progress: Callable[[int], None] = lambda entities: None,
) -> Materialized:
    """Write the newest row of each entity of a view to the row store.

    Args:
        view: The view.
        rows: The row store, open to write.
        repo: The feature repo's folder, which the source's path is relative to.
        times: Up to when views have been materialized.
        end_us: The last event time to read, in µs.
        start_us: The first one; None is from the beginning.
        incremental: Go on from the end of the last run.
        overlap_us: How far before that end an incremental run begins, in µs.
        progress: Called with the number of entities written so far.

    Returns:
        What was done.

    Raises:
        ConfigError: `start_us` is after `end_us`.
        BatchSourceError: The source is away, or lacks what the view declares. What was written before stays.
        StoreUnavailableError: The row store is away.
    """
    started_us = time.time_ns() // 1000
    # A view without rows is read from the beginning: they were removed, or the store is another one.
    until = times.until(view) if incremental and view.rows_hash in rows.views() else None
    since = None if until is None else until - overlap_us
    if start_us is not None and start_us > end_us:
        msg = f"The range of event times begins at {iso_time(start_us)} and ends at {iso_time(end_us)}."
        raise ConfigError(msg, hint="Give a start before the end.")
    con = batch_connection(repo)
    try:
        source = SourceRelation(con, view, repo, "source")
        left_out = source.left_out()
        with source_errors(subject_of(view)):
            reader = con.sql(_newest_sql(view, source.name, start_us, since, end_us)).to_arrow_reader(_BATCH_ROWS)
        written = rows.write(view.rows_hash, _rows(view, reader, progress))
    finally:
        con.close()
    if start_us is None:
        # Rows that are dated after this run began may still come.
        times.note(view, min(end_us, started_us))
    first = since if start_us is None else start_us
    return Materialized(view.name, first, end_us, written.rows, written.changed, left_out)


def materialize_views(
    project: Project,
    views: Sequence[BatchView],
    *,
    end_us: int,
    start_us: int | None = None,
    incremental: bool = False,
    progress: Callable[[BatchView, int], None] = lambda view, entities: None,
) -> list[Materialized]:
    """Materialize views of a project, one after the other; see `materialize`.

    Args:
        project: The project.
        views: The views.
        end_us: The last event time to read, in µs.
        start_us: The first one; None is from the beginning.
        incremental: Go on from a day before the end of each view's last run.
        progress: Called with the view and the number of its entities written so far.

    Returns:
        What was done, per view.
    """
    times = MaterializedTimes.of(project)
    with open_rows(project.store_url, writable=True) as rows:
        return [
            materialize(
                view,
                rows,
                project.repo,
                times,
                end_us=end_us,
                start_us=start_us,
                incremental=incremental,
                progress=partial(progress, view),
            )
            for view in views
        ]


def _newest_sql(view: BatchView, source: str, start_us: int | None, since: int | None, end_us: int) -> str:
    keys = ", ".join(map(key_name, range(len(view.entities))))
    bounds = [f"ts <= {end_us}"]
    if start_us is not None:
        bounds.append(f"ts >= {start_us}")
    if since is not None:
        bounds.append(f"(ts >= {since} OR created >= {since})")
    return (
        f"SELECT * FROM {source} WHERE {' AND '.join(bounds)} "  # noqa: S608 names and numbers made here
        f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY ts DESC, created DESC NULLS LAST, tie DESC) = 1"
    )


def _rows(view: BatchView, reader: pa.RecordBatchReader, progress: Callable[[int], None]) -> Iterator[Row]:
    codec, count = RowCodec(view.columns), 0
    key_columns = list(map(key_name, range(len(view.entities))))
    value_columns = list(map(feature_name, range(len(view.columns))))
    while True:
        with source_errors(subject_of(view)):
            batch = next(reader, None)
        if batch is None:
            return
        if not batch.num_rows:
            continue
        entities = entity_keys([batch.column(name).to_pylist() for name in key_columns])
        times, created = batch.column("ts").to_pylist(), batch.column("created").to_pylist()
        columns = [batch.column(name).to_pylist() for name in value_columns]
        values = zip(*columns, strict=True) if columns else [()] * batch.num_rows
        for entity, event_us, created_us, row in zip(entities, times, created, values, strict=True):
            yield Row(entity, event_us, codec.encode(row), created_us)
        count += batch.num_rows
        progress(count)
