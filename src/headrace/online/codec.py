"""The record's bytes, versioned and checksummed.

    offset  size  field
    0       2     magic "HR"
    2       1     version of this layout
    3       1     zero
    4       4     CRC-32 of everything after it
    8       8     applied: the last source offset merged into the record, int64 little endian
    16      8     known_through_us: the newest known_at merged
    24      8     newest_ts_us: the newest event time merged
    32      4     length of the entity key
    36      2     number of families
    38            the entity key, then per family (in the layout's order):
                    n_tiles u32, dropped i64 (the newest tile pruned), length of strings u32,
                    int64[columns][n_tiles]: tile, known_us and the numeric state columns (floats by their bits),
                    the string columns as a JSON array of arrays,
                    per column of bytes: u32[n_tiles] lengths, and the bytes

The columns are those of the view's layout, and the view's hash is part of the record's key, so a record never meets another layout.
A store may compare the applied offset without decoding: `APPLIED` says where it stands.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from headrace.aggregates import Array, IntArray, State
from headrace.errors import StoreDamagedError
from headrace.windows import NEVER, Family, Tiles, ViewLayout

__all__ = [
    "APPLIED",
    "VERSION",
    "RecordHeader",
    "Records",
    "applied_offset",
    "decode_records",
    "encode_records",
    "entity_key",
    "record_entity",
]

VERSION = 1
APPLIED = slice(8, 16)
"""Where the applied offset stands in a record."""

_NUMERIC = ("int64", "float64")
_MAGIC = b"HR"
_PREFIX = struct.Struct("<2sBBI")
_HEADER = struct.Struct("<qqqIH")
_FAMILY = struct.Struct("<IqI")
_INT64 = struct.Struct("<q")


@dataclass(frozen=True)
class RecordHeader:
    """What a record says of itself.

    Attributes:
        entity: The entity's key.
        applied: The last source offset merged.
        known_through_us: The newest `known_at` merged.
        newest_ts_us: The newest event time merged; `NEVER` where no event was.
    """

    entity: bytes
    applied: int
    known_through_us: int
    newest_ts_us: int


@dataclass(frozen=True)
class Records:
    """Several records of one view, their tiles side by side; a tile's group is its record's place in the list.

    Attributes:
        headers: One per record.
        dropped: Per family, for each record the newest tile pruned.
        tiles: Per family.
    """

    headers: list[RecordHeader]
    dropped: list[IntArray]
    tiles: list[Tiles]


def entity_key(values: Sequence[object]) -> bytes:
    """An entity's key: its join keys' values as compact JSON, so that 1 and "1" stay apart."""
    return json.dumps(list(values), separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def applied_offset(record: bytes) -> int:
    """The applied offset of an encoded record."""
    return int(_INT64.unpack(record[APPLIED])[0])


def record_entity(record: bytes) -> bytes:
    """The key of the entity that an encoded record is of."""
    *_, length, _ = _HEADER.unpack_from(record, _PREFIX.size)
    start = _PREFIX.size + _HEADER.size
    return bytes(record[start : start + length])


def encode_records(layout: ViewLayout, records: Records) -> list[bytes]:
    """The bytes of each record."""
    bodies: list[list[bytes]] = [
        [
            _HEADER.pack(
                header.applied, header.known_through_us, header.newest_ts_us, len(header.entity), len(layout.families)
            ),
            header.entity,
        ]
        for header in records.headers
    ]
    for family, tiles, dropped in zip(layout.families, records.tiles, records.dropped, strict=True):
        _encode_family(family, tiles, dropped, bodies)
    encoded = []
    for parts in bodies:
        body = b"".join(parts)
        encoded.append(_PREFIX.pack(_MAGIC, VERSION, 0, zlib.crc32(body)) + body)
    return encoded


def _encode_family(family: Family, tiles: Tiles, dropped: IntArray, bodies: list[list[bytes]]) -> None:
    columns = [column for state in tiles.states for column in state]
    kinds = [column.kind for column in family.columns]
    numeric = [tiles.tile, tiles.known_us]
    numeric += [column.view(np.int64) for column, kind in zip(columns, kinds, strict=True) if kind in _NUMERIC]
    texts = [column for column, kind in zip(columns, kinds, strict=True) if kind == "string"]
    blobs = [column for column, kind in zip(columns, kinds, strict=True) if kind == "bytes"]
    matrix = np.stack(numeric)
    ends = np.searchsorted(tiles.group, np.arange(len(bodies)), side="right").tolist()
    start = 0
    for parts, end, newest_dropped in zip(bodies, ends, dropped.tolist(), strict=True):
        strings = json.dumps([text[start:end].tolist() for text in texts]).encode() if texts else b""
        parts.append(_FAMILY.pack(end - start, newest_dropped, len(strings)))
        parts.append(matrix[:, start:end].tobytes())
        parts.append(strings)
        for blob in blobs:
            held = blob[start:end].tolist()
            parts.append(np.array([len(one) for one in held], np.uint32).tobytes())
            parts += held
        start = end


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
    headers: list[RecordHeader] = []
    parts: list[list[_Columns]] = [[] for _ in layout.families]
    dropped = [np.full(len(encoded), NEVER, np.int64) for _ in layout.families]
    for number, (record, entity) in enumerate(zip(encoded, entities, strict=True)):
        if record is None:
            headers.append(RecordHeader(entity, -1, NEVER, NEVER))
            for family, part in zip(layout.families, parts, strict=True):
                part.append(_no_tiles(family))
            continue
        header, at = _decode_header(layout, record, entity)
        headers.append(header)
        for number_of_family, family in enumerate(layout.families):
            at, newest_dropped, part_tiles = _decode_family(family, record, at)
            dropped[number_of_family][number] = newest_dropped
            parts[number_of_family].append(part_tiles)
    tiles = [_side_by_side(family, part) for family, part in zip(layout.families, parts, strict=True)]
    return Records(headers, dropped, tiles)


def _decode_header(layout: ViewLayout, record: bytes, entity: bytes) -> tuple[RecordHeader, int]:
    where = f"The record of {entity.decode('utf-8', 'replace')} in view {layout.view.versioned_name}"
    cure = "The store is damaged: `headrace stream --rebuild` builds it anew from the log, and loses nothing."
    if len(record) < _PREFIX.size + _HEADER.size:
        msg = f"{where} is cut short ({len(record)} bytes)."
        raise StoreDamagedError(msg, cure=cure)
    magic, version, zero, crc = _PREFIX.unpack_from(record)
    if magic != _MAGIC or version != VERSION or zero != 0:
        msg = f"{where} starts with {magic!r} version {version}; this headrace reads version {VERSION}."
        raise StoreDamagedError(msg, cure="`headrace stream --rebuild` writes the records anew from the log.")
    if zlib.crc32(memoryview(record)[_PREFIX.size :]) != crc:
        msg_0 = f"{where} does not match its checksum."
        raise StoreDamagedError(msg_0, cure=cure)
    applied, known, newest, length, families = _HEADER.unpack_from(record, _PREFIX.size)
    at = _PREFIX.size + _HEADER.size + length
    found = record[at - length : at]
    if found != entity or families != len(layout.families):
        msg_0 = f"{where} is that of {found.decode('utf-8', 'replace')}."
        raise StoreDamagedError(msg_0, cure=cure)
    return RecordHeader(entity, applied, known, newest), at


class _Columns(NamedTuple):
    """A family's tiles in one record.

    Attributes:
        matrix: int64 rows: tile, known_us and the numeric state columns.
        objects: The columns of strings, then those of bytes.
    """

    matrix: Array
    objects: list[list[Any]]


def _decode_family(family: Family, record: bytes, at: int) -> tuple[int, int, _Columns]:
    n, newest_dropped, strings_length = _FAMILY.unpack_from(record, at)
    rows = 2 + sum(column.kind in _NUMERIC for column in family.columns)
    at += _FAMILY.size
    matrix = np.frombuffer(record, "<i8", rows * n, at).reshape(rows, n)
    at += matrix.nbytes
    objects: list[list[Any]] = json.loads(record[at : at + strings_length]) if strings_length else []
    at += strings_length
    for _ in range(sum(column.kind == "bytes" for column in family.columns)):
        lengths = np.frombuffer(record, "<u4", n, at)
        ends = at + lengths.nbytes + np.cumsum(lengths, dtype=np.int64)
        objects.append(
            [record[end - length : end] for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]
        )
        at = int(ends[-1]) if n else at
    return at, newest_dropped, _Columns(matrix, objects)


def _no_tiles(family: Family) -> _Columns:
    numeric = sum(column.kind in _NUMERIC for column in family.columns)
    return _Columns(np.zeros((2 + numeric, 0), np.int64), [[] for _ in range(len(family.columns) - numeric)])


def _side_by_side(family: Family, parts: list[_Columns]) -> Tiles:
    matrix = np.concatenate([part.matrix for part in parts], axis=1) if parts else _no_tiles(family).matrix
    group = np.repeat(np.arange(len(parts)), [part.matrix.shape[1] for part in parts])
    numeric, strings = iter(matrix[2:]), sum(column.kind == "string" for column in family.columns)
    next_object = {"string": iter(range(strings)), "bytes": iter(range(strings, len(family.columns)))}
    columns: list[Array] = []
    for column in family.columns:
        if column.kind in _NUMERIC:
            columns.append(next(numeric).view(np.float64) if column.kind == "float64" else next(numeric))
        else:
            place = next(next_object[column.kind])
            values = [value for part in parts for value in part.objects[place]]
            held = np.empty(len(values), object)
            held[:] = values
            columns.append(held)
    states: list[State] = []
    for accumulator in family.accumulators:
        width = len(accumulator.aggregate.state)
        states.append(tuple(columns[:width]))
        columns = columns[width:]
    return Tiles(group, matrix[0], matrix[1], tuple(states))
