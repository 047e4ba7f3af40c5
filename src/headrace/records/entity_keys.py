"""Entity keys: the values of an entity's join keys as the bytes that its records are stored under.

A key is compact JSON, so that 1 and "1" stay apart:

    "EWR", 7                  ["EWR",7]
    true                      [true]
    2013-01-01 12:00 UTC      [1357041600000000]     µs since 1970; dates in days (`headrace.times.as_stored`)

The worker writes records under these keys and lookups ask for them. A second encoder that differed from this one in a
single byte would make lookups miss without an error, so everything that needs a key calls this module.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from json.encoder import encode_basestring
from typing import Any

__all__ = ["entity_key", "entity_keys", "entity_values"]

_WRITERS: dict[type, Callable[[Any], str]] = {
    str: encode_basestring,
    bool: {True: "true", False: "false"}.__getitem__,
    int: int.__repr__,
}
"""How JSON writes a value of each type; `bool` comes before `int`, of which it is a subclass."""


def entity_keys(columns: Sequence[Sequence[object]]) -> list[bytes]:
    """The keys of many entities.

    Args:
        columns: Per join key, in the view's order, its value for each entity: a str, bool or int, never None; times in
            µs, dates in days.

    Raises:
        TypeError: A value has another type.
    """
    texts = [map(_writer(column), column) for column in columns]
    rows: Iterable[str] = texts[0] if len(texts) == 1 else map(",".join, zip(*texts, strict=True))
    joined = "]\n[".join(rows)  # JSON escapes the line breaks of texts, so each one here separates two keys
    return f"[{joined}]".encode("utf-8", "surrogatepass").split(b"\n") if joined else []


def entity_key(values: Sequence[object]) -> bytes:
    """The key of one entity; see `entity_keys`.

    >>> entity_key(["EWR", 7])
    b'["EWR",7]'
    """
    return entity_keys([[value] for value in values])[0]


def entity_values(key: bytes) -> list[Any]:
    """The values that a key was made from.

    >>> entity_values(b'["EWR",7]')
    ['EWR', 7]
    """
    values: list[Any] = json.loads(key)
    return values


def _writer(column: Sequence[object]) -> Callable[[Any], str]:
    """What writes each value of a column."""
    kinds = set(map(type, column))
    return _written if len(kinds) != 1 else _WRITERS.get(kinds.pop(), _written)


def _written(value: object) -> str:
    """A value of a subclass too: an enum of texts is written as its text."""
    for kind, writer in _WRITERS.items():
        if isinstance(value, kind):
            return writer(value)
    msg = f"An entity key cannot hold {value!r}."
    raise TypeError(msg)
