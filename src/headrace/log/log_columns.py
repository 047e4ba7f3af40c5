"""The columns of a log table: those of the source, and where and when each event was.

_ts_us          event time in µs UTC
_known_at_us    when the event's effect became readable online, in µs UTC
_partition      its source partition
_offset         its offset there
_record_ts_us   its Kafka record's timestamp in µs UTC
_date           the UTC date of _ts_us, by which the table's files are kept apart
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.errors import LogError
from headrace.events.columns import IntArray
from headrace.events.event_batch import ARROW_TYPES
from headrace.plan import Source

__all__ = [
    "DATE",
    "FIRST_IMPORT",
    "KNOWN_AT",
    "LAST_IMPORT",
    "OFFSET",
    "OWN_FIELDS",
    "PARTITION",
    "RECORD_TS",
    "TS",
    "added_columns",
    "laid_out",
    "table_schema",
    "widened",
]

TS = "_ts_us"
KNOWN_AT = "_known_at_us"
PARTITION = "_partition"
OFFSET = "_offset"
RECORD_TS = "_record_ts_us"
DATE = "_date"

FIRST_IMPORT, LAST_IMPORT = 1 << 14, (1 << 15) - 1
"""The partitions of imported history: one per import, above any that Kafka has.

A position (partition << 48 | offset) still has 63 bits.
"""

_DAY_US = 86_400_000_000

OWN_FIELDS = pa.schema(
    [
        pa.field(TS, pa.int64(), nullable=False),
        pa.field(KNOWN_AT, pa.int64(), nullable=False),
        pa.field(PARTITION, pa.int32(), nullable=False),
        pa.field(OFFSET, pa.int64(), nullable=False),
        pa.field(RECORD_TS, pa.int64(), nullable=False),
    ]
)
"""What every event has beside the columns of its source."""


def table_schema(source: Source) -> pa.Schema:
    """The columns of a source's log table.

    The source's own columns are nullable whatever the model says, so that a model may gain or lose a field and the rows
    written before still read.
    """
    own = [pa.field(column.name, ARROW_TYPES[column.dtype]) for column in source.columns]
    return pa.schema([*own, *OWN_FIELDS, pa.field(DATE, pa.date32())])


def added_columns(found: pa.Schema, source: Source, where: str) -> list[str]:
    """Compare a table that exists with what its source declares now.

    Args:
        found: The table's columns.
        source: The source.
        where: The table's path, for messages.

    Returns:
        The source's columns that the table has yet to get.

    Raises:
        LogError: The table is not a log, or a column changed its type.
    """
    wanted = table_schema(source)
    missing = [name for name in (TS, KNOWN_AT, PARTITION, OFFSET, RECORD_TS, DATE) if name not in found.names]
    if missing:
        msg = f"The Delta table at {where} is not a headrace log: it has no column {missing[0]}."
        raise LogError(msg, hint="Move it away, or set `state` in headrace.toml to another folder.")
    for field in wanted:
        if field.name in found.names and not reads_as(found.field(field.name).type, field.type):
            was = found.field(field.name).type
            msg = (
                f"The log at {where} holds {field.name} as {was}, and the source {source.name!r} declares {field.type}."
            )
            hint = f"Leave {field.name} as it was and give the new field a new name, or move the log away and replay."
            raise LogError(msg, hint=hint)
    return [name for name in wanted.names if name not in found.names]


def reads_as(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a column of one type reads as another: itself, or a number that was widened."""
    return found == wanted or {found, wanted} == {pa.int64(), pa.float64()}


def widened(found: pa.Schema, source: Source) -> pa.Schema:
    """The table's columns from now on: those it has, floats where its integers became such, and the source's new ones.

    Args:
        found: The table's columns.
        source: The source.
    """
    wanted = table_schema(source)
    kept = [
        pa.field(field.name, pa.float64(), field.nullable)
        if field.type == pa.int64() and field.name in wanted.names and wanted.field(field.name).type == pa.float64()
        else field
        for field in found
    ]
    return pa.schema([*kept, *(field for field in wanted if field.name not in found.names)])


def laid_out(table: pa.Table, schema: pa.Schema, topic: str) -> pa.Table:
    """Rows as a file of the log holds them: every column of the source, in order, with the date of each event.

    Args:
        table: Rows with the source's columns and headrace's own, in any order; ``_date`` is computed.
        schema: The file's columns; the source's that ``table`` lacks become null.
        topic: The topic, for messages.

    Raises:
        LogError: A column is missing, is of another type, is null where it must not be, or the table does not have it.
    """
    unknown = [name for name in table.column_names if name not in schema.names]
    if unknown:
        msg = f"Rows for the log of topic {topic!r} have a column {unknown[0]!r} that its source does not declare."
        raise LogError(msg, hint="Run `headrace apply` and start the worker again.")
    columns = []
    for field in schema:
        if field.name == DATE:
            columns.append(_dates(table.column(TS)))
        elif field.name in table.column_names:
            columns.append(_typed(table.column(field.name), field, topic))
        elif field.nullable:
            columns.append(pa.nulls(table.num_rows, field.type))
        else:
            msg = f"Rows for the log of topic {topic!r} have no column {field.name}."
            raise LogError(msg)
    return pa.table(columns, schema=schema)


def _typed(column: pa.ChunkedArray, field: pa.Field, topic: str) -> pa.ChunkedArray:
    found = column.type
    if column.type != field.type:
        try:
            column = column.cast(field.type) if _alike(column.type, field.type) else None
        except pa.ArrowInvalid:
            column = None
        if column is None:
            msg = f"Rows for the log of topic {topic!r} have {field.name} as {found}, and the log holds {field.type}."
            raise LogError(msg)
    if column.null_count and not field.nullable:
        row = pc.index(column.is_null(), True).as_py()
        msg = f"Rows for the log of topic {topic!r} have no {field.name} in row {row}."
        raise LogError(msg)
    return column


def _alike(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether two types hold the same kind of value; a cast between others could give it another meaning."""
    if pa.types.is_timestamp(wanted):
        return pa.types.is_timestamp(found) and found.tz is not None
    kinds = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_null,
        lambda t: pa.types.is_string(t) or pa.types.is_large_string(t),
    )
    return pa.types.is_null(found) or any(kind(found) and kind(wanted) for kind in kinds)


def _dates(ts_us: pa.ChunkedArray) -> pa.Array:
    ts: IntArray = ts_us.to_numpy()
    return pa.array((ts // _DAY_US).astype(np.int32)).cast(pa.date32())
