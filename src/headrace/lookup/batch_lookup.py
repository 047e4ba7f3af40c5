"""One batch view's part of a lookup: the newest row of each entity, unless it is older than the view's TTL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headrace.errors import LookupTimeError
from headrace.lookup.response import WRITE_SEQUENCE, Block, Status, ViewAnswer
from headrace.plan import BatchView, DType, FeatureRef
from headrace.rows import RowCodec, StoredRow
from headrace.times import iso_time
from headrace.windows import NEVER

__all__ = ["BatchLookup", "BatchPlan"]

_KINDS: dict[DType, type[Any]] = {DType.FLOAT64: np.float64, DType.STRING: np.object_, DType.JSON: np.object_}


@dataclass(frozen=True)
class BatchPlan:
    """The features that a request asks for from one batch view.

    Attributes:
        view: The view.
        rows_hash: What its rows are stored under.
        codec: Decodes them.
        parts: By numpy type, the features of that type: their places in a row, and their columns in the answer.
        refs: The features asked for.
    """

    view: BatchView
    rows_hash: str
    codec: RowCodec
    parts: tuple[tuple[type[Any], tuple[int, ...], tuple[tuple[str, ...], ...]], ...]
    refs: tuple[FeatureRef, ...]

    @classmethod
    def of(cls, view: BatchView, refs: Sequence[FeatureRef]) -> BatchPlan:
        """Plan some features of a view."""
        place_of = {column.name: place for place, column in enumerate(view.columns)}
        places: dict[type[Any], dict[int, list[str]]] = {}
        for ref in refs:
            place = place_of[ref.feature]
            dtype = view.columns[place].dtype
            kind = np.object_ if dtype.element is not None else _KINDS.get(dtype, np.int64)
            places.setdefault(kind, {}).setdefault(place, []).append(ref.column)
        parts = tuple((kind, tuple(of), tuple(tuple(names) for names in of.values())) for kind, of in places.items())
        return cls(view, view.rows_hash, RowCodec(view.columns), parts, tuple(refs))


class BatchLookup:
    """One batch view's part of a lookup.

    Args:
        asked: The view's part of the request plan.
        found: Each row's stored row; None where there is none.
        at_us: The time asked for, in µs.

    Raises:
        RowsError: A stored row cannot be read.
    """

    def __init__(self, asked: BatchPlan, found: Sequence[StoredRow | None], at_us: int) -> None:
        self._asked, self._found, self._at_us = asked, found, at_us
        ttl_us = asked.view.ttl_us
        oldest = None if ttl_us is None else at_us - ttl_us
        self._status = [_status(row, at_us, oldest) for row in found]
        self._rows = [
            asked.codec.decode(row.values) if row is not None and status is Status.PRESENT else None
            for row, status in zip(found, self._status, strict=True)
        ]

    def refuse_unanswerable(self) -> None:
        """Refuse a time at which an older row counted: the store has only the newest.

        Raises:
            LookupTimeError: The newest row of an entity is dated after the time asked for.
        """
        later = [row.event_us for row in self._found if row is not None and row.event_us > self._at_us]
        if later:
            what = f"{self._asked.view.name} cannot be looked up exactly at {iso_time(self._at_us)}"
            msg = f"{what}: the store has only the newest row of each entity, and one is of {iso_time(max(later))}."
            hint = "Look up at a later time, or ask the source: `headrace history` answers for any time."
            raise LookupTimeError(msg, hint=hint)

    def values(self) -> list[Block]:
        """The features asked for."""
        return [self._block(*part) for part in self._asked.parts]

    def answer(self) -> ViewAnswer:
        """Status, the event times of the newest rows, and evidence."""
        return _BatchAnswer(self._found, self._status)

    def _block(self, kind: type[Any], places: tuple[int, ...], names: tuple[tuple[str, ...], ...]) -> Block:
        cells = [None if row is None else row[place] for row in self._rows for place in places]
        has_nulls = None in cells
        valid = np.ones(len(cells), np.bool_)
        if has_nulls:
            valid = np.fromiter((cell is not None for cell in cells), np.bool_, len(cells))
        if kind is np.object_:
            data = np.empty(len(cells), object)
            data[:] = cells
        else:
            data = np.array([0 if cell is None else cell for cell in cells] if has_nulls else cells, kind)
        problems = {
            row * len(places) + at: f"the newest row is of {iso_time(stored.event_us)}, after the lookup"
            for row, stored in enumerate(self._found)
            if stored is not None and self._status[row] is Status.ERROR
            for at in range(len(places))
        }
        return Block(names, data, valid, problems)


class _BatchAnswer(ViewAnswer):
    """What a batch view knew, per row of the request."""

    def __init__(self, found: Sequence[StoredRow | None], status: list[Status]) -> None:
        newest = [NEVER if row is None else row.event_us for row in found]
        super().__init__(newest, (), np.zeros(0, np.int64), (), ())
        self._found = found
        self.status = status

    @property
    def applied(self) -> list[dict[int, int]]:
        """The evidence: per row, the sequence of the write that brought it, under `WRITE_SEQUENCE`."""
        return [{} if row is None else {WRITE_SEQUENCE: row.sequence} for row in self._found]


def _status(row: StoredRow | None, at_us: int, oldest: int | None) -> Status:
    if row is None:
        return Status.UNKNOWN_KEY
    if row.event_us > at_us:
        return Status.ERROR
    return Status.EXPIRED if oldest is not None and row.event_us < oldest else Status.PRESENT
