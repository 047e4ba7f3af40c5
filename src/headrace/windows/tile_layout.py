"""How a view's features share tiles: one family of tiles per slide, with one accumulator per function and column.

State that accumulators of the same column and filter have in common, such as the count of values, is kept once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from headrace.aggregates import Aggregate, StateColumn, aggregate_of
from headrace.plan import Feature, Source, View
from headrace.windows.window import Window

__all__ = ["Accumulator", "Family", "FeaturePlace", "ViewLayout"]


@dataclass(frozen=True)
class Accumulator:
    """One aggregate of one column, kept once per tile, even if several features read it.

    Attributes:
        column: The column; ``"*"`` for all events.
        aggregate: The aggregate.
        where: A column of booleans: only events for which it is true count; None counts all.
    """

    column: str
    aggregate: Aggregate
    where: str | None = None


@dataclass(frozen=True)
class Family:
    """The tiles of one slide.

    Attributes:
        slide_us: The tile's width in µs; None is the one tile of a lifetime.
        tiles: How many tiles the longest window over them looks back, its offset included; None for a lifetime.
        accumulators: The contents of each tile.
    """

    slide_us: int | None
    tiles: int | None
    accumulators: tuple[Accumulator, ...]

    @cached_property
    def columns(self) -> tuple[StateColumn, ...]:
        """The state columns in the order they are stored: those of all accumulators, shared ones once."""
        return self._kept[0]

    @cached_property
    def slots(self) -> tuple[tuple[int, ...], ...]:
        """For each accumulator, the places of its state columns in `columns`."""
        return self._kept[1]

    @cached_property
    def objects(self) -> tuple[int, ...]:
        """The places of the columns that hold Python objects: strings or bytes."""
        return tuple(number for number, column in enumerate(self.columns) if column.kind in ("string", "bytes"))

    @cached_property
    def merged_alone(self) -> tuple[tuple[int, np.ufunc], ...]:
        """The columns that merge independently of others: the place of each, and the ufunc that merges two values."""
        return tuple((number, column.merge) for number, column in enumerate(self.columns) if column.merge is not None)

    @cached_property
    def merged_together(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """The accumulators whose states merge only as a whole, each with the columns that it provides."""
        taken: set[int] = {number for number, _ in self.merged_alone}
        found = []
        for number, slots in enumerate(self.slots):
            new = tuple(slot for slot in slots if slot not in taken)
            if new:
                found.append((number, new))
                taken.update(new)
        return tuple(found)

    @cached_property
    def made_by(self) -> tuple[tuple[int, int], ...]:
        """For each column, the first accumulator that has it, and its place in that accumulator's state."""
        first: dict[int, tuple[int, int]] = {}
        for number, slots in enumerate(self.slots):
            for place, slot in enumerate(slots):
                first.setdefault(slot, (number, place))
        return tuple(first[slot] for slot in range(len(self.columns)))

    @cached_property
    def _kept(self) -> tuple[tuple[StateColumn, ...], tuple[tuple[int, ...], ...]]:
        columns: list[StateColumn] = []
        slots: list[tuple[int, ...]] = []
        shared: dict[tuple[str, str | None, str, str], int] = {}
        for accumulator in self.accumulators:
            mine: list[int] = []
            for column in accumulator.aggregate.state:
                what = (accumulator.column, accumulator.where, column.kind, column.share)
                slot = shared.get(what, len(columns)) if column.share else len(columns)
                if slot == len(columns):
                    columns.append(column)
                if column.share:
                    shared[what] = slot
                mine.append(slot)
            slots.append(tuple(mine))
        return tuple(columns), tuple(slots)


@dataclass(frozen=True)
class FeaturePlace:
    """Where a feature's value comes from: which family, which of its accumulators, over which window."""

    family: int
    accumulator: int
    window: Window


@dataclass(frozen=True)
class ViewLayout:
    """A view's families of tiles, and the place of each feature in them."""

    view: View
    source: Source
    families: tuple[Family, ...]
    places: dict[str, FeaturePlace]

    @classmethod
    def of(cls, view: View, source: Source) -> ViewLayout:
        """Lay out a view of a source. The same definition always gives the same layout: records depend on it."""
        seen = view.sees(source)
        by_slide: dict[int | None, list[Feature]] = {}
        for feature in view.features:
            by_slide.setdefault(feature.slide_us, []).append(feature)
        families: list[Family] = []
        places: dict[str, FeaturePlace] = {}
        for number, (slide_us, features) in enumerate(by_slide.items()):
            first = {_kept(feature): feature for feature in reversed(features)}
            keys = list(dict.fromkeys(_kept(feature) for feature in features))
            spans = [(f.window_us + f.offset_us) // slide_us for f in features if f.window_us is not None and slide_us]
            families.append(
                Family(
                    slide_us,
                    max(spans) if spans else None,
                    tuple(Accumulator(key.column, aggregate_of(first[key], seen), key.where) for key in keys),
                )
            )
            for feature in features:
                window = Window(feature.window_us, feature.slide_us, feature.offset_us)
                places[feature.name] = FeaturePlace(number, keys.index(_kept(feature)), window)
        return cls(view, source, tuple(families), places)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The event columns that the accumulators read, each once."""
        return tuple(dict.fromkeys(name for feature in self.view.features for name in feature.columns))


class _Kept(NamedTuple):
    """Features share an accumulator if all of this is equal."""

    function: str
    params: tuple[int | float, ...]
    column: str
    where: str | None


def _kept(feature: Feature) -> _Kept:
    return _Kept(feature.function, feature.params, feature.column, feature.where)
