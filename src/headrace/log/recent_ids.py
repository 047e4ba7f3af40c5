"""The newest stretch of a partition's log: which events a source has counted lately."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.log.file_errors import reading
from headrace.log.log_columns import OFFSET, PARTITION, RECORD_TS, TS
from headrace.log.snapshot import LogFile, LogSnapshot

__all__ = ["LoggedId", "held_ids", "newest_record", "recent_ids"]


class LoggedId(NamedTuple):
    """An event that was counted.

    Attributes:
        event_id: Its id.
        record_ts_us: The timestamp of its Kafka record, in µs.
    """

    event_id: object
    record_ts_us: int


def recent_ids(snapshot: LogSnapshot, column: str, partition: int, before: int, horizon_us: int) -> list[LoggedId]:
    """The ids of the events of a partition from the first that lies within a horizon of its newest record.

    Args:
        snapshot: The log.
        column: The column of ids.
        partition: The source partition.
        before: Offsets from this one on are left out.
        horizon_us: How far back from the newest record's timestamp, in µs.

    Returns:
        The events in the order of their offsets; those without an id too, for they tell the time.
    """
    files = [file for file in snapshot.files if file.partitions[0] <= partition <= file.partitions[1]]
    files = [file for file in files if file.offsets[0] < before]
    rows = [_rows(snapshot, file, column, partition, before) for file in files]
    rows = [table for table in rows if table.num_rows]
    if not rows:
        return []
    table = pa.concat_tables(rows).sort_by(OFFSET)
    record_ts = table.column(RECORD_TS).to_numpy()
    # From the first record at or past the threshold on, the newest timestamp so far is past it too.
    first = int(np.argmax(record_ts >= record_ts.max() - horizon_us))
    ids = table.column(column).slice(first).to_pylist()
    return [LoggedId(event_id, ts) for event_id, ts in zip(ids, record_ts[first:].tolist(), strict=True)]


def held_ids(snapshot: LogSnapshot, column: str, ids: pa.Array, without: int | None) -> pa.Table:
    """The events that have one of some ids.

    Args:
        snapshot: The log.
        column: The column of ids.
        ids: The ids.
        without: A source partition that does not count.

    Returns:
        ``id``, ``_ts_us`` and ``_record_ts_us`` of each, in no particular order.

    Raises:
        LogError: A file does not read.
    """
    wanted = (PARTITION, TS, RECORD_TS)
    found = [pa.table({"id": ids.slice(0, 0), TS: pa.array([], pa.int64()), RECORD_TS: pa.array([], pa.int64())})]
    for file in snapshot.files:
        rows = _read(snapshot, file, [*wanted, column])
        if column not in rows.column_names:
            continue
        is_held = pc.is_in(rows.column(column).cast(ids.type), value_set=ids)
        if without is not None:
            is_held = pc.and_(is_held, pc.not_equal(rows.column(PARTITION), without))
        rows = rows.filter(is_held)
        found.append(
            pa.table({"id": rows.column(column).cast(ids.type), TS: rows.column(TS), RECORD_TS: rows.column(RECORD_TS)})
        )
    return pa.concat_tables(found)


def newest_record(snapshot: LogSnapshot, partition: int) -> tuple[int, int] | None:
    """The offset of the newest event of a partition, and its record's timestamp in µs; None where it has none.

    Args:
        snapshot: The log.
        partition: The source partition.

    Raises:
        LogError: A file does not read.
    """
    newest: tuple[int, int] | None = None
    files = [file for file in snapshot.files if file.partitions[0] <= partition <= file.partitions[1]]
    for file in sorted(files, key=lambda one: -one.offsets[1]):
        if newest is not None and newest[0] >= file.offsets[1]:
            break
        rows = _rows(snapshot, file, OFFSET, partition, 1 << 62)
        if rows.num_rows:
            row = int(np.argmax(rows.column(OFFSET).to_numpy()))
            found = rows.column(OFFSET)[row].as_py(), rows.column(RECORD_TS)[row].as_py()
            newest = max(newest or found, found)
    return newest


def _rows(snapshot: LogSnapshot, file: LogFile, column: str, partition: int, before: int) -> pa.Table:
    table = _read(snapshot, file, (PARTITION, OFFSET, RECORD_TS, column))
    if column not in table.column_names:
        return table.slice(0, 0).append_column(column, pa.nulls(0))
    mine = (table.column(PARTITION).to_numpy() == partition) & (table.column(OFFSET).to_numpy() < before)
    return table.filter(pa.array(mine))


def _read(snapshot: LogSnapshot, file: LogFile, wanted: Sequence[str]) -> pa.Table:
    """Those of the columns that the file has."""
    with reading(file.path):
        parquet = pq.ParquetFile(file.path, filesystem=snapshot.filesystem)
        return parquet.read(columns=[name for name in dict.fromkeys(wanted) if name in parquet.schema_arrow.names])
