"""Events as rows of the log, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from headrace.events.event_batch import ARROW_TYPES, EventBatch
from headrace.plan import Source

__all__ = ["batch_of_rows", "log_rows"]

_FACTS = {
    "_ts_us": pa.int64(),
    "_known_at_us": pa.int64(),
    "_partition": pa.int32(),
    "_offset": pa.int64(),
    "_record_ts_us": pa.int64(),
}


def log_rows(source: Source, batches: Sequence[EventBatch]) -> pa.Table:
    """Rows of the log for batches of one source, in order.

    Args:
        source: The source.
        batches: The batches; none gives a table without rows.

    Returns:
        The source's columns, then `_ts_us`, `_known_at_us`, `_partition`, `_offset`, `_record_ts_us`.
    """
    schema = pa.schema([(column.name, ARROW_TYPES[column.dtype]) for column in source.columns] + list(_FACTS.items()))
    tables = [
        pa.table(
            [
                *(batch.table.column(column.name) for column in source.columns),
                *(
                    pa.array(facts, type=kind)
                    for facts, kind in zip(
                        (batch.ts_us, batch.known_us, batch.partition, batch.offset, batch.record_ts_us),
                        _FACTS.values(),
                        strict=True,
                    )
                ),
            ],
            schema=schema,
        )
        for batch in batches
    ]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def batch_of_rows(source: Source, rows: pa.RecordBatch | pa.Table) -> EventBatch:
    """The batch from which rows of the log were made, to build online records again.

    Args:
        source: The source.
        rows: Rows of its log; a column that the log does not have yet reads as null.
    """
    table = pa.table(
        {
            column.name: rows.column(column.name).cast(ARROW_TYPES[column.dtype])
            if column.name in rows.schema.names
            else pa.nulls(len(rows), ARROW_TYPES[column.dtype])
            for column in source.columns
        }
    )
    ts, known, partition, offset, record_ts = (
        np.asarray(
            rows.column(name).to_numpy(zero_copy_only=False)
            if isinstance(rows, pa.RecordBatch)
            else rows.column(name).to_numpy(),
            np.int64,
        )
        for name in _FACTS
    )
    return EventBatch(source, table, ts, partition, offset, record_ts, known)
