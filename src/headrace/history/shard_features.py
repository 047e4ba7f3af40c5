"""The features of some entities at their rows, from a timeline of the entities' events.

A count or a sum is a total over the events that count, the least and greatest are the greatest of values in an order of
their own, and the last is an event. The timeline knows which events count (`timeline.py`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headrace.aggregates import Array, BoolArray, IntArray
from headrace.history.column_cache import ColumnCache
from headrace.history.join_plan import Group, StateKind
from headrace.history.prefix_sums import Sums, Tracks, double_sum, integer_sum, tracks_of
from headrace.history.range_max import NONE, ordered, unordered
from headrace.history.timeline import Timeline
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
        cache: All events.
        timeline: The entities' events and rows.
    """

    def __init__(self, cache: ColumnCache, timeline: Timeline) -> None:
        self._cache = cache
        self._timeline = timeline
        self._columns: dict[str, Array] = {}
        self._ranks: dict[tuple[StateKind, str, str | None], tuple[IntArray, bool]] = {}
        self._counts: dict[tuple[str | None, str | None], BoolArray | None] = {}
        self._tracks: dict[tuple[str, str | None], Tracks] = {}
        self._ones: dict[tuple[str | None, str | None], IntArray] = {}

    def answers(self, group: Group) -> dict[str, Answer]:
        """Each of a group's features, by name."""
        answers: dict[str, Answer] = {}
        lasts: dict[tuple[str | None, str | None], Answer] = {}
        for feature in group.features:
            if feature.function == "last":
                alike = self._cache.alike(feature)
                if alike not in lasts:
                    has_value = self._counted(feature.column, feature.where)
                    lasts[alike] = Answer(self._timeline.last(group, has_value), None)
                answers[feature.name] = lasts[alike]
            else:
                answers[feature.name] = self._answer(feature, group)
        return answers

    def _answer(self, feature: Feature, group: Group) -> Answer:
        column, where = feature.column, feature.where
        if feature.function == "count":
            return Answer(self._count(None if column == "*" else column, where, group), None)
        if feature.function in ("sum", "mean"):
            return self._sum(feature, group)
        return self._extreme(feature, group)

    def _count(self, column: str | None, where: str | None, group: Group) -> IntArray:
        counts = self._counted(column, where)
        if counts is None:
            return self._timeline.count(group)
        key = (column, where)
        if key not in self._ones:
            self._ones[key] = counts.astype(np.int64)
        return self._timeline.total(group, self._ones[key])

    def _sum(self, feature: Feature, group: Group) -> Answer:
        column, where = feature.column, feature.where
        if (column, where) not in self._tracks:
            self._tracks[column, where] = tracks_of(self._data(column), self._counted(column, where))
        tracks = self._tracks[column, where]
        sums: Sums = [self._timeline.total(group, track) for track in tracks.tracks]
        if tracks.shape is not None:
            total, fits = double_sum(sums, tracks.shape), None
            whole: Array = total
        else:
            whole, fits, total = integer_sum(sums)
        if feature.function == "sum":
            return Answer(whole, None if fits is None or fits.all() else fits)
        count = self._count(column, where, group)
        return Answer(total / np.maximum(count, 1), count > 0)

    def _extreme(self, feature: Feature, group: Group) -> Answer:
        kind, column, where = StateKind(feature.function), feature.column, feature.where
        values, unclear = self._ranked(kind, column, where)
        best = self._timeline.greatest(group, values)
        valid = best != NONE
        if unclear:
            valid = self._count(column, where, group) > 0
        return Answer(unordered(best if kind is StateKind.MAX else ~best, self._cache.cells(column).data), valid)

    def _ranked(self, kind: StateKind, column: str, where: str | None) -> tuple[IntArray, bool]:
        """Values to take the greatest of; and whether one equals ``NONE``, so that only the count tells null."""
        key = (kind, column, where)
        if key not in self._ranks:
            values, counts = ordered(self._data(column)), self._counted(column, where)
            values = values if kind is StateKind.MAX else ~values
            unclear = bool(len(values)) and int(values.min()) == NONE
            self._ranks[key] = (values if counts is None else np.where(counts, values, NONE), unclear)
        return self._ranks[key]

    # ── columns in the timeline's order ─────────────────────────────

    def _data(self, column: str) -> Array:
        if column not in self._columns:
            self._columns[column] = self._cache.cells(column).data[self._timeline.number]
        return self._columns[column]

    def _counted(self, column: str | None, where: str | None) -> BoolArray | None:
        """Which events have a value and pass the filter; None where all do."""
        key = (column, where)
        if key not in self._counts:
            valid = None if column is None else self._cache.valid(column)
            if where is not None:
                passes = self._cache.passes(where)
                valid = passes if valid is None else valid & passes
            self._counts[key] = None if valid is None else valid[self._timeline.number]
        return self._counts[key]
