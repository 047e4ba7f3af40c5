"""What the worker keeps of a batch: all but the events of erased entities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from headrace.erasure.ledger import LEDGER, Erasure, Ledger
from headrace.events.columns import BoolArray, IntArray
from headrace.events.event_batch import EventBatch
from headrace.plan import DType
from headrace.state import State

__all__ = ["ErasureFilter"]


class ErasureFilter:
    """Drops events of erased entities: those up to the erasure's offset, and those dated before the erasure.

    The ledger is read again whenever it changes. Where nothing was erased, this costs one question for its version per
    call.

    Args:
        state: Where the ledger is kept (`Project.erasures`).
        identities: By topic, which topic of that name is read: offsets of another one mean nothing here.
    """

    def __init__(self, state: State, identities: Mapping[str, str]) -> None:
        self._state = state
        self._identities = dict(identities)
        self._version: str | None = None
        self._ledger = Ledger(state, None, {})
        self._reload()

    def kept(self, batches: Sequence[EventBatch]) -> list[EventBatch]:
        """The batches without what must not come back.

        Args:
            batches: Batches of events.

        Raises:
            ConfigError: The ledger cannot be read.
        """
        self._reload()
        return [self._kept(batch) for batch in batches] if self._ledger.erasures else list(batches)

    def _reload(self) -> None:
        version = self._state.version(LEDGER)
        # Where there was one and it is lost, what it names must not come back.
        if version is not None and version != self._version:
            self._ledger = Ledger.load(self._state)
            self._version = version

    def _kept(self, batch: EventBatch) -> EventBatch:
        keep = np.ones(len(batch), np.bool_)
        columns = {column.name for column in batch.source.columns}
        for names in {erasure.names for erasure in self._ledger.erasures.values()}:
            if len(batch) and set(names) <= columns:
                self._mark(batch, names, keep)
        return batch.where(keep)

    def _mark(self, batch: EventBatch, names: tuple[str, ...], keep: BoolArray) -> None:
        """Mark the events of erased entities with these join keys that may not be kept."""
        erasures = [one for one in self._ledger.erasures.values() if one.names == names]
        ends = [self._ends(one, batch) for one in erasures]
        # Most batches are newer than any erasure, and are done here.
        old = batch.ts_us < max(one.before_us for one in erasures)
        old |= np.any([batch.offset <= end for end in ends], axis=0)
        rows = np.flatnonzero(old & keep)
        if not len(rows):
            return
        by_digest = {one.digest: (one, end) for one, end in zip(erasures, ends, strict=True)}
        dtypes = [batch.source.column(name).dtype for name in names]
        picked = [batch.values(name) for name in names]
        parts = [
            [bool(value) if dtype is DType.BOOL else value for value in values.data[rows].tolist()]
            for values, dtype in zip(picked, dtypes, strict=True)
        ]
        valid = np.all([values.valid[rows] for values in picked], axis=0).tolist()
        known: dict[tuple[object, ...], tuple[Erasure, IntArray] | None] = {}
        for row, key, is_valid in zip(rows.tolist(), zip(*parts, strict=True), valid, strict=True):
            if is_valid:
                if key not in known:
                    known[key] = by_digest.get(self._ledger.digest_of(names, list(key)))
                found = known[key]
                if found is not None and (batch.ts_us[row] < found[0].before_us or batch.offset[row] <= found[1][row]):
                    keep[row] = False

    def _ends(self, erasure: Erasure, batch: EventBatch) -> IntArray:
        """For each event, the offset of its partition through which the entity was erased; -1 where there is none."""
        topic = batch.source.topic
        ends = np.full(len(batch), -1, np.int64)
        if erasure.identities.get(topic) == self._identities.get(topic):
            for partition, end in erasure.through.get(topic, {}).items():
                ends[batch.partition == partition] = end
        return ends
