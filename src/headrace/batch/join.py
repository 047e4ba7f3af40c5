"""The point-in-time join of batch views: for each row of a spine, the row of its entity that counted then.

A source's row counts at `t` if its event time is at or before `t` and, where the source has created times and known
times are asked for, if it was created by then too. Of the rows that count the one with the newest event time wins; at
an equal one the one created last. The winner gives nulls if it is older than the view's TTL: an older row never stands
in for it.

So a row begins to count at one moment, `known`: its event time, or its created time where that is later. Each entity's
rows are numbered in the order in which they win (`number`). What counts at `t` is the greatest number among the rows
whose `known` is at most `t`: a running maximum over `known`, which an ASOF join finds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from headrace.batch.source_relation import (
    SourceRelation,
    batch_connection,
    feature_name,
    key_name,
    source_errors,
    subject_of,
)
from headrace.events.event_batch import ARROW_TYPES, of_integers
from headrace.history import AsOf
from headrace.history.spine_rows import T_US, read_spine
from headrace.history.spine_rows import key_name as spine_key
from headrace.plan import BatchView, Column, DType, FeatureRef, Plan

__all__ = ["BatchJoin", "FoundRows", "joined_sql", "stored_keys", "typed_column"]

_INTEGERS = (DType.TIMESTAMP, DType.DATE)


class FoundRows(NamedTuple):
    """What a join of one view found, in the spine's order.

    Attributes:
        values: The view's columns by name.
        event_us: The event time of each row's winner, in µs; null where no row counts. A winner that is older than the
            TTL has its time here, and null values.
        counts: Whether the winner is within the TTL.
        version: For a Delta table, the version that was read.
    """

    values: dict[str, pa.Array]
    event_us: pa.Array
    counts: pa.Array
    version: int | None


class BatchJoin:
    """Joins features of batch views to a spine.

    Args:
        plan: The plan.
        repo: The feature repo's folder, which the sources' paths are relative to.
        memory_limit: About how much memory to use, such as ``"4GB"``; None is DuckDB's own limit.
        threads: How many threads to use; None is all cores.
        versions: By view, the version of its Delta table to read; None, or left out, is the newest.
    """

    def __init__(
        self,
        plan: Plan,
        repo: Path,
        *,
        memory_limit: str | None = None,
        threads: int | None = None,
        versions: Mapping[str, int | None] | None = None,
    ) -> None:
        self._plan, self._repo = plan, repo
        self._memory_limit, self._threads = memory_limit, threads
        self._versions = versions or {}

    def join(
        self,
        spine: pa.Table,
        refs: Sequence[FeatureRef],
        *,
        as_of: AsOf | str = AsOf.KNOWN,
        time_column: str = "event_timestamp",
        known_until_us: int | None = None,
    ) -> pa.Table:
        """Each feature at each row of a spine.

        Args:
            spine: One row per row wanted: the join keys of the views asked for, and a time.
            refs: Features of batch views.
            as_of: ``known`` (what had been written by then, where the source has created times) or ``event`` (by event
                time alone).
            time_column: The column of times: timestamps of any unit with a time zone.
            known_until_us: Leave out rows that were created after this time, in µs; None leaves out none.

        Returns:
            One column ``view__feature`` per reference, in order, rows in the spine's order.

        Raises:
            SpineError: The spine lacks a column, has one of a wrong type or a null in it, or times without a zone.
            BatchSourceError: A source is away, or lacks what its view declares.
        """
        asked: dict[str, list[str]] = {}
        for ref in refs:
            asked.setdefault(ref.view, []).append(ref.feature)
        found = {
            name: self.view(
                self._plan.batch_views[name],
                spine,
                features,
                as_of=as_of,
                time_column=time_column,
                known_until_us=known_until_us,
            )
            for name, features in asked.items()
        }
        return pa.table({ref.column: found[ref.view].values[ref.feature] for ref in refs})

    def view(
        self,
        view: BatchView,
        spine: pa.Table,
        features: Sequence[str],
        *,
        as_of: AsOf | str = AsOf.KNOWN,
        time_column: str = "event_timestamp",
        known_until_us: int | None = None,
    ) -> FoundRows:
        """Some features of one view at each row of a spine, and which row of the source they are from; see `join`."""
        prepared = read_spine(spine, view.entities, time_column)
        columns = [view.feature(name) for name in dict.fromkeys(features)]
        places = [view.columns.index(column) for column in columns]
        if prepared.num_rows == 0:
            empty = {column.name: pa.array([], ARROW_TYPES[column.dtype]) for column in columns}
            return FoundRows(empty, pa.array([], pa.int64()), pa.array([], pa.bool_()), None)
        con = batch_connection(self._repo, memory_limit=self._memory_limit, threads=self._threads)
        try:
            source = SourceRelation(con, view, self._repo, "source", self._versions.get(view.name))
            con.register("spine", _stored_spine(prepared, view.entities))
            with source_errors(subject_of(view)):
                sql = joined_sql(len(view.entities), places, view.ttl_us, AsOf(as_of), source.name, known_until_us)
                found = con.sql(sql).to_arrow_table()
            return _found(found, columns, source.version)
        finally:
            con.close()


def joined_sql(
    keys_count: int,
    places: Sequence[int],
    ttl_us: int | None,
    as_of: AsOf,
    source: str,
    known_until_us: int | None = None,
) -> str:
    """The join of one view, as SQL.

    Args:
        keys_count: How many join keys it has.
        places: Which of its features are asked for, `f0`, `f1`, …: each once.
        ttl_us: How old a row may be, in µs; None is any age.
        as_of: Whether a row counts from its created time too.
        source: The relation of its rows: k0, …, ts, created, tie, f0, … (`source_relation`). A relation `spine` has the
            rows to join to: n (their number), t (µs), k0, ….
        known_until_us: Leave out rows that were created after this time, in µs; None leaves out none.

    Returns:
        A query that gives, in the order of n: ts (the event time of the row that won), counts (whether it is within the
        TTL), and the features.
    """
    keys = [key_name(place) for place in range(keys_count)]
    key_list = ", ".join(keys)
    known = "ts" if as_of is AsOf.EVENT else "greatest(ts, coalesce(created, ts))"
    picked = "".join(f", CASE WHEN counts THEN {feature_name(place)} END AS {feature_name(place)}" for place in places)
    held = "".join(f", {feature_name(place)}" for place in places)
    within = "TRUE" if ttl_us is None else f"ranked.ts >= won.t - {ttl_us}"
    # Rows that are too old for every row of the spine cannot win: who lost against them is older still.
    oldest = f" AND ts >= (SELECT min(t) FROM spine) - {ttl_us}"  # noqa: S608 a number
    bounds = "" if ttl_us is None else oldest
    if known_until_us is not None:
        bounds += f" AND (created IS NULL OR created <= {known_until_us})"
    return f"""
WITH needed AS MATERIALIZED (
    SELECT {key_list}, ts, created, tie, {known} AS known{held}
    FROM {source} SEMI JOIN spine USING ({key_list})
    WHERE ts <= (SELECT max(t) FROM spine){bounds}
), ranked AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY {key_list} ORDER BY ts, created NULLS FIRST, tie) AS number
    FROM needed
), changes AS (
    SELECT DISTINCT {key_list}, known, max(number) OVER (PARTITION BY {key_list} ORDER BY known) AS number
    FROM ranked
), won AS (
    SELECT spine.n, spine.t, {", ".join(f"spine.{key}" for key in keys)}, changes.number
    FROM spine ASOF LEFT JOIN changes
    ON {" AND ".join(f"spine.{key} = changes.{key}" for key in keys)} AND spine.t >= changes.known
), winners AS (
    SELECT won.n, ranked.ts, ranked.ts IS NOT NULL AND {within} AS counts{held}
    FROM won LEFT JOIN ranked
    ON {" AND ".join(f"won.{key} = ranked.{key}" for key in [*keys, "number"])}
)
SELECT ts, counts{picked} FROM winners ORDER BY n
"""  # noqa: S608 names made here


def _stored_spine(prepared: pa.Table, entities: Sequence[Column]) -> pa.Table:
    """A spine's keys and times as rows keep them, with each row's number."""
    columns = {"n": pa.array(range(prepared.num_rows), pa.int64()), "t": prepared.column(T_US)}
    for place, entity in enumerate(entities):
        columns[key_name(place)] = stored_keys(prepared.column(spine_key(entity.name)), entity.dtype)
    return pa.table(columns)


def stored_keys(column: pa.ChunkedArray, dtype: DType) -> pa.ChunkedArray:
    """A join key's column of Arrow as rows keep it."""
    if dtype is DType.DATE:
        column = column.cast(pa.int32())
    return column.cast(pa.int64()) if dtype in _INTEGERS else column


def _found(found: pa.Table, columns: Sequence[Column], version: int | None) -> FoundRows:
    values = {}
    for place, column in enumerate(columns, 2):
        values[column.name] = typed_column(found.column(place), column.dtype)
    return FoundRows(values, found.column("ts"), found.column("counts"), version)


def typed_column(column: pa.ChunkedArray, dtype: DType) -> pa.ChunkedArray:
    """A column as rows keep it as the plan's type."""
    if dtype in _INTEGERS:
        return of_integers(column, dtype)
    if dtype.element is DType.DATE:
        return column.cast(pa.list_(pa.int32())).cast(ARROW_TYPES[dtype])
    return column.cast(ARROW_TYPES[dtype])
