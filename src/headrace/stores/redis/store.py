"""The online store on a Redis server: several workers write it, any number of machines read it.

    headrace:records:VIEW:ENTITY   hash: PARTITION:TOPIC → applied offset (8 bytes), record
    headrace:positions             hash: PARTITION:TOPIC → offset, newest record time, newest event time
    headrace:journal               hash: PARTITION:LAST OFFSET:TOPIC → first offset, known_at
    headrace:meta                  hash: the catalogue's facts
    headrace:aside                 hash: what a refused transaction restores; never seen from outside

One Redis database is for one project. A write compares the applied offset of every record with the one that was read,
and writes all records and positions, or nothing (`commit`). A commit of many records that need not be at one moment is
several such writes, the positions with the last one, so that no reader waits long: each record is right by itself, and
what a lookup finds of a fetch that is half written is what its evidence says. A `lookup` is one MULTI, one round trip
and one moment, whatever the number of keys. Records with a time to expire are removed by the server.

Durability is the server's: where it keeps an append-only file, `sync` waits for that (`WAITAOF` since Redis 7.2;
before, as long as `everysec` may lag). A server that keeps none loses the store with a power cut;
`headrace stream --rebuild` then fills it from the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any

from headrace.errors import StoreUnavailableError
from headrace.events.source_partition import SourcePartition
from headrace.stores.base import NOTHING, FoundRecords, JournalEntry, Moment, OnlineStore, Position, RecordKey, Write
from headrace.stores.catalogue import GENERATION
from headrace.stores.redis.client import open_client, server_errors, without_password
from headrace.stores.redis.commit import CHECKED, META, POSITIONS, chunk_command, transaction
from headrace.stores.redis.pipelining import conversation
from headrace.stores.redis.protocol import (
    ANY_RECORD,
    APPLIED,
    chunks_of,
    entry_field,
    entry_of,
    numbers,
    packed,
    packed_lookups,
    packed_reads,
    pairs,
    record_prefix,
    records_of,
    source_field,
    source_of,
)
from headrace.stores.refusals import refuse_behind, refuse_stale

__all__ = ["RedisStore"]

_log = logging.getLogger(__name__)

_JOURNAL = b"headrace:journal"
_SYNC = b"headrace:sync"

_SYNC_TIMEOUT_MS = 3_000
_EVERYSEC_LAG_S = 2.0
"""With `appendfsync everysec` a write is on disk after two seconds at the latest, says Redis on persistence."""

_AT_ONCE = 100_000
"""How many records are written at one moment at most."""
_SCRIPT_RECORDS = 20
"""Up to this many records, one script is faster than a transaction."""
_SENT_AHEAD = 20
"""How many chunks are sent before the first one is answered."""
_MULTI = packed(b"MULTI")
_MOMENT = packed(b"HGETALL", POSITIONS) + packed(b"HGET", META, GENERATION.encode()) + packed(b"EXEC")
"""The end of a lookup: positions and generation of the same moment."""


class RedisStore(OnlineStore):
    """A store in a Redis database.

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py reads them.
        read_records: How many records are asked for at a time.
        chunk_records: Where a commit may be several writes, how many records each has at most.
        chunk_bytes: And about how many bytes: no reader waits longer than they take.

    Raises:
        ConfigError: The URL is not one.
        StoreUnavailableError: No server answers there, or it cannot serve just now.
        StoreError: The server refuses us.
    """

    is_shared = True
    removes_expired = True

    def __init__(
        self, url: str, *, read_records: int = 1_000, chunk_records: int = 100, chunk_bytes: int = 64 << 10
    ) -> None:
        self._name = without_password(url)
        self._read_records = read_records
        self._chunk_records = chunk_records
        self._chunk_bytes = chunk_bytes
        self._has_warned = False
        self._client = open_client(url)

    def read(self, keys: Sequence[RecordKey], keep_us: int = 0) -> list[bytes | None]:
        found: list[bytes | None] = []
        chunks = [keys[start : start + self._read_records] for start in range(0, len(keys), self._read_records)]
        with self._errors():
            for answers in self._converse(packed_reads(chunk, keep_us) for chunk in chunks):
                found += answers[1::2] if keep_us else answers
        return [None if value is None else value[APPLIED.size :] for value in found]

    def commit(
        self,
        writes: Sequence[Write],
        positions: Mapping[SourcePartition, Position],
        required: Mapping[SourcePartition, int] = NOTHING,
        epoch: object | None = None,
        *,
        at_once: bool = True,
    ) -> None:
        if not at_once:
            *chunks, last = chunks_of(writes, self._chunk_records, self._chunk_bytes)
            if chunks:
                self._write_chunks(chunks, {}, required)
            self._write_chunks([last], positions, required)
        elif len(writes) <= _SCRIPT_RECORDS:
            self._write_chunks([writes], positions, required)
        else:
            rest = (len(writes) - 1) // _AT_ONCE * _AT_ONCE
            for start in range(0, rest, _AT_ONCE):
                self._write_at_once(writes[start : start + _AT_ONCE], {}, required)
            self._write_at_once(writes[rest:], positions, required)

    def _write_chunks(
        self,
        chunks: Sequence[Sequence[Write]],
        positions: Mapping[SourcePartition, Position],
        required: Mapping[SourcePartition, int],
    ) -> None:
        """Write chunks, each by a script. Some are sent before the first is answered, and none after one is refused."""
        refused: tuple[Sequence[Any], Sequence[Write]] | None = None

        def commands() -> Iterator[tuple[bytes, int]]:
            for writes in chunks:
                if refused is None:
                    yield chunk_command(writes, positions, required), 1

        with self._errors():
            for number, (refusal,) in enumerate(self._converse(commands(), _SENT_AHEAD)):
                if refusal and refused is None:
                    refused = refusal, chunks[number]
        if refused is not None:
            _refuse(*refused, required)

    def _write_at_once(
        self,
        writes: Sequence[Write],
        positions: Mapping[SourcePartition, Position],
        required: Mapping[SourcePartition, int],
    ) -> None:
        """Write records at one moment, however many."""
        with self._errors():
            *_, (*_, answers) = self._converse(transaction(writes, positions, required))
        _refuse(answers[CHECKED], writes, required)

    def lookup(self, wanted: Mapping[str, Sequence[bytes]]) -> Moment:
        commands = [_MULTI]
        for view, entities in wanted.items():
            commands += packed_lookups(record_prefix(view), entities)
        commands.append(_MOMENT)
        with self._errors():
            ((*_, (*found, positions, generation)),) = self._converse([(b"".join(commands), len(commands) + 2)])
        hashes = map(records_of, found)
        records = {view: FoundRecords.of(islice(hashes, len(entities))) for view, entities in wanted.items()}
        moved = {source_of(field): Position(*map(int, value.split())) for field, value in pairs(positions)}
        return Moment(records, moved, (generation or b"").decode())

    def _converse(self, batches: Iterable[tuple[bytes, int]], ahead: int = 1) -> Iterator[list[Any]]:
        return conversation(self._client.connection_pool, batches, ahead)

    def add_journal(self, entries: Iterable[JournalEntry]) -> None:
        fields = {entry_field(entry): numbers(entry.first, entry.known_at_us) for entry in entries}
        if fields:
            with self._errors():
                self._client.hset(_JOURNAL, mapping=fields)

    def journal(self) -> list[JournalEntry]:
        with self._errors():
            found: dict[bytes, bytes] = self._client.hgetall(_JOURNAL)
        return sorted(entry_of(field, value) for field, value in found.items())

    def trim_journal(self, through: Mapping[SourcePartition, int]) -> None:
        known = [entry_field(entry) for entry in self.journal() if entry.last <= through.get(entry.source, -1)]
        if known:
            with self._errors():
                self._client.hdel(_JOURNAL, *known)

    def meta(self) -> dict[str, str]:
        with self._errors():
            found: dict[bytes, bytes] = self._client.hgetall(META)
        return {name.decode(): value.decode() for name, value in found.items()}

    def set_meta(self, facts: Mapping[str, str | None]) -> None:
        kept = {name: value for name, value in facts.items() if value is not None}
        removed = facts.keys() - kept.keys()
        with self._errors(), self._client.pipeline(transaction=True) as pipe:
            if kept:
                pipe.hset(META, mapping=kept)
            if removed:
                pipe.hdel(META, *removed)
            pipe.execute()

    def entities(self, view: str) -> list[bytes]:
        prefix = record_prefix(view)
        found: dict[bytes, None] = {}  # a scan may give a key more than once
        cursor = -1
        with self._errors():
            while cursor != 0:
                cursor, keys = self._client.scan(max(cursor, 0), match=prefix + b"*", count=1000)
                found.update((key.removeprefix(prefix), None) for key in keys)
        return list(found)

    def delete(self, view: str, entities: Iterable[bytes], source: SourcePartition | None = None) -> int:
        keys = [record_prefix(view) + entity for entity in set(entities)]
        if source is not None:
            with self._errors(), self._client.pipeline(transaction=True) as pipe:
                for key in keys:
                    pipe.hdel(key, source_field(source))
                return sum(pipe.execute())
        with self._errors(), self._client.pipeline(transaction=True) as pipe:
            for key in keys:
                pipe.hlen(key)
                pipe.unlink(key)
            return sum(pipe.execute()[::2])

    def clear(self) -> None:
        with self._errors():
            # Records go last: a clear that is cut short leaves records without positions, which a replay skips, and not
            # positions without their records, which nothing would ever fill again.
            self._client.unlink(POSITIONS, _JOURNAL, META, _SYNC)
            cursor = -1
            while cursor != 0:
                cursor, keys = self._client.scan(max(cursor, 0), match=ANY_RECORD, count=1000)
                if keys:
                    self._client.unlink(*keys)

    def sync(self) -> None:
        with self._errors():
            info = self._client.info("server", "persistence")
            if not info["aof_enabled"]:
                self._warn_volatile()
            elif _version(info["redis_version"]) >= (7, 2):
                self._wait_for_append_only_file()
            else:
                time.sleep(_EVERYSEC_LAG_S)

    def close(self) -> None:
        self._client.close()

    def _wait_for_append_only_file(self) -> None:
        # WAITAOF waits for its own connection's writes, so it follows one; the file is written in order, and so holds
        # all that came before.
        with self._client.pipeline(transaction=False) as pipe:
            pipe.set(_SYNC, b"1")
            pipe.execute_command("WAITAOF", 1, 0, _SYNC_TIMEOUT_MS)
            local_files = pipe.execute()[1][0]
        if local_files < 1:
            msg = f"Redis at {self._name} did not write its append-only file within {_SYNC_TIMEOUT_MS} ms."
            raise StoreUnavailableError(msg, hint="Check the server's disk.")

    def _warn_volatile(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            hint = "set `appendonly yes`, or be ready to run `headrace stream --rebuild` after a power cut"
            _log.warning("Redis at %s keeps no append-only file: %s", self._name, hint)

    def _errors(self) -> AbstractContextManager[None]:
        return server_errors(self._name)


def _refuse(refusal: Sequence[Any], writes: Sequence[Write], required: Mapping[SourcePartition, int]) -> None:
    """Raise what a script refused, if it refused anything."""
    if refusal and refusal[0] == b"behind":
        source = source_of(refusal[1])
        refuse_behind(source, required[source], None if refusal[2] is None else int(refusal[2].split()[0]))
    elif refusal:
        refuse_stale(writes[refusal[1] - 1], None if refusal[2] is None else APPLIED.unpack_from(refusal[2])[0])


def _version(text: str) -> tuple[int, int]:
    major, minor, *_ = text.split(".")
    return int(major), int(minor)
