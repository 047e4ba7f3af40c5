"""Arrays of Python objects: results that are lists, and states that are bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from headrace.events.columns import Array, IntArray

__all__ = ["merged_states", "objects"]


def objects(values: Sequence[object]) -> Array:
    """An array of objects; numpy would make a matrix of a list of lists.

    >>> objects([[1], [2, 3]]).shape
    (2,)
    """
    array = np.empty(len(values), object)
    for number, value in enumerate(values):
        array[number] = value
    return array


def merged_states(states: Array, starts: IntArray, merge: Callable[[list[bytes]], bytes]) -> Array:
    """Merge each run of states that are bytes, empty where there are no events.

    Args:
        states: The states, those of a run next to each other.
        starts: The first state of each run, ascending.
        merge: Merges the states of a run; called only for two or more that are not empty.
    """
    ends = np.append(starts[1:], len(states)).tolist()
    merged: list[bytes] = []
    for start, end in zip(starts.tolist(), ends, strict=True):
        run = [state for state in states[start:end] if state]
        merged.append(merge(run) if len(run) > 1 else run[0] if run else b"")
    return objects(merged)
