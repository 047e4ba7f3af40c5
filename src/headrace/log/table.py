"""A topic's log: appended once per position, read at any version."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction

from headrace.errors import LogError, LogUnavailableError
from headrace.log.auto_compaction import Keeper
from headrace.log.commits import keep_readable
from headrace.log.compaction import Compacted, Upkeep, compact_table, discard
from headrace.log.delta import arrow_schema, create_table, open_table, translated
from headrace.log.location import Location, Place
from headrace.log.log_columns import (
    DATE,
    FIRST_IMPORT,
    added_columns,
    laid_out,
    table_schema,
    widened,
)
from headrace.log.parquet_files import LOG_LAYOUT, write_files
from headrace.log.recent_ids import LoggedId, recent_ids
from headrace.log.row_erasure import Erased, HeldRows, erase_rows, held_rows, rows_equal_to
from headrace.log.row_positions import check_positions, newer_rows
from headrace.log.scan import scan_in_order
from headrace.log.snapshot import LogSnapshot, log_files
from headrace.log.table_facts import TableFacts, table_facts
from headrace.log.vacuum import Vacuumed, vacuum_table
from headrace.plan import Source

__all__ = ["Appended", "EventLog"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_ATTEMPTS = 20
_UPKEEP = Upkeep()
_OF_NO_DATE = [(DATE, "=", "2000-01-01"), (DATE, "=", "2000-01-02")]


class Appended(NamedTuple):
    """What an append did.

    Attributes:
        rows: How many rows were new and were written.
        version: The table's version since; None where nothing was new, so nothing was committed.
    """

    rows: int
    version: int | None


class EventLog:
    """The log of one topic: a Delta table at ``root/topic``, on this machine or in an object store.

    One object is for one thread. Any number of them, in any number of processes, may append to one table.

    Args:
        root: The place of all logs: a path, a URI or a location.
        source: The source whose events are logged.
        upkeep: When appends merge the small files that earlier ones left.
    """

    def __init__(self, root: Place, source: Source, upkeep: Upkeep = _UPKEEP) -> None:
        self.source = source
        self.location = Location.of(root).below(source.topic)
        self._upkeep = upkeep
        self._keeper = Keeper(self.location, LOG_LAYOUT, upkeep)
        self._table: DeltaTable | None = None
        self._last: dict[int, int | None] = {}

    @property
    def path(self) -> Path:
        """The folder of a log on this machine.

        Raises:
            LogError: The log is in an object store.
        """
        return self.location.path

    def append(self, table: pa.Table, positions: Mapping[int, int]) -> Appended:
        """Append the events of a stretch of offsets, in one commit, once.

        Rows that the log already holds are left out, so a replay appends nothing. Where another worker commits the same
        partition first, this append starts again with what is left.

        Args:
            table: The events: the source's columns and ``_ts_us``, ``_known_at_us``, ``_partition``, ``_offset``,
                ``_record_ts_us``.
            positions: By partition, the last offset that the append stands for. It may lie past the last row's, where
                dead letters follow.

        Returns:
            How many rows were new, and the version they are in.

        Raises:
            LogError: The rows do not fit the table or the positions; the table is damaged, foreign or of other types.
            LogUnavailableError: The log cannot be written just now; nothing was.
        """
        rows = laid_out(table, table_schema(self.source), self.source.topic)
        check_positions(rows, positions, self.source.topic)
        for attempt in range(_ATTEMPTS):
            last = self._positions(positions)
            delta = self._opened()
            ahead = {partition: offset for partition, offset in positions.items() if offset > last.get(partition, -1)}
            if not ahead:
                return Appended(0, None)
            newer = newer_rows(rows, last)
            fresh = rows if newer.all() else rows.filter(pa.array(newer))
            try:
                self._commit(delta, fresh, ahead)
            except CommitFailedError:
                continue
            except (DeltaError, OSError, pa.ArrowException) as error:
                self._table = None
                if not attempt and isinstance(error, DeltaError):
                    continue  # a vacuum may have removed commits that the table was opened by
                raise translated(error, self.location, "written") from error
            done = Appended(fresh.num_rows, delta.version())
            if self._keeper.look(delta):
                self._table = None
            return done
        hint = "Let fewer workers append at once, or larger appends; the worker may try again."
        msg = f"The log at {self.location} was committed by others {_ATTEMPTS} times in a row."
        raise LogUnavailableError(msg, hint=hint)

    def last_offsets(self, partitions: Iterable[int] | None = None) -> dict[int, int]:
        """The last offset that the log stands for, by partition.

        Args:
            partitions: The partitions to ask for; None is Kafka's up to the greatest that has events, and those of
                imports.

        Returns:
            Offsets; partitions without one are left out.
        """

        def ends(table: DeltaTable) -> dict[int, int]:
            asked = self._snapshot_of(table).partitions() if partitions is None else partitions
            found = {partition: table.transaction_version(self._app_id(partition)) for partition in asked}
            return {partition: offset for partition, offset in found.items() if offset is not None}

        return self._read(ends) or {}

    def imports(self) -> list[int]:
        """The partitions of imported history that have events.

        Raises:
            LogError: The log is damaged.
        """
        return [partition for partition in self.snapshot().partitions() if partition >= FIRST_IMPORT]

    def version(self) -> int | None:
        """The table's newest version; None where there is no table yet."""
        table = open_table(self.location)
        return None if table is None else table.version()

    def table_id(self) -> str | None:
        """The table's id: a table that was created again in its place has another. None where there is no table yet."""
        table = open_table(self.location)
        return None if table is None else str(table.metadata().id)

    def snapshot(self, version: int | None = None) -> LogSnapshot:
        """The files of a version.

        Args:
            version: The version; None is the newest.

        Returns:
            The snapshot; one without files where nothing was logged yet.

        Raises:
            LogError: The version is not there; the table is damaged, foreign or of other types than declared.
        """
        found = self._read(self._snapshot_of, version)
        if found is None:
            if version is not None:
                msg = f"There is no log at {self.location}, so no version {version} of it."
                raise LogError(msg)
            return LogSnapshot(self.source.topic, self.location, None, table_schema(self.source), ())
        added_columns(found.schema, self.source, str(self.location))
        return found

    def scan(
        self,
        after: Mapping[int, int] | None = None,
        *,
        batch_rows: int = 65_536,
        partitions: Iterable[int] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Every event in the order of its partition and offset, for rebuilding what was made from them.

        Args:
            after: By partition, the offset to start after; partitions left out start at their beginning.
            batch_rows: The size that batches come near to.
            partitions: The partitions to read; None is all of them.

        Yields:
            Batches of one partition's rows, with the columns of ``append``, as the source declares them now.

        Raises:
            LogError: A file is missing or does not read.
        """
        snapshot = self.snapshot()
        try:
            yield from scan_in_order(snapshot, self.source, dict(after or {}), batch_rows, partitions)
        except LogError as error:
            self._raise_if_rewritten(snapshot, error)
            raise

    def recent_ids(self, partition: int, before: int, horizon_us: int) -> list[LoggedId]:
        """The ids of a partition's newest events; see `headrace.log.recent_ids`.

        Args:
            partition: The source partition.
            before: Offsets from this one on are left out.
            horizon_us: How far back from the newest record's timestamp, in µs.

        Raises:
            LogError: A file is missing or does not read; the source declares no event id.
        """
        if self.source.event_id is None:
            msg = f"The source {self.source.name!r} declares no event_id."
            raise LogError(msg)
        snapshot = self.snapshot()
        try:
            return recent_ids(snapshot, self.source.event_id, partition, before, horizon_us)
        except LogError as error:
            self._raise_if_rewritten(snapshot, error)
            raise

    def _raise_if_rewritten(self, snapshot: LogSnapshot, error: LogError) -> None:
        """Raise an error that is worth a retry, if the log was rewritten: an erasure or a vacuum removes old files."""
        if self.version() != snapshot.version:
            topic = self.source.topic
            msg = f"The log of {topic!r} was rewritten while it was read, by an erasure or a vacuum: {error.what}"
            raise LogUnavailableError(msg, hint="Read it again.") from error

    def erase(self, values: Mapping[str, pa.Scalar], *, alone: bool) -> Erased:
        """Erase the events whose columns have these values, from every version of the log.

        Args:
            values: By column, the value; all must be met.
            alone: Whether no other process writes the log at this moment.

        Returns:
            How many events, and the version.

        Raises:
            LogError: The log is damaged.
            LogUnavailableError: The log cannot be written just now; erasing again goes on where this ended.
        """
        self._table = None
        equal = rows_equal_to(values, self.source)
        return erase_rows(self.location, LOG_LAYOUT, list(values), equal, append_only=True, alone=alone)

    def holds(self, values: Mapping[str, pa.Scalar]) -> HeldRows:
        """How many events have these values; see `erase`."""
        return held_rows(self.location, list(values), rows_equal_to(values, self.source))

    def compact(
        self, target_bytes: int | None = None, report: Callable[[int, int], None] = lambda done, total: None
    ) -> Compacted:
        """Merge small files into larger ones, beside appends and readers.

        Args:
            target_bytes: The size to aim at; None is that of `upkeep`.
            report: Gets how many of how many files were merged.

        Returns:
            What was done.

        Raises:
            LogError: The log is damaged.
            LogUnavailableError: The log cannot be written just now.
        """
        rule = replace(self._upkeep, target_bytes=target_bytes or self._upkeep.target_bytes)
        return compact_table(self.location, LOG_LAYOUT, rule, report=report)

    def vacuum(self, *, retention_s: float, pinned: Collection[int] = (), dry_run: bool = False) -> Vacuumed:
        """Remove files and commits that no version within the retention, and none that is pinned, needs.

        Args:
            retention_s: How long a version can still be read after the next one was made, in seconds.
            pinned: Versions that stay readable at any age.
            dry_run: Only say what would be removed.

        Returns:
            What was removed.

        Raises:
            LogError: The log is damaged.
            LogUnavailableError: The log cannot be written just now.
        """
        return vacuum_table(self.location, retention_s=retention_s, pinned=pinned, dry_run=dry_run)

    def keep_readable(self, versions: Iterable[int]) -> None:
        """Keep versions readable until a vacuum that does not keep them; a warning names those that cannot be kept."""
        for version in versions:
            try:
                keep_readable(self.location, [version])
            except (DeltaError, OSError) as error:
                logger.warning(
                    "Version %s of the log at %s could not be kept readable: %s", version, self.location, error
                )

    def facts(self) -> TableFacts:
        """How it lies on the disk."""
        return table_facts(self.location, self._upkeep)

    def _snapshot_of(self, table: DeltaTable) -> LogSnapshot:
        files = log_files(table, self.location)
        return LogSnapshot(self.source.topic, self.location, table.version(), arrow_schema(table), files)

    def _opened(self) -> DeltaTable:
        if self._table is None:
            self._last.clear()
            self._table = open_table(self.location) or create_table(self.location, table_schema(self.source))
        return self._table

    def _positions(self, partitions: Iterable[int]) -> dict[int, int]:
        try:
            return self._known_positions(partitions)
        except DeltaError:  # a vacuum has removed commits that this object has opened the table by
            self._table = None
        try:
            return self._known_positions(partitions)
        except DeltaError as error:
            raise translated(error, self.location, "read") from error

    def _known_positions(self, partitions: Iterable[int]) -> dict[int, int]:
        delta = self._opened()
        # Each question replays part of Delta's own log, so answers are kept while nobody else commits.
        for partition in partitions:
            if partition not in self._last:
                self._last[partition] = delta.transaction_version(self._app_id(partition))
        return {partition: offset for partition in partitions if (offset := self._last[partition]) is not None}

    def _read(self, read: Callable[[DeltaTable], T], version: int | None = None) -> T | None:
        """Read a version; None if there is no table. A vacuum between opening and reading costs a second try."""
        for attempt in (1, 2):
            table = open_table(self.location, version)
            if table is None:
                break
            try:
                return read(table)
            except DeltaError as error:
                if attempt == 2:
                    raise translated(error, self.location, "read") from error
        return None

    def _refresh(self) -> None:
        self._last.clear()
        if self._table is not None:
            try:
                self._table.update_incremental()
            except (DeltaError, OSError) as error:
                self._table = None
                raise translated(error, self.location, "read") from error

    def _commit(self, delta: DeltaTable, rows: pa.Table, positions: Mapping[int, int]) -> None:
        schema = arrow_schema(delta)
        added_columns(schema, self.source, str(self.location))
        declared = widened(schema, self.source)
        before = delta.version()
        transactions = [Transaction(self._app_id(partition), offset) for partition, offset in positions.items()]
        once = CommitProperties(app_transactions=transactions)
        files: list[AddAction] = []
        try:
            files = write_files(self.location, rows, LOG_LAYOUT)
            if declared == schema:
                delta.create_write_transaction([*files], "append", delta.schema(), [DATE], commit_properties=once)
            else:
                # Delta Lake declares columns again only where something is overwritten: here, what is of no date.
                delta.create_write_transaction(
                    [*files], "overwrite", declared, [DATE], partition_filters=_OF_NO_DATE, commit_properties=once
                )
            delta.update_incremental()
        except CommitFailedError:
            self._refresh()
            discard(self.location, files)
            raise
        if delta.version() != before + 1:
            self._last.clear()  # the commit went in on top of others', which this object has not read
        self._last.update(positions)

    def _app_id(self, partition: int) -> str:
        return f"{self.source.topic}-{partition}"
