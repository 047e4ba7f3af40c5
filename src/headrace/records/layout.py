"""The layout of a record's bytes, and writing it; `reader` reads it.

A record is words of eight bytes, versioned and checksummed, so that a few numpy calls read and write many records.

    word            field
    0               magic "HR", version of this layout (1 byte), zero (1 byte), CRC-32 of all words after this one
    1               applied: the last source offset merged into the record, int64 little endian
    2               known_through_us: the newest known_at merged
    3               newest_ts_us: the newest event time merged
    4               length of the entity key (u32), number of families (u32)
    5               the entity key, padded with zeros to a whole word
                    per family (in the layout's order): number of tiles (u32) and bytes of objects (u32);
                        dropped: the newest tile pruned, int64
                    per family: its tiles one after the other, each
                        tile, known_us, and a word per state column: an int, a float's bits, or an object's length in
                        bytes (-1: null)
                    per family: the strings (UTF-8) and bytes, tile by tile, padded with zeros to a whole word

The columns are those of the view's layout. The view's hash is part of the record's key, so a record is never read with
another layout.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headrace.aggregates import IntArray
from headrace.records.words import object_words, padded, segments, words_of
from headrace.windows import Tiles, ViewLayout

__all__ = [
    "FIRST_WORD",
    "HEADER",
    "HEADER_WORDS",
    "MAGIC",
    "VERSION",
    "WORD",
    "Records",
    "encode_records",
]

VERSION = 2
WORD = 8
"""The bytes of a word."""

MAGIC = b"HR"
HEADER = struct.Struct("<IIqqqII")
"""Magic, version and zero together; checksum; applied; known_through_us; newest_ts_us; bytes of the key; families."""

HEADER_WORDS = HEADER.size // WORD
FIRST_WORD = int.from_bytes(MAGIC + bytes([VERSION, 0]), "little")
"""The first word of a record without its checksum, which is the upper half."""


@dataclass(frozen=True)
class Records:
    """Several decoded records of one view; a tile's group is its record's place in the list.

    Attributes:
        entities: Each record's entity key.
        applied: The last source offset merged, per record; -1 for one that is not written yet.
        known_through_us: The newest `known_at` merged; `NEVER` without events.
        newest_ts_us: The newest event time merged; `NEVER` without events.
        dropped: Per family, for each record the newest tile pruned.
        tiles: Per family.
    """

    entities: Sequence[bytes]
    applied: IntArray
    known_through_us: IntArray
    newest_ts_us: IntArray
    dropped: list[IntArray]
    tiles: list[Tiles]

    def __len__(self) -> int:
        return len(self.entities)


def encode_records(layout: ViewLayout, records: Records) -> list[bytes]:
    """The bytes of each record."""
    count = len(records)
    if not count:
        return []
    header = np.empty((count, HEADER_WORDS), np.int64)
    entity_bytes = np.fromiter(map(len, records.entities), np.int64, count)
    header[:, 0] = FIRST_WORD
    header[:, 1], header[:, 2], header[:, 3] = records.applied, records.known_through_us, records.newest_ts_us
    header[:, 4] = entity_bytes | (len(layout.families) << 32)
    described = np.empty((count, len(layout.families), 2), np.int64)
    rows: list[IntArray] = []
    objects: list[IntArray] = []
    lengths: list[IntArray] = []
    object_lengths: list[IntArray] = []
    for number, (tiles, dropped) in enumerate(zip(records.tiles, records.dropped, strict=True)):
        n_tiles = np.bincount(tiles.group, minlength=count)
        row_words, object_words_, object_bytes = object_words(tiles, n_tiles)
        described[:, number, 0] = n_tiles | (object_bytes << 32)
        described[:, number, 1] = dropped
        rows.append(row_words.ravel())
        lengths.append(n_tiles * row_words.shape[1])
        objects.append(object_words_)
        object_lengths.append(words_of(object_bytes))
    heads, sizes = _heads(header, records.entities, entity_bytes, described.reshape(count, -1))
    objects_there = [number for number, words in enumerate(objects) if len(words)]
    return _sealed(
        [*heads, *rows, *(objects[number] for number in objects_there)],
        np.stack([*sizes, *lengths, *(object_lengths[number] for number in objects_there)], axis=1),
    )


def _heads(
    header: IntArray, entities: Sequence[bytes], entity_bytes: IntArray, described: IntArray
) -> tuple[list[IntArray], list[IntArray]]:
    """The words before the tiles, in parts, and how many words of each part a record has.

    One part if all have as many.
    """
    words = words_of(entity_bytes)
    keys = padded(b"".join(entities), entity_bytes)
    if (words == words[0]).all():
        whole = np.concatenate([header, keys.reshape(len(header), -1), described], axis=1)
        return [whole.ravel()], [np.full(len(header), whole.shape[1])]
    sizes = [np.full(len(header), header.shape[1]), words, np.full(len(header), described.shape[1])]
    return [header.ravel(), keys, described.ravel()], sizes


def _sealed(parts: list[IntArray], sizes: IntArray) -> list[bytes]:
    """The records' bytes with checksums, from the parts of all records and how many words of each part a record has."""
    words = np.concatenate(parts)
    ends_of_kind = np.cumsum(sizes.sum(axis=0))
    source = np.cumsum(sizes, axis=0) - sizes
    source[:, 1:] += ends_of_kind[:-1]
    words = words.take(segments(source.ravel(), sizes.ravel()))
    ends = (WORD * np.cumsum(sizes.sum(axis=1))).tolist()
    starts = [0, *ends[:-1]]
    body = words.data.cast("B")
    checksums = [zlib.crc32(body[start + WORD : end]) for start, end in zip(starts, ends, strict=True)]
    words.view(np.uint32)[np.array(starts) // 4 + 1] = checksums
    whole = words.tobytes()
    return [whole[start:end] for start, end in zip(starts, ends, strict=True)]
