"""What a request asks of a view, worked out once: what its features share, so that each lookup does it once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from headrace.aggregates import Aggregate
from headrace.lookup.window_spans import Lot, merges_alone
from headrace.plan import FeatureRef
from headrace.records.reader import RecordReader
from headrace.windows import Family, FeaturePlace, ViewLayout, Window

__all__ = ["Alike", "AskedView", "Part", "Stack"]


class Part(NamedTuple):
    """The windows of a lot that features of one accumulator are of.

    Attributes:
        lot: Which lot.
        accumulator: Which of its families' accumulators.
        windows: Which of its windows, ascending.
        is_every: Whether those are all.
        columns: Per window the features' columns in the answer.
    """

    lot: int
    accumulator: int
    windows: tuple[int, ...]
    is_every: bool
    columns: tuple[tuple[str, ...], ...]


Stack = tuple[tuple[int, int, tuple[int, ...] | None], ...]
"""Columns of state that stand one after the other: of each its lot, its place there, and the windows (None: all)."""


class Alike(NamedTuple):
    """Features of the same aggregate, whose values are computed in one call: they depend on the state alone.

    Attributes:
        aggregate: The aggregate.
        state: Per column of its state, which stack it is.
        columns: The features' columns in the answer, per window.
    """

    aggregate: Aggregate
    state: tuple[int, ...]
    columns: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class AskedView:
    """What a request asks of one view.

    Attributes:
        layout: The view's layout.
        reader: Reads its records.
        refs: The features asked for.
        lots: The families of tiles, those that are alike together.
        stacks: The columns of state that features are computed from together.
        alike: Those features.
        alone: The others.
    """

    layout: ViewLayout
    reader: RecordReader
    refs: tuple[FeatureRef, ...]
    lots: tuple[Lot, ...]
    stacks: tuple[Stack, ...]
    alike: tuple[Alike, ...]
    alone: tuple[Part, ...]

    @classmethod
    def of(cls, layout: ViewLayout, refs: Sequence[FeatureRef]) -> AskedView:
        """Work out what features of a view share."""
        reader = RecordReader(layout)
        lots = _lots(layout, reader, [layout.places[ref.feature] for ref in refs])
        alike: dict[tuple[object, ...], list[Part]] = {}
        alone: list[Part] = []
        for part in _parts(layout, refs, lots):
            family = lots[part.lot].families[0]
            aggregate = family.accumulators[part.accumulator].aggregate
            if merges_alone(family, part.accumulator) and type(aggregate).value is Aggregate.value:
                alike.setdefault((type(aggregate), aggregate.dtype, aggregate.params), []).append(part)
            else:
                alone.append(part)
        stacks: dict[Stack, int] = {}
        together = tuple(_alike(lots, parts, stacks) for parts in alike.values())
        return cls(layout, reader, tuple(refs), lots, tuple(stacks), together, tuple(alone))


def _lots(layout: ViewLayout, reader: RecordReader, places: Sequence[FeaturePlace]) -> tuple[Lot, ...]:
    asked = {place.family for place in places}
    lots: dict[tuple[object, ...], dict[int, Family]] = {}
    for number, family in enumerate(layout.families):
        # Tiles that are only asked whether there are any are not merged with those that are asked for more.
        lots.setdefault((reader.run_of(number), number in asked, *_held(family)), {})[number] = family
    telling = {number: _telling(layout, number) for number in range(len(layout.families))}
    return tuple(
        Lot.of(reader.run_of(min(lot)), lot, [place for place in places if place.family in lot], telling)
        for lot in lots.values()
    )


def _held(family: Family) -> list[tuple[object, ...]]:
    """What a family's tiles hold, accumulator by accumulator."""
    return [
        (one.column, one.where, type(one.aggregate), one.aggregate.dtype, one.aggregate.params)
        for one in family.accumulators
    ]


def _parts(layout: ViewLayout, refs: Sequence[FeatureRef], lots: Sequence[Lot]) -> list[Part]:
    of_family = {family: number for number, lot in enumerate(lots) for family in lot.numbers}
    columns: dict[tuple[int, int], dict[int, list[str]]] = {}
    for ref in refs:
        place = layout.places[ref.feature]
        lot = of_family[place.family]
        window = lots[lot].window_of(place)
        columns.setdefault((lot, place.accumulator), {}).setdefault(window, []).append(ref.column)
    parts: list[Part] = []
    for (lot, accumulator), by_window in columns.items():
        windows = tuple(sorted(by_window))
        names = tuple(tuple(by_window[window]) for window in windows)
        parts.append(Part(lot, accumulator, windows, len(windows) == len(lots[lot].windows), names))
    return parts


def _alike(lots: Sequence[Lot], parts: Sequence[Part], stacks: dict[Stack, int]) -> Alike:
    aggregate = lots[parts[0].lot].families[0].accumulators[parts[0].accumulator].aggregate
    state: list[int] = []
    for place in range(len(aggregate.state)):
        stack: list[tuple[int, int, tuple[int, ...] | None]] = []
        for part in parts:
            lot = lots[part.lot]
            slot = lot.families[0].slots[part.accumulator][place]
            column = next(number for number, column in enumerate(lot.columns) if column.slot == slot)
            stack.append((part.lot, column, None if part.is_every else part.windows))
        state.append(stacks.setdefault(tuple(stack), len(stacks)))
    return Alike(aggregate, tuple(state), tuple(names for part in parts for names in part.columns))


def _telling(layout: ViewLayout, family: int) -> list[Window]:
    """Windows of which at least one counts an event wherever any over these tiles does: of those that end together, the longest."""
    longest: dict[int, Window] = {}
    for place in layout.places.values():
        if place.family == family:
            held = longest.get(place.window.lag)
            if held is None or (place.window.tiles or 0) > (held.tiles or 0):
                longest[place.window.lag] = place.window
    return list(longest.values())
