"""Which events a row's evidence covers: the timeline of `evidence`.

Evidence names an offset per source partition. So an entity's events are split by partition, and so is each row: a part
of a row asks for the events of one partition up to one offset. What the parts find is merged by row.

Offsets and event times of a partition go up together, except where events came late. So in the order of event time
nearly all events before some place are covered, and nearly all behind another place are not. Between the two places
events are looked at one by one:

    places     e1 e2 e3 e4 e5 e6 e7        offsets 0 1 2 5 3 4 6, and the evidence says 4
    covered    ├──────┤                    before `settled` all are: no offset so far is over 4
    open                ├─────┤            e4 is not covered, e5 and e6 are
    beyond                       ├─▶       from `unsettled` on none is: no later offset is 4 or less

Events far from their place in the order of offsets would keep these two places apart. They are outside the frame, and
looked at one by one too. A lifetime needs no event times: its events stand in the order of offsets, and nothing is
open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from headrace.aggregates import BoolArray, IntArray
from headrace.history.column_cache import ColumnCache
from headrace.history.evidence import AppliedOffsets
from headrace.history.join_plan import Group
from headrace.history.limits import Limits
from headrace.history.log_events import OFFSET_BITS
from headrace.history.prefix_sums import prefix
from headrace.history.range_max import NONE, Pyramid
from headrace.history.timeline import Items, Packing, Ranges, Rows, Singles, chunks_of, expanded, order_of

__all__ = ["OffsetTimeline"]

_SAMPLE = 100_000


class OffsetTimeline:
    """Events by entity, source partition and event time, or offset where only lifetimes are asked for.

    Args:
        cache: All events.
        number: Which of them these are, shape (n,); None is all.
        key: Their entities, from 0.
        rows: The rows that ask, of the same entities.
        applied: By row of the spine, what its evidence covers.
        limits: How it works.
        by_time: Whether events stand in the order of event time, for windows, or of offsets, for lifetimes.

    Attributes:
        rows: The parts of the rows, one for each source partition in a row's evidence; `key` is entity and partition.
        number: The events' numbers, in order.
        key: Their entities and partitions.
        in_frame: Which events stand near their place in the order of offsets; None is all.
    """

    def __init__(
        self,
        cache: ColumnCache,
        number: IntArray | None,
        key: IntArray,
        rows: Rows,
        applied: AppliedOffsets,
        limits: Limits,
        *,
        by_time: bool,
    ) -> None:
        self._limits = limits
        mine = applied.some(rows.spine_row)
        self._row_of, entry = expanded(mine.first, mine.first + mine.size)
        self._rows_in_all = len(rows.key)
        partitions, part_of = np.unique(mine.partition[entry], return_inverse=True)
        self.rows = Rows(
            rows.key[self._row_of] * len(partitions) + part_of, rows.t_us[self._row_of], rows.spine_row[self._row_of]
        )
        self.number, self.key, offset = _of_partitions(cache, number, key, partitions)
        packing = Packing.of(offset)
        packed = packing.packed(self.key, offset)
        order = order_of(packed)
        self._reorder(order)
        packed = packed if order is None else packed[order]
        self._covered = np.searchsorted(packed, packing.packed(self.rows.key, mine.offset[entry] + 1))
        self._by_offset: IntArray | None = None
        self._ts_us, self._position = cache.ts_us, cache.position()
        if by_time:
            self._packing = Packing.of(self._ts_us[self.number])
            packed = self._packing.packed(self.key, self._ts_us[self.number])
            order = order_of(packed, stable=True)
            self._packed = packed if order is None else packed[order]
            self._reorder(order)
            self._by_offset = order
        self.in_frame, self._settled, self._unsettled = self._framed()
        self._latest: tuple[Group, Ranges, Iterable[Items]] | None = None
        self._totals: dict[int, tuple[IntArray, IntArray]] = {}
        self._pyramids: dict[int, tuple[IntArray, Pyramid]] = {}
        self._lasts: dict[int, tuple[BoolArray | None, IntArray]] = {}
        self._in_order: IntArray | None = None
        self._ones: IntArray = np.ones(len(self.number), np.int64)

    def ranges(self, group: Group) -> Ranges:
        """Where the events stand that count for a group."""
        if group.window_us is None or group.slide_us is None:
            start = np.searchsorted(self.key, self.rows.key)
            return Ranges(start, self._covered, self._covered, self._covered)
        tile = self.rows.t_us - self.rows.t_us % group.slide_us
        start, end = self._before(tile + group.opens_us), self._before(tile + group.closes_us)
        settled = np.clip(self._settled, start, end)
        return Ranges(start, settled, np.clip(self._unsettled, settled, end), end)

    def counts(self, candidates: Items) -> BoolArray:
        """Which events, of places in a row's window, count at the row."""
        at = candidates.at if self._by_offset is None else self._by_offset[candidates.at]
        covered: BoolArray = at < self._covered[candidates.row]
        return covered

    def count(self, group: Group) -> IntArray:
        """How many events count at each row."""
        return self.total(group, self._ones)

    def total(self, group: Group, track: IntArray) -> IntArray:
        """The sum of a number of each event, over the events that count."""
        ranges, singles = self._of(group)
        if id(track) not in self._totals:
            framed = track if self.in_frame is None else np.where(self.in_frame, track, 0)
            self._totals[id(track)] = (track, prefix(framed))  # the track is kept, so that no other array gets its id
        before = self._totals[id(track)][1]
        found = before[ranges.settled] - before[ranges.start]
        for items in singles:
            np.add.at(found, items.row, track[items.at])
        total = np.zeros(self._rows_in_all, np.int64)
        np.add.at(total, self._row_of, found)
        return total

    def greatest(self, group: Group, values: IntArray) -> IntArray:
        """The greatest value of the events that count; ``NONE`` where none does."""
        ranges, singles = self._of(group)
        if id(values) not in self._pyramids:
            framed = values if self.in_frame is None else np.where(self.in_frame, values, NONE)
            self._pyramids[id(values)] = (values, Pyramid(framed))
        found = self._pyramids[id(values)][1].greatest(ranges.start, ranges.settled)
        for items in singles:
            np.maximum.at(found, items.row, values[items.at])
        best = np.full(self._rows_in_all, NONE)
        np.maximum.at(best, self._row_of, found)
        return best

    def last(self, group: Group, has_value: BoolArray | None) -> IntArray:
        """The number of the last event that counts and has a value; -1 where there is none."""
        if self._in_order is None:
            self._in_order = np.lexsort((self._position[self.number], self._ts_us[self.number]))
        in_order = self._in_order
        if id(has_value) not in self._lasts:
            rank = np.empty(len(in_order), np.int64)
            rank[in_order] = np.arange(len(in_order))
            self._lasts[id(has_value)] = (has_value, rank if has_value is None else np.where(has_value, rank, NONE))
        best = self.greatest(group, self._lasts[id(has_value)][1])
        if not len(in_order):
            return np.full(len(best), -1)
        return np.where(best == NONE, -1, self.number[in_order[np.maximum(best, 0)]])

    def _of(self, group: Group) -> tuple[Ranges, Iterable[Items]]:
        """A group's ranges and the single events that count; those of the latest group are kept."""
        if self._latest is None or self._latest[0] is not group:
            ranges = self.ranges(group)
            singles = Singles(self, ranges)
            some = np.flatnonzero(singles.sizes)
            chunks = list(chunks_of(some, singles.sizes[some], self._limits.pairs))
            kept = _Chunks(singles, chunks)
            self._latest = (group, ranges, kept if len(chunks) > 1 else list(kept))
        return self._latest[1:]

    def _reorder(self, order: IntArray | None) -> None:
        if order is not None:
            self.number, self.key = self.number[order], self.key[order]

    def _framed(self) -> tuple[BoolArray | None, IntArray, IntArray]:
        """The frame; and by part of a row, up to where all of its events are covered, and from where on none is."""
        order = self._by_offset
        if order is None:
            return None, self._covered, self._covered
        displaced = np.abs(order - np.arange(len(order)))
        most = self._limits.displaced
        if most is None:  # a choice of speed alone
            most = int(np.quantile(displaced[:: max(1, len(displaced) // _SAMPLE)], 0.99, method="higher"))
        framed: BoolArray = displaced <= most
        greatest = np.maximum.accumulate(np.where(framed, order, -1))
        least = np.minimum.accumulate(np.where(framed, order, len(order))[::-1])[::-1]
        settled, unsettled = np.searchsorted(greatest, self._covered), np.searchsorted(least, self._covered)
        return None if framed.all() else framed, settled, unsettled

    def _before(self, us: IntArray) -> IntArray:
        """By part of a row, how many events come before a time of its entity and partition, and all of those before."""
        return np.searchsorted(self._packed, self._packing.packed(self.rows.key, us))


class _Chunks:
    """Single events, found again each time they are asked for, as they are too many to keep."""

    def __init__(self, singles: Singles, chunks: list[IntArray]) -> None:
        self._singles, self._chunks = singles, chunks

    def __iter__(self) -> Iterator[Items]:
        return map(self._singles.of, self._chunks)


def _of_partitions(
    cache: ColumnCache, number: IntArray | None, key: IntArray, partitions: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """The events of some source partitions: their numbers, their entity and partition as one number, their offsets."""
    position = cache.position() if number is None else cache.position()[number]
    partition = position >> OFFSET_BITS
    at = np.searchsorted(partitions, partition)
    known = np.zeros(len(at), np.bool_)
    if len(partitions):
        known = partitions[np.minimum(at, len(partitions) - 1)] == partition
    kept = np.flatnonzero(known)
    key = key[kept] * len(partitions) + at[kept]
    return kept if number is None else number[kept], key, position[kept] & ((1 << OFFSET_BITS) - 1)
