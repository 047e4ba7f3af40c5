"""Which record each event of a batch belongs to: there is one per entity and source partition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headrace.aggregates import IntArray
from headrace.events.event_batch import EventBatch, column_values
from headrace.plan import Column, DType
from headrace.windows.group_sort import stable_order

__all__ = ["RecordGroups"]

_MAX_CODE = 1 << 40
"""Codes of more columns than fit below are numbered again from 0, so that their products stay in 64 bits."""


@dataclass(frozen=True)
class RecordGroups:
    """The records that the events of a batch belong to.

    Attributes:
        columns: Per join key its value for each record, as `entity_keys` takes them.
        partitions: Each record's source partition.
        group: Each event's record, as a place in these lists; -1 where a join key is null.
    """

    columns: list[list[object]]
    partitions: list[int]
    group: IntArray

    def __len__(self) -> int:
        return len(self.partitions)

    @classmethod
    def of(cls, entities: Sequence[Column], batch: EventBatch) -> RecordGroups:
        """Group a batch by some join keys: Arrow numbers the values of each column, and the numbers become one code.

        Args:
            entities: The view's join keys.
            batch: The events.
        """
        code = batch.partition.astype(np.int64)
        has_key = np.ones(len(batch), np.bool_)
        encoded: list[tuple[pa.Array, IntArray]] = []
        for entity in entities:
            column = batch.table.column(entity.name).combine_chunks().dictionary_encode()
            indices = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
            has_key &= indices >= 0
            encoded.append((column.dictionary, indices))
            size = len(column.dictionary) + 1
            if len(code) and int(code.max()) >= _MAX_CODE // size:
                _, code = np.unique(code, return_inverse=True)
            code = code * size + indices + 1
        first, group = _numbered(code if has_key.all() else np.where(has_key, code + 1, 0))
        if not has_key.all():  # events without a key have the lowest code: their group becomes -1
            first, group = first[1:], group - 1
        columns = [
            _python_values(entity, dictionary, indices[first])
            for entity, (dictionary, indices) in zip(entities, encoded, strict=True)
        ]
        return cls(columns, batch.partition[first].tolist(), group)

    def only(self, places: Sequence[int]) -> RecordGroups:
        """Some of the records, without their events."""
        columns = [[column[place] for place in places] for column in self.columns]
        return RecordGroups(columns, [self.partitions[place] for place in places], self.group[:0])


def _numbered(code: IntArray) -> tuple[IntArray, IntArray]:
    """The first row of each code, ascending by code, and for each row the number of its code."""
    order = stable_order(code)
    ordered = code[order]
    is_first = np.append(True, ordered[1:] != ordered[:-1])[: len(code)]
    group = np.empty(len(code), np.int64)
    group[order] = np.cumsum(is_first) - 1
    return order[is_first], group


def _python_values(entity: Column, dictionary: pa.Array, indices: IntArray) -> list[object]:
    values: list[object] = column_values(pa.chunked_array([dictionary.take(pa.array(indices))])).data.tolist()
    return [bool(value) for value in values] if entity.dtype is DType.BOOL else values
