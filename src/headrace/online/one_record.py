"""Reading one record alone: what `codec.decode_records` does, without what it takes to do it for many at once.

A lookup of one entity takes longer for the calls that decode a thousand records than for all the rest, so this path exists beside that one. It
reads only what is as it should be; whatever is not, and records with strings or bytes, it leaves to the other one, which says what is wrong.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from headrace.online.codec import VERSION, Records
from headrace.windows import Tiles, ViewLayout

__all__ = ["decode_one"]

_HEADER = struct.Struct("<2sBBIqqqII")
_WORD = 8


def decode_one(layout: ViewLayout, record: bytes, entity: bytes) -> Records | None:
    """Read a record back, checking it.

    Args:
        layout: The view's layout.
        record: The record.
        entity: The entity key that it should carry.

    Returns:
        The record; None where `decode_records` has to look.
    """
    families, size = layout.families, len(entity)
    if len(record) < _HEADER.size + size or len(record) % _WORD or any(family.objects for family in families):
        return None
    magic, version, zero, checksum, applied, known, newest, length, count = _HEADER.unpack_from(record)
    if (magic, version, zero, count, length) != (b"HR", VERSION, 0, len(families), size):
        return None
    if zlib.crc32(memoryview(record)[_WORD:]) != checksum or not record.startswith(entity, _HEADER.size):
        return None
    words = np.frombuffer(record, "<i8")
    at = (_HEADER.size + size + _WORD - 1) // _WORD
    described = words[at : at + 2 * len(families)].tolist()
    at += 2 * len(families)
    if len(described) != 2 * len(families):
        return None
    tiles: list[Tiles] = []
    for family, of_tiles in zip(families, described[::2], strict=True):
        width = 2 + len(family.columns)
        end = at + of_tiles * width  # more than there can be where it has bytes of objects, too
        if not at <= end <= len(words):
            return None
        tiles.append(Tiles(family, np.zeros(of_tiles, np.int64), words[at:end].reshape(of_tiles, width)))
        at = end
    if at != len(words):
        return None
    dropped = [np.array([newest_dropped]) for newest_dropped in described[1::2]]
    return Records([entity], np.array([applied]), np.array([known]), np.array([newest]), dropped, tiles)
