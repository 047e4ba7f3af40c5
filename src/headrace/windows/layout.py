"""How a view's features share tiles: one family of tiles per slide, one accumulator per function and column in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from headrace.aggregates import Aggregate, StateColumn, aggregate_of
from headrace.plan import Feature, Source, View
from headrace.windows.window import Window

__all__ = ["Accumulator", "Family", "FeaturePlace", "ViewLayout"]


@dataclass(frozen=True)
class Accumulator:
    """One aggregate of one column, kept once per tile however many features read it."""

    column: str
    aggregate: Aggregate


@dataclass(frozen=True)
class Family:
    """The tiles of one slide.

    Attributes:
        slide_us: The tile's width in µs; None is the one tile of a lifetime.
        tiles: The most tiles that any window over them spans; None for a lifetime.
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
        """Lay out a view; the same definition always gives the same layout, for it is how records are read."""
        by_slide: dict[int | None, list[Feature]] = {}
        for feature in view.features:
            by_slide.setdefault(feature.slide_us, []).append(feature)
        families: list[Family] = []
        places: dict[str, FeaturePlace] = {}
        for number, (slide_us, features) in enumerate(by_slide.items()):
            keys = list(dict.fromkeys((feature.function, feature.column) for feature in features))
            first = {(feature.function, feature.column): feature for feature in reversed(features)}
            spans = [
                feature.window_us // slide_us for feature in features if feature.window_us is not None and slide_us
            ]
            families.append(
                Family(
                    slide_us,
                    max(spans) if spans else None,
                    tuple(Accumulator(key[1], aggregate_of(first[key], source)) for key in keys),
                )
            )
            for feature in features:
                place = keys.index((feature.function, feature.column))
                places[feature.name] = FeaturePlace(number, place, Window(feature.window_us, feature.slide_us))
        return cls(view, source, tuple(families), places)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The event columns that the accumulators read, each once."""
        names = (accumulator.column for family in self.families for accumulator in family.accumulators)
        return tuple(name for name in dict.fromkeys(names) if name != "*")
