"""Entities as numbers: the spine's entities are numbered from 0, and events are looked up among them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.aggregates import IntArray
from headrace.history.spine_rows import key_name

__all__ = ["KeyIndex"]


class KeyIndex:
    """The entities that a spine names.

    Args:
        spine: The spine as `read_spine` gives it.
        join_keys: The view's join keys.

    Attributes:
        key_id: Each spine row's entity, shape (rows,).
        size: How many entities there are.
    """

    def __init__(self, spine: pa.Table, join_keys: Sequence[str]) -> None:
        self._distinct: list[pa.Array] = []
        self._combined: list[IntArray] = []
        self.size = 1
        self.key_id: IntArray = np.zeros(spine.num_rows, np.int64)
        for number, key in enumerate(join_keys):
            encoded = _one_zero(spine.column(key_name(key))).combine_chunks().dictionary_encode()
            self._distinct.append(encoded.dictionary)
            codes = encoded.indices.to_numpy().astype(np.int64)
            self.size = len(encoded.dictionary)
            if number:  # the spine's pairs, numbered from 0 again, so that no product of sizes overflows 64 bits
                pairs, codes = np.unique(self.key_id * self.size + codes, return_inverse=True)
                self._combined.append(pairs)
                self.size = len(pairs)
            self.key_id = codes

    def of(self, columns: Sequence[pa.ChunkedArray]) -> IntArray:
        """The entities of some events.

        Args:
            columns: The events' values of the join keys, in their order, shape (n,) each; strings may be dictionaries.

        Returns:
            Shape (n,): the entity's number, -1 where the spine does not name it or a join key is null.
        """
        found = _codes(columns[0], self._distinct[0])
        for column, distinct, pairs in zip(columns[1:], self._distinct[1:], self._combined, strict=True):
            codes = _codes(column, distinct)
            wanted = found * len(distinct) + codes
            at = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
            found = np.where((pairs[at] == wanted) & (found >= 0) & (codes >= 0), at, -1)
        return found


def _codes(column: pa.ChunkedArray | pa.Array, distinct: pa.Array) -> IntArray:
    """Where each value stands among the distinct ones; -1 where it is not one of them."""
    if isinstance(column, pa.ChunkedArray):
        parts = [_codes(chunk, distinct) for chunk in column.chunks]
        return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.int64), *parts])
    if pa.types.is_dictionary(column.type):  # as Parquet keeps strings: each distinct one is looked up once
        of_value = np.append(_codes(column.dictionary, distinct), -1)
        at: IntArray = column.indices.fill_null(len(of_value) - 1).to_numpy().astype(np.int64)
        return np.take(of_value, at)
    if column.type != distinct.type:
        column = column.cast(distinct.type)
    found: IntArray = pc.index_in(_one_zero(column), value_set=distinct).fill_null(-1).to_numpy().astype(np.int64)
    return found


def _one_zero(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Doubles with one zero and one NaN: Arrow compares bits, and both have several."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(
        pc.is_nan(column), pa.scalar(float("nan"), column.type), pc.add(column, pa.scalar(0.0, column.type))
    )
