"""Writing the Parquet files of a Delta table, and the actions that bring them into it.

pyarrow writes the files, outside Python's global lock: Delta Lake's own writer plans a query for each append, which
costs more than the writing.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction, RemoveAction

from headrace.log.location import Location
from headrace.log.log_columns import DATE, KNOWN_AT, OFFSET, PARTITION, TS

__all__ = ["APPENDED", "LOG_LAYOUT", "GROUP_ROWS", "MERGED", "Layout", "columns_mark", "removal", "write_files"]

APPENDED, MERGED = "part", "merged"
"""What a file's name begins with: it has new rows, or rows of files that it replaces.

A merged file can be committed only while the files that it replaces are part of the table.
"""

GROUP_ROWS = 131_072
"""Rows of a row group: what a reader of some positions takes into memory at a time."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SAMPLE = 2_000
_MARKED = re.compile(r"/(?:part|merged)-(c[0-9a-f]{8})-[^/]*$")


@dataclass(frozen=True)
class Layout:
    """How a table's files are written.

    Attributes:
        statistics: The columns whose least and greatest values stand beside the file's name, and in each of its row
            groups.
        order: The columns by which the rows of merged files are sorted.
    """

    statistics: tuple[str, ...]
    order: tuple[str, ...]


LOG_LAYOUT = Layout(statistics=(TS, KNOWN_AT, PARTITION, OFFSET), order=(PARTITION, OFFSET))
"""A log's. Readers rely on no order of rows; with this one, those of a stretch of positions lie together."""


def write_files(
    location: Location, rows: pa.Table, layout: Layout, *, data_change: bool = True, kind: str = APPENDED
) -> list[AddAction]:
    """Write rows to new files, one per date.

    Args:
        location: The table's place.
        rows: The rows, with `_date`.
        layout: How to write them.
        data_change: Whether the rows are new to the table.
        kind: What the files' names begin with: `APPENDED` or `MERGED`.

    Returns:
        An action for each file; none of them is in the table before they are committed.

    Raises:
        OSError: A file cannot be written.
    """
    return [
        _write_file(location, of, part, layout, kind, data_change=data_change)
        for of, part in _by_date(rows)
        if part.num_rows
    ]


def removal(path: str, of: date, size: int, *, data_change: bool = False) -> RemoveAction:
    """What takes a file out of a table.

    Args:
        path: The file's path below the table's folder.
        of: The date of its rows.
        size: Its bytes.
        data_change: Whether any of its rows goes; else all of them are in another file.
    """
    return RemoveAction(path, data_change, time.time_ns() // 1_000_000, size, {DATE: of.isoformat()})


def _by_date(rows: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    days = rows.column(DATE).cast(pa.int32()).to_numpy()
    if not len(days):
        return
    steps = np.diff(days)
    if (steps < 0).any():
        order = np.argsort(days, kind="stable")
        rows, days = rows.take(pa.array(order)), days[order]
        steps = np.diff(days)
    starts = np.concatenate([[0], np.flatnonzero(steps) + 1, [len(days)]]).tolist()
    for first, end in zip(starts[:-1], starts[1:], strict=True):
        yield (_EPOCH + timedelta(days=int(days[first]))).date(), rows.slice(first, end - first)


def _write_file(
    location: Location, of: date, rows: pa.Table, layout: Layout, kind: str, *, data_change: bool
) -> AddAction:
    rows = rows.drop_columns([DATE])
    path = f"{DATE}={of.isoformat()}/{kind}-{_mark(rows.schema)}-{uuid.uuid4()}.zstd.parquet"
    written = pa.BufferOutputStream()
    pq.write_table(
        rows,
        written,
        compression="zstd",  # against Snappy, a third of the bytes goes away for a fifth more time
        row_group_size=GROUP_ROWS,
        use_dictionary=[name for name in rows.column_names if _repeats(rows.column(name))],
        column_encoding={field.name: "DELTA_BINARY_PACKED" for field in rows.schema if _is_near(field.type)},
        write_statistics=list(layout.statistics),
        store_schema=False,
    )
    data = written.getvalue()
    location.write(path, data)
    now = time.time_ns() // 1_000_000
    return AddAction(path, data.size, {DATE: of.isoformat()}, now, data_change, _statistics(rows, layout))


def columns_mark(path: str) -> str:
    """What a file's name says of its columns: files of the same say the same. The empty text where it says nothing.

    Args:
        path: The file's path.
    """
    found = _MARKED.search(path)
    return "" if found is None else found[1]


def _mark(schema: pa.Schema) -> str:
    said = "\n".join(sorted(f"{field.name} {field.type}" for field in schema))
    return f"c{hashlib.sha256(said.encode()).hexdigest()[:8]}"


def _is_near(kind: pa.DataType) -> bool:
    """Whether to store the differences between rows: positions and times mostly ascend, and numbers are often close."""
    return bool(pa.types.is_integer(kind) or pa.types.is_timestamp(kind))


def _repeats(column: pa.ChunkedArray) -> bool:
    """Whether a dictionary of a column's texts pays. Of ids, making one costs more than all the rest of the file."""
    if not pa.types.is_string(column.type):
        return False
    sample = column.slice(0, _SAMPLE)
    return bool(pc.count_distinct(sample).as_py() * 4 < len(sample))


def _statistics(rows: pa.Table, layout: Layout) -> str:
    least, greatest = {}, {}
    for name in layout.statistics:
        found = pc.min_max(rows.column(name))
        least[name], greatest[name] = found["min"].as_py(), found["max"].as_py()
    facts = {"numRecords": rows.num_rows, "minValues": least, "maxValues": greatest}
    return json.dumps({**facts, "nullCount": dict.fromkeys(layout.statistics, 0)})
