"""The record's bytes, versioned and checksummed: words of eight bytes, so that many records are read and written by a few numpy calls.

    word            field
    0               magic "HR", version of this layout (1 byte), zero (1 byte), CRC-32 of all words after this one
    1               applied: the last source offset merged into the record, int64 little endian
    2               known_through_us: the newest known_at merged
    3               newest_ts_us: the newest event time merged
    4               length of the entity key (u32), number of families (u32)
    5               the entity key, filled up with zeros to a whole word
                    per family (in the layout's order): n_tiles (u32) and bytes of objects (u32); dropped: the newest tile pruned
                    per family: its tiles one after the other, each
                        tile, known_us, and a word per state column: an int, a float's bits, or an object's length in bytes (-1: null)
                    per family: the strings (UTF-8) and bytes, tile by tile, filled up with zeros to a whole word

The columns are those of the view's layout, and the view's hash is part of the record's key, so a record never meets another layout.
A store may compare the applied offset without decoding: `APPLIED` says where it stands.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from headrace.aggregates import IntArray
from headrace.errors import StoreDamagedError
from headrace.records.words import filled_up, object_columns, object_words, segments, words_of
from headrace.windows import NEVER, Family, Tiles, ViewLayout

__all__ = [
    "APPLIED",
    "VERSION",
    "Records",
    "applied_offset",
    "decode_records",
    "encode_records",
    "record_entity",
]

VERSION = 2
APPLIED = slice(8, 16)
"""Where the applied offset stands in a record."""

_MAGIC = b"HR"
_PREFIX = struct.Struct("<2sBBI")
_HEADER = struct.Struct("<qqqII")
_INT64 = struct.Struct("<q")
_HEADER_WORDS = 5
_ENTITY_AT = 8 * _HEADER_WORDS
_CHECKED_FROM = 8
_FIRST_HALF = int.from_bytes(_PREFIX.pack(_MAGIC, VERSION, 0, 0), "little")
_U32 = 0xFFFFFFFF
_ENTITY = slice(_ENTITY_AT - 8, _ENTITY_AT - 4)


@dataclass(frozen=True)
class Records:
    """Several records of one view, their tiles side by side; a tile's group is its record's place in the list.

    Attributes:
        entities: Each record's entity key.
        applied: The last source offset merged, per record; -1 for one that is not written yet.
        known_through_us: The newest `known_at` merged.
        newest_ts_us: The newest event time merged; `NEVER` where no event was.
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


def applied_offset(record: bytes) -> int:
    """The applied offset of an encoded record."""
    return int(_INT64.unpack(record[APPLIED])[0])


def record_entity(record: bytes) -> bytes:
    """The key of the entity that an encoded record is of."""
    return bytes(record[_ENTITY_AT : _ENTITY_AT + int.from_bytes(record[_ENTITY], "little")])


def encode_records(layout: ViewLayout, records: Records) -> list[bytes]:
    """The bytes of each record."""
    count = len(records)
    if not count:
        return []
    header = np.empty((count, _HEADER_WORDS), np.int64)
    entity_bytes = np.fromiter(map(len, records.entities), np.int64, count)
    header[:, 0] = _FIRST_HALF
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
    """What stands before the tiles, as parts, and how many words of each a record has; one part where all have as many."""
    words = words_of(entity_bytes)
    keys = filled_up(b"".join(entities), entity_bytes)
    if (words == words[0]).all():
        whole = np.concatenate([header, keys.reshape(len(header), -1), described], axis=1)
        return [whole.ravel()], [np.full(len(header), whole.shape[1])]
    sizes = [np.full(len(header), header.shape[1]), words, np.full(len(header), described.shape[1])]
    return [header.ravel(), keys, described.ravel()], sizes


def _sealed(parts: list[IntArray], sizes: IntArray) -> list[bytes]:
    """The records' bytes, from each kind of part of all records and how many words of it each record has."""
    words = np.concatenate(parts)
    ends_of_kind = np.cumsum(sizes.sum(axis=0))
    source = np.cumsum(sizes, axis=0) - sizes
    source[:, 1:] += ends_of_kind[:-1]
    words = words.take(segments(source.ravel(), sizes.ravel()))
    ends = (8 * np.cumsum(sizes.sum(axis=1))).tolist()
    starts = [0, *ends[:-1]]
    body = words.data.cast("B")
    checksums = [zlib.crc32(body[start + _CHECKED_FROM : end]) for start, end in zip(starts, ends, strict=True)]
    words.view(np.uint32)[np.array(starts) // 4 + 1] = checksums
    whole = words.tobytes()
    return [whole[start:end] for start, end in zip(starts, ends, strict=True)]


def decode_records(layout: ViewLayout, encoded: Sequence[bytes | None], entities: Sequence[bytes]) -> Records:
    """Read records back, checking each.

    Args:
        layout: The view's layout.
        encoded: The records; None stands for one not written yet.
        entities: The entity key that each record should carry.

    Returns:
        The records in the order given.

    Raises:
        StoreDamagedError: A record's checksum, version, entity or length is not what it should be.
    """
    count = len(encoded)
    held = [record for record in encoded if record is not None]
    is_whole = len(held) == count
    written = np.arange(count) if is_whole else np.flatnonzero([record is not None for record in encoded])
    applied = np.full(count, -1, np.int64)
    known, newest = np.full(count, NEVER, np.int64), np.full(count, NEVER, np.int64)
    dropped = [np.full(count, NEVER, np.int64) for _ in layout.families]
    if not len(written):
        nothing = [_no_tiles(family) for family in layout.families]
        return Records(entities, applied, known, newest, dropped, nothing)
    owners = entities if is_whole else [entities[number] for number in written.tolist()]
    header, parts = _read(layout, held, owners)
    applied[written], known[written], newest[written] = header[:, 1], header[:, 2], header[:, 3]
    tiles = []
    for number, part in enumerate(parts):
        dropped[number][written] = part.dropped
        tiles.append(part.tiles.regrouped(written[part.tiles.group]) if not is_whole else part.tiles)
    return Records(entities, applied, known, newest, dropped, tiles)


@dataclass(frozen=True)
class _FamilyPart:
    """A family's part of several records."""

    dropped: IntArray
    tiles: Tiles


def _read(layout: ViewLayout, held: list[bytes], owners: Sequence[bytes]) -> tuple[IntArray, list[_FamilyPart]]:
    """The headers, shape (records, 5), and per family its part."""
    joined = b"".join(held)
    sizes = np.fromiter(map(len, held), np.int64, len(held))
    if (sizes < _ENTITY_AT).any() or (sizes & 7).any():
        raise _damage(layout, held, owners)
    words = np.frombuffer(joined, "<i8").astype(np.int64, copy=False)
    ends = np.cumsum(sizes >> 3)
    starts = ends - (sizes >> 3)
    header = words[starts[:, None] + np.arange(_HEADER_WORDS)]
    entity_bytes = header[:, 4] & _U32
    body = memoryview(joined)
    checksums = [
        zlib.crc32(body[start + _CHECKED_FROM : end])
        for start, end in zip((8 * starts).tolist(), (8 * ends).tolist(), strict=True)
    ]
    is_sound = (
        (header[:, 0] == (np.array(checksums, np.int64) << 32 | _FIRST_HALF))
        & (header[:, 4] >> 32 == len(layout.families))
        & (entity_bytes == np.fromiter(map(len, owners), np.int64, len(owners)))
    )
    if not is_sound.all() or not all(map(bytes.startswith, held, owners, repeat(_ENTITY_AT))):
        raise _damage(layout, held, owners)
    parts = _families(layout, words, starts + _HEADER_WORDS + words_of(entity_bytes), ends)
    if parts is None:
        raise _damage(layout, held, owners)
    return header, parts


def _families(layout: ViewLayout, words: IntArray, at: IntArray, ends: IntArray) -> list[_FamilyPart] | None:
    """The families' parts of records, from where these begin; None where a record does not add up."""
    families = len(layout.families)
    if (at + 2 * families > ends).any():
        return None
    described = words[at[:, None] + np.arange(2 * families)]
    at = at + 2 * families
    n_tiles, object_bytes = described[:, ::2] & _U32, (described[:, ::2] >> 32) & _U32
    widths = np.array([2 + len(family.columns) for family in layout.families], np.int64)
    sizes = np.concatenate([n_tiles * widths, words_of(object_bytes)], axis=1)
    if (at + sizes.sum(axis=1) != ends).any():
        return None
    starts = at[:, None] + np.cumsum(sizes, axis=1) - sizes
    parts = []
    for number, family in enumerate(layout.families):
        rows = words.take(segments(starts[:, number], sizes[:, number])).reshape(-1, widths[number])
        group = np.repeat(np.arange(len(at)), n_tiles[:, number])
        blob = words.take(segments(starts[:, families + number], sizes[:, families + number])).tobytes()
        objects = object_columns(family, rows, n_tiles[:, number], object_bytes[:, number], blob)
        if objects is None:
            return None
        parts.append(_FamilyPart(described[:, 2 * number + 1], Tiles(family, group, rows, objects)))
    return parts


def _no_tiles(family: Family) -> Tiles:
    nothing = np.zeros(0, np.int64)
    return Tiles(
        family,
        nothing,
        np.zeros((0, 2 + len(family.columns)), np.int64),
        tuple(np.zeros(0, object) for _ in family.objects),
    )


def _damage(layout: ViewLayout, held: Sequence[bytes], owners: Sequence[bytes]) -> StoreDamagedError:
    """What is the matter with the first record that is not sound."""
    found = (_complaint(layout, record, entity) for record, entity in zip(held, owners, strict=True))
    return next(filter(None, found))


def _complaint(layout: ViewLayout, record: bytes, entity: bytes) -> StoreDamagedError | None:
    where = f"The record of {entity.decode('utf-8', 'replace')} in view {layout.view.versioned_name}"
    hint = "The store is damaged: `headrace stream --rebuild` builds it anew from the log, and loses nothing."
    if len(record) < _PREFIX.size:
        return StoreDamagedError(f"{where} is cut short ({len(record)} bytes).", hint=hint)
    magic, version, zero, crc = _PREFIX.unpack_from(record)
    if magic != _MAGIC or version != VERSION or zero != 0:
        msg = f"{where} starts with {magic!r} version {version}; this headrace reads version {VERSION}."
        return StoreDamagedError(msg, hint="`headrace stream --rebuild` writes the records anew from the log.")
    if len(record) < _ENTITY_AT:
        return StoreDamagedError(f"{where} is cut short ({len(record)} bytes).", hint=hint)
    if zlib.crc32(memoryview(record)[_CHECKED_FROM:]) != crc:
        return StoreDamagedError(f"{where} does not match its checksum.", hint=hint)
    *_, length, families = _HEADER.unpack_from(record, _PREFIX.size)
    found = record_entity(record)
    if length != len(entity) or found != entity or families != len(layout.families):
        return StoreDamagedError(f"{where} is that of {found.decode('utf-8', 'replace')}.", hint=hint)
    words = np.frombuffer(record[: len(record) & ~7], "<i8").astype(np.int64, copy=False)
    at, end = np.array([_HEADER_WORDS + -(-length // 8)]), np.array([len(words)])
    if len(record) & 7 or _families(layout, words, at, end) is None:
        return StoreDamagedError(f"{where} holds more or less than its header says.", hint=hint)
    return None
