"""A batch of validated events as columns, with the position of each."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.events.columns import BoolArray, IntArray, Values
from headrace.plan import DType, Source

__all__ = ["ARROW_TYPES", "EventBatch", "as_dates", "column_values", "of_integers"]

ARROW_TYPES: dict[DType, pa.DataType] = {
    DType.INT64: pa.int64(),
    DType.FLOAT64: pa.float64(),
    DType.BOOL: pa.bool_(),
    DType.STRING: pa.string(),
    DType.TIMESTAMP: pa.timestamp("us", "UTC"),
    DType.DATE: pa.date32(),
}
ARROW_TYPES |= {dtype.list_of: pa.list_(kind) for dtype, kind in tuple(ARROW_TYPES.items())}
ARROW_TYPES[DType.JSON] = pa.string()
ARROW_TYPES |= {dtype: pa.decimal128(38, dtype.scale) for dtype in DType if dtype.scale is not None}
"""The Arrow type of each type, in the log and in results."""


@dataclass
class EventBatch:
    """Events of one source, in arrival order.

    Attributes:
        source: The source.
        table: The events' columns, as the source declares them, shape (n,).
        ts_us: Event times in µs, shape (n,).
        partition: Source partitions, shape (n,).
        offset: Source offsets, shape (n,).
        record_ts_us: Timestamps of the Kafka records in µs, shape (n,).
        known_us: `known_at` in µs, shape (n,): final under the record clock and in events from the log; else an
            estimate before the write.
    """

    source: Source
    table: pa.Table
    ts_us: IntArray
    partition: IntArray
    offset: IntArray
    record_ts_us: IntArray
    known_us: IntArray
    _values: dict[str, Values] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.ts_us)

    @property
    def position(self) -> IntArray:
        """Source positions as one number, which sorts like (partition, offset)."""
        return (self.partition << 48) | self.offset

    def of_partitions(self, partitions: Collection[int]) -> EventBatch:
        """The events of some source partitions."""
        return self.where(np.isin(self.partition, list(partitions)))

    def where(self, keep: BoolArray) -> EventBatch:
        """The events that a mask of shape (n,) keeps."""
        if keep.all():
            return self
        arrays = {
            name: getattr(self, name)[keep] for name in ("ts_us", "partition", "offset", "record_ts_us", "known_us")
        }
        return replace(self, table=self.table.filter(pa.array(keep)), _values={}, **arrays)

    def values(self, column: str) -> Values:
        """A column as numpy values and validity; it is converted once."""
        if column not in self._values:
            self._values[column] = column_values(self.table.column(column))
        return self._values[column]


def column_values(column: pa.ChunkedArray) -> Values:
    """An Arrow column as numpy: float64, object for strings, else int64.

    Timestamps are in µs, dates in days, decimals in units of their last digit.
    """
    array = column.combine_chunks()
    valid: BoolArray = (
        np.ones(len(array), np.bool_) if not array.null_count else array.is_valid().to_numpy(zero_copy_only=False)
    )
    if pa.types.is_string(array.type):
        return Values(array.to_numpy(zero_copy_only=False), valid)
    if pa.types.is_decimal(array.type):
        return Values(_units(array), valid)
    if pa.types.is_date(array.type):
        array = array.cast(pa.int32()).cast(pa.int64())
    if pa.types.is_boolean(array.type) or pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    filled = array.fill_null(0) if array.null_count else array
    return Values(filled.to_numpy(zero_copy_only=False), valid)


def of_integers(array: pa.Array | pa.ChunkedArray, dtype: DType) -> pa.Array | pa.ChunkedArray:
    """Results that are numbers inside as Arrow values of a type: times from µs, dates from days.

    Args:
        array: The results.
        dtype: The type.
    """
    # Arrow makes dates only from 32 bits.
    return array.cast(pa.int32()).cast(pa.date32()) if dtype is DType.DATE else array.cast(ARROW_TYPES[dtype])


def as_dates(array: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Dates, texts in ISO 8601 and midnights as dates.

    Args:
        array: The values.

    Raises:
        pa.ArrowException: A value is no date. A time of day is not cut off.
    """
    if pa.types.is_string_view(array.type):
        array = array.cast(pa.string())
    if not pa.types.is_timestamp(array.type):
        return array.cast(pa.date32())
    local = array if array.type.tz is None else pc.local_timestamp(array)
    found = local.cast(pa.date32())
    if not pc.all(pc.equal(found.cast(local.type), local), min_count=0).as_py():
        msg = "a time of day is no date"
        raise pa.ArrowInvalid(msg)
    return found


def _units(array: pa.Array) -> IntArray:
    """Decimals that fit in 64 bits as integers: the low half of each."""
    words = array.buffers()[1]
    if not len(array) or words is None:
        return np.zeros(len(array), np.int64)
    halves = np.frombuffer(words, np.int64)
    return np.ascontiguousarray(halves[2 * array.offset : 2 * (array.offset + len(array)) : 2])
