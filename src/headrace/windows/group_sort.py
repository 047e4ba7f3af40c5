"""Sorting rows by (group, tile) as one int64 key: one sort, and one array to compare and search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headrace.aggregates import IntArray

__all__ = ["common_keys", "row_starts", "stable_order"]

_ROOM = 1 << 62
"""Keys stay below this, so that nothing here overflows."""


def common_keys(parts: Sequence[tuple[IntArray, IntArray]]) -> list[IntArray]:
    """Numbers that order and compare like (group, tile), over all parts.

    Args:
        parts: Groups, which are not negative, and tiles, which may be any int64.
    """
    there = [(group, tile) for group, tile in parts if len(group)]
    if not there:
        return [group.astype(np.int64) for group, _ in parts]
    low = min(int(tile.min()) for _, tile in there)
    span = max(int(tile.max()) for _, tile in there) - low + 1
    groups = max(int(group.max()) for group, _ in there) + 1
    if span * groups < _ROOM:
        return [group * span + (tile - low) for group, tile in parts]
    # Where tiles are too far apart for this, they are numbered by rank.
    known, rank = np.unique(np.concatenate([tile for _, tile in parts]), return_inverse=True)
    ends = np.cumsum([len(tile) for _, tile in parts])[:-1]
    return [group * len(known) + mine for (group, _), mine in zip(parts, np.split(rank, ends), strict=True)]


def stable_order(keys: IntArray) -> IntArray:
    """The same as `argsort(keys, kind="stable")`, for keys that are not negative."""
    if len(keys) < 2:
        return np.arange(len(keys))
    bits = (len(keys) - 1).bit_length()
    if int(keys.max()) >= 1 << (62 - bits):
        return np.argsort(keys, kind="stable")
    # Sorting numbers is several times faster than an argsort, so each number carries its place in its low bits.
    packed = (keys << bits) | np.arange(len(keys))
    packed.sort()
    return packed & ((1 << bits) - 1)


def row_starts(group: IntArray, tile: IntArray) -> IntArray:
    """Where runs of the same group and tile start, in rows that are sorted."""
    if not len(group):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.append(True, (group[1:] != group[:-1]) | (tile[1:] != tile[:-1])))
