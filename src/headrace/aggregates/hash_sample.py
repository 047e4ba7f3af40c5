"""A sample of events that depends on the events only: those with the least hashes of their source positions.

This is a bottom-k sample (Cohen and Kaplan, 2007). It is uniform, because the hash is independent of the values. It is
mergeable, because the k least of a union are among the k least of its parts. And it is the same in whatever order and
chunks the events came, so online and offline agree.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from headrace.aggregates.base import IntArray

__all__ = ["hash_of", "least"]

_Item = TypeVar("_Item", bound=list[Any])


def hash_of(position: IntArray) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    """SplitMix64 of source positions (Steele, Lea and Flood, 2014): a bijection, so no two positions share a hash."""
    z = position.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def least(items: list[_Item], size: int) -> list[_Item]:
    """The items with the least hashes, ascending; the hash is the first value of an item."""
    return sorted(items, key=lambda item: item[0])[:size]
