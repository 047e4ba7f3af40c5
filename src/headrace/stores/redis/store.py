"""The online store on a Redis server: several workers write it, any number of machines read it.

    headrace:record:VIEW:ENTITY    hash: source partition → record
    headrace:positions             hash: PARTITION:TOPIC → offset, newest record time, newest event time
    headrace:journal               hash: PARTITION:LAST OFFSET:TOPIC → first offset, known_at
    headrace:meta                  hash: the store's facts
    headrace:aside                 hash: what a refused transaction puts back; never seen from outside

One Redis database holds one project. A write compares every record's applied offset (`codec.APPLIED`) with the one that was read, and
writes all records and positions, or nothing (see `redis_commit`). Under the system clock a commit of many records is several such writes, the
positions with the last, so that no reader waits long for one to end: each record is right by itself, and what a lookup finds of a fetch that is
half written is what its evidence says. Under the record clock, where what is known at a time must become readable together, a commit is one
write. A `lookup` is one MULTI, one round trip and one moment, whatever the number of keys.

Under the system clock, records of views without lifetimes expire by themselves (see `expiry`).

Durability is the server's: where it keeps an append-only file, a `sync` waits for that (`WAITAOF` since Redis 7.2;
before, for as long as `everysec` may lag). A server that keeps none forgets the store with a power cut;
`headrace stream --rebuild` then fills it from the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from headrace.config import Clock
from headrace.errors import ConfigError, HeadraceError, StoreError, StoreUnavailableError
from headrace.events.source_partition import SourcePartition
from headrace.plan import View
from headrace.stores.base import NOTHING, JournalEntry, Moment, OnlineStore, Position, RecordKey, Write
from headrace.stores.catalogue import GENERATION
from headrace.stores.expiry import KEPT_US, REMEMBERED_US, expires_ms, reach_us
from headrace.stores.memory import refuse_behind, refuse_stale
from headrace.stores.redis.commit import CHECKED, META, POSITIONS, portion, transaction
from headrace.stores.redis.pipelining import conversation
from headrace.stores.redis.protocol import (
    RECORD,
    entry_field,
    entry_of,
    numbers,
    packed,
    packed_lookups,
    packed_reads,
    pairs,
    partials,
    portions_of,
    record_prefix,
    source_of,
)

__all__ = ["RedisStore"]

_log = logging.getLogger(__name__)

_JOURNAL = b"headrace:journal"
_SYNC = b"headrace:sync"

_SYNC_TIMEOUT_MS = 3_000
_EVERYSEC_LAG_S = 2.0
"""With `appendfsync everysec` a write is on disk after two seconds at the latest, says Redis on persistence."""

_AT_ONCE = 100_000
"""Under the record clock, how many records are written in one moment at most: what is known at a time becomes readable together."""
_READ_AT_ONCE = 1_000
_FEW = 20
"""Up to so many, one script alone takes less long than a transaction."""
_PORTION = 100
_PORTION_BYTES = 64 << 10
"""Under the system clock, how many are, and how many bytes: no reader waits longer than they take."""
_SENT_AHEAD = 20
"""How many of these are sent before the first is answered."""
_MULTI = packed(b"MULTI")
_MOMENT = packed(b"HGETALL", POSITIONS) + packed(b"HGET", META, GENERATION.encode()) + packed(b"EXEC")
"""What a lookup ends with."""

# Answers of a server that is there but cannot serve just now; redis-py gives them no class of their own.
_UNAVAILABLE_REPLIES = ("MISCONF ", "NOREPLICAS ", "MASTERDOWN ", "BUSY Redis")


class RedisStore(OnlineStore):
    """A store in a Redis database.

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py reads them.

    Raises:
        ConfigError: The URL is not one.
        StoreUnavailableError: No server answers there, or it cannot serve just now.
        StoreError: The server refuses us.
    """

    remembers_us = REMEMBERED_US

    def __init__(self, url: str) -> None:
        self._name = _without_password(url)
        self._told_volatile = False
        try:
            # The worker does the retrying, with backoff, and from what the store then holds: a commit whose answer was
            # lost must not be sent again as it was.
            _check_database(url)
            self._client: Any = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))
        except (ValueError, TypeError) as error:
            msg = f"`store` is {self._name!r}, which is no Redis URL: {error}."
            hint = "Write redis://host:port/db, rediss://host:port/db or unix:///path?db=N."
            raise ConfigError(msg, hint=hint) from error
        self._clock: str | None = None
        self._reach: dict[str, int | None] = {}
        try:
            with self._errors():
                self._client.ping()
        except HeadraceError:
            self.close()
            raise

    def read(self, keys: Sequence[RecordKey]) -> list[bytes | None]:
        found: list[bytes | None] = []
        with self._errors():
            self._learn({key.view for key in keys})
            # What is read of records that expire is still there when it is written.
            kept = {view for view, reach in self._reach.items() if reach is not None and self._clock == Clock.SYSTEM}
            portions = [keys[start : start + _READ_AT_ONCE] for start in range(0, len(keys), _READ_AT_ONCE)]
            commands = (packed_reads(some, kept, KEPT_US // 1000) for some in portions)
            for some, answers in zip(portions, self._converse(commands), strict=True):
                found += answers if len(answers) == len(some) else answers[1::2]
        return found

    def commit(
        self,
        writes: Sequence[Write],
        positions: Mapping[SourcePartition, Position],
        held: Mapping[SourcePartition, int] = NOTHING,
        epoch: object | None = None,
    ) -> None:
        with self._errors():
            self._learn({write.key.view for write in writes})
        if self._clock == Clock.SYSTEM:
            *some, last = portions_of(writes, _PORTION, _PORTION_BYTES)
            if some:
                self._write_portions(some, {}, held)
            self._write_portions([last], positions, held)
        elif len(writes) <= _FEW:
            self._write_portions([writes], positions, held)
        else:
            rest = (len(writes) - 1) // _AT_ONCE * _AT_ONCE
            for start in range(0, rest, _AT_ONCE):
                self._write_at_once(writes[start : start + _AT_ONCE], {}, held)
            self._write_at_once(writes[rest:], positions, held)

    def _write_portions(
        self,
        portions: Sequence[Sequence[Write]],
        positions: Mapping[SourcePartition, Position],
        held: Mapping[SourcePartition, int],
    ) -> None:
        """Write portions, each by a script of its own; some are sent before the first is answered, and none once one was refused."""
        refused: tuple[Sequence[Any], Sequence[Write]] | None = None

        def commands() -> Iterator[tuple[bytes, int]]:
            for writes in portions:
                if refused is None:
                    yield portion(writes, positions, held, self._expires), 1

        with self._errors():
            for number, (refusal,) in enumerate(self._converse(commands(), _SENT_AHEAD)):
                if refusal and refused is None:
                    refused = refusal, portions[number]
        if refused is not None:
            _refuse(*refused, held)

    def _write_at_once(
        self,
        writes: Sequence[Write],
        positions: Mapping[SourcePartition, Position],
        held: Mapping[SourcePartition, int],
    ) -> None:
        """Write records at one moment, however many."""
        with self._errors():
            *_, (*_, answers) = self._converse(transaction(writes, positions, held))
        _refuse(answers[CHECKED], writes, held)

    def _learn(self, views: set[str]) -> None:
        """Ask the store for its clock, and for the windows of views, where they are not known yet."""
        unknown = [view for view in views if view not in self._reach]
        if self._clock is not None and not unknown:
            return
        clock, *definitions = self._client.hmget(META, "clock", *map("definition:".__add__, unknown))
        self._clock = None if clock is None else clock.decode()
        for view, definition in zip(unknown, definitions, strict=True):
            if definition is not None:
                self._reach[view] = reach_us(View.model_validate_json(definition))

    def _expires(self, write: Write) -> int | None:
        """When a record may be forgotten, in ms; None where never, or while the store does not know its view's windows."""
        reach = self._reach.get(write.key.view)
        return None if reach is None else expires_ms(write.record, reach)

    def lookup(self, wanted: Mapping[str, Sequence[bytes]]) -> Moment:
        commands = [_MULTI]
        for view, entities in wanted.items():
            commands += packed_lookups(record_prefix(view), entities)
        commands.append(_MOMENT)
        with self._errors():
            ((*_, (*found, positions, generation)),) = self._converse([(b"".join(commands), len(commands) + 2)])
        hashes = iter(found)
        records = {view: [partials(next(hashes)) for _ in entities] for view, entities in wanted.items()}
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
        self._clock = None
        known = {name: value for name, value in facts.items() if value is not None}
        forgotten = facts.keys() - known.keys()
        with self._errors(), self._client.pipeline(transaction=True) as pipe:
            if known:
                pipe.hset(META, mapping=known)
            if forgotten:
                pipe.hdel(META, *forgotten)
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

    def delete(self, view: str, entities: Iterable[bytes], partition: int | None = None) -> int:
        keys = [record_prefix(view) + entity for entity in set(entities)]
        if partition is not None:
            with self._errors(), self._client.pipeline(transaction=True) as pipe:
                for key in keys:
                    pipe.hdel(key, b"%d" % partition)
                return sum(pipe.execute())
        with self._errors(), self._client.pipeline(transaction=True) as pipe:
            for key in keys:
                pipe.hlen(key)
                pipe.unlink(key)
            return sum(pipe.execute()[::2])

    def clear(self) -> None:
        self._clock = None
        with self._errors():
            # Records go last: a clear cut short leaves records without positions, which a replay passes over, and not
            # positions without their records, which nothing would ever fill again.
            self._client.unlink(POSITIONS, _JOURNAL, META, _SYNC)
            cursor = -1
            while cursor != 0:
                cursor, keys = self._client.scan(max(cursor, 0), match=RECORD + b"*", count=1000)
                if keys:
                    self._client.unlink(*keys)

    def sync(self) -> None:
        with self._errors():
            info = self._client.info("server", "persistence")
            if not info["aof_enabled"]:
                self._tell_volatile()
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

    def _tell_volatile(self) -> None:
        if not self._told_volatile:
            self._told_volatile = True
            hint = "set `appendonly yes`, or be ready to run `headrace stream --rebuild` after a power cut"
            _log.warning("Redis at %s keeps no append-only file: %s", self._name, hint)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (exceptions.AuthenticationError, exceptions.NoPermissionError) as error:
            msg = f"Redis at {self._name} refuses us: {_text(error)}."
            hint = "Put user and password into `store`: redis://user:password@host:port/db."
            raise StoreError(msg, hint=hint) from error
        except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
            msg = f"Redis at {self._name} does not answer: {_text(error)}."
            hint = "Start it, or check `store` in headrace.toml (or $HEADRACE_STORE)."
            raise StoreUnavailableError(msg, hint=hint) from error
        except exceptions.RedisError as error:
            cannot_now = isinstance(error, exceptions.ReadOnlyError | exceptions.OutOfMemoryError)
            if cannot_now or any(reply in str(error) for reply in _UNAVAILABLE_REPLIES):
                msg = f"Redis at {self._name} cannot serve just now: {_text(error)}."
                raise StoreUnavailableError(msg, hint="See the server's log.") from error
            msg = f"Redis at {self._name} refused a command: {_text(error)}."
            hint = "Is the database headrace's own? Give the project one for itself: redis://host:port/db."
            raise StoreError(msg, hint=hint) from error


def _refuse(refusal: Sequence[Any], writes: Sequence[Write], held: Mapping[SourcePartition, int]) -> None:
    """Raise what a script says was refused, if anything was."""
    if refusal and refusal[0] == b"behind":
        source = source_of(refusal[1])
        refuse_behind(source, held[source], None if refusal[2] is None else int(refusal[2].split()[0]))
    elif refusal:
        refuse_stale(writes[refusal[1] - 1], refusal[2])


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def _check_database(url: str) -> None:
    """redis-py would read redis://host/name as database 0, which may be someone else's."""
    parts = urlsplit(url)
    if parts.scheme != "unix" and parts.path.strip("/"):
        int(parts.path.strip("/"))


def _text(error: Exception) -> str:
    return str(error).rstrip(".")


def _version(text: str) -> tuple[int, int]:
    major, minor, *_ = text.split(".")
    return int(major), int(minor)
