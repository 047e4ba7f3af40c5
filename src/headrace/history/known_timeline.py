"""Which events were known by a row's time: the timeline of `known` and `event`.

Entity and time are packed into one integer, entity first, so that one sort and one binary search serve all entities.

Most events are known at once: they count from their place in this order on. The others ("late", though they may be
early) count from a time of their own. They are few, or they are all late by about the same delay. Then their order by
the time they became known is nearly this order.

Counts and sums are differences of running totals. For events known at once, they are taken between two places of the
timeline. A late event is added where it starts to count and subtracted where its window leaves it: two more running
totals, over the late events alone.

The least and greatest of a window are looked up in a pyramid over the timeline, and the last is the last place before
the row. Events that these frames do not hold (`Gaps`) are noted at the rows where they count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headrace.aggregates import BoolArray, IntArray
from headrace.history.column_cache import ColumnCache
from headrace.history.join_plan import Group
from headrace.history.prefix_sums import prefix
from headrace.history.range_max import NONE, Pyramid, raised
from headrace.history.timeline import Items, Packing, Ranges, Rows, order_of

__all__ = ["KnownTimeline"]

_PROMPT_SHARE = 0.9
"""Where at least this share of the events is known at once, frames wait for none of the others."""

_SAMPLE = 100_000


@dataclass(frozen=True)
class Late:
    """The late events that can count for a group.

    Attributes:
        places: Their places in the timeline, ascending.
        by_start: Their order by entity and the time from which they count: indices of ``places``.
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
        end: Where it ends for events known at once.
        settled: Where it ends for events that are known within the settling time.
        late: The late events; None where there are none.
        lates_between: How many late events lie between start and end.
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
    """How long the frame of a window waits, in µs. It changes the speed, never an answer.

    Args:
        delay_us: How late each event became known.
    """
    late = np.count_nonzero(delay_us > 0)
    if late <= (1 - _PROMPT_SHARE) * len(delay_us):
        return 0
    sample = delay_us[:: max(1, len(delay_us) // _SAMPLE)]
    return max(0, int(np.quantile(sample, 0.99, method="higher")))


class KnownTimeline:
    """Events in the order of entity, event time and position, with the time each became known.

    Args:
        cache: All events.
        number: Which of them these are, shape (n,); None is all.
        key: Their entities, from 0.
        rows: The rows that ask, of the same entities.
        in_order: Whether events of one entity and time must stand in the order of their positions.
        settle_us: How long frames wait; None lets `settle_of` choose.

    Attributes:
        rows: The rows.
        number: The events' numbers, in order.
        key: Their entities.
        in_frame: Which events frames hold: those known within the settling time; None is all.
    """

    def __init__(
        self,
        cache: ColumnCache,
        number: IntArray | None,
        key: IntArray,
        rows: Rows,
        *,
        in_order: bool,
        settle_us: int | None = None,
    ) -> None:
        self.rows = rows
        ts_us = cache.ts_us if number is None else cache.ts_us[number]
        self._packing = Packing.of(ts_us)
        packed = self._packing.packed(key, ts_us)
        order = order_of(packed)
        if order is not None:
            packed = packed[order]
            key = key[order]
            number = order if number is None else number[order]
        self.number: IntArray = np.arange(len(packed)) if number is None else number
        if in_order:
            _order_ties(packed, self.number, cache)
        self._packed, self.key = packed, key
        self._delay = self._delays(cache)
        late = None if self._delay is None else self._delay != 0
        self._punctual: BoolArray | None = None if late is None else ~late
        self._lates: IntArray = np.zeros(0, np.int64) if late is None else np.flatnonzero(late)
        self._settle_us = 0
        if self._delay is not None:
            self._settle_us = settle_of(self._delay) if settle_us is None else settle_us
        self.in_frame = self._punctual
        if self._delay is not None and self._settle_us:
            self.in_frame = (self._delay >= 0) & (self._delay <= self._settle_us)
        self._starts: tuple[IntArray, Packing, IntArray] | None = None  # as `_by` gives it
        self._known_us, self._ts_us = cache.known_us, cache.ts_us
        self._latest_reach: tuple[Group, Reach] | None = None
        self._latest_gaps: tuple[Group, Gaps | None] | None = None
        self._totals: dict[int, tuple[IntArray, IntArray]] = {}
        self._pyramids: dict[tuple[int, bool], tuple[IntArray, Pyramid]] = {}

    # ── what counts at each row ─────────────────────────────────────

    def ranges(self, group: Group) -> Ranges:
        """Where the events stand that count for a group."""
        reach, rows = self._reach_of(group), self.rows
        end = reach.end
        if self._delay is not None:
            # The earliest known event is known no longer than this before it happens.
            latest = rows.t_us + 1 + max(0, -int(self._delay.min()))
            if group.window_us is not None and group.slide_us is not None:
                latest = np.minimum(latest, rows.t_us - rows.t_us % group.slide_us + group.closes_us)
            end = self._before(latest)
        return Ranges(reach.start, np.maximum(reach.settled, reach.start), end, end)

    def counts(self, candidates: Items) -> BoolArray:
        """Which events, of places in a row's window, count at the row."""
        known: BoolArray = self._known_us[self.number[candidates.at]] <= self.rows.t_us[candidates.row]
        return known

    def count(self, group: Group) -> IntArray:
        """How many events count at each row."""
        reach = self._reach_of(group)
        rows = reach.end - reach.start - reach.lates_between
        return rows if reach.late is None else rows + (reach.late.started - reach.late.ended)

    def total(self, group: Group, track: IntArray) -> IntArray:
        """The sum of a number of each event, over the events that count."""
        reach, before = self._reach_of(group), self._running(track)
        total: IntArray = before[reach.end] - before[reach.start]
        if reach.late is not None:
            late = track[reach.late.places]
            total += prefix(late[reach.late.by_start])[reach.late.started] - prefix(late)[reach.late.ended]
        return total

    def greatest(self, group: Group, values: IntArray) -> IntArray:
        """The greatest value of the events that count; ``NONE`` where none does."""
        reach, gaps = self._reach_of(group), self._gaps_of(group)
        windowed = group.window_us is not None
        best = self._pyramid(values, windowed=windowed).greatest(reach.start, reach.settled if windowed else reach.end)
        if gaps is not None:
            best = np.maximum(best, raised(len(best), gaps.first, gaps.end, values[gaps.places]))
        elif not windowed and reach.late is not None:
            late = Pyramid(values[reach.late.places[reach.late.by_start]])
            best = np.maximum(best, late.greatest(reach.late.ended, reach.late.started))
        return best

    def last(self, group: Group, has_value: BoolArray | None) -> IntArray:
        """The number of the last event that counts and has a value; -1 where there is none."""
        place = self._last_place(group, has_value)
        if not len(self.number):
            return np.full(len(place), -1)
        return np.where(place == NONE, -1, self.number[np.maximum(place, 0)])

    def _last_place(self, group: Group, has_value: BoolArray | None) -> IntArray:
        reach, gaps = self._reach_of(group), self._gaps_of(group)
        windowed = group.window_us is not None
        frame = self.in_frame if windowed else self._punctual
        end = reach.settled if windowed else reach.end
        last = end - 1
        if frame is not None or has_value is not None:
            seen = np.ones(len(self.number), np.bool_)
            for mask in (frame, has_value):
                seen = seen if mask is None else seen & mask
            last = _running_last(np.where(seen, np.arange(len(seen)), -1), end)
        best = np.where(last >= reach.start, last, NONE)
        if gaps is not None:
            places = gaps.places
            values = places if has_value is None else np.where(has_value[places], places, NONE)
            best = np.maximum(best, raised(len(best), gaps.first, gaps.end, values))
        elif not windowed and reach.late is not None:
            places = reach.late.places[reach.late.by_start]
            values = places if has_value is None else np.where(has_value[places], places, -1)
            late = _running_last(values, reach.late.started)
            best = np.maximum(best, np.where(late >= reach.start, late, NONE))
        return best

    def _running(self, track: IntArray) -> IntArray:
        """Running totals of a track over the events that are known at once."""
        if id(track) not in self._totals:
            counted = track if self._punctual is None else np.where(self._punctual, track, 0)
            self._totals[id(track)] = (track, prefix(counted))  # the track is kept, so that no other array gets its id
        return self._totals[id(track)][1]

    def _pyramid(self, values: IntArray, *, windowed: bool) -> Pyramid:
        frame = self.in_frame if windowed else self._punctual
        key = (id(values), frame is self._punctual)
        if key not in self._pyramids:
            self._pyramids[key] = (values, Pyramid(values if frame is None else np.where(frame, values, NONE)))
        return self._pyramids[key][1]

    # ── where windows lie ───────────────────────────────────────────

    def _reach_of(self, group: Group) -> Reach:
        """Where a group's windows lie; that of the latest group is kept."""
        if self._latest_reach is None or self._latest_reach[0] is not group:
            self._latest_reach = (group, self._reach(group))
        return self._latest_reach[1]

    def _gaps_of(self, group: Group) -> Gaps | None:
        """The gaps of a group's frames; those of the latest group are kept."""
        if self._latest_gaps is None or self._latest_gaps[0] is not group:
            self._latest_gaps = (group, self._gaps(group))
        return self._latest_gaps[1]

    def _reach(self, group: Group) -> Reach:
        """Where a group's windows lie."""
        rows = self.rows
        now = self._before(rows.t_us + 1)
        if group.window_us is None or group.slide_us is None:
            start = np.searchsorted(self._packed, rows.key * self._packing.span)
            end = now
            settled = self._before(rows.t_us + 1 - self._settle_us) if self._settle_us else now
        else:
            tile = rows.t_us - rows.t_us % group.slide_us
            start = self._before(tile + group.opens_us)
            closes = tile + group.closes_us
            end = now if not group.offset_us else self._before(np.minimum(rows.t_us + 1, closes))
            settled = end
            if self._settle_us:
                settled = self._before(np.minimum(rows.t_us + 1 - self._settle_us, closes))
        if not len(self._lates):
            return Reach(start, end, settled, None, 0)
        between = np.searchsorted(self._lates, end) - np.searchsorted(self._lates, start)
        return Reach(start, end, settled, self._late(group, start), between)

    def _gaps(self, group: Group) -> Gaps | None:
        """The events that count where a windowed group's frame does not hold them; None where there are none."""
        if self._delay is None or self.in_frame is None or group.window_us is None:
            return None
        framed = self.in_frame
        places = np.flatnonzero(~framed | (self._delay != self._settle_us)) if self._settle_us else self._lates
        starts, ends = self._active(group, places)
        if self._settle_us:
            ts_us = self._ts_us[self.number[places]]
            ends = np.where(framed[places], np.minimum(ends, ts_us + self._settle_us), ends)
        live = starts < ends
        places, starts, ends = places[live], starts[live], ends[live]
        packing = Packing.of(self.rows.t_us)
        packed, key = packing.packed(self.rows.key, self.rows.t_us), self.key[places]
        first = np.searchsorted(packed, packing.packed(key, starts))
        end = np.searchsorted(packed, packing.packed(key, ends))
        live = first < end
        return Gaps(places[live], first[live], end[live])

    def _delays(self, cache: ColumnCache) -> IntArray | None:
        if cache.known_us is cache.ts_us:
            return None
        delay = cache.known_us[self.number] - cache.ts_us[self.number]
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
        """The order in which all late events became known; groups in which each counts from then on share it."""
        if self._starts is None:
            self._starts = self._by(self._lates, known_us)
        return self._starts

    def _by(self, places: IntArray, starts: IntArray) -> tuple[IntArray, Packing, IntArray]:
        packing = Packing.of(starts)
        packed = packing.packed(self.key[places], starts)
        order = order_of(packed)
        return (np.arange(len(packed)), packing, packed) if order is None else (order, packing, packed[order])


def _order_ties(packed: IntArray, number: IntArray, cache: ColumnCache) -> None:
    """Put events of one entity and time in the order of their positions."""
    same = packed[1:] == packed[:-1]
    if not same.any():
        return
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    numbers = number[tied]
    number[tied] = numbers[np.lexsort((cache.position()[numbers], packed[tied]))]


def _running_last(values: IntArray, end: IntArray) -> IntArray:
    """The greatest of the values before each place; -1 where there is none."""
    running = np.append(np.maximum.accumulate(values), -1)
    return running[end - 1]
