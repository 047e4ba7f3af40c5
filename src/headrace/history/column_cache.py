"""The columns of events that are in memory while a view is computed: each is read once, however many threads ask."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from headrace.aggregates import BoolArray, IntArray
from headrace.history.join_plan import JoinPlan, StateKind
from headrace.history.log_events import Cells, Events
from headrace.plan import Feature

__all__ = ["ColumnCache"]


class ColumnCache:
    """Columns of events.

    Args:
        events: The events.
        plan: The view's part of the join plan: the columns it needs are read at once.
        trusting: Whether to assume that a column has no nulls, if only last values of it are asked and the files do not
            say. The assumption was right if no last value is null. Else the values must be computed again without it.

    Attributes:
        trusted: The columns that were assumed to have no nulls.
    """

    def __init__(self, events: Events, plan: JoinPlan, *, trusting: bool = False) -> None:
        self.events = events
        self.key_id = events.key_id
        self.ts_us = events.ts_us
        self.known_us = events.known_us
        self._lock = Lock()
        self._position: IntArray | None = None
        summed = _needed(plan, (StateKind.SUM, StateKind.MIN, StateKind.MAX))
        self._cells: dict[str, Cells] = {column: events.cells(column) for column in summed}
        counted = [column for column in _needed(plan, (StateKind.COUNT,)) if column not in summed]
        self.trusted: list[str] = []
        for column in _needed(plan, (StateKind.LAST,)):
            if trusting and column not in (*summed, *counted) and events.is_full(column) is None:
                self.trusted.append(column)
            elif column not in (*summed, *counted):
                counted.append(column)
        self._valid = {column: events.valid(column) for column in counted} | dict.fromkeys(self.trusted)
        self._valid |= {column: cells.valid for column, cells in self._cells.items()}
        filters = dict.fromkeys(feature.where for feature in plan.state_features if feature.where is not None)
        self._passes = {column: _true(events.cells(column)) for column in filters}

    def cells(self, column: str) -> Cells:
        """The values of a column of which a sum, the least or the greatest is asked."""
        return self._cells[column]

    def valid(self, column: str) -> BoolArray | None:
        """Where a column is not null; None where it never is."""
        valid: BoolArray | None = self._valid[column]
        return valid

    def alike(self, feature: Feature) -> tuple[str | None, str | None]:
        """What decides which event is the last one; features of a window for which it is equal share the event."""
        return (feature.column if self.valid(feature.column) is not None else None, feature.where)

    def passes(self, where: str) -> BoolArray:
        """Where a filter is true."""
        return self._passes[where]

    def position(self) -> IntArray:
        """Source positions as one number that orders like (partition, offset)."""
        with self._lock:
            if self._position is None:
                self._position = self.events.position()
            return self._position


def _needed(plan: JoinPlan, kinds: Iterable[StateKind]) -> list[str]:
    wanted = tuple(kinds)
    return list(dict.fromkeys(s.column for s in plan.states if s.kind in wanted and s.column is not None))


def _true(cells: Cells) -> BoolArray:
    passes: BoolArray = cells.data.astype(bool)
    return passes if cells.valid is None else passes & cells.valid
