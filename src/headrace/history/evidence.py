"""What lookups knew, as arrays: by row and source partition, the last offset that the lookup's record had applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headrace.aggregates import IntArray
from headrace.errors import SpineError

__all__ = ["AppliedOffsets", "Evidence"]

Evidence = Mapping[str, Mapping[int, int]]
"""What a lookup knew: by view and source partition, the last offset applied. A partition that is left out: none of its
events."""


@dataclass(frozen=True)
class AppliedOffsets:
    """What the lookups of a spine knew of one view.

    Attributes:
        first: By row, its first entry, shape (rows,).
        size: By row, how many entries it has: one per source partition.
        partition: By entry, the source partition, shape (entries,).
        offset: By entry, the last offset applied.
    """

    first: IntArray
    size: IntArray
    partition: IntArray
    offset: IntArray

    @classmethod
    def of(cls, evidence: Sequence[Evidence], view: str, rows: int) -> AppliedOffsets:
        """The entries of a view.

        Args:
            evidence: By row, what its lookup knew.
            view: The view's name.
            rows: How many rows the spine has.

        Raises:
            SpineError: There is not one for each row.
        """
        if len(evidence) != rows:
            msg = f"The spine has {rows} rows, and there is evidence for {len(evidence)}."
            raise SpineError(msg, hint="Give one for each row.")
        applied = [views.get(view, {}) for views in evidence]
        size = np.array([len(one) for one in applied], np.int64)
        entries = [(int(partition), int(offset)) for one in applied for partition, offset in one.items()]
        pairs = np.array(entries, np.int64).reshape(-1, 2)
        return cls(np.cumsum(size) - size, size, pairs[:, 0], pairs[:, 1])

    @property
    def partitions(self) -> IntArray:
        """The source partitions, each once, ascending."""
        return np.unique(self.partition)

    def some(self, rows: IntArray) -> AppliedOffsets:
        """The same of some rows."""
        return AppliedOffsets(self.first[rows], self.size[rows], self.partition, self.offset)
