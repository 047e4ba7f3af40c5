"""Tiles: the merged state of a slide's worth of events, for many groups (records, or rows of a lookup) in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headrace.aggregates import At, BoolArray, IntArray, Order, State, Values
from headrace.windows.layout import Accumulator, Family, FeaturePlace
from headrace.windows.window import tile_of

__all__ = ["NEVER", "Events", "Tiles", "accumulated", "merge_tiles", "prune_tiles", "tile_events", "value_at"]

NEVER = int(np.iinfo(np.int64).min)
"""A time, or a tile, before all others."""


@dataclass(frozen=True)
class Events:
    """What tiling needs of some events, each an array over them.

    Attributes:
        group: The number of the record that the event belongs to.
        ts_us: Event times.
        position: Source positions (partition << 48 | offset).
        known_us: When each became known, as far as the worker can say before the write.
        values: The columns aggregated, by name.
    """

    group: IntArray
    ts_us: IntArray
    position: IntArray
    known_us: IntArray
    values: Mapping[str, Values]


@dataclass(frozen=True)
class Tiles:
    """Tiles of one family, sorted by (group, tile), at most one row for each.

    Attributes:
        group: The number of the group (a record, or a row of a lookup).
        tile: Tile numbers.
        known_us: The newest `known_at` merged into the tile.
        states: One state per accumulator of the family.
    """

    group: IntArray
    tile: IntArray
    known_us: IntArray
    states: tuple[State, ...]

    def __len__(self) -> int:
        return len(self.group)

    def where(self, mask: BoolArray) -> Tiles:
        """The tiles for which `mask` is true."""
        states = tuple(tuple(column[mask] for column in state) for state in self.states)
        return Tiles(self.group[mask], self.tile[mask], self.known_us[mask], states)


def tile_events(family: Family, events: Events) -> Tiles:
    """Put events into the tiles of a family."""
    order = Order(events.ts_us, events.position)
    states = tuple(
        accumulator.aggregate.add(accumulated(accumulator, events.values, events.ts_us), order)
        for accumulator in family.accumulators
    )
    return _merge(family, Tiles(events.group, tile_of(events.ts_us, family.slide_us), events.known_us, states))


def accumulated(accumulator: Accumulator, values: Mapping[str, Values], ts_us: IntArray) -> Values:
    """What an accumulator takes of each event: its column, null where the event is filtered out."""
    taken = Values(ts_us, np.ones(len(ts_us), np.bool_)) if accumulator.column == "*" else values[accumulator.column]
    if accumulator.where is None:
        return taken
    chosen = values[accumulator.where]
    return Values(taken.data, taken.valid & chosen.valid & chosen.data.astype(np.bool_))


def merge_tiles(family: Family, parts: Sequence[Tiles]) -> Tiles:
    """Merge tiles of the same groups; the order of the parts does not matter."""
    states = tuple(
        tuple(np.concatenate(columns) for columns in zip(*(part.states[number] for part in parts), strict=True))
        for number in range(len(family.accumulators))
    )
    group, tile, known = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("group", "tile", "known_us")
    )
    return _merge(family, Tiles(group, tile, known, states))


def _merge(family: Family, rows: Tiles) -> Tiles:
    if not len(rows):
        return rows
    order = np.lexsort((rows.tile, rows.group))
    group, tile = rows.group[order], rows.tile[order]
    starts = np.flatnonzero(np.append(True, (group[1:] != group[:-1]) | (tile[1:] != tile[:-1])))
    states = tuple(
        accumulator.aggregate.merge(tuple(column[order] for column in state), starts)
        for accumulator, state in zip(family.accumulators, rows.states, strict=True)
    )
    return Tiles(group[starts], tile[starts], np.maximum.reduceat(rows.known_us[order], starts), states)


def prune_tiles(family: Family, tiles: Tiles, now_us: IntArray) -> tuple[Tiles, IntArray]:
    """Drop the tiles that no window can reach from now on.

    Args:
        family: Whose tiles they are.
        tiles: The tiles.
        now_us: Now, for each group, shape (groups,).

    Returns:
        What is left, and for each group the newest tile dropped (`NEVER` where none was).
    """
    dropped = np.full(len(now_us), NEVER, np.int64)
    if family.tiles is None:
        return tiles, dropped
    oldest_needed = tile_of(now_us, family.slide_us) - family.tiles + 1
    gone = tiles.tile < oldest_needed[tiles.group]
    if gone.any():
        np.maximum.at(dropped, tiles.group[gone], tiles.tile[gone])
        tiles = tiles.where(~gone)
    return tiles, dropped


def value_at(family: Family, place: FeaturePlace, tiles: Tiles, t_us: IntArray) -> Values:
    """A feature's value for each group.

    Args:
        family: The feature's family.
        place: The feature's place in it.
        tiles: The groups' tiles.
        t_us: The time of each group's lookup, shape (groups,).

    Returns:
        The values, shape (groups,).
    """
    aggregate = family.accumulators[place.accumulator].aggregate
    counted = place.window.reaches(tiles.tile, t_us[tiles.group])
    group = tiles.group[counted]
    state = aggregate.init(len(t_us))
    if len(group):
        starts = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
        merged = aggregate.merge(tuple(column[counted] for column in tiles.states[place.accumulator]), starts)
        for whole, part in zip(state, merged, strict=True):
            whole[group[starts]] = part
    return aggregate.value(state, At(t_us, place.window.length_us))
