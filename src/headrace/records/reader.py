"""Reading of records what a lookup of numbers needs: `codec.decode_records` without what a worker needs beside that.

It checks the same, but reads only what is as it should be. Whatever is not is left to the other one, which says what is wrong.

Records are joined with so much room between them that each one's tiles begin at a multiple of a tile's words. So the words are a table whose rows
are tiles (and, between those, the rest of the records), and a column of state is one of its columns: nothing has to be gathered.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from typing import NamedTuple

import numpy as np

from headrace.aggregates import IntArray
from headrace.records.layout import VERSION, Records
from headrace.records.words import words_of
from headrace.windows import ViewLayout

__all__ = ["Numbers", "Run", "Shape", "numbers_of", "read_numbers"]

_HEADER = struct.Struct("<2sBBIqqqII")
_HEADER_WORDS = 5
_WORD = 8
_U32 = 0xFFFFFFFF
_LITTLE_ENDIAN = np.dtype("<i8")
_FIRST_HALF = int.from_bytes(struct.pack("<2sBB", b"HR", VERSION, 0), "little")


class Run(NamedTuple):
    """Families that follow one another and whose tiles are of the same width, so that they are rows of one table.

    Attributes:
        families: Which families.
        width: The words of a tile.
    """

    families: range
    width: int


@dataclass(frozen=True)
class Shape:
    """What a view's records are made of, worked out once.

    Attributes:
        widths: The words of a tile, per family.
        runs: The families that are read together.
        described: What says of each family how many tiles a record has, and how many bytes of objects.
    """

    widths: tuple[int, ...]
    runs: tuple[Run, ...]
    described: struct.Struct

    @classmethod
    def of(cls, layout: ViewLayout) -> Shape:
        """The shape of a layout's records."""
        widths = tuple(2 + len(family.columns) for family in layout.families)
        runs: list[Run] = []
        for number, width in enumerate(widths):
            if runs and runs[-1].width == width:
                runs[-1] = Run(range(runs[-1].families.start, number + 1), width)
            else:
                runs.append(Run(range(number, number + 1), width))
        return cls(widths, tuple(runs), struct.Struct("<" + "II8x" * len(widths)))

    def run_of(self, family: int) -> int:
        """Which of the runs a family is in."""
        return next(number for number, run in enumerate(self.runs) if family in run.families)


class Numbers(NamedTuple):
    """What a lookup needs of some records of one view.

    Attributes:
        applied: The last source offset merged, per record.
        newest_ts_us: The newest event time merged; `NEVER` where no event was.
        tables: Per run of families its tiles, a row of words each: its number, when it became known, and the columns of state. The tiles that a
            record has of a family stand together, and there is at least one row behind the last of them. What stands between is of no meaning.
        first: The row of each record's first tile, shape (families, records).
        n_tiles: How many tiles each record has, shape (families, records).
    """

    applied: Sequence[int]
    newest_ts_us: Sequence[int]
    tables: Sequence[IntArray]
    first: IntArray | list[list[int]]
    n_tiles: IntArray | list[list[int]]


def numbers_of(shape: Shape, records: Records) -> Numbers:
    """The numbers of records that were read by `decode_records`."""
    tables: list[IntArray] = []
    first, n_tiles = np.empty((2, len(shape.widths), len(records)), np.int64)
    for run in shape.runs:
        end = 0
        for family in run.families:
            tiles = records.tiles[family]
            n_tiles[family] = np.bincount(tiles.group, minlength=len(records))
            first[family] = end + np.cumsum(n_tiles[family]) - n_tiles[family]
            end += len(tiles)
        rows = [records.tiles[family].rows for family in run.families]
        tables.append(np.concatenate([*rows, np.zeros((1, run.width), np.int64)]))
    return Numbers(records.applied.tolist(), records.newest_ts_us.tolist(), tables, first, n_tiles)


def read_numbers(shape: Shape, encoded: Sequence[bytes], entities: Sequence[bytes]) -> Numbers | None:
    """Read records back, checking each.

    Args:
        shape: What they are made of.
        encoded: The records.
        entities: The entity key that each record should carry.

    Returns:
        What they hold; None where `decode_records` has to look.
    """
    if not encoded:
        return None
    if len(encoded) == 1:
        return _one(shape, encoded[0], entities[0])
    return _many(shape, encoded, entities)


def _one(shape: Shape, record: bytes, entity: bytes) -> Numbers | None:
    """One record: the calls that read a thousand take longer than all the rest of a lookup."""
    families, size, length = len(shape.widths), len(entity), len(record) // _WORD
    at = _HEADER_WORDS + (size + _WORD - 1) // _WORD + 2 * families
    if length < at or len(record) % _WORD:
        return None
    magic, version, zero, checksum, applied, _, newest, of_entity, count = _HEADER.unpack_from(record)
    if (magic, version, zero, count, of_entity) != (b"HR", VERSION, 0, families, size):
        return None
    if zlib.crc32(memoryview(record)[_WORD:]) != checksum or not record.startswith(entity, _HEADER.size):
        return None
    described = shape.described.unpack_from(record, _WORD * (at - 2 * families))
    end = at
    for width, tiles, of_objects in zip(shape.widths, described[::2], described[1::2], strict=True):
        end += tiles * width + (of_objects + _WORD - 1) // _WORD
    if end != length:
        return None
    tables: list[IntArray] = []
    first: list[list[int]] = []
    for run in shape.runs:
        width, before = run.width, -at % run.width
        # Up to a whole row behind the record, and one more.
        words = b"".join((_room(before), record, _room(-(before + length) % width + width)))
        tables.append(_rows(words, width))
        row = (before + at) // width
        for family in run.families:
            first.append([row])
            row += described[2 * family]
        at = row * width - before
    return Numbers((applied,), (newest,), tables, first, [[tiles] for tiles in described[::2]])


def _many(shape: Shape, encoded: Sequence[bytes], entities: Sequence[bytes]) -> Numbers | None:
    count, families = len(encoded), len(shape.widths)
    sizes = np.fromiter(map(len, encoded), np.int64, count)
    entity_bytes = np.fromiter(map(len, entities), np.int64, count)
    lengths = sizes >> 3
    heads = words_of(entity_bytes) + (_HEADER_WORDS + 2 * families)
    if (heads > lengths).any() or (sizes & (_WORD - 1)).any():
        return None
    checksums = np.fromiter((zlib.crc32(memoryview(record)[_WORD:]) for record in encoded), np.int64, count)
    table, at = _table(encoded, lengths, heads, shape.runs[0].width)
    words = table.reshape(-1)
    header = words.take(at[:, None] + np.arange(_HEADER_WORDS))
    is_sound = (header[:, 0] == (checksums << 32 | _FIRST_HALF)) & (header[:, 4] == (entity_bytes | families << 32))
    if not is_sound.all() or not all(map(bytes.startswith, encoded, entities, repeat(_HEADER.size))):
        return None
    described = words.take((at + heads - 2 * families) + np.arange(0, 2 * families, 2)[:, None])
    n_tiles = described & _U32
    of_tiles = n_tiles * np.array(shape.widths)[:, None]
    of_objects = words_of((described >> 32) & _U32)
    if (heads + of_tiles.sum(axis=0) + of_objects.sum(axis=0) != lengths).any():
        return None
    tables: list[IntArray] = []
    first = np.empty_like(n_tiles)
    for run in shape.runs:
        if tables:
            table, at = _table(encoded, lengths, heads, run.width)
        tables.append(table)
        row = (at + heads) // run.width
        for family in run.families:
            first[family] = row
            row += n_tiles[family]
            heads += of_tiles[family]
    return Numbers(header[:, 1].tolist(), header[:, 3].tolist(), tables, first, n_tiles)


def _table(encoded: Sequence[bytes], lengths: IntArray, heads: IntArray, width: int) -> tuple[IntArray, IntArray]:
    """Join records so that what stands behind so many words of each begins with a row.

    Args:
        encoded: The records.
        lengths: Their words, shape (records,).
        heads: How many words of each stand before its first tile, shape (records,).
        width: The words of a row.

    Returns:
        The rows, at least one more than the records have, and at which word each record begins.
    """
    before = -heads % width
    filled = before + lengths
    behind = -filled % width
    filled += behind
    at = np.cumsum(filled)
    at += before - filled
    behind[:-1] += before[1:]
    behind[-1] += width
    parts: list[bytes] = [b""] * (2 * len(encoded) + 1)
    parts[0] = _room(int(before[0]))
    parts[1::2] = encoded
    parts[2::2] = map(_rooms(width).__getitem__, behind.tolist())
    return _rows(b"".join(parts), width), at


def _rows(words: bytes, width: int) -> IntArray:
    rows = np.frombuffer(words, _LITTLE_ENDIAN).reshape(-1, width)
    return rows if _LITTLE_ENDIAN.isnative else rows.astype(np.int64)


def _room(words: int) -> bytes:
    return bytes(_WORD * words)


@cache
def _rooms(width: int) -> list[bytes]:
    """Rooms of up to two rows."""
    return [bytes(_WORD * words) for words in range(2 * width)]
