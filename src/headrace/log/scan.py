"""Reading a log in the order of positions, with little in memory.

Files are kept by event date, so one append's offsets lie spread over files, and those of neighbouring files overlap. A
partition's files are read in the order of their least offset, and rows leave as soon as no unread file can hold an
earlier one. What waits is about one append.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.errors import LogError
from headrace.log.schema import DATE, OFFSET, PARTITION
from headrace.log.snapshot import LogFile, LogSnapshot

__all__ = ["scan_in_order"]


def scan_in_order(
    snapshot: LogSnapshot, after: Mapping[int, int], batch_rows: int, partitions: Iterable[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """Every event of a snapshot by partition and offset.

    Args:
        snapshot: What to read.
        after: By partition, the offset to start after.
        batch_rows: The size that batches come near to.
        partitions: The partitions to read, in order; None is all of them.

    Yields:
        Batches of one partition's rows.

    Raises:
        LogError: A file is missing or does not read.
    """
    for partition in snapshot.partitions() if partitions is None else partitions:
        yield from _partition_in_order(snapshot, partition, after.get(partition, -1), batch_rows)


def _partition_in_order(snapshot: LogSnapshot, partition: int, after: int, batch_rows: int) -> Iterator[pa.RecordBatch]:
    schema = snapshot.schema.remove(snapshot.schema.get_field_index(DATE))
    files = [
        file
        for file in snapshot.files
        if file.partitions[0] <= partition <= file.partitions[1] and file.offsets[1] > after
    ]
    files.sort(key=lambda file: (file.offsets[0], file.path))
    waiting = schema.empty_table()
    enough = batch_rows
    for number, file in enumerate(files):
        waiting = pa.concat_tables([waiting, _rows_of(file, schema, partition, after)])
        if number + 1 == len(files):
            yield from _sorted(waiting).to_batches(max_chunksize=batch_rows)
        elif waiting.num_rows >= enough:
            leaves = pc.less(waiting.column(OFFSET), files[number + 1].offsets[0])
            yield from _sorted(waiting.filter(leaves)).to_batches(max_chunksize=batch_rows)
            waiting = waiting.filter(pc.invert(leaves))
            # Rows that must wait are not gone through again at every file.
            enough = max(batch_rows, 2 * waiting.num_rows)


def _rows_of(file: LogFile, schema: pa.Schema, partition: int, after: int) -> pa.Table:
    try:
        rows = pq.ParquetFile(file.path).read()
    except (pa.ArrowException, OSError) as error:
        cure = "Restore the log's folder from a copy, or move it away and replay the topic."
        msg = f"The log's file {file.path} does not read: {str(error).splitlines()[0]}"
        raise LogError(msg, cure=cure) from error
    if file.partitions != (partition, partition) or file.offsets[0] <= after:
        rows = rows.filter(pc.and_(pc.equal(rows.column(PARTITION), partition), pc.greater(rows.column(OFFSET), after)))
    absent = [field for field in schema if field.name not in rows.column_names]
    for field in absent:
        rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    return rows.select(schema.names).cast(schema)


def _sorted(rows: pa.Table) -> pa.Table:
    return rows.sort_by(OFFSET).combine_chunks()
