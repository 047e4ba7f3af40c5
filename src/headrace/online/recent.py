"""What was used of late, within bounds: a cache of two generations, so that using it costs a dictionary's lookup and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Recent"]

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Values by key. What has not been asked for while one generation filled up is forgotten with it.

    Args:
        limit: How much a generation holds; there are two.
        weigh: How much a value counts; None counts each as one.
    """

    def __init__(self, limit: int, weigh: Callable[[V], int] | None = None) -> None:
        self._limit = limit
        self._weigh = weigh
        self._new: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._weight = 0

    def __len__(self) -> int:
        return len(self._new.keys() | self._old.keys())

    def found(self, keys: Sequence[K]) -> list[V | None]:
        """The value of each key, None for those that are not known (any more)."""
        values: list[V | None] = list(map(self._new.get, keys))
        if self._old and None in values:
            older = {keys[number]: None for number, value in enumerate(values) if value is None}
            known = {key: self._old[key] for key in older if key in self._old}
            self.put(list(known), list(known.values()))
            values = [known.get(key) if value is None else value for key, value in zip(keys, values, strict=True)]
        return values

    def put(self, keys: Sequence[K], values: Sequence[V]) -> None:
        """Know values of keys, from now on and instead of others."""
        self._new.update(zip(keys, values, strict=True))
        self._weight += len(values) if self._weigh is None else sum(map(self._weigh, values))
        if self._weight > self._limit:
            self._old, self._new, self._weight = self._new, {}, 0

    def clear(self) -> None:
        """Forget all."""
        self._new, self._old, self._weight = {}, {}, 0
