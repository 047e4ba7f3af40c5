"""Tiles: the merged state of the events of one slide, for many groups (records, or rows of a lookup) in one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from headrace.aggregates import Array, BoolArray, IntArray, Order, State, Values
from headrace.windows.group_sort import common_keys, row_starts, stable_order
from headrace.windows.tile_layout import Accumulator, Family
from headrace.windows.window import tile_of

__all__ = ["NEVER", "Events", "Tiles", "accumulated", "merge_together", "prune_tiles", "tile_batch", "unreachable"]

NEVER = int(np.iinfo(np.int64).min)
"""A time, or a tile, before all others."""


@dataclass(frozen=True)
class Events:
    """Some events as arrays, with the columns that tiling needs.

    Attributes:
        group: The number of the record that the event belongs to.
        ts_us: Event times.
        position: Source positions (partition << 48 | offset).
        known_us: When each became known, as the worker estimates it before the write.
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

    A row is a sequence of words, so that tiles which a fetch does not change are copied without being decoded.

    Attributes:
        family: The family.
        group: The number of the group (a record, or a row of a lookup).
        rows: Per tile its number, the newest `known_at` merged into it, and a word per state column: floats by their
            bits; undefined where the column holds objects; shape (tiles, 2 + columns).
        objects: The columns of objects, in the family's order.
    """

    family: Family
    group: IntArray
    rows: IntArray
    objects: tuple[Array, ...] = ()

    def __len__(self) -> int:
        return len(self.group)

    @property
    def tile(self) -> IntArray:
        """Tile numbers."""
        return self.rows[:, 0]

    @property
    def known_us(self) -> IntArray:
        """The newest `known_at` merged into each tile."""
        return self.rows[:, 1]

    @cached_property
    def columns(self) -> tuple[Array, ...]:
        """The state columns, as the family numbers them."""
        floats, objects = self.rows.view(np.float64), iter(self.objects)
        numbers: dict[str, Array] = {"int64": self.rows, "float64": floats}
        return tuple(
            numbers[column.kind][:, 2 + number] if column.kind in numbers else next(objects)
            for number, column in enumerate(self.family.columns)
        )

    @cached_property
    def states(self) -> tuple[State, ...]:
        """One state per accumulator of the family."""
        return tuple(tuple(self.columns[slot] for slot in slots) for slots in self.family.slots)

    def where(self, mask: BoolArray) -> Tiles:
        """The tiles for which `mask` is true."""
        return self.take(np.flatnonzero(mask))

    def take(self, numbers: IntArray) -> Tiles:
        """The tiles with these numbers."""
        objects = tuple(column[numbers] for column in self.objects)
        return Tiles(self.family, self.group[numbers], self.rows.take(numbers, axis=0), objects)

    def regrouped(self, group: IntArray) -> Tiles:
        """The tiles with other group numbers; they may need sorting then."""
        return Tiles(self.family, group, self.rows, self.objects)

    @classmethod
    def of(cls, family: Family, group: IntArray, tile: IntArray, known_us: IntArray, columns: Sequence[Array]) -> Tiles:
        """Tiles from their columns."""
        rows = np.empty((len(group), 2 + len(family.columns)), np.int64)
        floats = rows.view(np.float64)
        rows[:, 0], rows[:, 1] = tile, known_us
        objects: list[Array] = []
        for number, (described, column) in enumerate(zip(family.columns, columns, strict=True)):
            if described.kind in ("string", "bytes"):
                objects.append(column)
                rows[:, 2 + number] = 0
            else:
                (floats if described.kind == "float64" else rows)[:, 2 + number] = column
        return cls(family, group, rows, tuple(objects))


def tile_batch(families: Sequence[Family], events: Events) -> list[Tiles]:
    """Put events into the tiles of families, sorting them once for all."""
    slides = [family.slide_us for family in families if family.slide_us is not None]
    # By (group, tile of the common divisor) the tiles of every slide ascend within a group.
    finest = tile_of(events.ts_us, int(np.gcd.reduce(np.array(slides, object))) if slides else None)
    (keys,) = common_keys([(events.group, finest)])
    by = stable_order(keys)
    group, ts_us, known_us = events.group[by], events.ts_us[by], events.known_us[by]
    values = {name: Values(data[by], valid[by]) for name, (data, valid) in events.values.items()}
    order = Order(ts_us, events.position[by])
    states: dict[tuple[object, ...], State] = {}
    tiled = []
    for family in families:
        columns = _added(family, values, order, states)
        tile = tile_of(ts_us, family.slide_us)
        starts = row_starts(group, tile)
        known = np.maximum.reduceat(known_us, starts) if len(starts) else known_us
        merged = merge_runs(family, columns, starts) if len(starts) else columns
        tiled.append(Tiles.of(family, group[starts], tile[starts], known, merged))
    return tiled


def _added(
    family: Family, values: Mapping[str, Values], order: Order, states: dict[tuple[object, ...], State]
) -> list[Array]:
    """The family's columns, each event as a tile of its own.

    An accumulator that several families have is added once.
    """
    columns = []
    for number, place in family.made_by:
        accumulator = family.accumulators[number]
        aggregate = accumulator.aggregate
        which = (accumulator.column, accumulator.where, aggregate.name, aggregate.params)
        if which not in states:
            states[which] = aggregate.add(accumulated(accumulator, values, order.ts), order)
        columns.append(states[which][place])
    return columns


def accumulated(accumulator: Accumulator, values: Mapping[str, Values], ts_us: IntArray) -> Values:
    """The values that an accumulator adds: its column, null where the event is filtered out."""
    taken = Values(ts_us, np.ones(len(ts_us), np.bool_)) if accumulator.column == "*" else values[accumulator.column]
    if accumulator.where is None:
        return taken
    chosen = values[accumulator.where]
    return Values(taken.data, taken.valid & chosen.valid & chosen.data.astype(np.bool_))


def merge_runs(family: Family, columns: Sequence[Array], starts: IntArray) -> list[Array]:
    """Merge runs of rows, column by column where a column merges independently.

    Args:
        family: Whose columns they are.
        columns: The family's columns; rows of a group are next to each other.
        starts: The first row of each group, ascending; each run has at least one row.

    Returns:
        The columns with one row per group.
    """
    merged: list[Array] = list(columns)
    with np.errstate(invalid="ignore", over="ignore"):
        for number, pick in family.merged_alone:
            merged[number] = pick.reduceat(columns[number], starts)
    for slot, column in merge_together(family, columns, starts):
        merged[slot] = column
    return merged


def merge_together(family: Family, columns: Sequence[Array], starts: IntArray) -> Iterator[tuple[int, Array]]:
    """The columns that do not merge independently, with their numbers; see `merge_runs`."""
    for number, new in family.merged_together:
        slots = family.slots[number]
        state = family.accumulators[number].aggregate.merge(tuple(columns[slot] for slot in slots), starts)
        yield from ((slot, column) for slot, column in zip(slots, state, strict=True) if slot in new)


def prune_tiles(family: Family, tiles: Tiles, now_us: IntArray) -> tuple[Tiles, IntArray]:
    """Drop the tiles that no window can reach from now on.

    Args:
        family: Whose tiles they are.
        tiles: The tiles.
        now_us: Now, for each group, shape (groups,).

    Returns:
        The tiles left, and for each group the newest tile dropped (`NEVER` where none was).
    """
    unreached, dropped = unreachable(family, tiles, now_us)
    return (tiles if unreached is None else tiles.where(~unreached)), dropped


def unreachable(family: Family, tiles: Tiles, now_us: IntArray) -> tuple[BoolArray | None, IntArray]:
    """Which tiles no window can reach from now on (None: all can be reached), and the newest of them in each group."""
    dropped = np.full(len(now_us), NEVER, np.int64)
    if family.tiles is None or not len(tiles):
        return None, dropped
    oldest_needed = tile_of(now_us, family.slide_us) - family.tiles + 1
    unreached = tiles.tile < oldest_needed[tiles.group]
    if not unreached.any():
        return None, dropped
    np.maximum.at(dropped, tiles.group[unreached], tiles.tile[unreached])
    return unreached, dropped
