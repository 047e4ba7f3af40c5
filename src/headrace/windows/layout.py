"""How a view's features share tiles: one family of tiles per slide, one accumulator per function and column in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from headrace.aggregates import Aggregate, StateColumn, aggregate_of
from headrace.plan import Feature, Source, View
from headrace.windows.window import Window

__all__ = ["Accumulator", "Family", "FeaturePlace", "ViewLayout"]


@dataclass(frozen=True)
class Accumulator:
    """One aggregate of one column, kept once per tile however many features read it.

    Attributes:
        column: The column; ``"*"`` for all events.
        aggregate: The aggregate.
        where: The column of booleans that says which events count; None for all.
    """

    column: str
    aggregate: Aggregate
    where: str | None = None


@dataclass(frozen=True)
class Family:
    """The tiles of one slide.

    Attributes:
        slide_us: The tile's width in µs; None is the one tile of a lifetime.
        tiles: The most tiles that any window over them looks back, its offset included; None for a lifetime.
        accumulators: What each tile holds.
    """

    slide_us: int | None
    tiles: int | None
    accumulators: tuple[Accumulator, ...]

    @cached_property
    def columns(self) -> tuple[StateColumn, ...]:
        """The state columns of all accumulators, in the order they are stored."""
        return tuple(column for accumulator in self.accumulators for column in accumulator.aggregate.state)


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
        """Lay out a view of a source; the same definition always gives the same layout, for it is how records are read."""
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
    """What features must agree in to share an accumulator."""

    function: str
    params: tuple[int | float, ...]
    column: str
    where: str | None


def _kept(feature: Feature) -> _Kept:
    return _Kept(feature.function, feature.params, feature.column, feature.where)
