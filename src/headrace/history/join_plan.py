"""What to join, and by which bounds: the plan of a point-in-time join, before any SQL.

A view's features fall into groups that share a window. Each group needs a few states (how many events, the sum of a
column, its greatest value), and each feature is read off the states of its group.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from headrace.aggregates import AGGREGATES
from headrace.errors import PlanError
from headrace.plan import DType, Feature, FeatureRef, Plan, Source, View

__all__ = ["AsOf", "Group", "State", "StateKind", "TimeBounds", "ViewMatch", "match_views"]


class AsOf(StrEnum):
    """By what an event counts as known at a moment.

    `known`: its `known_at`, what a lookup at that moment would have been served. `event`: its own time, what an ideal
    pipeline without delay would have served. `evidence`: its offset, what a lookup that was served says it knew.
    """

    KNOWN = "known"
    EVENT = "event"
    EVIDENCE = "evidence"


class StateKind(StrEnum):
    """What a state keeps of the events that count."""

    ROWS = "rows"
    COUNT = "count"
    SUM = "sum"
    MIN = "min"
    MAX = "max"
    LAST = "last"


class State(NamedTuple):
    """A part of a feature.

    Attributes:
        kind: What it keeps.
        column: Of which column; None for the number of events.
        where: The filter that events must pass; None is none.
    """

    kind: StateKind
    column: str | None = None
    where: str | None = None

    @property
    def is_total(self) -> bool:
        """Whether an event that stops counting can be taken away again."""
        return self.kind in (StateKind.ROWS, StateKind.COUNT, StateKind.SUM)


_STATES: dict[str, tuple[StateKind, ...]] = {
    "count": (StateKind.COUNT,),
    "sum": (StateKind.SUM,),
    "mean": (StateKind.SUM, StateKind.COUNT),
    "min": (StateKind.MIN,),
    "max": (StateKind.MAX,),
    "last": (StateKind.LAST,),
}


class TimeBounds(NamedTuple):
    """Event times that can matter, in µs, both ends included; None is no bound."""

    from_us: int | None
    until_us: int | None


@dataclass(frozen=True)
class Group:
    """Features of one window.

    Attributes:
        number: Its number in the view, from 1.
        window_us: The window's length in µs; None is a lifetime.
        slide_us: Its slide in µs; None exactly where ``window_us`` is None.
        features: The features.
        offset_us: How far back the window ends, in µs.
    """

    number: int
    window_us: int | None
    slide_us: int | None
    features: tuple[Feature, ...]
    offset_us: int = 0

    @property
    def states(self) -> tuple[State, ...]:
        """What its features need, each once."""
        return tuple(dict.fromkeys(state for feature in self.features for state in states_of(feature)))

    @property
    def totals(self) -> tuple[State, ...]:
        """The states from which an event can be taken away."""
        return tuple(state for state in self.states if state.is_total)

    @property
    def extremes(self) -> tuple[State, ...]:
        """The states from which it cannot: least, greatest, last."""
        return tuple(state for state in self.states if not state.is_total)

    @property
    def opens_us(self) -> int:
        """Where a windowed group's window opens, from the start of the moment's tile, in µs."""
        return self.closes_us - (self.window_us or 0)

    @property
    def closes_us(self) -> int:
        """Where it closes: with the moment's tile, unless it has an offset."""
        return (self.slide_us or 0) - self.offset_us

    def bounds(self, first_us: int, last_us: int, as_of: AsOf) -> TimeBounds:
        """The event times that can count.

        Args:
            first_us: The first moment asked for.
            last_us: The last.
            as_of: By what events are known.
        """
        if self.window_us is None or self.slide_us is None:
            # By its own time no event after the last moment is known; by another measure it may be dated ahead.
            return TimeBounds(None, last_us if as_of is AsOf.EVENT else None)
        end_of_last = last_us - last_us % self.slide_us + self.closes_us - 1
        return TimeBounds(
            first_us - first_us % self.slide_us + self.opens_us,
            min(last_us, end_of_last) if as_of is AsOf.EVENT else end_of_last,
        )


@dataclass(frozen=True)
class ViewMatch:
    """What is asked of one view.

    Attributes:
        view: The view.
        source: Its source, as the view sees it.
        groups: Those of its features that are read off running totals and frames, by window.
        gathered: The others, by window: their events are gathered, and aggregated by the code that the stream runs.
        features: The features asked for, in their order.
    """

    view: View
    source: Source
    groups: tuple[Group, ...]
    gathered: tuple[Group, ...]
    features: tuple[Feature, ...]

    @property
    def queried(self) -> tuple[Feature, ...]:
        """The features of its groups, in the order asked for."""
        names = {feature.name for group in self.groups for feature in group.features}
        return tuple(feature for feature in self.features if feature.name in names)

    def only(self, features: Collection[str]) -> ViewMatch:
        """The match of some of its groups' features."""
        groups = (
            replace(group, features=tuple(one for one in group.features if one.name in features))
            for group in self.groups
        )
        chosen = tuple(one for one in self.queried if one.name in features)
        return ViewMatch(self.view, self.source, tuple(group for group in groups if group.features), (), chosen)

    @property
    def columns(self) -> tuple[str, ...]:
        """The event columns that are read, each once."""
        every = (feature for group in (*self.groups, *self.gathered) for feature in group.features)
        return tuple(dict.fromkeys(name for feature in every for name in feature.columns))

    @property
    def states(self) -> tuple[State, ...]:
        """The states of all its groups, each once."""
        return tuple(dict.fromkeys(state for group in self.groups for state in group.states))

    @property
    def needs_order(self) -> bool:
        """Whether events must be put in order, for ``last``."""
        return any(state.kind is StateKind.LAST for state in self.states)

    def bounds(self, first_us: int, last_us: int, as_of: AsOf) -> TimeBounds:
        """The event times that can count for any of its features; see ``Group.bounds``."""
        every = [group.bounds(first_us, last_us, as_of) for group in (*self.groups, *self.gathered)]
        starts = [bounds.from_us for bounds in every if bounds.from_us is not None]
        ends = [bounds.until_us for bounds in every if bounds.until_us is not None]
        return TimeBounds(
            min(starts) if len(starts) == len(every) else None,
            max(ends) if len(ends) == len(every) else None,
        )


def is_queried(feature: Feature, *, by_evidence: bool = False) -> bool:
    """Whether a feature is read off running totals and frames; by evidence, only of all events in a window that ends now."""
    plain = feature.where is None and not feature.offset_us
    is_extreme_text = feature.function in ("min", "max") and feature.dtype is DType.STRING
    is_number = not is_extreme_text and feature.dtype.scale is None
    return feature.function in _STATES and not feature.params and is_number and (plain or not by_evidence)


def states_of(feature: Feature) -> tuple[State, ...]:
    """The states that a queried feature is read off."""
    if feature.function == "count" and feature.column == "*":
        return (State(StateKind.ROWS, None, feature.where),)
    return tuple(State(kind, feature.column, feature.where) for kind in _STATES[feature.function])


def match_views(plan: Plan, refs: Iterable[FeatureRef], *, by_evidence: bool = False) -> list[ViewMatch]:
    """Sort the features asked for by view and by window.

    Args:
        plan: The plan.
        refs: The features, as ``Plan.resolve`` gives them.
        by_evidence: Whether events count by what a lookup says it knew.

    Returns:
        One match per view, in the order in which the views first appear.
    """
    asked: dict[str, list[Feature]] = {}
    for ref in refs:
        asked.setdefault(ref.view, []).append(plan.views[ref.view].feature(ref.feature))
    return [_match(plan, plan.views[name], features, by_evidence=by_evidence) for name, features in asked.items()]


def _match(plan: Plan, view: View, features: Sequence[Feature], *, by_evidence: bool) -> ViewMatch:
    source = view.sees(plan.source_of(view))
    for feature in features:
        if feature.function not in AGGREGATES:
            msg = f"The plan's feature {feature.name!r} has a function that this headrace does not know: {feature.function}."
            raise PlanError(msg, hint="Run `headrace apply` with this version.")
    queried = _by_window([feature for feature in features if is_queried(feature, by_evidence=by_evidence)])
    gathered = _by_window([feature for feature in features if not is_queried(feature, by_evidence=by_evidence)])
    match = ViewMatch(view, source, queried, gathered, tuple(features))
    _refuse_names_alike(source, {*match.columns, *view.join_keys})
    return match


def _by_window(features: Iterable[Feature]) -> tuple[Group, ...]:
    found: dict[tuple[int | None, int | None, int], list[Feature]] = {}
    for feature in features:
        found.setdefault((feature.window_us, feature.slide_us, feature.offset_us), []).append(feature)
    return tuple(
        Group(number, window, slide, tuple(members), offset)
        for number, ((window, slide, offset), members) in enumerate(found.items(), 1)
    )


def _refuse_names_alike(source: Source, needed: Iterable[str]) -> None:
    """DuckDB does not tell names apart that differ only in case."""
    alike: Mapping[str, list[str]] = {name.lower(): [] for name in needed}
    for column in source.columns:
        alike.get(column.name.lower(), []).append(column.name)
    for names in alike.values():
        if len(names) > 1:
            msg = f"The source {source.name!r} has columns that differ only in case: {', '.join(names)}."
            raise PlanError(msg, hint="Rename one of them in the event's model and run `headrace apply`.")
