"""Reading records: a worker reads them whole, a lookup reads the columns of state that it needs.

`RecordReader.read` checks every record (checksum, version, entity, lengths) and decodes nothing yet. It joins the bytes
of all records with so much padding between them that each record's tiles begin at a multiple of a tile's words. So the
joined words are a table whose rows are tiles (and, between those, the rest of the records), and a column of state is a
column of that table:

    tile   known_us  state …
    ────── ──────── ────────
    header, entity key, …         padding and the words before the tiles: rows without meaning
    22690   …        3  17.5      record 0, family 0: first[0][0] is this row, n_tiles[0][0] is 2
    22691   …        1   4.0
    header, entity key, …
    22688   …        9  80.1      record 1, family 0

A lookup merges columns of the table in place. `StoredRecords.tiles` copies the tiles of one family out of it, with
their strings and bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from itertools import repeat
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from headrace.aggregates import IntArray
from headrace.errors import StoreDamagedError
from headrace.records.layout import FIRST_WORD, HEADER, HEADER_WORDS, MAGIC, VERSION, WORD, Records
from headrace.records.words import object_columns, segments, words_of
from headrace.windows import NEVER, Tiles, ViewLayout

__all__ = ["RecordReader", "Run", "StoredRecords"]

_U32 = 0xFFFFFFFF
_view: Callable[[bytes], memoryview] = memoryview
_behind_checksum = itemgetter(slice(WORD, None))
_LITTLE_ENDIAN = np.dtype("<i8")

Matrix = IntArray | list[list[int]]
"""Integers, shape (something, records): an array, or lists where there is one record."""


class Run(NamedTuple):
    """Families that follow one another and whose tiles have the same width, so that they are rows of one table.

    Attributes:
        families: Which families.
        width: The words of a tile.
    """

    families: range
    width: int


class StoredRecords(NamedTuple):
    """Some records of one view as the store holds them, checked. Their tiles are rows of tables.

    Attributes:
        reader: What read them.
        encoded: Their bytes.
        entities: Their entity keys.
        heads: The applied offset, `known_through_us` and `newest_ts_us`, shape (3, records).
        dropped: The newest tile that was pruned from each record, shape (families, records).
        object_bytes: How many bytes of strings and bytes each record has, shape (families, records).
        n_tiles: How many tiles each record has, shape (families, records).
        first: The row of each record's first tile, shape (families, records).
        tables: Per run of families its table. The tiles of one record and family are neighbours, and at least one row
            follows the last of them.
    """

    reader: RecordReader
    encoded: Sequence[bytes]
    entities: Sequence[bytes]
    heads: Matrix
    dropped: Matrix
    object_bytes: Matrix
    n_tiles: Matrix
    first: Matrix
    tables: Sequence[IntArray]

    @property
    def applied(self) -> list[int]:
        """The last source offset merged into each record."""
        return _listed(self.heads[0])

    @property
    def newest_ts_us(self) -> list[int]:
        """The newest event time merged into each record; `NEVER` where no event was."""
        return _listed(self.heads[2])

    def tiles(self, family: int) -> Tiles:
        """A family's tiles with their strings and bytes; a tile's group is its record's place in the list.

        Raises:
            StoreDamagedError: The lengths of strings and bytes do not add up.
        """
        tiles = self._tiles(family)
        if tiles is None:
            raise self.reader.damage(self.encoded, self.entities)
        return tiles

    @property
    def are_whole(self) -> bool:
        """Whether the lengths of strings and bytes add up."""
        return all(self._tiles(number) is not None for number in range(len(self.n_tiles)))

    def _tiles(self, number: int) -> Tiles | None:
        family = self.reader.layout.families[number]
        first, n_tiles = np.asarray(self.first[number], np.int64), np.asarray(self.n_tiles[number], np.int64)
        rows = self.tables[self.reader.run_of(number)].take(segments(first, n_tiles), axis=0)
        object_bytes = np.asarray(self.object_bytes, np.int64)
        data = _objects(self.encoded, 8 * words_of(object_bytes), number) if object_bytes.any() else b""
        objects = object_columns(family, rows, n_tiles, object_bytes[number], data)
        return None if objects is None else Tiles(family, np.repeat(np.arange(len(n_tiles)), n_tiles), rows, objects)


def _listed(numbers: IntArray | list[int]) -> list[int]:
    return numbers if isinstance(numbers, list) else numbers.tolist()


def _objects(encoded: Sequence[bytes], sizes: IntArray, family: int) -> bytes:
    """The strings and bytes of a family, record by record.

    A record ends with those of its families, `sizes` bytes each.
    """
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    begins = lengths - sizes[family:].sum(axis=0)
    places = zip(encoded, begins.tolist(), (begins + sizes[family]).tolist(), strict=True)
    return b"".join([record[begin:end] for record, begin, end in places])


class RecordReader:
    """Reads the records of one view.

    Args:
        layout: The view's layout.

    Attributes:
        layout: The view's layout.
        widths: The words of a tile, per family.
        runs: The families that share a table.
    """

    def __init__(self, layout: ViewLayout) -> None:
        self.layout = layout
        self.widths = tuple(2 + len(family.columns) for family in layout.families)
        runs: list[Run] = []
        for number, width in enumerate(self.widths):
            if runs and runs[-1].width == width:
                runs[-1] = Run(range(runs[-1].families.start, number + 1), width)
            else:
                runs.append(Run(range(number, number + 1), width))
        self.runs = tuple(runs)
        self._described = struct.Struct("<" + "IIq" * len(self.widths))

    def run_of(self, family: int) -> int:
        """Which of the runs a family is in."""
        return next(number for number, run in enumerate(self.runs) if family in run.families)

    def read(self, encoded: Sequence[bytes], entities: Sequence[bytes]) -> StoredRecords:
        """Check records, and find their tiles.

        Args:
            encoded: The records.
            entities: The entity key that each record should carry.

        Raises:
            StoreDamagedError: A record's checksum, version, entity or length is wrong.
        """
        found = self._one(encoded[0], entities[0]) if len(encoded) == 1 else self._many(encoded, entities)
        if found is None:
            raise self.damage(encoded, entities)
        return found

    def decode(self, encoded: Sequence[bytes | None], entities: Sequence[bytes]) -> Records:
        """Read records whole.

        Args:
            encoded: The records; None for one that is not written yet.
            entities: The entity key that each record should carry.

        Returns:
            The records in the order given.

        Raises:
            StoreDamagedError: As `read`.
        """
        count, families = len(encoded), range(len(self.widths))
        places = np.flatnonzero([record is not None for record in encoded])
        written = [record for record in encoded if record is not None]
        found = self.read(written, [entities[place] for place in places.tolist()])
        heads, dropped = np.full((3, count), NEVER, np.int64), np.full((len(families), count), NEVER, np.int64)
        heads[0] = -1
        heads[:, places], dropped[:, places] = found.heads, found.dropped
        applied, known, newest = heads
        tiles = [found.tiles(number) for number in families]
        if len(written) < count:
            tiles = [one.regrouped(places[one.group]) for one in tiles]
        return Records(entities, applied, known, newest, list(dropped), tiles)

    def damage(self, encoded: Sequence[bytes], entities: Sequence[bytes]) -> StoreDamagedError:
        """What is wrong with the first record that is not sound."""
        found = (self._complaint(record, entity) for record, entity in zip(encoded, entities, strict=True))
        return next(filter(None, found))

    def _one(self, record: bytes, entity: bytes) -> StoredRecords | None:
        """One record; None where it is not sound.

        The numpy calls of `_many` would take longer than the rest of a lookup.
        """
        families, size, length = len(self.widths), len(entity), len(record) // WORD
        at = HEADER_WORDS + (size + WORD - 1) // WORD + 2 * families
        if length < at or len(record) % WORD:
            return None
        first_half, checksum, applied, known, newest, of_entity, count = HEADER.unpack_from(record)
        if (first_half, count, of_entity) != (FIRST_WORD, families, size):
            return None
        if zlib.crc32(memoryview(record)[WORD:]) != checksum or not record.startswith(entity, HEADER.size):
            return None
        described = self._described.unpack_from(record, WORD * (at - 2 * families))
        n_tiles, object_bytes = described[::3], described[1::3]
        end = at
        for width, tiles, of_objects in zip(self.widths, n_tiles, object_bytes, strict=True):
            end += tiles * width + (of_objects + WORD - 1) // WORD
        if end != length:
            return None
        tables: list[IntArray] = []
        first: list[list[int]] = []
        for families_of, width in self.runs:
            before = -at % width
            # Behind the record the row is filled up, and one more row follows.
            words = b"".join((bytes(WORD * before), record, bytes(WORD * (-(before + length) % width + width))))
            tables.append(_rows(words, width))
            row = (before + at) // width
            for family in families_of:
                first.append([row])
                row += n_tiles[family]
            at = row * width - before
        return StoredRecords(
            self,
            (record,),
            (entity,),
            [[applied], [known], [newest]],
            [[tile] for tile in described[2::3]],
            [[size] for size in object_bytes],
            [[tiles] for tiles in n_tiles],
            first,
            tables,
        )

    def _many(self, encoded: Sequence[bytes], entities: Sequence[bytes]) -> StoredRecords | None:
        """Any number of records; None where one is not sound."""
        count, families = len(encoded), len(self.widths)
        sizes = np.fromiter(map(len, encoded), np.int64, count)
        entity_bytes = np.fromiter(map(len, entities), np.int64, count)
        lengths = sizes // WORD
        heads = words_of(entity_bytes) + (HEADER_WORDS + 2 * families)
        if (heads > lengths).any() or (sizes % WORD).any():
            return None
        checksums = np.fromiter(map(zlib.crc32, map(_behind_checksum, map(_view, encoded))), np.int64, count)
        table, at = _table(encoded, lengths, heads, self.runs[0].width)
        words = table.reshape(-1)
        header = words.take(at + np.arange(HEADER_WORDS)[:, None])
        is_sound = (header[0] == (checksums << 32 | FIRST_WORD)) & (header[4] == (entity_bytes | families << 32))
        if not is_sound.all() or not all(map(bytes.startswith, encoded, entities, repeat(HEADER.size))):
            return None
        described = words.take((at + heads - 2 * families) + np.arange(2 * families)[:, None])
        n_tiles = described[::2] & _U32
        of_tiles = n_tiles * np.array(self.widths)[:, None]
        object_bytes = (described[::2] >> 32) & _U32
        if (heads + of_tiles.sum(axis=0) + words_of(object_bytes).sum(axis=0) != lengths).any():
            return None
        tables: list[IntArray] = []
        first = np.empty_like(n_tiles)
        for run in self.runs:
            if tables:
                table, at = _table(encoded, lengths, heads, run.width)
            tables.append(table)
            row = (at + heads) // run.width
            for family in run.families:
                first[family] = row
                row += n_tiles[family]
                heads += of_tiles[family]
        return StoredRecords(
            self, encoded, entities, header[1:4], described[1::2], object_bytes, n_tiles, first, tables
        )

    def _complaint(self, record: bytes, entity: bytes) -> StoreDamagedError | None:
        where = f"The record of {entity.decode('utf-8', 'replace')} in view {self.layout.view.versioned_name}"
        hint = "The store is damaged: `headrace stream --rebuild` builds it again from the log, and loses nothing."
        if len(record) < WORD:
            return StoreDamagedError(f"{where} is cut short ({len(record)} bytes).", hint=hint)
        if int.from_bytes(record[:4], "little") != FIRST_WORD:
            found, version = record[: len(MAGIC)], record[len(MAGIC)]
            msg = f"{where} starts with {found!r} version {version}; this headrace reads version {VERSION}."
            return StoreDamagedError(msg, hint="`headrace stream --rebuild` writes the records again from the log.")
        if len(record) < HEADER.size:
            return StoreDamagedError(f"{where} is cut short ({len(record)} bytes).", hint=hint)
        _, checksum, *_, length, families = HEADER.unpack_from(record)
        if zlib.crc32(memoryview(record)[WORD:]) != checksum:
            return StoreDamagedError(f"{where} does not match its checksum.", hint=hint)
        if record[HEADER.size : HEADER.size + length] != entity or families != len(self.widths):
            owner = record[HEADER.size : HEADER.size + length].decode("utf-8", "replace")
            return StoreDamagedError(f"{where} is that of {owner}.", hint=hint)
        found_alone = self._one(record, entity)
        if found_alone is None or not found_alone.are_whole:
            return StoreDamagedError(f"{where} is longer or shorter than its header says.", hint=hint)
        return None


def _table(encoded: Sequence[bytes], lengths: IntArray, heads: IntArray, width: int) -> tuple[IntArray, IntArray]:
    """Join records so that the tiles of each begin with a row.

    Args:
        encoded: The records.
        lengths: Their words, shape (records,).
        heads: How many words of each are before its tiles, shape (records,).
        width: The words of a row.

    Returns:
        The rows, at least one more than the records have, and at which word each record begins.
    """
    before = -heads % width
    padded = before + lengths
    behind = -padded % width
    padded += behind
    at = np.cumsum(padded)
    at += before - padded
    behind[:-1] += before[1:]
    behind[-1:] += width
    parts: list[bytes] = [b""] * (2 * len(encoded) + 1)
    parts[0] = bytes(WORD * int(before[:1].sum()))
    parts[1::2] = encoded
    parts[2::2] = map(_paddings(width).__getitem__, behind.tolist())
    return _rows(b"".join(parts), width), at


def _rows(words: bytes, width: int) -> IntArray:
    rows = np.frombuffer(words, _LITTLE_ENDIAN).reshape(-1, width)
    return rows if _LITTLE_ENDIAN.isnative else rows.astype(np.int64)


@cache
def _paddings(width: int) -> list[bytes]:
    """Zeros of 0, 1, 2, … words, up to two rows."""
    return [bytes(WORD * words) for words in range(2 * width)]
