"""One fact of a state as a Python value: stored as JSON, changed without losing what others change at the same time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from headrace.state.base import ABSENT, StateConflictError, StateFile, Stored

__all__ = ["Note"]

T = TypeVar("T")


@dataclass(frozen=True)
class Note(Generic[T]):
    """A value that is stored as JSON, so that people can read it.

    Attributes:
        file: Where it is stored.
        empty: The value where nothing is stored.
        parse: Makes the value of its JSON; ValueError, KeyError, TypeError or AttributeError where the JSON is
            something else.
        render: Makes its JSON.
        damaged: The error to raise where the stored JSON cannot be parsed.
        unavailable: The error to raise where the state cannot be read or written.
    """

    file: StateFile
    empty: Callable[[], T]
    parse: Callable[[Any], T]
    render: Callable[[T], Any]
    damaged: Callable[[Exception], Exception]
    unavailable: Callable[[OSError], Exception]

    def read(self) -> T:
        """The value."""
        return self._parsed(self._stored())

    def update(self, change: Callable[[T], T]) -> T:
        """Change the value.

        Args:
            change: Gets the value and gives the new one. It is called again where another process wrote in between.

        Returns:
            The new value.
        """
        while True:
            stored = self._stored()
            before = self._parsed(stored)
            after = change(before)
            data = self._bytes(after)
            if data == self._bytes(before):
                return after
            try:
                self.file.write(data, expected=ABSENT if stored is None else stored.version)
            except StateConflictError:
                continue
            except OSError as error:
                raise self.unavailable(error) from error
            return after

    def _stored(self) -> Stored | None:
        try:
            return self.file.read()
        except OSError as error:
            raise self.unavailable(error) from error

    def _parsed(self, stored: Stored | None) -> T:
        try:
            return self.empty() if stored is None else self.parse(json.loads(stored.data))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self.damaged(error) from error

    def _bytes(self, value: T) -> bytes:
        return (json.dumps(self.render(value), indent=1) + "\n").encode()
