"""Records as they come from Kafka, by column: a fetch is a few arrays and lists, not an object per record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np

from headrace.events.columns import IntArray

__all__ = ["Headers", "RawRecord", "RawRecords"]

Headers = Sequence[tuple[str, bytes | None]]
"""The headers of one record, in order. A name can come more than once."""


class RawRecord(Protocol):
    """One Kafka record. Records of aiokafka and kafka-python fit. A record may have `headers` as well."""

    @property
    def partition(self) -> int:
        """Its partition."""

    @property
    def offset(self) -> int:
        """Its offset."""

    @property
    def timestamp(self) -> int:
        """Its timestamp in milliseconds."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def value(self) -> bytes | None:
        """Its value."""


@dataclass(frozen=True, eq=False, slots=True)
class RawRecords:
    """Records of one topic, those of each partition in offset order.

    Attributes:
        partitions: Their partitions, int64 of shape (n,).
        offsets: Their offsets, int64 of shape (n,).
        timestamps: Their timestamps in milliseconds, int64 of shape (n,).
        keys: Their keys.
        values: Their values.
        headers: Their headers; None where no record has any.
    """

    partitions: IntArray
    offsets: IntArray
    timestamps: IntArray
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: list[Headers] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice) -> RawRecords:
        """A run of records; the arrays are views."""
        return RawRecords(
            self.partitions[rows],
            self.offsets[rows],
            self.timestamps[rows],
            self.keys[rows],
            self.values[rows],
            None if self.headers is None else self.headers[rows],
        )

    def take(self, rows: Sequence[int]) -> RawRecords:
        """The records at some rows, in that order."""
        at = np.asarray(rows, np.int64)
        keys, values, headers = self.keys, self.values, self.headers
        return RawRecords(
            self.partitions[at],
            self.offsets[at],
            self.timestamps[at],
            [keys[row] for row in rows],
            [values[row] for row in rows],
            None if headers is None else [headers[row] for row in rows],
        )

    @classmethod
    def of(cls, records: Iterable[RawRecord]) -> RawRecords:
        """The columns of record objects.

        Args:
            records: The records, in order.
        """
        given = list(records)
        headers: list[Headers] = [getattr(one, "headers", None) or () for one in given]
        return cls(
            np.array([one.partition for one in given], np.int64),
            np.array([one.offset for one in given], np.int64),
            np.array([one.timestamp for one in given], np.int64),
            [one.key for one in given],
            [one.value for one in given],
            headers if any(headers) else None,
        )

    @classmethod
    def concat(cls, parts: Sequence[RawRecords]) -> RawRecords:
        """Several runs as one, in order.

        Args:
            parts: The runs. Without any, the result has no records.
        """
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return cls.of([])
        has_headers = any(part.headers is not None for part in parts)
        return cls(
            np.concatenate([part.partitions for part in parts]),
            np.concatenate([part.offsets for part in parts]),
            np.concatenate([part.timestamps for part in parts]),
            list(chain.from_iterable(part.keys for part in parts)),
            list(chain.from_iterable(part.values for part in parts)),
            list(chain.from_iterable(part.headers or [()] * len(part) for part in parts)) if has_headers else None,
        )
