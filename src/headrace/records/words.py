"""Words of eight bytes: gathering stretches of them, and strings and bytes in them."""

from __future__ import annotations

import numpy as np

from headrace.aggregates import Array, IntArray
from headrace.windows import Family, Tiles

__all__ = ["padded", "object_columns", "object_words", "segments", "words_of"]

_NULL = -1
"""The length of a null."""


def words_of(sizes: IntArray) -> IntArray:
    """How many words hold that many bytes."""
    return (sizes + 7) >> 3


def segments(starts: IntArray, sizes: IntArray) -> IntArray:
    """The indices of all elements of stretches, one stretch after the other.

    >>> segments(np.array([7, 2]), np.array([2, 3])).tolist()
    [7, 8, 2, 3, 4]
    """
    ends = np.cumsum(sizes)
    if not len(ends) or not ends[-1]:
        return np.zeros(0, np.int64)
    places = np.repeat(starts - (ends - sizes), sizes)
    places += np.arange(ends[-1])
    return places


def padded(data: bytes, sizes: IntArray) -> IntArray:
    """Adjacent stretches of bytes as words; each stretch begins a new word and is padded with zeros."""
    words = words_of(sizes)
    if not len(sizes):
        return np.zeros(0, np.int64)
    if (sizes == sizes[0]).all():
        rows = np.zeros((len(sizes), 8 * int(words[0])), np.uint8)
        rows[:, : sizes[0]] = np.frombuffer(data, np.uint8).reshape(len(sizes), -1)
        return rows.ravel().view("<i8").astype(np.int64, copy=False)
    bytes_ = np.zeros(8 * int(words.sum()), np.uint8)
    bytes_[segments(8 * (np.cumsum(words) - words), sizes)] = np.frombuffer(data, np.uint8)
    return bytes_.view("<i8").astype(np.int64, copy=False)


def object_words(tiles: Tiles, n_tiles: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Write the strings and bytes of tiles as words.

    Args:
        tiles: The tiles.
        n_tiles: How many each record has.

    Returns:
        The tiles' rows with the objects' lengths in them, all objects as words, and how many bytes each record has.
    """
    family = tiles.family
    nothing = np.zeros(len(n_tiles), np.int64)
    if not family.objects:
        return tiles.rows, np.zeros(0, np.int64), nothing
    lengths = np.empty((len(tiles), len(family.objects)), np.int64)
    columns = []
    for place, (number, column) in enumerate(zip(family.objects, tiles.objects, strict=True)):
        values = column.tolist()
        if family.columns[number].kind == "string":
            values = [None if text is None else text.encode("utf-8", "surrogatepass") for text in values]
        lengths[:, place] = [_NULL if one is None else len(one) for one in values]
        columns.append([one or b"" for one in values])
    rows = tiles.rows.copy()
    rows[:, [2 + number for number in family.objects]] = lengths
    data = b"".join([one for row in zip(*columns, strict=True) for one in row])
    upto = np.append(0, np.cumsum(np.maximum(lengths, 0).sum(axis=1)))
    ends = np.cumsum(n_tiles)
    object_bytes = upto[ends] - upto[ends - n_tiles]
    return rows, padded(data, object_bytes), object_bytes


def object_columns(
    family: Family, rows: IntArray, n_tiles: IntArray, object_bytes: IntArray, data: bytes
) -> tuple[Array, ...] | None:
    """Read the strings and bytes of tiles.

    Args:
        family: The tiles' family.
        rows: The tiles' rows.
        n_tiles: How many each record has.
        object_bytes: How many bytes of objects each record has.
        data: The objects, those of each record padded to a whole word.

    Returns:
        The columns of objects; None if the lengths do not add up.
    """
    if not family.objects:
        return None if object_bytes.any() else ()
    lengths = rows[:, [2 + number for number in family.objects]]
    if (lengths < _NULL).any() or (lengths > len(data)).any():
        return None
    sizes = np.maximum(lengths, 0)
    upto = np.append(0, np.cumsum(sizes.sum(axis=1)))
    ends = np.cumsum(n_tiles)
    if (upto[ends] - upto[ends - n_tiles] != object_bytes).any():
        return None
    words = words_of(object_bytes)
    shift = 8 * (np.cumsum(words) - words) - upto[ends - n_tiles]
    last = np.cumsum(sizes).reshape(sizes.shape) + np.repeat(shift, n_tiles)[:, None]
    columns = []
    for place, number in enumerate(family.objects):
        is_text = family.columns[number].kind == "string"
        found = np.empty(len(rows), object)
        spans = zip(last[:, place].tolist(), lengths[:, place].tolist(), strict=True)
        try:
            found[:] = [_object(data, end, length, is_text) for end, length in spans]
        except UnicodeDecodeError:
            return None
        columns.append(found)
    return tuple(columns)


def _object(data: bytes, end: int, length: int, is_text: bool) -> str | bytes | None:
    if is_text:
        return None if length == _NULL else data[end - length : end].decode("utf-8", "surrogatepass")
    return data[end - max(length, 0) : end]
