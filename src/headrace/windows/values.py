"""Reading features off tiles: features over the same window share the work of choosing its tiles, and of merging what they have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headrace.aggregates import Array, At, IntArray, State, Values
from headrace.windows.layout import Family, FeaturePlace
from headrace.windows.tiles import Tiles
from headrace.windows.window import Window

__all__ = ["value_at", "values_at"]


def value_at(family: Family, place: FeaturePlace, tiles: Tiles, t_us: IntArray) -> Values:
    """A feature's value for each group; see `values_at`."""
    return values_at(family, (place,), tiles, t_us)[0]


def values_at(family: Family, places: Sequence[FeaturePlace], tiles: Tiles, t_us: IntArray) -> list[Values]:
    """Features' values for each group.

    Args:
        family: The features' family.
        places: Their places in it.
        tiles: The groups' tiles.
        t_us: The time of each group's lookup, shape (groups,).

    Returns:
        Per place the values, shape (groups,).
    """
    counted: dict[Window, _Counted] = {}
    values = []
    for place in places:
        if place.window not in counted:
            counted[place.window] = _Counted(family, place.window, tiles, t_us)
        state = counted[place.window].state(place.accumulator)
        aggregate = family.accumulators[place.accumulator].aggregate
        values.append(aggregate.value(state, At(t_us, place.window.length_us)))
    return values


class _Counted:
    """The tiles that count over one window, merged by group as far as asked for."""

    def __init__(self, family: Family, window: Window, tiles: Tiles, t_us: IntArray) -> None:
        reached = window.reaches(tiles.tile, t_us[tiles.group])
        self._family = family
        self._tiles = tiles if reached.all() else tiles.where(reached)
        self._groups = len(t_us)
        group = self._tiles.group
        self._starts = np.flatnonzero(np.append(True, group[1:] != group[:-1])) if len(group) else group
        self._present = group[self._starts]
        self._columns: dict[int, Array] = {}

    def state(self, accumulator: int) -> State:
        """The state of each group; what no tile counts for has that of no events."""
        aggregate, slots = self._family.accumulators[accumulator].aggregate, self._family.slots[accumulator]
        if not len(self._starts):
            return aggregate.init(self._groups)
        merged = self._merged(accumulator, slots)
        if len(self._starts) == self._groups:
            return merged
        state = aggregate.init(self._groups)
        for whole, part in zip(state, merged, strict=True):
            whole[self._present] = part
        return state

    def _merged(self, accumulator: int, slots: tuple[int, ...]) -> State:
        missing = [slot for slot in slots if slot not in self._columns]
        kept = self._tiles.columns
        if any(self._family.columns[slot].merge is None for slot in missing):
            state = self._family.accumulators[accumulator].aggregate.merge(
                tuple(kept[slot] for slot in slots), self._starts
            )
            self._columns.update(zip(slots, state, strict=True))
        else:
            with np.errstate(invalid="ignore", over="ignore"):
                for slot in missing:
                    pick = self._family.columns[slot].merge
                    self._columns[slot] = pick.reduceat(kept[slot], self._starts)  # type: ignore[union-attr]
        return tuple(self._columns[slot] for slot in slots)
