"""Merging the tiles of a fetch into those of the records; tiles that did not change are copied unchanged."""

from __future__ import annotations

import numpy as np

from headrace.aggregates import Array, IntArray
from headrace.windows.group_sort import common_keys
from headrace.windows.tile_layout import Family
from headrace.windows.tiles import Tiles, merge_together, prune_tiles, unreachable

__all__ = ["update_tiles"]


def update_tiles(family: Family, old: Tiles, added: Tiles, now_us: IntArray) -> tuple[Tiles, IntArray]:
    """Merge tiles of the same groups, and drop those that no window can reach from now on.

    The result is that of merging all tiles and then `prune_tiles`. The cost depends on the tiles that are added, and
    hardly on those that the records have.

    Args:
        family: Whose tiles they are.
        old: Tiles, sorted.
        added: More tiles, sorted.
        now_us: Now, for each group, shape (groups,).

    Returns:
        The tiles left, and for each group the newest tile dropped (`NEVER` where none was).
    """
    unreached, dropped = unreachable(family, old, now_us)
    added, dropped_too = prune_tiles(family, added, now_us)
    left = None if unreached is None else np.flatnonzero(~unreached)
    return _merged(family, old, left, added), np.maximum(dropped, dropped_too)


def _merged(family: Family, old: Tiles, left: IntArray | None, added: Tiles) -> Tiles:
    """The old tiles numbered by `left` (None: all of them), merged with the added ones."""
    if not len(added):
        return old if left is None else old.take(left)
    group, tile = (old.group, old.tile) if left is None else (old.group[left], old.tile[left])
    if not len(group):
        return added
    keys, new_keys = common_keys([(group, tile), (added.group, added.tile)])
    at = np.searchsorted(keys, new_keys)
    is_there = keys[np.minimum(at, len(keys) - 1)] == new_keys
    place = at + np.cumsum(~is_there) - ~is_there
    # The place of each old tile in the result; the gaps are for new tiles.
    total = len(keys) + len(added) - int(np.count_nonzero(is_there))
    is_old = np.ones(total, np.bool_)
    is_old[place[~is_there]] = False
    source = np.cumsum(is_old) - 1
    np.maximum(source, 0, out=source)
    if left is not None:
        source = left[source]
    merged = old.take(source)
    _put(merged, place[~is_there], added, np.flatnonzero(~is_there))
    if is_there.any():
        _put_pairs(family, merged, place[is_there], added.take(np.flatnonzero(is_there)))
    return merged


def _put(tiles: Tiles, places: IntArray, others: Tiles, numbers: IntArray) -> None:
    """Overwrite the tiles at some places with some of another's."""
    tiles.group[places] = others.group[numbers]
    tiles.rows[places] = others.rows[numbers]
    for column, other in zip(tiles.objects, others.objects, strict=True):
        column[places] = other[numbers]


def _put_pairs(family: Family, tiles: Tiles, places: IntArray, others: Tiles) -> None:
    """Merge others, tile by tile, into the tiles at some places."""
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
