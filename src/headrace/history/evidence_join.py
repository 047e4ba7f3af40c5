"""Features as lookups were served them, by evidence: an event counts where the lookup's record had applied its offset. Run on DuckDB."""
# ruff: noqa: S608  (values are numbers, names are quoted, and the user's data enters as tables)

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.aggregates import IntArray, Order
from headrace.errors import HeadraceError, LogError, SpineError
from headrace.events.event_batch import ARROW_TYPES, column_values, of_integers
from headrace.history.cell_values import FeatureCells, sum_cells, time_cells
from headrace.history.evidence import pairs_sql
from headrace.history.evidence_query import features_sql
from headrace.history.evidence_states import doubles_summed
from headrace.history.evidence_tables import (
    TILE_START,
    doubles_sql,
    events_sql,
    keys_sql,
    log_sql,
    moments_sql,
    raw_events_sql,
)
from headrace.history.exact_sums import DoubleShape, shape_of
from headrace.history.gathered_features import Gatherer, Pairs, run_starts, typed_cells
from headrace.history.join_plan import AsOf, Group, ViewMatch
from headrace.history.spine_rows import T_US
from headrace.history.sql_text import value_name
from headrace.log import LogSnapshot
from headrace.log.snapshot import file_columns
from headrace.plan import DType, Feature, Source
from headrace.transforms import Transformer

__all__ = ["Evidence", "LookupsJoin"]

Evidence = Mapping[str, Mapping[int, int]]
"""What a lookup knew: by view and source partition, the last offset applied. What is left out knew no event."""

_PAIRS = 1_000_000


class LookupsJoin:
    """Recomputes what lookups were served.

    Args:
        con: A connection that `connection` gave.
        lookups: The lookups' entities and times, as `read_spine` gives them.
        evidence: What each knew, in their order.
        repo: The feature repo's folder, where the functions of transforms are found; None finds them on `sys.path`.
    """

    def __init__(
        self, con: duckdb.DuckDBPyConnection, lookups: pa.Table, evidence: Sequence[Evidence], repo: Path | None
    ) -> None:
        self._con = con
        self._lookups = lookups
        self._evidence = evidence
        self._repo = repo
        con.register("spine", lookups)

    @staticmethod
    @contextmanager
    def connection(config: Mapping[str, Any]) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that spills to a temporary folder.

        Args:
            config: DuckDB's settings.

        Raises:
            HeadraceError: Memory and disk did not suffice.
        """
        with tempfile.TemporaryDirectory(prefix="headrace-") as spill:
            con = duckdb.connect(":memory:", config={"temp_directory": spill, **config})
            try:
                # Views of one topic read the same files, so their footers are kept.
                con.execute("SET parquet_metadata_cache = true").complete()
                con.execute(TILE_START).complete()
                yield con
            except duckdb.OutOfMemoryException as error:
                hint = "Give a higher memory_limit or space in the temporary folder ($TMPDIR), or verify fewer lookups."
                msg = f"Recomputing the lookups ran out of memory: {_first_line(error)}"
                raise HeadraceError(msg, hint=hint) from error
            finally:
                con.close()

    def features(self, match: ViewMatch, source: Source, snapshot: LogSnapshot) -> dict[str, FeatureCells]:
        """Each feature of a view at each lookup.

        Args:
            match: What is asked of the view.
            source: The view's source, as logged.
            snapshot: The log.

        Raises:
            LogError: The log is damaged, or a version's files are gone.
        """
        self._con.register("evidence", _evidence_table(self._evidence, match.view.name, self._lookups.num_rows))
        try:
            self._make_tables(match, source, snapshot)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            hint = "If the log was vacuumed since, take its newest version; else restore its folder from a copy."
            msg = f"The log at {snapshot.path} (version {snapshot.version}) cannot be read: {_first_line(error)}"
            raise LogError(msg, hint=hint) from error
        return self._gathered(match) | self._queried(match)

    def _make_tables(self, match: ViewMatch, source: Source, snapshot: LogSnapshot) -> None:
        extent = pc.min_max(self._lookups.column(T_US)).as_py()
        bounds = match.bounds(extent["min"], extent["max"], AsOf.EVIDENCE)
        join_keys = match.view.join_keys
        files = snapshot.between(bounds.from_us, bounds.until_us)
        for statement in (log_sql(files, source, file_columns(files)), keys_sql(join_keys), moments_sql(join_keys)):
            self._con.execute(statement).complete()
        logged = "log"
        if match.view.transforms:
            raw = self._con.sql(raw_events_sql(source, join_keys, bounds)).to_arrow_table()
            self._con.register("transformed", Transformer(match.view, self._repo).apply(raw))
            logged = "transformed"
        self._con.execute(events_sql(match, bounds, logged=logged)).complete()

    def _queried(self, match: ViewMatch) -> dict[str, FeatureCells]:
        if not match.queried:
            return {}
        result = self._con.sql(features_sql(match, self._shapes(match))).to_arrow_table()
        return {feature.name: _typed(result.column(number), feature) for number, feature in enumerate(match.queried, 1)}

    def _shapes(self, match: ViewMatch) -> dict[str, DoubleShape]:
        columns = doubles_summed(match)
        if not columns:
            return {}
        rows, *found = self._con.sql(doubles_sql(columns)).fetchall()[0]
        return {
            column: shape_of(found[3 * number], found[3 * number + 1], rows, finite=found[3 * number + 2])
            for number, column in enumerate(columns)
        }

    def _gathered(self, match: ViewMatch) -> dict[str, FeatureCells]:
        if not match.gathered:
            return {}
        events = self._con.sql("SELECT * FROM events ORDER BY event_row").to_arrow_table()
        order = Order(_ints(events, "ts_us"), _ints(events, "position"))
        found: dict[str, FeatureCells] = {}
        for group in match.gathered:
            names = {name for feature in group.features for name in feature.columns}
            columns = {name: column_values(events.column(value_name(name))) for name in names}
            gatherer = Gatherer(match, group, columns, order)
            for pairs in self._pairs(group):
                gatherer.add(pairs)
            for feature, values in gatherer.values(_ints(self._lookups, T_US)):
                found[feature.name] = typed_cells(values, feature.dtype)
        return found

    def _pairs(self, group: Group) -> Iterator[Pairs]:
        """Portions of pairs that hold whole lookups."""
        reader: pa.RecordBatchReader = self._con.sql(pairs_sql(group)).to_arrow_reader(_PAIRS)
        held = (np.zeros(0, np.int64), np.zeros(0, np.int64))
        for batch in reader:
            row = np.concatenate([held[0], batch.column(0).to_numpy()])
            event = np.concatenate([held[1], batch.column(1).to_numpy()])
            whole = int(np.searchsorted(row, row[-1])) if len(row) else 0
            if whole:
                yield Pairs(row[:whole], event[:whole], run_starts(row[:whole]))
            held = (row[whole:], event[whole:])
        if len(held[0]):
            yield Pairs(*held, run_starts(held[0]))


def _evidence_table(evidence: Sequence[Evidence], view: str, rows: int) -> pa.Table:
    if len(evidence) != rows:
        msg = f"There are {rows} rows in the spine and evidence for {len(evidence)}."
        raise SpineError(msg, hint="Give one for each row.")
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


def _typed(column: pa.ChunkedArray, feature: Feature) -> FeatureCells:
    wanted = ARROW_TYPES[feature.dtype]
    if feature.function != "sum" or feature.dtype is not DType.INT64:
        return time_cells(of_integers(column, feature.dtype).combine_chunks(), feature.dtype)
    try:
        return FeatureCells(column.cast(wanted).combine_chunks())
    except pa.ArrowInvalid:  # DuckDB sums integers in 128 bits
        sums: list[int] = [int(value) for value in column.to_pylist()]
        fits = np.array([-(2**63) <= value < 2**63 for value in sums])
        return sum_cells(pa.array([value if ok else None for value, ok in zip(sums, fits, strict=True)], wanted), fits)


def _ints(table: pa.Table, name: str) -> IntArray:
    values: IntArray = table.column(name).to_numpy().astype(np.int64)
    return values


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
