"""What to join, and by which bounds: the plan of one view's point-in-time join, as data that any engine can run.

A view's features fall into groups that share a window. Each group needs a few states (how many events, the sum of a
column, its greatest value), and each feature is read from the states of its group. Features that have no such states
are aggregated by the code that the stream runs.

The plan is JSON (`JoinPlan.model_dump_json`). This module imports neither numpy nor Arrow nor DuckDB.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from headrace.plan import DType, Feature, FeatureRef, Plan, Source, View

__all__ = ["AsOf", "Group", "JoinPlan", "State", "StateKind", "TimeBounds", "plan_joins"]


class AsOf(StrEnum):
    """What makes an event count at a row, beside the window.

    `known`: the event was known by the row's time. It gives what a lookup at that time would have been served.
    `event`: the event happened by the row's time. It gives what a pipeline without delay would have served.
    `evidence`: the row's evidence covers the event's offset. It gives what the lookup with this evidence should have
    been served.
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
        where: The filter that events must pass; None is no filter.
    """

    kind: StateKind
    column: str | None = None
    where: str | None = None


_STATES: dict[str, tuple[StateKind, ...]] = {
    "count": (StateKind.COUNT,),
    "sum": (StateKind.SUM,),
    "mean": (StateKind.SUM, StateKind.COUNT),
    "min": (StateKind.MIN,),
    "max": (StateKind.MAX,),
    "last": (StateKind.LAST,),
}


class TimeBounds(NamedTuple):
    """Event times that can matter, in µs, both ends included; None is no bound.

    `known_until_us` is the time until which they must have become known.
    """

    from_us: int | None
    until_us: int | None
    known_until_us: int | None = None


class Group(BaseModel):
    """Features of one window.

    Attributes:
        number: Its number in the view, from 1.
        window_us: The window's length in µs; None is a lifetime.
        slide_us: Its slide in µs; None exactly where ``window_us`` is None.
        features: The features.
        offset_us: How far back the window ends, in µs.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    window_us: int | None
    slide_us: int | None
    features: tuple[Feature, ...] = ()
    offset_us: int = 0

    @property
    def states(self) -> tuple[State, ...]:
        """What its features need, each once."""
        return tuple(dict.fromkeys(state for feature in self.features for state in states_of(feature)))

    @property
    def opens_us(self) -> int:
        """Where a windowed group's window opens, in µs from the start of the row's tile."""
        return self.closes_us - (self.window_us or 0)

    @property
    def closes_us(self) -> int:
        """Where it closes: with the row's tile, unless it has an offset."""
        return (self.slide_us or 0) - self.offset_us

    def bounds(self, first_us: int, last_us: int, as_of: AsOf) -> TimeBounds:
        """The event times that can count.

        Args:
            first_us: The first time asked for.
            last_us: The last.
            as_of: What makes an event count.
        """
        if self.window_us is None or self.slide_us is None:
            # An event may be dated after the row's time and still be known by then, unless its own time decides.
            return TimeBounds(None, last_us if as_of is AsOf.EVENT else None)
        end_of_last = last_us - last_us % self.slide_us + self.closes_us - 1
        return TimeBounds(
            first_us - first_us % self.slide_us + self.opens_us,
            min(last_us, end_of_last) if as_of is AsOf.EVENT else end_of_last,
        )


class JoinPlan(BaseModel):
    """The part of a join plan for one view.

    Attributes:
        view: The view.
        source: Its source, as the view sees it.
        as_of: What makes an event count at a row.
        groups: By window, the features that are read from states.
        gathered: By window, the others: their events are gathered and aggregated by the code that the stream runs.
        features: The features asked for, in their order.
    """

    model_config = ConfigDict(frozen=True)

    view: View
    source: Source
    as_of: AsOf
    groups: tuple[Group, ...]
    gathered: tuple[Group, ...]
    features: tuple[Feature, ...]

    @property
    def state_features(self) -> tuple[Feature, ...]:
        """The features of its groups, in the order asked for."""
        names = {feature.name for group in self.groups for feature in group.features}
        return tuple(feature for feature in self.features if feature.name in names)

    def only(self, features: Collection[str]) -> JoinPlan:
        """The plan of some of its groups' features."""
        groups = (
            group.model_copy(update={"features": tuple(one for one in group.features if one.name in features)})
            for group in self.groups
        )
        return self.model_copy(
            update={
                "groups": tuple(group for group in groups if group.features),
                "gathered": (),
                "features": tuple(one for one in self.state_features if one.name in features),
            }
        )

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
        """Whether events of one time must be put in order, for ``last``."""
        return any(state.kind is StateKind.LAST for state in self.states)

    def bounds(self, first_us: int, last_us: int) -> TimeBounds:
        """The event times that can count for any of its features; see ``Group.bounds``."""
        every = [group.bounds(first_us, last_us, self.as_of) for group in (*self.groups, *self.gathered)]
        starts = [bounds.from_us for bounds in every if bounds.from_us is not None]
        ends = [bounds.until_us for bounds in every if bounds.until_us is not None]
        return TimeBounds(
            min(starts) if len(starts) == len(every) else None,
            max(ends) if len(ends) == len(every) else None,
        )


def has_states(feature: Feature) -> bool:
    """Whether a feature is read from states; the others need their events gathered."""
    is_extreme_text = feature.function in ("min", "max") and feature.dtype is DType.STRING
    return feature.function in _STATES and not feature.params and not is_extreme_text and feature.dtype.scale is None


def states_of(feature: Feature) -> tuple[State, ...]:
    """The states that a feature is read from."""
    if feature.function == "count" and feature.column == "*":
        return (State(StateKind.ROWS, None, feature.where),)
    return tuple(State(kind, feature.column, feature.where) for kind in _STATES[feature.function])


def plan_joins(plan: Plan, refs: Iterable[FeatureRef], as_of: AsOf) -> list[JoinPlan]:
    """Sort the features asked for by view and by window.

    Args:
        plan: The plan.
        refs: The features, as ``Plan.resolve`` gives them.
        as_of: What makes an event count.

    Returns:
        One join plan per view, in the order in which the views first appear.
    """
    asked: dict[str, list[Feature]] = {}
    for ref in refs:
        asked.setdefault(ref.view, []).append(plan.views[ref.view].feature(ref.feature))
    return [_plan_of(plan, plan.views[name], features, as_of) for name, features in asked.items()]


def _plan_of(plan: Plan, view: View, features: Sequence[Feature], as_of: AsOf) -> JoinPlan:
    return JoinPlan(
        view=view,
        source=view.sees(plan.source_of(view)),
        as_of=as_of,
        groups=_by_window(feature for feature in features if has_states(feature)),
        gathered=_by_window(feature for feature in features if not has_states(feature)),
        features=tuple(features),
    )


def _by_window(features: Iterable[Feature]) -> tuple[Group, ...]:
    found: dict[tuple[int | None, int | None, int], list[Feature]] = {}
    for feature in features:
        found.setdefault((feature.window_us, feature.slide_us, feature.offset_us), []).append(feature)
    return tuple(
        Group(number=number, window_us=window, slide_us=slide, offset_us=offset, features=tuple(members))
        for number, ((window, slide, offset), members) in enumerate(found.items(), 1)
    )
