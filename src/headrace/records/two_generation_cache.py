"""What was used of late, within bounds: a cache of two generations, so that using it costs a dictionary's lookup and nothing more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

__all__ = ["Recent"]

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Values by key, none of them false. What has not been asked for while one generation filled up is forgotten with it.

    Args:
        limit: How much a generation holds; there are two.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._new: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._weight = 0

    def found(self, keys: Sequence[K]) -> list[V | None]:
        """The value of each key, None for those that are not known (any more)."""
        values: list[V | None] = list(map(self._new.get, keys))
        if self._old and not all(values):
            for number, key in enumerate(keys):
                if values[number] is None:
                    value = values[number] = self._old.get(key)
                    if value is not None:
                        self._new[key] = value
        return values

    def put(self, values: Mapping[K, V], weight: int) -> None:
        """Know values, from now on and instead of others.

        Args:
            values: The values by key.
            weight: How much they count; values that change in place are counted again (`weigh`).
        """
        self._new.update(values)
        self.weigh(weight)

    def weigh(self, weight: int) -> None:
        """Count so much more, and begin a generation where this one is full."""
        self._weight += weight
        if self._weight > self._limit:
            self._old, self._new, self._weight = self._new, {}, 0

    def clear(self) -> None:
        """Forget all."""
        self._new, self._old, self._weight = {}, {}, 0
