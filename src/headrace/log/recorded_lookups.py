"""The table of recorded lookups: what was served, and by what evidence, one row per entity looked up.

served_at_us   when it was served by the wall clock, in µs UTC
at_us          the time it answered for, in µs UTC (the same, but under the record clock or where a time was asked for)
plan           the plan's hash
keys           JSON: the join keys, and the fields of the request that on-demand views read
features       JSON: the values by `view__feature`
views          JSON: per view status and newest event
evidence       JSON: per view and source partition, the offset that the record had applied
problems       JSON: by `view__feature`, why a value cannot be given; null where it was recorded before headrace said
that origin         JSON: which logs the store's records were made from, and since when; null where it was recorded
before headrace noted that unrecorded     how many lookups that should have been recorded were not, since the row before
it _date          the UTC date of served_at_us, by which the table's files are kept apart
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import CommitProperties
from deltalake.exceptions import DeltaError

from headrace.log.auto_compaction import Keeper
from headrace.log.compaction import Compacted, Upkeep, compact_table
from headrace.log.delta import add_columns, arrow_schema, create_table, open_table, translated
from headrace.log.location import Location, Place
from headrace.log.log_columns import DATE
from headrace.log.parquet_files import Layout, write_files
from headrace.log.row_erasure import Erased, HeldRows, Matches, erase_rows, held_rows
from headrace.log.table_facts import TableFacts, table_facts
from headrace.log.vacuum import Vacuumed, vacuum_table

__all__ = ["LookupTable"]

_SCHEMA = pa.schema(
    [
        pa.field("served_at_us", pa.int64(), nullable=False),
        pa.field("at_us", pa.int64(), nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in ("plan", "keys", "features", "views", "evidence")),
        pa.field("unrecorded", pa.int64(), nullable=False),
        pa.field("origin", pa.string()),
        pa.field("problems", pa.string()),
        pa.field("_date", pa.date32()),
    ]
)
_DAY_US = 86_400_000_000
_UPKEEP = Upkeep()
_LAYOUT = Layout(statistics=("served_at_us",), order=("served_at_us",))
# Unlike the log it is not append-only: an erasure deletes rows. Its statistics are the times, by which it is read.
_CONFIGURATION: dict[str, str | None] = {
    "delta.checkpointInterval": "50",
    "delta.dataSkippingStatsColumns": "served_at_us",
}


class LookupTable:
    """Recorded lookups: a Delta table that any number of clients append to.

    Args:
        place: Its path, URI or location.
        upkeep: When appends merge the small files that earlier ones left.
    """

    def __init__(self, place: Place, upkeep: Upkeep = _UPKEEP) -> None:
        self.location = Location.of(place)
        self._upkeep = upkeep
        self._keeper = Keeper(self.location, _LAYOUT, upkeep)

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows in one commit.

        Args:
            rows: The columns above but `_date`; `origin` and `problems` may be left out.

        Raises:
            LogError: Something else is at the path.
            LogUnavailableError: The table cannot be written just now; nothing was.
        """
        if not rows:
            return
        columns: dict[str, list[Any]] = {
            field.name: [row.get(field.name) for row in rows] for field in _SCHEMA if field.name != "_date"
        }
        columns["_date"] = [us // _DAY_US for us in columns["served_at_us"]]
        table = pa.table({field.name: pa.array(columns[field.name], _storage(field)) for field in _SCHEMA})
        delta = open_table(self.location) or create_table(self.location, _SCHEMA, _CONFIGURATION)
        try:
            add_columns(delta, _SCHEMA)
            files = write_files(self.location, table.cast(_SCHEMA), _LAYOUT)
            often = CommitProperties(max_commit_retries=50)
            delta.create_write_transaction([*files], "append", delta.schema(), [DATE], commit_properties=often)
            delta.update_incremental()
        except (DeltaError, OSError, pa.ArrowException) as error:
            raise translated(error, self.location, "written") from error
        self._keeper.look(delta)

    def read(self, since_us: int | None = None, *, batch_rows: int = 10_000) -> Iterator[list[dict[str, Any]]]:
        """The rows served since a time.

        Args:
            since_us: The first `served_at_us`; None is the beginning.
            batch_rows: How many rows a list holds at most.

        Yields:
            Lists of rows, with JSON as text.

        Raises:
            LogError: The table is damaged.
        """
        delta = open_table(self.location)
        if delta is None:
            return
        existing = arrow_schema(delta).names
        names = [field.name for field in _SCHEMA if field.name in existing and field.name != "_date"]
        chosen = None if since_us is None else ds.field("served_at_us") >= since_us
        try:
            found = delta.to_pyarrow_dataset().scanner(columns=names, filter=chosen, batch_size=batch_rows)
            for batch in found.to_batches():
                if batch.num_rows:
                    yield [{"origin": None, "problems": None, **row} for row in batch.to_pylist()]
        except (DeltaError, OSError, pa.ArrowException) as error:
            raise translated(error, self.location, "read") from error

    def compact(
        self, target_bytes: int | None = None, report: Callable[[int, int], None] = lambda done, total: None
    ) -> Compacted:
        """Merge small files into larger ones; see `EventLog.compact`."""
        rule = replace(self._upkeep, target_bytes=target_bytes or self._upkeep.target_bytes)
        return compact_table(self.location, _LAYOUT, rule, report=report)

    def vacuum(self, *, retention_s: float, dry_run: bool = False) -> Vacuumed:
        """Remove files and commits that no version within the retention needs; see `EventLog.vacuum`."""
        return vacuum_table(self.location, retention_s=retention_s, dry_run=dry_run)

    def facts(self) -> TableFacts:
        """How it lies on the disk."""
        return table_facts(self.location, self._upkeep)

    def erase(self, keys: Mapping[str, Any], *, alone: bool) -> Erased:
        """Erase the lookups that asked for an entity.

        Args:
            keys: Its join keys, as JSON holds them; lookups that asked by more keys than these are erased as well.
            alone: Whether no client records at this moment.

        Returns:
            How many lookups, and the version.

        Raises:
            LogError: The table is damaged.
            LogUnavailableError: The table cannot be written just now; erasing again goes on where this ended.
        """
        return erase_rows(self.location, _LAYOUT, ["keys"], _asked_for(keys), append_only=False, alone=alone)

    def holds(self, keys: Mapping[str, Any]) -> HeldRows:
        """How many lookups asked for an entity; see `erase`."""
        return held_rows(self.location, ["keys"], _asked_for(keys))


def _asked_for(keys: Mapping[str, Any]) -> Matches:
    """Matches the lookups that asked by these keys, and maybe by more."""

    def matches(rows: pa.Table) -> pa.ChunkedArray:
        if "keys" not in rows.column_names:
            return pa.chunked_array([pa.repeat(False, rows.num_rows)])
        column = rows.column("keys")
        asked = {text: json.loads(text) for text in column.unique().to_pylist()}
        found = [text for text, row in asked.items() if all(_same(row.get(name), keys[name]) for name in keys)]
        return pc.is_in(column, pa.array(found, column.type))

    return matches


def _same(one: Any, other: Any) -> bool:
    return bool(one == other and isinstance(one, bool) == isinstance(other, bool))


def _storage(field: pa.Field) -> pa.DataType:
    return pa.int32() if field.name == "_date" else field.type
