"""The plan of a request: which tiles, windows and columns of state its features need, and which of them they share.

It is worked out once per request and kept, so that a lookup only reads, merges and computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from headrace.aggregates import Aggregate
from headrace.lookup.batch_lookup import BatchPlan
from headrace.lookup.on_demand import OnDemandPlan
from headrace.lookup.response import Maker, maker
from headrace.lookup.window_spans import WindowGroup, merges_by_column
from headrace.plan import BatchView, DType, FeatureRef, View
from headrace.records.reader import RecordReader
from headrace.windows import Family, FeaturePlace, ViewLayout, Window

__all__ = ["Part", "RequestPlan", "SharedAggregate", "Stack", "ViewPlan"]


class Part(NamedTuple):
    """The windows of one accumulator that features need.

    Attributes:
        group: Which group of windows.
        accumulator: Which accumulator of the group's families.
        windows: Which windows of the group, ascending.
        is_every: Whether those are all windows of the group.
        columns: Per window the features' columns in the answer.
    """

    group: int
    accumulator: int
    windows: tuple[int, ...]
    is_every: bool
    columns: tuple[tuple[str, ...], ...]


Stack = tuple[tuple[int, int, tuple[int, ...] | None], ...]
"""Columns of state to be concatenated: of each its group, its place there, and the windows (None: all)."""


class SharedAggregate(NamedTuple):
    """Features of the same aggregate, whose values are computed in one call: they depend on the state only.

    Attributes:
        aggregate: The aggregate.
        state: Per column of its state, the number of its stack.
        columns: The features' columns in the answer, per window.
    """

    aggregate: Aggregate
    state: tuple[int, ...]
    columns: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ViewPlan:
    """The features that a request asks for from one view, and how to compute them.

    Attributes:
        layout: The view's layout.
        reader: Reads its records.
        refs: The features asked for.
        groups: The windows over its families of tiles, grouped.
        stacks: The concatenated columns of state for `shared`.
        shared: The features that are computed together.
        single: The other features.
    """

    layout: ViewLayout
    reader: RecordReader
    refs: tuple[FeatureRef, ...]
    groups: tuple[WindowGroup, ...]
    stacks: tuple[Stack, ...]
    shared: tuple[SharedAggregate, ...]
    single: tuple[Part, ...]

    @classmethod
    def of(cls, layout: ViewLayout, refs: Sequence[FeatureRef]) -> ViewPlan:
        """Plan some features of a view."""
        reader = RecordReader(layout)
        groups = _groups(layout, reader, [layout.places[ref.feature] for ref in refs])
        shared: dict[tuple[object, ...], list[Part]] = {}
        single: list[Part] = []
        for part in _parts(layout, refs, groups):
            family = groups[part.group].families[0]
            aggregate = family.accumulators[part.accumulator].aggregate
            if merges_by_column(family, part.accumulator) and type(aggregate).value is Aggregate.value:
                shared.setdefault((type(aggregate), aggregate.dtype, aggregate.params), []).append(part)
            else:
                single.append(part)
        stacks: dict[Stack, int] = {}
        together = tuple(_shared(groups, parts, stacks) for parts in shared.values())
        return cls(layout, reader, tuple(refs), groups, tuple(stacks), together, tuple(single))


@dataclass(frozen=True)
class RequestPlan:
    """What a request asks for.

    Attributes:
        of_views: The plan of each view, by name.
        views: The views.
        topics: Their topics, by view's name.
        dtypes: The features' types by column, in the order asked for.
        makers: What makes Python values of each feature's; see `FeatureValues`.
        batch: The plan of each batch view.
        keyed: All views whose entity keys are needed, of both kinds.
        on_demand: The on-demand views asked for; then `dtypes` and `makers` also have the features that these read.
    """

    of_views: dict[str, ViewPlan]
    views: tuple[View, ...]
    topics: dict[str, str]
    dtypes: dict[str, DType]
    makers: dict[str, Maker | None]
    batch: tuple[BatchPlan, ...] = ()
    keyed: tuple[View | BatchView, ...] = ()
    on_demand: OnDemandPlan | None = None

    @classmethod
    def of(
        cls,
        refs: Sequence[FeatureRef],
        layouts: Mapping[str, ViewLayout],
        batch_views: Mapping[str, BatchView] = {},
        on_demand: OnDemandPlan | None = None,
    ) -> RequestPlan:
        """Plan a request for some stored features.

        Args:
            refs: The features.
            layouts: The layouts of their stream views, by name.
            batch_views: Their batch views, by name.
            on_demand: What is computed of them.
        """
        dtypes = {ref.column: _dtype(ref, layouts, batch_views) for ref in refs}
        views = tuple(layout.view for layout in layouts.values())
        return cls(
            {name: ViewPlan.of(layout, [ref for ref in refs if ref.view == name]) for name, layout in layouts.items()},
            views,
            {name: layout.source.topic for name, layout in layouts.items()},
            dtypes,
            {column: maker(dtype) for column, dtype in dtypes.items()},
            tuple(BatchPlan.of(view, [ref for ref in refs if ref.view == name]) for name, view in batch_views.items()),
            (*views, *batch_views.values()),
            on_demand,
        )


def _dtype(ref: FeatureRef, layouts: Mapping[str, ViewLayout], batch_views: Mapping[str, BatchView]) -> DType:
    view = layouts[ref.view].view if ref.view in layouts else batch_views[ref.view]
    return view.feature(ref.feature).dtype


def _groups(layout: ViewLayout, reader: RecordReader, places: Sequence[FeaturePlace]) -> tuple[WindowGroup, ...]:
    asked = {place.family for place in places}
    groups: dict[tuple[object, ...], dict[int, Family]] = {}
    for number, family in enumerate(layout.families):
        # Families whose tiles are only asked for whether there are any have a group of their own.
        groups.setdefault((reader.run_of(number), number in asked, *_contents(family)), {})[number] = family
    widest = {number: _widest(layout, number) for number in range(len(layout.families))}
    return tuple(
        WindowGroup.of(reader.run_of(min(group)), group, [place for place in places if place.family in group], widest)
        for group in groups.values()
    )


def _contents(family: Family) -> list[tuple[object, ...]]:
    """The contents of a family's tiles, accumulator by accumulator."""
    return [
        (one.column, one.where, type(one.aggregate), one.aggregate.dtype, one.aggregate.params)
        for one in family.accumulators
    ]


def _parts(layout: ViewLayout, refs: Sequence[FeatureRef], groups: Sequence[WindowGroup]) -> list[Part]:
    of_family = {family: number for number, group in enumerate(groups) for family in group.numbers}
    columns: dict[tuple[int, int], dict[int, list[str]]] = {}
    for ref in refs:
        place = layout.places[ref.feature]
        group = of_family[place.family]
        window = groups[group].window_of(place)
        columns.setdefault((group, place.accumulator), {}).setdefault(window, []).append(ref.column)
    parts: list[Part] = []
    for (group, accumulator), by_window in columns.items():
        windows = tuple(sorted(by_window))
        names = tuple(tuple(by_window[window]) for window in windows)
        parts.append(Part(group, accumulator, windows, len(windows) == len(groups[group].windows), names))
    return parts


def _shared(groups: Sequence[WindowGroup], parts: Sequence[Part], stacks: dict[Stack, int]) -> SharedAggregate:
    aggregate = groups[parts[0].group].families[0].accumulators[parts[0].accumulator].aggregate
    state: list[int] = []
    for place in range(len(aggregate.state)):
        stack: list[tuple[int, int, tuple[int, ...] | None]] = []
        for part in parts:
            group = groups[part.group]
            slot = group.families[0].slots[part.accumulator][place]
            column = next(number for number, column in enumerate(group.columns) if column.slot == slot)
            stack.append((part.group, column, None if part.is_every else part.windows))
        state.append(stacks.setdefault(tuple(stack), len(stacks)))
    return SharedAggregate(aggregate, tuple(state), tuple(names for part in parts for names in part.columns))


def _widest(layout: ViewLayout, family: int) -> list[Window]:
    """The longest of the windows that end together: one of them counts an event if any window over these tiles does."""
    longest: dict[int, Window] = {}
    for place in layout.places.values():
        if place.family == family:
            known = longest.get(place.window.lag)
            if known is None or (place.window.tiles or 0) > (known.tiles or 0):
                longest[place.window.lag] = place.window
    return list(longest.values())
