"""What is said to a Redis server, and what it says: the names of keys and fields, packed commands, hashes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from itertools import chain

from headrace.events.source_partition import SourcePartition
from headrace.stores.base import JournalEntry, RecordKey, Write

__all__ = [
    "RECORD",
    "entry_field",
    "entry_of",
    "fields_of",
    "names_of",
    "numbers",
    "packed",
    "packed_lookups",
    "packed_reads",
    "pairs",
    "partials",
    "portions_of",
    "record_prefix",
    "source_field",
    "source_of",
    "word",
]

RECORD = b"headrace:record:"
"""What the names of all records' hashes begin with."""


def word(text: bytes) -> bytes:
    """A word of a command."""
    return b"$%d\r\n%b\r\n" % (len(text), text)


def packed(*words: bytes) -> bytes:
    """A command as Redis reads it."""
    return b"*%d\r\n%b" % (len(words), b"".join(map(word, words)))


def packed_reads(keys: Sequence[RecordKey], kept: AbstractSet[str], kept_ms: int) -> tuple[bytes, int]:
    """Commands that read records, and how many answers there are to them: one for each, or two, of which the second is the record.

    Args:
        keys: The records.
        kept: Views whose records are first kept from expiring: all that are asked for are answered twice where any is of these.
        kept_ms: For how long they are kept at least, in ms.
    """
    fields, names = fields_of(keys), names_of(keys)
    if kept.isdisjoint({key.view for key in keys}):
        words = [(b"*3\r\n$4\r\nHGET\r\n", name, fields[at]) for name, (_, _, at) in zip(names, keys, strict=True)]
        return b"".join(chain.from_iterable(words)), len(keys)
    # GT: and never gone sooner than it was to be.
    keep = b"*4\r\n$7\r\nPEXPIRE\r\n%b" + word(b"%d" % kept_ms) + word(b"GT")
    gets = [b"*3\r\n$4\r\nHGET\r\n%b%b" % (name, fields[key.partition]) for name, key in zip(names, keys, strict=True)]
    keeps = [keep % name if key.view in kept else get for name, key, get in zip(names, keys, gets, strict=True)]
    return b"".join([command for both in zip(keeps, gets, strict=True) for command in both]), 2 * len(gets)


def packed_lookups(prefix: bytes, entities: Sequence[bytes]) -> list[bytes]:
    """Commands that read all records of entities, from what the names of their view's hashes begin with."""
    return [b"*2\r\n$7\r\nHGETALL\r\n$%d\r\n%b%b\r\n" % (len(prefix) + len(one), prefix, one) for one in entities]


def names_of(keys: Sequence[RecordKey]) -> list[bytes]:
    """The names of records' hashes, as words of a command."""
    beginnings = {
        (view, size): b"$%d\r\n%b" % (len(record_prefix(view)) + size, record_prefix(view))
        for view, size in {(view, len(entity)) for view, entity, _ in keys}
    }
    return [beginnings[view, len(entity)] + entity + b"\r\n" for view, entity, _ in keys]


def fields_of(keys: Iterable[RecordKey]) -> dict[int, bytes]:
    """The field of records in their hashes, as a word of a command, by source partition."""
    return {at: word(b"%d" % at) for at in {key.partition for key in keys}}


def pairs(fields: list[bytes] | dict[bytes, bytes]) -> Iterable[tuple[bytes, bytes]]:
    """A hash's fields and values, which a server gives by turns (RESP2) or as a map (RESP3)."""
    return fields.items() if isinstance(fields, dict) else zip(fields[::2], fields[1::2], strict=True)


def partials(fields: list[bytes] | dict[bytes, bytes]) -> list[tuple[int, bytes]]:
    """The records of an entity's hash by source partition, ascending."""
    return sorted((int(field), record) for field, record in pairs(fields)) if fields else []


def portions_of(writes: Sequence[Write], most: int, most_bytes: int) -> list[Sequence[Write]]:
    """Writes in portions of so many and about so many bytes of records at most; one of nothing, where there are none."""
    portions: list[Sequence[Write]] = []
    start = size = 0
    for number, write in enumerate(writes):
        if number - start >= most or size >= most_bytes:
            portions.append(writes[start:number])
            start, size = number, 0
        size += len(write.record)
    return [*portions, writes[start:]]


def record_prefix(view: str) -> bytes:
    """What the names of a view's records' hashes begin with; the entity's key follows."""
    return RECORD + view.encode() + b":"


def numbers(*values: int) -> bytes:
    """Numbers as a field's value."""
    return " ".join(map(str, values)).encode()


def source_field(source: SourcePartition) -> bytes:
    """A source partition's field among the positions."""
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
