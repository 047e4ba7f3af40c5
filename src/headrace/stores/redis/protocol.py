"""The names of keys and fields on a Redis server, packed commands, and reading its answers."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain

from headrace.events.source_partition import SourcePartition
from headrace.stores.base import JournalEntry, RecordKey, Write

__all__ = [
    "ANY_RECORD",
    "APPLIED",
    "RECORD",
    "chunks_of",
    "entry_field",
    "entry_of",
    "fields_of",
    "names_of",
    "numbers",
    "packed",
    "packed_lookups",
    "packed_reads",
    "pairs",
    "records_of",
    "record_prefix",
    "source_field",
    "source_of",
    "word",
]

RECORD = b"headrace:records:"
"""The names of all records' hashes begin with this."""

ANY_RECORD = b"headrace:record*"
"""The names of all records' hashes of this and of older formats."""

APPLIED = struct.Struct("<q")
"""The applied offset, which a hash keeps before the record."""


def word(text: bytes) -> bytes:
    """A word of a command."""
    return b"$%d\r\n%b\r\n" % (len(text), text)


def packed(*words: bytes) -> bytes:
    """A command as Redis reads it."""
    return b"*%d\r\n%b" % (len(words), b"".join(map(word, words)))


def packed_reads(keys: Sequence[RecordKey], keep_us: int) -> tuple[bytes, int]:
    """Commands that read records, and how many answers there are to them.

    Args:
        keys: The records.
        keep_us: Where it is not 0, each record is first kept from expiring for this long: then each has two answers,
            of which the second is the record.
    """
    fields, names = fields_of(keys), names_of(keys)
    if not keep_us:
        words = [(b"*3\r\n$4\r\nHGET\r\n", name, fields[key.source]) for name, key in zip(names, keys, strict=True)]
        return b"".join(chain.from_iterable(words)), len(keys)
    # GT: a record that expires later, or never, is left as it is.
    keep = b"%b" + word(b"%d" % (keep_us // 1000)) + word(b"GT")
    kept = [
        (b"*4\r\n$7\r\nPEXPIRE\r\n", keep % name, b"*3\r\n$4\r\nHGET\r\n", name, fields[key.source])
        for name, key in zip(names, keys, strict=True)
    ]
    return b"".join(chain.from_iterable(kept)), 2 * len(keys)


def packed_lookups(prefix: bytes, entities: Sequence[bytes]) -> list[bytes]:
    """Commands that read all records of entities; `prefix` is the beginning of their hashes' names."""
    return [b"*2\r\n$7\r\nHGETALL\r\n$%d\r\n%b%b\r\n" % (len(prefix) + len(one), prefix, one) for one in entities]


def names_of(keys: Sequence[RecordKey]) -> list[bytes]:
    """The names of records' hashes, as words of a command."""
    beginnings = {
        (view, size): b"$%d\r\n%b" % (len(record_prefix(view)) + size, record_prefix(view))
        for view, size in {(view, len(entity)) for view, entity, _ in keys}
    }
    return [beginnings[view, len(entity)] + entity + b"\r\n" for view, entity, _ in keys]


def fields_of(keys: Iterable[RecordKey]) -> dict[SourcePartition, bytes]:
    """The field of records in their hashes, as a word of a command, by source partition."""
    return {source: word(source_field(source)) for source in {key.source for key in keys}}


def pairs(fields: list[bytes] | dict[bytes, bytes]) -> Iterable[tuple[bytes, bytes]]:
    """A hash's fields and values, which a server gives by turns (RESP2) or as a map (RESP3)."""
    return fields.items() if isinstance(fields, dict) else zip(fields[::2], fields[1::2], strict=True)


def records_of(fields: list[bytes] | dict[bytes, bytes]) -> list[tuple[SourcePartition, bytes]]:
    """The records of an entity's hash by source partition, ascending."""
    if not fields:
        return []
    return sorted([(source_of(field), value[APPLIED.size :]) for field, value in pairs(fields)])


def chunks_of(writes: Sequence[Write], most: int, most_bytes: int) -> list[Sequence[Write]]:
    """Cut writes into chunks of at most `most` writes and about `most_bytes` bytes; no writes make one empty chunk."""
    chunks: list[Sequence[Write]] = []
    start = size = 0
    for number, write in enumerate(writes):
        if number - start >= most or size >= most_bytes:
            chunks.append(writes[start:number])
            start, size = number, 0
        size += len(write.record)
    return [*chunks, writes[start:]]


def record_prefix(view: str) -> bytes:
    """The names of a view's records' hashes begin with this; the entity's key follows."""
    return RECORD + view.encode() + b":"


def numbers(*values: int) -> bytes:
    """Numbers as a field's value."""
    return " ".join(map(str, values)).encode()


def source_field(source: SourcePartition) -> bytes:
    """A source partition as a field of a hash."""
    return f"{source.partition}:{source.topic}".encode()


@lru_cache(4_096)
def source_of(field: bytes) -> SourcePartition:
    """The source partition of such a field."""
    partition, _, topic = field.decode().partition(":")
    return SourcePartition(topic, int(partition))


def entry_field(entry: JournalEntry) -> bytes:
    """A journal entry's field."""
    return f"{entry.source.partition}:{entry.last}:{entry.source.topic}".encode()


def entry_of(field: bytes, value: bytes) -> JournalEntry:
    """The journal entry of a field and its value."""
    partition, last, topic = field.decode().split(":", 2)
    first, known_at_us = value.split()
    return JournalEntry(SourcePartition(topic, int(partition)), int(first), int(last), int(known_at_us))
