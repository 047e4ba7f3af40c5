"""The entities that a log has, for history without a spine: all known at a time, or each with its event times."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from headrace.history.column_files import LogFiles, Unit, in_threads, plain
from headrace.history.join_plan import AsOf, TimeBounds
from headrace.log import LogSnapshot
from headrace.log.log_columns import KNOWN_AT, TS
from headrace.plan import Source

__all__ = ["entities_at", "entity_times"]


def entities_at(
    log: LogSnapshot,
    source: Source,
    join_keys: Sequence[str],
    at_us: int,
    as_of: AsOf,
    known_until_us: int | None = None,
    *,
    threads: int = 1,
) -> pa.Table:
    """The entities that a lookup at a time would have known: those with at least one event by then.

    Args:
        log: The version of the log to read.
        source: What its columns are.
        join_keys: The columns that name an entity.
        at_us: The time, in µs.
        as_of: What makes an event count: that it was known by then (`known`), or had happened (`event`).
        known_until_us: Events that became known later are not seen, in µs; None sees all.
        threads: How many row groups to read at a time.

    Returns:
        One row per entity: the join keys, in no order.

    Raises:
        LogError: A file does not read.
    """
    by, until_us = (TS, at_us) if as_of is AsOf.EVENT else (KNOWN_AT, None)
    files = LogFiles(log, source, TimeBounds(None, until_us), threads)

    def counts(table: pa.Table) -> pa.ChunkedArray:
        return pc.less_equal(table.column(by), at_us)

    return _distinct(files, join_keys, list(join_keys), counts, known_until_us)


def entity_times(
    log: LogSnapshot,
    source: Source,
    join_keys: Sequence[str],
    start_us: int | None,
    end_us: int | None,
    known_until_us: int | None = None,
    *,
    threads: int = 1,
) -> pa.Table:
    """Every entity at the times of its events.

    Args:
        log: The version of the log to read.
        source: What its columns are.
        join_keys: The columns that name an entity.
        start_us: The first event time, in µs; None is the beginning.
        end_us: The time before which event times lie, in µs; None is the end.
        known_until_us: Events that became known later are not seen, in µs; None sees all.
        threads: How many row groups to read at a time.

    Returns:
        One row per entity and event time: the join keys and `_ts_us`, in no order. Events of one entity and time share
        a row.

    Raises:
        LogError: A file does not read.
    """
    files = LogFiles(log, source, TimeBounds(start_us, None if end_us is None else end_us - 1), threads)

    def counts(table: pa.Table) -> pa.ChunkedArray:
        inside = pc.is_valid(table.column(TS))
        if start_us is not None:
            inside = pc.and_(inside, pc.greater_equal(table.column(TS), start_us))
        return inside if end_us is None else pc.and_(inside, pc.less(table.column(TS), end_us))

    return _distinct(files, join_keys, [*join_keys, TS], counts, known_until_us)


def _distinct(
    files: LogFiles,
    join_keys: Sequence[str],
    columns: list[str],
    counts: Callable[[pa.Table], pa.ChunkedArray],
    known_until_us: int | None,
) -> pa.Table:
    """The distinct values of columns, over the events that count and have all join keys."""
    read = list(dict.fromkeys([*columns, TS, KNOWN_AT]))

    def of_unit(unit: Unit) -> pa.Table:
        table = plain(files.read(unit, read))
        mask = counts(table)
        if known_until_us is not None:
            mask = pc.and_(mask, pc.less_equal(table.column(KNOWN_AT), known_until_us))
        for key in join_keys:
            mask = pc.and_(mask, pc.is_valid(table.column(key)))
        return table.filter(mask).select(columns).group_by(columns).aggregate([])

    types = {TS: pa.int64()}
    empty = pa.schema([(name, types.get(name) or files.type_of(name)) for name in columns]).empty_table()
    found = pa.concat_tables([empty, *in_threads(files.threads, of_unit, files.units)])
    return found.group_by(columns).aggregate([])
