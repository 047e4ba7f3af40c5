"""Putting a fetch's tiles into those that a record holds already: what is not touched is copied as it stands."""

from __future__ import annotations

import numpy as np

from headrace.aggregates import Array, IntArray
from headrace.windows.group_sort import common_keys
from headrace.windows.tile_layout import Family
from headrace.windows.tiles import Tiles, merge_together, prune_tiles, unreachable

__all__ = ["update_tiles"]


def update_tiles(family: Family, held: Tiles, added: Tiles, now_us: IntArray) -> tuple[Tiles, IntArray]:
    """Merge tiles of the same groups, and drop those that no window can reach from now on.

    It is merging all of them and then `prune_tiles`, at a cost that hangs on the tiles added and hardly on those held.

    Args:
        family: Whose tiles they are.
        held: Tiles, sorted.
        added: Further tiles, sorted.
        now_us: Now, for each group, shape (groups,).

    Returns:
        What is left, and for each group the newest tile dropped (`NEVER` where none was).
    """
    gone, dropped = unreachable(family, held, now_us)
    added, dropped_too = prune_tiles(family, added, now_us)
    left = None if gone is None else np.flatnonzero(~gone)
    return _merged(family, held, left, added), np.maximum(dropped, dropped_too)


def _merged(family: Family, held: Tiles, left: IntArray | None, added: Tiles) -> Tiles:
    """The tiles held that are left (None: all), merged with others."""
    if not len(added):
        return held if left is None else held.take(left)
    group, tile = (held.group, held.tile) if left is None else (held.group[left], held.tile[left])
    if not len(group):
        return added
    keys, new_keys = common_keys([(group, tile), (added.group, added.tile)])
    at = np.searchsorted(keys, new_keys)
    is_held = keys[np.minimum(at, len(keys) - 1)] == new_keys
    place = at + np.cumsum(~is_held) - ~is_held
    # Where each of the tiles that are held already comes to stand; the gaps are for new ones.
    total = len(keys) + len(added) - int(np.count_nonzero(is_held))
    is_old = np.ones(total, np.bool_)
    is_old[place[~is_held]] = False
    source = np.cumsum(is_old) - 1
    np.maximum(source, 0, out=source)
    if left is not None:
        source = left[source]
    merged = held.take(source)
    _put(merged, place[~is_held], added, np.flatnonzero(~is_held))
    if is_held.any():
        _put_pairs(family, merged, place[is_held], added.take(np.flatnonzero(is_held)))
    return merged


def _put(tiles: Tiles, places: IntArray, others: Tiles, numbers: IntArray) -> None:
    """Write some tiles of others over those at these places."""
    tiles.group[places] = others.group[numbers]
    tiles.rows[places] = others.rows[numbers]
    for column, other in zip(tiles.objects, others.objects, strict=True):
        column[places] = other[numbers]


def _put_pairs(family: Family, tiles: Tiles, places: IntArray, others: Tiles) -> None:
    """Merge others, tile by tile, into those at these places."""
    mine = tiles.take(places)
    columns: list[Array] = list(mine.columns)
    with np.errstate(invalid="ignore", over="ignore"):
        for number, pick in family.merged_alone:
            columns[number] = pick(mine.columns[number], others.columns[number])
    if family.merged_together:
        pairs = [_side_by_side(one, two) for one, two in zip(mine.columns, others.columns, strict=True)]
        for slot, column in merge_together(family, pairs, np.arange(0, 2 * len(places), 2)):
            columns[slot] = column
    known = np.maximum(mine.known_us, others.known_us)
    _put(tiles, places, Tiles.of(family, others.group, others.tile, known, columns), np.arange(len(places)))


def _side_by_side(one: Array, two: Array) -> Array:
    pairs = np.empty(2 * len(one), one.dtype)
    pairs[::2], pairs[1::2] = one, two
    return pairs
