"""The features of some entities at their rows, from the entities' events.

Counts and sums are differences of running totals. Those of events known the moment they happen are taken between two places of the timeline; a late
event adds itself where it starts to count, and takes itself away where its window leaves it: two more running totals, over the late ones alone.

The least and greatest of a window are looked up in a pyramid over the timeline, and the last is the last place before the row. What these frames do
not hold (`Timeline.gaps`) is noted at the rows where it counts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headrace.aggregates import Array, BoolArray, IntArray
from headrace.history.column_cache import Held
from headrace.history.join_plan import Group, StateKind, ViewMatch
from headrace.history.prefix_sums import Sums, Tracks, double_sum, integer_sum, prefix, tracks_of
from headrace.history.range_max import NONE, Pyramid, ordered, raised, unordered
from headrace.history.timeline import Gaps, Reach, Rows, Timeline
from headrace.plan import Feature

__all__ = ["Answer", "Shard"]


class Answer(NamedTuple):
    """A feature at rows.

    Attributes:
        data: int64 or float64, shape (rows,); for `last` the number of the event that has the value, or -1.
        valid: Whether there is a value; None where there always is.
    """

    data: Array
    valid: BoolArray | None


class Shard:
    """Some entities' events and rows.

    Args:
        held: All events.
        match: What is asked of the view.
        number: Which events are of these entities; None is all.
        key: Their entities, from 0.
        rows: The entities' rows.
    """

    def __init__(self, held: Held, match: ViewMatch, number: IntArray | None, key: IntArray, rows: Rows) -> None:
        self._held = held
        self._line = Timeline(held, number, key, rows, in_order=match.needs_order)
        self._columns: dict[str, Array] = {}
        self._ranks: dict[tuple[StateKind, str, str | None], tuple[IntArray, bool]] = {}
        self._counts: dict[tuple[str | None, str | None], BoolArray | None] = {}
        self._tracks: dict[tuple[str, str | None], Tracks] = {}
        self._ones: dict[tuple[str | None, str | None], IntArray] = {}
        self._totals: dict[int, tuple[IntArray, IntArray]] = {}
        self._pyramids: dict[tuple[StateKind, str, str | None, bool], Pyramid] = {}

    def answers(self, group: Group) -> dict[str, Answer]:
        """Each of a group's features, by name."""
        reach, gaps = self._line.reach(group), None
        if any(feature.function in ("min", "max", "last") for feature in group.features):
            gaps = self._line.gaps(group)
        answers: dict[str, Answer] = {}
        lasts: dict[tuple[str | None, str | None], Answer] = {}
        for feature in group.features:
            if feature.function == "last":
                alike = self._held.alike(feature)
                if alike not in lasts:
                    lasts[alike] = self._last_event(feature, group, reach, gaps)
                answers[feature.name] = lasts[alike]
            else:
                answers[feature.name] = self._answer(feature, group, reach, gaps)
        return answers

    def _answer(self, feature: Feature, group: Group, reach: Reach, gaps: Gaps | None) -> Answer:
        column, where = feature.column, feature.where
        if feature.function == "count":
            return Answer(self._count(None if column == "*" else column, where, reach), None)
        if feature.function in ("sum", "mean"):
            return self._sum(feature, reach)
        return self._extreme(feature, group, reach, gaps)

    def _last_event(self, feature: Feature, group: Group, reach: Reach, gaps: Gaps | None) -> Answer:
        """The number of the last event that has a value; -1 where there is none."""
        place = self._last(feature.column, feature.where, group, reach, gaps)
        if not len(self._line):
            return Answer(np.full(len(place), -1), None)
        return Answer(np.where(place == NONE, -1, self._line.number[np.maximum(place, 0)]), None)

    # ── what can be taken away ──────────────────────────────────────────────────────────────────────────────────────────

    def _count(self, column: str | None, where: str | None, reach: Reach) -> IntArray:
        counts = self._counted(column, where)
        if counts is None:
            rows = reach.end - reach.start - reach.lates_between
            return rows if reach.late is None else rows + (reach.late.started - reach.late.ended)
        key = (column, where)
        if key not in self._ones:
            self._ones[key] = counts.astype(np.int64)
        return self._total(self._ones[key], reach)

    def _sum(self, feature: Feature, reach: Reach) -> Answer:
        column, where = feature.column, feature.where
        if (column, where) not in self._tracks:
            self._tracks[column, where] = tracks_of(self._data(column), self._counted(column, where))
        tracks = self._tracks[column, where]
        sums: Sums = [self._total(track, reach) for track in tracks.tracks]
        if tracks.shape is not None:
            total, fits = double_sum(sums, tracks.shape), None
            whole: Array = total
        else:
            whole, fits, total = integer_sum(sums)
        if feature.function == "sum":
            return Answer(whole, None if fits is None or fits.all() else fits)
        count = self._count(column, where, reach)
        return Answer(total / np.maximum(count, 1), count > 0)

    def _total(self, track: IntArray, reach: Reach) -> IntArray:
        """The sum of a track over what counts at each row."""
        before = self._running(track)
        total: IntArray = before[reach.end] - before[reach.start]
        if reach.late is not None:
            late = track[reach.late.places]
            total += prefix(late[reach.late.by_start])[reach.late.started] - prefix(late)[reach.late.ended]
        return total

    def _running(self, track: IntArray) -> IntArray:
        """Running totals of a track over the events known the moment they happen."""
        if id(track) not in self._totals:
            punctual = self._line.punctual
            # The track is kept beside its totals, so that no other can get its id.
            self._totals[id(track)] = (track, prefix(track if punctual is None else np.where(punctual, track, 0)))
        return self._totals[id(track)][1]

    # ── what cannot ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _extreme(self, feature: Feature, group: Group, reach: Reach, gaps: Gaps | None) -> Answer:
        kind, column, where = StateKind(feature.function), feature.column, feature.where
        values, unclear = self._ranked(kind, column, where)
        windowed = group.window_us is not None
        frame = self._line.in_frame if windowed else self._line.punctual
        key = (kind, column, where, frame is self._line.punctual)
        if key not in self._pyramids:
            self._pyramids[key] = Pyramid(values if frame is None else np.where(frame, values, NONE))
        best = self._pyramids[key].greatest(reach.start, reach.settled if windowed else reach.end)
        if gaps is not None:
            best = np.maximum(best, raised(len(best), gaps.first, gaps.end, values[gaps.places]))
        elif not windowed and reach.late is not None:
            late = Pyramid(values[reach.late.places[reach.late.by_start]])
            best = np.maximum(best, late.greatest(reach.late.ended, reach.late.started))
        valid = best != NONE
        if unclear:
            valid = self._count(column, where, reach) > 0
        return Answer(unordered(best if kind is StateKind.MAX else ~best, self._held.cells(column).data), valid)

    def _ranked(self, kind: StateKind, column: str, where: str | None) -> tuple[IntArray, bool]:
        """A column's values such that the greatest is wanted; and whether one looks like nothing, which leaves what is there to the count."""
        key = (kind, column, where)
        if key not in self._ranks:
            values, counts = ordered(self._data(column)), self._counted(column, where)
            values = values if kind is StateKind.MAX else ~values
            unclear = bool(len(values)) and int(values.min()) == NONE
            self._ranks[key] = (values if counts is None else np.where(counts, values, NONE), unclear)
        return self._ranks[key]

    def _last(self, column: str, where: str | None, group: Group, reach: Reach, gaps: Gaps | None) -> IntArray:
        """The place of the last event that has a value."""
        counts = self._counted(column, where)
        windowed = group.window_us is not None
        frame = self._line.in_frame if windowed else self._line.punctual
        end = reach.settled if windowed else reach.end
        last = end - 1
        if frame is not None or counts is not None:
            seen = np.ones(len(self._line), np.bool_)
            for mask in (frame, counts):
                seen = seen if mask is None else seen & mask
            last = _running_last(np.where(seen, np.arange(len(seen)), -1), end)
        best = np.where(last >= reach.start, last, NONE)
        if gaps is not None:
            places = gaps.places
            values = places if counts is None else np.where(counts[places], places, NONE)
            best = np.maximum(best, raised(len(best), gaps.first, gaps.end, values))
        elif not windowed and reach.late is not None:
            places = reach.late.places[reach.late.by_start]
            values = places if counts is None else np.where(counts[places], places, -1)
            late = _running_last(values, reach.late.started)
            best = np.maximum(best, np.where(late >= reach.start, late, NONE))
        return best

    # ── columns in the timeline's order ─────────────────────────────────────────────────────────────────────────────────

    def _data(self, column: str) -> Array:
        if column not in self._columns:
            self._columns[column] = self._held.cells(column).data[self._line.number]
        return self._columns[column]

    def _counted(self, column: str | None, where: str | None) -> BoolArray | None:
        """Which events have a value and pass the filter; None where all do."""
        key = (column, where)
        if key not in self._counts:
            valid = None if column is None else self._held.valid(column)
            if where is not None:
                passes = self._held.passes(where)
                valid = passes if valid is None else valid & passes
            self._counts[key] = None if valid is None else valid[self._line.number]
        return self._counts[key]


def _running_last(values: IntArray, end: IntArray) -> IntArray:
    """The greatest of the values before each place; -1 where there is none."""
    running = np.append(np.maximum.accumulate(values), -1)
    return running[end - 1]
