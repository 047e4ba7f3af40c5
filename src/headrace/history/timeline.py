"""Events of some entities in the order of event time, and where the windows of rows begin and end among them.

Entity and time are packed into one integer, entity first, so that one sort and one binary search serve all entities.

Most events are known the moment they happen: they count from their place in this order on. The others ("late", though they may be early) count from
a moment of their own, and are few; or they are all late by about as much, and then their order by that moment is nearly this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from headrace.aggregates import BoolArray, IntArray
from headrace.history.column_cache import Held
from headrace.history.join_plan import Group

__all__ = ["Gaps", "Late", "Packing", "Reach", "Rows", "Timeline", "settle_of"]

_PROMPT_SHARE = 0.9
"""Where at least this share of the events is known the moment it happens, the frame waits for none of the others."""

_SAMPLE = 100_000


class Packing(NamedTuple):
    """How times are packed with entities.

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
        """Entity and time as one number that orders like both; a time beyond the packing's is taken to its edge."""
        return key * self.span + (np.clip(us, self.base, self.base + self.span) - self.base)


@dataclass(frozen=True)
class Rows:
    """Rows of a spine, by entity and time.

    Attributes:
        key: Their entities, shape (rows,).
        t_us: Their moments.
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


@dataclass(frozen=True)
class Late:
    """The late events that can count for a group.

    Attributes:
        places: Their places in the timeline, ascending.
        by_start: Their order by entity and the moment from which they count: indices of ``places``.
        started: At each row, how many count by then, those of earlier entities included; shape (rows,).
        ended: How many of them count no longer.
    """

    places: IntArray
    by_start: IntArray
    started: IntArray
    ended: IntArray


@dataclass(frozen=True)
class Reach:
    """Which events a group's windows hold, as ranges of places in the timeline, by row.

    Attributes:
        start: Where the window opens.
        end: Where it ends for events known the moment they happen.
        settled: Where it ends for events known within the settling time.
        late: The late events; None where there are none.
        lates_between: How many late ones lie between start and end.
    """

    start: IntArray
    end: IntArray
    settled: IntArray
    late: Late | None
    lates_between: IntArray | int


@dataclass(frozen=True)
class Gaps:
    """Events that count at rows whose frame does not hold them.

    Attributes:
        places: Their places in the timeline.
        first: The first row at which each counts so.
        end: The row behind the last.
    """

    places: IntArray
    first: IntArray
    end: IntArray


def settle_of(delay_us: IntArray) -> int:
    """How long the frame of a window waits, in µs: a choice of speed alone.

    Args:
        delay_us: How late each event became known.
    """
    late = np.count_nonzero(delay_us > 0)
    if late <= (1 - _PROMPT_SHARE) * len(delay_us):
        return 0
    sample = delay_us[:: max(1, len(delay_us) // _SAMPLE)]
    return max(0, int(np.quantile(sample, 0.99, method="higher")))


class Timeline:
    """Events in the order of entity, event time and position.

    Args:
        held: All events.
        number: Which of them these are, shape (n,); None is all.
        key: Their entities, from 0.
        rows: The rows that are asked for, of the same entities.
        in_order: Whether events of one entity and time must stand in the order of their positions.
        settle_us: How long frames wait; None is as `settle_of` chooses.

    Attributes:
        number: The events' numbers, in order.
        key: Their entities.
        delay: How late each became known; None where none did.
        settle_us: How long frames wait.
        in_frame: Which events frames hold: those known within the settling time; None is all.
        punctual: Which events are known the moment they happen; None is all.
    """

    def __init__(
        self,
        held: Held,
        number: IntArray | None,
        key: IntArray,
        rows: Rows,
        *,
        in_order: bool,
        settle_us: int | None = None,
    ) -> None:
        self.rows = rows
        ts_us = held.ts_us if number is None else held.ts_us[number]
        self._packing = Packing.of(ts_us)
        packed = self._packing.packed(key, ts_us)
        order = _order(packed)
        if order is not None:
            packed = packed[order]
            key = key[order]
            number = order if number is None else number[order]
        self.number: IntArray = np.arange(len(packed)) if number is None else number
        if in_order:
            _mend_ties(packed, self.number, held)
        self._packed, self.key = packed, key
        self.delay = self._delay(held)
        late = None if self.delay is None else self.delay != 0
        self.punctual: BoolArray | None = None if late is None else ~late
        self._lates: IntArray = np.zeros(0, np.int64) if late is None else np.flatnonzero(late)
        self.settle_us = 0
        if self.delay is not None:
            self.settle_us = settle_of(self.delay) if settle_us is None else settle_us
        self.in_frame = self.punctual
        if self.delay is not None and self.settle_us:
            self.in_frame = (self.delay >= 0) & (self.delay <= self.settle_us)
        self._starts: tuple[IntArray, Packing, IntArray] | None = None  # as `_by` gives it
        self._known_us = held.known_us
        self._ts_us = held.ts_us

    def __len__(self) -> int:
        return len(self.number)

    def reach(self, group: Group) -> Reach:
        """Where a group's windows lie."""
        rows = self.rows
        now = self._before(rows.t_us + 1)
        if group.window_us is None or group.slide_us is None:
            start = np.searchsorted(self._packed, rows.key * self._packing.span)
            end = now
            settled = self._before(rows.t_us + 1 - self.settle_us) if self.settle_us else now
        else:
            tile = rows.t_us - rows.t_us % group.slide_us
            start = self._before(tile + group.opens_us)
            closes = tile + group.closes_us
            end = now if not group.offset_us else self._before(np.minimum(rows.t_us + 1, closes))
            settled = end
            if self.settle_us:
                settled = self._before(np.minimum(rows.t_us + 1 - self.settle_us, closes))
        if not len(self._lates):
            return Reach(start, end, settled, None, 0)
        between = np.searchsorted(self._lates, end) - np.searchsorted(self._lates, start)
        return Reach(start, end, settled, self._late(group, start), between)

    def candidates(self, group: Group) -> tuple[IntArray, IntArray]:
        """By row, from and to which places the events lie that can count; of these, those count that are known."""
        reach, rows = self.reach(group), self.rows
        if self.delay is None:
            return reach.start, reach.end
        # The earliest known event is known no longer than this before it happens.
        latest = rows.t_us + 1 + max(0, -int(self.delay.min()))
        if group.window_us is not None and group.slide_us is not None:
            latest = np.minimum(latest, rows.t_us - rows.t_us % group.slide_us + group.closes_us)
        return reach.start, self._before(latest)

    def gaps(self, group: Group) -> Gaps | None:
        """The events that count where a windowed group's frame does not hold them; None where there are none."""
        if self.delay is None or self.in_frame is None or group.window_us is None:
            return None
        framed = self.in_frame
        places = np.flatnonzero(~framed | (self.delay != self.settle_us)) if self.settle_us else self._lates
        starts, ends = self._active(group, places)
        if self.settle_us:
            ts_us = self._ts_us[self.number[places]]
            ends = np.where(framed[places], np.minimum(ends, ts_us + self.settle_us), ends)
        live = starts < ends
        places, starts, ends = places[live], starts[live], ends[live]
        packing = Packing.of(self.rows.t_us)
        packed, key = packing.packed(self.rows.key, self.rows.t_us), self.key[places]
        first = np.searchsorted(packed, packing.packed(key, starts))
        end = np.searchsorted(packed, packing.packed(key, ends))
        live = first < end
        return Gaps(places[live], first[live], end[live])

    def _delay(self, held: Held) -> IntArray | None:
        if held.known_us is held.ts_us:
            return None
        delay = held.known_us[self.number] - held.ts_us[self.number]
        return delay if delay.any() else None

    def _before(self, us: IntArray) -> IntArray:
        """By row, how many events come before a time of its entity, those of earlier entities included."""
        return np.searchsorted(self._packed, self._packing.packed(self.rows.key, us))

    def _active(self, group: Group, places: IntArray) -> tuple[IntArray, IntArray]:
        """From when some events count for a windowed group, and until before when."""
        number = self.number[places]
        ts_us, known_us = self._ts_us[number], self._known_us[number]
        tile = ts_us - ts_us % (group.slide_us or 1) + group.offset_us
        return np.maximum(known_us, tile), tile + (group.window_us or 0)

    def _late(self, group: Group, start: IntArray) -> Late:
        places = self._lates
        known_us = starts = self._known_us[self.number[places]]
        if group.window_us is not None:
            starts, ends = self._active(group, places)
            alive = starts < ends
            if not alive.all():
                places, starts, known_us = places[alive], starts[alive], known_us[alive]
        shared = len(places) == len(self._lates) and np.array_equal(starts, known_us)
        by_start, packing, packed = self._by_known(known_us) if shared else self._by(places, starts)
        started = np.searchsorted(packed, packing.packed(self.rows.key, self.rows.t_us + 1))
        return Late(places, by_start, started, np.searchsorted(places, start))

    def _by_known(self, known_us: IntArray) -> tuple[IntArray, Packing, IntArray]:
        """The order in which all late events became known, found once for all groups that each of them counts for from then on."""
        if self._starts is None:
            self._starts = self._by(self._lates, known_us)
        return self._starts

    def _by(self, places: IntArray, starts: IntArray) -> tuple[IntArray, Packing, IntArray]:
        packing = Packing.of(starts)
        packed = packing.packed(self.key[places], starts)
        order = _order(packed)
        return (np.arange(len(packed)), packing, packed) if order is None else (order, packing, packed[order])


def _order(packed: IntArray) -> IntArray | None:
    """What puts some numbers in order; None where they are."""
    if (packed[1:] >= packed[:-1]).all():
        return None
    return np.argsort(packed)


def _mend_ties(packed: IntArray, number: IntArray, held: Held) -> None:
    """Put events of one entity and time in the order of their positions."""
    same = packed[1:] == packed[:-1]
    if not same.any():
        return
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    numbers = number[tied]
    number[tied] = numbers[np.lexsort((held.position()[numbers], packed[tied]))]
