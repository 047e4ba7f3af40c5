"""Reading of records what a lookup of numbers needs, column by column: `codec.decode_records` without what a worker needs beside that.

It checks the same, but reads only what is as it should be. Whatever is not is left to the other one, which says what is wrong.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from headrace.aggregates import IntArray
from headrace.online.codec import VERSION, Records
from headrace.windows import ViewLayout

__all__ = ["FamilyNumbers", "Numbers", "numbers_of", "read_numbers"]

_HEADER = struct.Struct("<2sBBIqqqII")
_HEADER_WORDS = 5
_WORD = 8
_U32 = 0xFFFFFFFF
_FIRST_HALF = int.from_bytes(struct.pack("<2sBB", b"HR", VERSION, 0), "little")


@dataclass(frozen=True)
class FamilyNumbers:
    """A family's tiles in some records, one record's after the other's.

    Attributes:
        n_tiles: How many each record has, shape (records,).
        total: How many that is.
        width: The words of a tile.
        words: The words of all records.
        begin: Where the first tile begins in them, where the tiles stand together.
        begins: Where each tile begins in them, shape (total,); None where they stand together.
    """

    n_tiles: IntArray
    total: int
    width: int
    words: IntArray
    begin: int
    begins: IntArray | None

    def fill(self, columns: IntArray, which: Sequence[int]) -> None:
        """Copy words of every tile, the first being its number and the second when it became known.

        Args:
            columns: Where to, shape (len(which), total).
            which: Which words.
        """
        if self.begins is not None:
            for column, word in zip(columns, which, strict=True):
                self.words[word:].take(self.begins, out=column, mode="clip")
        else:
            rows = self.words[self.begin : self.begin + self.total * self.width].reshape(self.total, self.width)
            rows.T.take(which, axis=0, out=columns, mode="clip")


@dataclass(frozen=True)
class Numbers:
    """What a lookup needs of some records of one view.

    Attributes:
        applied: The last source offset merged, per record.
        newest_ts_us: The newest event time merged; `NEVER` where no event was.
        families: Per family its tiles.
    """

    applied: IntArray
    newest_ts_us: IntArray
    families: list[FamilyNumbers]


def numbers_of(records: Records) -> Numbers:
    """The numbers of records that were read by `decode_records`."""
    families: list[FamilyNumbers] = []
    for tiles in records.tiles:
        rows = np.ascontiguousarray(tiles.rows)
        n_tiles = np.bincount(tiles.group, minlength=len(records))
        families.append(FamilyNumbers(n_tiles, len(rows), rows.shape[1], rows.reshape(-1), 0, None))
    return Numbers(records.applied, records.newest_ts_us, families)


def read_numbers(layout: ViewLayout, encoded: Sequence[bytes], entities: Sequence[bytes]) -> Numbers | None:
    """Read records back, checking each.

    Args:
        layout: The view's layout.
        encoded: The records.
        entities: The entity key that each record should carry.

    Returns:
        What they hold; None where `decode_records` has to look.
    """
    if not encoded:
        return None
    if len(encoded) == 1:
        return _one(layout, encoded[0], entities[0])
    return _many(layout, encoded, entities)


def _one(layout: ViewLayout, record: bytes, entity: bytes) -> Numbers | None:
    """One record: the calls that read a thousand take longer than all the rest of a lookup."""
    families, size = layout.families, len(entity)
    if len(record) < _HEADER.size + size or len(record) % _WORD:
        return None
    magic, version, zero, checksum, applied, _, newest, length, count = _HEADER.unpack_from(record)
    if (magic, version, zero, count, length) != (b"HR", VERSION, 0, len(families), size):
        return None
    if zlib.crc32(memoryview(record)[_WORD:]) != checksum or not record.startswith(entity, _HEADER.size):
        return None
    words = np.frombuffer(record, "<i8").astype(np.int64, copy=False)
    at = (_HEADER.size + size + _WORD - 1) // _WORD
    described = words[at : at + 2 * len(families)].tolist()[::2]
    if at + 2 * len(families) > len(words):
        return None
    at += 2 * len(families)
    found: list[FamilyNumbers] = []
    of_objects = 0
    for family, word in zip(families, described, strict=True):
        n_tiles, width = word & _U32, 2 + len(family.columns)
        found.append(FamilyNumbers(np.array([n_tiles]), n_tiles, width, words, at, None))
        at += n_tiles * width
        of_objects += (((word >> 32) & _U32) + _WORD - 1) // _WORD
    if at + of_objects != len(words):
        return None
    return Numbers(np.array([applied]), np.array([newest]), found)


def _many(layout: ViewLayout, encoded: Sequence[bytes], entities: Sequence[bytes]) -> Numbers | None:
    count, families = len(encoded), len(layout.families)
    sizes = np.fromiter(map(len, encoded), np.int64, count)
    if (sizes < _HEADER.size).any() or (sizes & (_WORD - 1)).any():
        return None
    words = np.frombuffer(b"".join(encoded), "<i8").astype(np.int64, copy=False)
    ends = np.cumsum(sizes >> 3)
    header = words.take((ends - (sizes >> 3))[:, None] + np.arange(_HEADER_WORDS))
    checksums = np.fromiter((zlib.crc32(memoryview(record)[_WORD:]) for record in encoded), np.int64, count)
    entity_bytes = np.fromiter(map(len, entities), np.int64, count)
    is_sound = (header[:, 0] == (checksums << 32 | _FIRST_HALF)) & (header[:, 4] == (entity_bytes | families << 32))
    if not is_sound.all() or not all(map(bytes.startswith, encoded, entities, repeat(_HEADER.size))):
        return None
    at = ends - (sizes >> 3) + _HEADER_WORDS + ((entity_bytes + _WORD - 1) >> 3)
    if (at + 2 * families > ends).any():
        return None
    described = words.take(at[:, None] + np.arange(0, 2 * families, 2))
    at = at + 2 * families
    found: list[FamilyNumbers] = []
    for number, family in enumerate(layout.families):
        n_tiles, width = described[:, number] & _U32, 2 + len(family.columns)
        before = np.cumsum(n_tiles)
        total = int(before[-1])
        if total * width > len(words):
            return None
        begins = np.repeat(at - width * (before - n_tiles), n_tiles)
        begins += width * np.arange(total)
        found.append(FamilyNumbers(n_tiles, total, width, words, 0, begins))
        at = at + n_tiles * width
    of_objects = ((((described >> 32) & _U32) + _WORD - 1) >> 3).sum(axis=1)
    if (at + of_objects != ends).any():
        return None
    return Numbers(header[:, 1], header[:, 3], found)
