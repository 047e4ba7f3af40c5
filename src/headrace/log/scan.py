"""Reading a log in the order of positions, with little in memory.

Files are kept by event date, so one append's offsets lie spread over files, and those of neighbouring files overlap. A
partition's files are read in the order of their least offset, and rows leave as soon as no unread file can hold an
earlier one. What waits is about one append. Of large files, which compaction makes, only the row groups that hold the
stretch are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from headrace.events.logged_columns import as_declared
from headrace.log.file_errors import reading
from headrace.log.log_columns import OFFSET, OWN_FIELDS, PARTITION
from headrace.log.parquet_files import GROUP_ROWS
from headrace.log.snapshot import LogFile, LogSnapshot
from headrace.plan import Source

__all__ = ["declared_rows", "scan_in_order"]


def scan_in_order(
    snapshot: LogSnapshot,
    source: Source,
    after: Mapping[int, int],
    batch_rows: int,
    partitions: Iterable[int] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Every event of a snapshot by partition and offset.

    Args:
        snapshot: What to read.
        source: The source, with the columns as they read now.
        after: By partition, the offset to start after.
        batch_rows: The size that batches come near to.
        partitions: The partitions to read, in order; None is all of them.

    Yields:
        Batches of one partition's rows.

    Raises:
        LogError: A file is missing or does not read.
    """
    for partition in snapshot.partitions() if partitions is None else partitions:
        yield from _partition_in_order(snapshot, source, partition, after.get(partition, -1), batch_rows)


class _Stretch(NamedTuple):
    """What is read at a time: a file, or one row group of a large one; of a partition, where it has any of it.

    Attributes:
        file: The file.
        group: The row group; None is all of them.
        first: An offset that none of the partition's in it is below.
        is_only: Whether every row is one of those that are read.
    """

    file: LogFile
    group: int | None
    first: int
    is_only: bool


def _partition_in_order(
    snapshot: LogSnapshot, source: Source, partition: int, after: int, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    stretches = [
        stretch
        for file in snapshot.files
        if file.partitions[0] <= partition <= file.partitions[1] and file.offsets[1] > after
        for stretch in _stretches(snapshot.filesystem, file, partition, after)
    ]
    stretches.sort(key=lambda stretch: (stretch.first, stretch.file.path, stretch.group or 0))
    waiting: pa.Table | None = None
    enough = batch_rows
    for number, stretch in enumerate(stretches):
        rows = _rows_of(snapshot.filesystem, stretch, source, partition, after)
        waiting = rows if waiting is None else pa.concat_tables([waiting, rows])
        if number + 1 == len(stretches):
            yield from _sorted(waiting).to_batches(max_chunksize=batch_rows)
        elif waiting.num_rows >= enough:
            leaves = pc.less(waiting.column(OFFSET), stretches[number + 1].first)
            yield from _sorted(waiting.filter(leaves)).to_batches(max_chunksize=batch_rows)
            waiting = waiting.filter(pc.invert(leaves))
            # Rows that must wait are not gone through again at every file.
            enough = max(batch_rows, 2 * waiting.num_rows)


def _stretches(filesystem: pafs.FileSystem, file: LogFile, partition: int, after: int) -> Iterator[_Stretch]:
    if file.rows <= GROUP_ROWS:
        yield _stretch(file, None, file.partitions, file.offsets, after)
        return
    with reading(file.path):
        metadata = pq.read_metadata(file.path, filesystem=filesystem)
    names = metadata.schema.names
    places = [names.index(name) for name in (PARTITION, OFFSET)]
    for group in range(metadata.num_row_groups):
        statistics = [metadata.row_group(group).column(place).statistics for place in places]
        known = all(one is not None and one.has_min_max for one in statistics)
        partitions, offsets = [(one.min, one.max) for one in statistics] if known else (file.partitions, file.offsets)
        if partitions[0] <= partition <= partitions[1] and offsets[1] > after:
            yield _stretch(file, group, partitions, offsets, after)


def _stretch(
    file: LogFile, group: int | None, partitions: tuple[int, int], offsets: tuple[int, int], after: int
) -> _Stretch:
    return _Stretch(file, group, offsets[0], partitions[0] == partitions[1] and offsets[0] > after)


def _rows_of(filesystem: pafs.FileSystem, stretch: _Stretch, source: Source, partition: int, after: int) -> pa.Table:
    with reading(stretch.file.path):
        file = pq.ParquetFile(stretch.file.path, filesystem=filesystem)
        rows = file.read() if stretch.group is None else file.read_row_group(stretch.group)
    if not stretch.is_only:
        rows = rows.filter(pc.and_(pc.equal(rows.column(PARTITION), partition), pc.greater(rows.column(OFFSET), after)))
    return declared_rows(rows, source, stretch.file)


def declared_rows(rows: pa.Table, source: Source, file: LogFile) -> pa.Table:
    """Rows of a file as its source declares them now, with what every event has."""
    return as_declared(rows, source.columns, OWN_FIELDS, f"The log's file {file.path}")


def _sorted(rows: pa.Table) -> pa.Table:
    return rows.sort_by(OFFSET).combine_chunks()
