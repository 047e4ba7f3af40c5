"""A few rows of a log: its newest, or its oldest, by event time."""

from __future__ import annotations

from itertools import groupby

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.log.file_errors import reading
from headrace.log.log_columns import DATE, OFFSET, PARTITION, TS, table_schema
from headrace.log.scan import declared_rows
from headrace.log.snapshot import LogFile, LogSnapshot
from headrace.plan import Source

__all__ = ["log_head"]

_PLACE = [TS, PARTITION, OFFSET]


def log_head(snapshot: LogSnapshot, source: Source, rows: int, *, oldest: bool = False) -> pa.Table:
    """The newest rows of a log, or its oldest. Files lie by event date, so only a few are read.

    Args:
        snapshot: What to read.
        source: The source, with the columns as they read now.
        rows: How many.
        oldest: The oldest instead of the newest.

    Returns:
        Its columns, the newest first (or the oldest), by event time, then partition and offset.

    Raises:
        LogError: A file does not read.
    """
    order = [(name, "ascending" if oldest else "descending") for name in _PLACE]
    by_date = groupby(snapshot.files if oldest else reversed(snapshot.files), key=lambda file: file.date)
    found = _schema(source).empty_table()
    for _, files in by_date:
        if found.num_rows >= rows:
            break
        of_date = pa.concat_tables([_read(snapshot, file, source) for file in files])
        found = pa.concat_tables([found, of_date.sort_by(order).slice(0, rows - found.num_rows)])
    return found.slice(0, rows)


def _read(snapshot: LogSnapshot, file: LogFile, source: Source) -> pa.Table:
    with reading(file.path):
        rows = pq.ParquetFile(file.path, filesystem=snapshot.filesystem).read()
    return declared_rows(rows, source, file).cast(_schema(source))


def _schema(source: Source) -> pa.Schema:
    schema = table_schema(source)
    return schema.remove(schema.get_field_index(DATE))
