"""Running the point-in-time join on DuckDB."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from headrace.errors import HeadraceError, LogError, SpineError
from headrace.events.batch import ARROW_TYPES
from headrace.history.builder import Delays
from headrace.history.exact import DoubleShape, shape_of
from headrace.history.gather import gather_features
from headrace.history.matching import AsOf, TimeBounds, ViewMatch, match_views
from headrace.history.query import features_sql
from headrace.history.spine import T_US, read_spine
from headrace.history.states import doubles_summed
from headrace.history.tables import (
    TILE_START,
    delays_sql,
    doubles_sql,
    events_sql,
    keys_sql,
    log_sql,
    moments_sql,
    raw_events_sql,
)
from headrace.log import LogSnapshot
from headrace.plan import Column, DType, FeatureRef, Plan
from headrace.transforms import Transformer

__all__ = ["Evidence", "PointInTimeJoin"]

Evidence = Mapping[str, Mapping[int, int]]
"""What a lookup knew: by view and source partition, the last offset applied. What is left out knew no event."""

_PROMPT_SHARE = 0.9
"""Where at least this share of the events is known the moment it happens, the frame waits for none of the others."""


class PointInTimeJoin:
    """Recomputes features from the log as they were at each row of a spine.

    Args:
        plan: The plan.
        logs: By topic, the version of its log to read.
        memory_limit: How much memory DuckDB may use before it spills to disk, such as ``"4GB"``; None is its default,
            80% of the machine's.
        threads: How many threads it may use; None is all cores.
        repo: The feature repo's folder, where the functions of transforms are found; None finds them on `sys.path`.
    """

    def __init__(
        self,
        plan: Plan,
        logs: Mapping[str, LogSnapshot],
        *,
        memory_limit: str | None = None,
        threads: int | None = None,
        repo: Path | None = None,
    ) -> None:
        self._repo = repo
        self._plan = plan
        self._logs = logs
        self._config: dict[str, str | bool | int | float | list[str]] = {}
        if memory_limit is not None:
            self._config["memory_limit"] = memory_limit
        if threads is not None:
            self._config["threads"] = threads

    def features(
        self,
        spine: pa.Table,
        refs: Sequence[FeatureRef],
        *,
        as_of: AsOf | str = AsOf.KNOWN,
        time_column: str = "event_timestamp",
        evidence: Sequence[Evidence] | None = None,
    ) -> pa.Table:
        """Each feature at each row of a spine.

        Args:
            spine: One row per row wanted: the join keys of the views asked for, and a moment.
            refs: The features, as ``Plan.resolve`` gives them.
            as_of: ``known`` (what a lookup at that moment would have been served), ``event`` (by event time alone) or
                ``evidence``.
            time_column: The column of moments: timestamps of any unit with a time zone.
            evidence: With ``as_of="evidence"``, what each row's lookup knew, in the spine's order.

        Returns:
            One column ``view__feature`` per reference, in order, rows in the spine's order.

        Raises:
            SpineError: The spine lacks a column, has one of a wrong type or a null in it, or times without a time
                zone; ``as_of`` is something else.
            LogError: The log is damaged, or a version's files are gone.
            HeadraceError: A sum of integers does not fit 64 bits; memory and disk do not suffice.
        """
        mode = _as_of(as_of)
        matches = match_views(self._plan, refs)
        prepared = read_spine(spine, _join_keys(matches), time_column)
        columns: dict[FeatureRef, pa.ChunkedArray | pa.Array] = {}
        with self._connection() as con:
            con.register("spine", prepared)
            for match in matches:
                if mode is AsOf.EVIDENCE:
                    con.register("evidence", _evidence_table(evidence or (), match.view.name, prepared.num_rows))
                found = self._view(con, match, mode, prepared)
                for feature, column in zip(match.features, found, strict=True):
                    columns[FeatureRef(view=match.view.name, feature=feature.name)] = column
        return pa.table([columns[ref] for ref in refs], names=[ref.column for ref in refs])

    def _view(
        self, con: duckdb.DuckDBPyConnection, match: ViewMatch, as_of: AsOf, spine: pa.Table
    ) -> list[pa.ChunkedArray | pa.Array]:
        if spine.num_rows == 0:
            return [pa.array([], ARROW_TYPES[feature.dtype]) for feature in match.features]
        snapshot = self._logs.get(match.source.topic)
        if snapshot is None:
            msg = (
                f"The view {match.view.name!r} is made from the topic {match.source.topic!r}, whose log was not given."
            )
            raise LogError(msg)
        extent = pc.min_max(spine.column(T_US)).as_py()
        bounds = match.bounds(extent["min"], extent["max"], as_of)
        try:
            self._make_tables(con, match, as_of, bounds, snapshot)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            cure = "If the log was vacuumed since, take its newest version; else restore its folder from a copy."
            msg = f"The log at {snapshot.path} (version {snapshot.version}) cannot be read: {_first_line(error)}"
            raise LogError(msg, cure=cure) from error
        found = gather_features(con, match, as_of) | self._queried(con, match, as_of)
        return [found[feature.name] for feature in match.features]

    def _make_tables(
        self,
        con: duckdb.DuckDBPyConnection,
        match: ViewMatch,
        as_of: AsOf,
        bounds: TimeBounds,
        snapshot: LogSnapshot,
    ) -> None:
        join_keys, source = match.view.join_keys, self._plan.source_of(match.view)
        files = snapshot.between(bounds.from_us, bounds.until_us)
        statements = [
            log_sql(files, source, snapshot.schema.names),
            keys_sql(join_keys),
            *moments_sql(join_keys, as_of),
        ]
        for statement in statements:
            con.execute(statement).complete()
        logged = "log"
        if match.view.transforms:
            raw = con.sql(raw_events_sql(source, join_keys, bounds)).to_arrow_table()
            con.register("transformed", Transformer(match.view, self._repo).apply(raw))
            logged = "transformed"
        con.execute(events_sql(match, as_of, bounds, logged=logged)).complete()

    @staticmethod
    def _queried(
        con: duckdb.DuckDBPyConnection, match: ViewMatch, as_of: AsOf
    ) -> dict[str, pa.ChunkedArray | pa.Array]:
        if not match.queried:
            return {}
        sql = features_sql(match, as_of, _delays(con, as_of), _shapes(con, match))
        result = con.sql(sql).to_arrow_table()
        return {
            feature.name: _typed(result.column(number), feature.dtype, f"{match.view.name}:{feature.name}")
            for number, feature in enumerate(match.queried, 1)
        }

    @contextmanager
    def _connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with tempfile.TemporaryDirectory(prefix="headrace-") as spill:
            con = duckdb.connect(":memory:", config={"temp_directory": spill, **self._config})
            try:
                # Views of one topic read the same files, so their footers are kept.
                con.execute("SET parquet_metadata_cache = true").complete()
                con.execute(TILE_START).complete()
                yield con
            except duckdb.OutOfMemoryException as error:
                cure = (
                    "Give a higher memory_limit or space in the temporary folder ($TMPDIR), or join the spine in parts."
                )
                msg = f"The point-in-time join ran out of memory: {_first_line(error)}"
                raise HeadraceError(msg, cure=cure) from error
            finally:
                con.close()


def _as_of(as_of: AsOf | str) -> AsOf:
    try:
        return AsOf(as_of)
    except ValueError:
        msg = f"as_of is {as_of!r}, which means nothing."
        cure = "Use 'known' (what a lookup would have been served) or 'event' (by event time alone)."
        raise SpineError(msg, cure=cure) from None


def _join_keys(matches: Sequence[ViewMatch]) -> list[Column]:
    # A key that views type differently is checked against each; one of them will say what is wrong.
    keys = {(entity.name, entity.dtype): entity for match in matches for entity in match.view.entities}
    return list(keys.values())


def _delays(con: duckdb.DuckDBPyConnection, as_of: AsOf) -> Delays:
    if as_of is not AsOf.KNOWN:
        return Delays()
    events, late, early, most_us = _one_row(con, delays_sql())
    if late + early == 0:
        return Delays()
    settle_us = 0 if late <= (1 - _PROMPT_SHARE) * events else max(0, most_us)
    return Delays(settle_us, gaps=True)


def _shapes(con: duckdb.DuckDBPyConnection, match: ViewMatch) -> dict[str, DoubleShape]:
    columns = doubles_summed(match)
    if not columns:
        return {}
    rows, *found = _one_row(con, doubles_sql(columns))
    return {
        column: shape_of(found[3 * number], found[3 * number + 1], rows, finite=found[3 * number + 2])
        for number, column in enumerate(columns)
    }


def _one_row(con: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] = con.sql(query).fetchall()[0]
    return row


def _evidence_table(evidence: Sequence[Evidence], view: str, rows: int) -> pa.Table:
    if len(evidence) != rows:
        msg = f"There are {rows} rows in the spine and evidence for {len(evidence)}."
        raise SpineError(msg, cure="Give one for each row.")
    known = [
        (row, int(partition), int(offset))
        for row, views in enumerate(evidence)
        for partition, offset in views.get(view, {}).items()
    ]
    moment, partition, offset = zip(*known, strict=True) if known else ((), (), ())
    return pa.table(
        {
            "moment_id": pa.array(moment, pa.int64()),
            "source_partition": pa.array(partition, pa.int32()),
            "applied_offset": pa.array(offset, pa.int64()),
        }
    )


def _typed(column: pa.ChunkedArray, dtype: DType, feature: str) -> pa.ChunkedArray:
    try:
        return column.cast(ARROW_TYPES[dtype])
    except pa.ArrowInvalid as error:
        msg = f"{feature}: a sum of integers does not fit 64 bits."
        raise HeadraceError(
            msg, cure="Declare the column as float in the event's model, or sum a smaller unit."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
