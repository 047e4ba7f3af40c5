"""What a timeline is: the events of some entities in order of time, and the rows that ask for features of them.

Two kinds of timeline say which events count at a row. In `known_timeline.py` these are the events known by the row's
time, in `offset_timeline.py` the events whose offset the row's evidence covers. Both answer the same questions, so
features are computed by the same code (`shard_features.py`, `gathered_features.py`).

Most events that count at a row stand together in a *range* of places. The range's sums come from running totals
(`prefix_sums.py`), its greatest value from a pyramid (`range_max.py`), its merged states from blocks
(`merged_blocks.py`). A few events must be looked at one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from headrace.aggregates import BoolArray, IntArray
from headrace.history.join_plan import Group

__all__ = ["Items", "Packing", "Ranges", "Rows", "Singles", "Timeline", "chunks_of", "counted", "expanded", "order_of"]


class Packing(NamedTuple):
    """How entity and time are packed into one integer, entity first: one sort and one binary search serve all entities.

    Attributes:
        base: The least time.
        span: How many microseconds an entity has.
    """

    base: int
    span: int

    @classmethod
    def of(cls, us: IntArray) -> Packing:
        """The packing that holds some times."""
        return cls(int(us.min()), int(us.max()) - int(us.min()) + 1) if len(us) else cls(0, 1)

    def packed(self, key: IntArray, us: IntArray) -> IntArray:
        """One number that orders like entity and time; a time outside the packing is moved to its edge."""
        return key * self.span + (np.clip(us, self.base, self.base + self.span) - self.base)


@dataclass(frozen=True)
class Rows:
    """Rows of a spine, by entity and time.

    Attributes:
        key: Their entities, shape (rows,).
        t_us: Their times.
        spine_row: Their places in the spine.
    """

    key: IntArray
    t_us: IntArray
    spine_row: IntArray

    @classmethod
    def sorted(cls, key: IntArray, t_us: IntArray, spine_row: IntArray) -> Rows:
        """Rows that may come in any order."""
        order = np.argsort(Packing.of(t_us).packed(key, t_us))
        return cls(key[order], t_us[order], spine_row[order])


class Ranges(NamedTuple):
    """By row, places of the timeline, shape (rows,) each.

    Attributes:
        start: Where the row's window opens.
        settled: From `start` to here all events of the frame count.
        unsettled: From `settled` to here events of the frame may count.
        end: From `start` to here events outside the frame may count.
    """

    start: IntArray
    settled: IntArray
    unsettled: IntArray
    end: IntArray


class Items(NamedTuple):
    """Pairs of a row and what it merges.

    Attributes:
        row: The rows, shape (items,).
        at: A place in the timeline, or where a state stands in a pool.
    """

    row: IntArray
    at: IntArray


class Timeline(Protocol):
    """Events of some entities in order, and the rows that ask.

    Attributes:
        rows: The rows. By evidence a spine's row is here once for each source partition that it knows.
        number: The events' numbers, in order, shape (n,).
        key: Their entities.
        in_frame: Which events can be in ranges; None is all.
    """

    rows: Rows
    number: IntArray
    key: IntArray
    in_frame: BoolArray | None

    def ranges(self, group: Group) -> Ranges:
        """Where the events stand that count for a group."""
        ...

    def counts(self, candidates: Items) -> BoolArray:
        """Which events, of places in a row's window, count at the row."""
        ...

    def count(self, group: Group) -> IntArray:
        """How many events count, by row as `Shard` was given them."""
        ...

    def total(self, group: Group, track: IntArray) -> IntArray:
        """The sum of a number of each event, over the events that count."""
        ...

    def greatest(self, group: Group, values: IntArray) -> IntArray:
        """The greatest value of the events that count; ``NONE`` where none does."""
        ...

    def last(self, group: Group, has_value: BoolArray | None) -> IntArray:
        """The number of the last event that counts and has a value; -1 where there is none."""
        ...


class Singles:
    """The events that must be looked at one by one, as they may count and are in no range.

    Args:
        timeline: The timeline.
        ranges: Where the events of each row stand.

    Attributes:
        sizes: By row, how many such events there are.
    """

    def __init__(self, timeline: Timeline, ranges: Ranges) -> None:
        self._timeline = timeline
        self._spans: list[tuple[IntArray | None, IntArray, IntArray]] = []
        if timeline.in_frame is None:
            self._spans = [(None, ranges.settled, ranges.unsettled)]
        else:
            framed, others = np.flatnonzero(timeline.in_frame), np.flatnonzero(~timeline.in_frame)
            for places, start, end in ((framed, ranges.settled, ranges.unsettled), (others, ranges.start, ranges.end)):
                self._spans.append((places, np.searchsorted(places, start), np.searchsorted(places, end)))
        self.sizes: IntArray = sum((np.maximum(end - first, 0) for _, first, end in self._spans), np.zeros(1, np.int64))

    def of(self, rows: IntArray) -> Items:
        """Those that count at some rows, as places in the timeline."""
        parts: list[Items] = []
        for places, first, end in self._spans:
            of_row, at = expanded(first[rows], end[rows])
            parts.append(Items(rows[of_row], at if places is None else places[at]))
        return counted(self._timeline, Items(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True))))


def counted(timeline: Timeline, candidates: Items) -> Items:
    """Of places in rows' windows, those whose event counts at the row."""
    counts = timeline.counts(candidates)
    return Items(candidates.row[counts], candidates.at[counts])


def chunks_of(rows: IntArray, sizes: IntArray, most: int) -> Iterator[IntArray]:
    """Rows in chunks of about `most` pairs.

    Args:
        rows: The rows.
        sizes: How many pairs each has.
        most: How many pairs a chunk has, unless one row has more.
    """
    total = np.cumsum(sizes)
    first = 0
    while first < len(rows):
        reach = (int(total[first - 1]) if first else 0) + most
        after = max(first + 1, int(np.searchsorted(total, reach, side="right")))
        yield rows[first:after]
        first = after


def order_of(packed: IntArray, *, stable: bool = False) -> IntArray | None:
    """What puts numbers in order; None where they are in order.

    Args:
        packed: The numbers.
        stable: Whether equal numbers keep their order.
    """
    if (packed[1:] >= packed[:-1]).all():
        return None
    return np.argsort(packed, kind="stable" if stable else None)


def expanded(start: IntArray, end: IntArray) -> tuple[IntArray, IntArray]:
    """Every place of some ranges: which range it belongs to, and the place."""
    size = np.maximum(end - start, 0)
    of_range = np.repeat(np.arange(len(size)), size)
    return of_range, np.arange(len(of_range)) - np.repeat(np.cumsum(size) - size, size) + np.repeat(start, size)
