"""An example adapter, complete and small: an online store in one SQLite file. docs/testing.md links to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from headrace.events.source_partition import SourcePartition
from headrace.stores import FoundRecords, JournalEntry, Moment, OnlineStore, Position, RecordKey, Write
from headrace.stores.base import NOTHING
from headrace.stores.catalogue import GENERATION
from headrace.stores.refusals import refuse_any_stale, refuse_behind

__all__ = ["SqliteStore"]

_TABLES = """
CREATE TABLE IF NOT EXISTS records (view TEXT, entity BLOB, topic TEXT, partition INTEGER, applied INTEGER, record BLOB,
    PRIMARY KEY (view, entity, topic, partition));
CREATE TABLE IF NOT EXISTS positions (topic TEXT, partition INTEGER, applied INTEGER, record_ts INTEGER,
    event_ts INTEGER, PRIMARY KEY (topic, partition));
CREATE TABLE IF NOT EXISTS journal (topic TEXT, partition INTEGER, first INTEGER, last INTEGER, known_at INTEGER,
    PRIMARY KEY (topic, partition, last));
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT);
"""
_ONE = "view = ? AND entity = ? AND topic = ? AND partition = ?"


class SqliteStore(OnlineStore):
    """A store in a file, for one process."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path)
        self._db.executescript(_TABLES)

    def read(self, keys: Sequence[RecordKey], keep_us: int = 0) -> list[bytes | None]:
        return [None if found is None else found[1] for found in map(self._found, keys)]

    def _found(self, key: RecordKey) -> tuple[int, bytes] | None:
        row = self._db.execute(f"SELECT applied, record FROM records WHERE {_ONE}", (key.view, key.entity, *key.source))
        found: tuple[int, bytes] | None = row.fetchone()
        return found

    def commit(
        self,
        writes: Sequence[Write],
        positions: Mapping[SourcePartition, Position],
        required: Mapping[SourcePartition, int] = NOTHING,
        epoch: object | None = None,
        *,
        at_once: bool = True,
    ) -> None:
        with self._db:
            there = self.positions()
            for source, offset in required.items():
                refuse_behind(source, offset, there[source].offset if source in there else None)
            found = [self._found(write.key) for write in writes]
            refuse_any_stale(writes, [None if one is None else one[0] for one in found])
            rows = [(key.view, key.entity, *key.source, applied, record) for key, _, applied, record, _ in writes]
            self._db.executemany("REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?)", rows)
            moved = [
                (*source, position.offset, position.record_ts_us, position.event_ts_us)
                for source, position in positions.items()
                if source not in there or there[source].offset <= position.offset
            ]
            self._db.executemany("REPLACE INTO positions VALUES (?, ?, ?, ?, ?)", moved)

    def lookup(self, wanted: Mapping[str, Sequence[bytes]]) -> Moment:
        self._db.execute("BEGIN")  # one transaction is one moment
        try:
            records = {view: FoundRecords.of(self._records(view, one) for one in keys) for view, keys in wanted.items()}
            return Moment(records, self.positions(), self.meta().get(GENERATION, ""))
        finally:
            self._db.rollback()

    def positions(self) -> dict[SourcePartition, Position]:
        rows = self._db.execute("SELECT * FROM positions").fetchall()
        return {SourcePartition(topic, number): Position(*position) for topic, number, *position in rows}

    def _records(self, view: str, entity: bytes) -> list[tuple[SourcePartition, bytes]]:
        query = "SELECT topic, partition, record FROM records WHERE view = ? AND entity = ? ORDER BY topic, partition"
        return [(SourcePartition(topic, at), record) for topic, at, record in self._db.execute(query, (view, entity))]

    def add_journal(self, entries: Iterable[JournalEntry]) -> None:
        rows = [(*one.source, one.first, one.last, one.known_at_us) for one in entries]
        with self._db:
            self._db.executemany("REPLACE INTO journal VALUES (?, ?, ?, ?, ?)", rows)

    def journal(self) -> list[JournalEntry]:
        rows = self._db.execute("SELECT * FROM journal ORDER BY topic, partition, last")
        return [JournalEntry(SourcePartition(topic, number), *entry) for topic, number, *entry in rows]

    def trim_journal(self, through: Mapping[SourcePartition, int]) -> None:
        with self._db:
            rows = [(*source, offset) for source, offset in through.items()]
            self._db.executemany("DELETE FROM journal WHERE topic = ? AND partition = ? AND last <= ?", rows)

    def meta(self) -> dict[str, str]:
        return dict(self._db.execute("SELECT name, value FROM meta").fetchall())

    def set_meta(self, facts: Mapping[str, str | None]) -> None:
        with self._db:
            self._db.executemany("REPLACE INTO meta VALUES (?, ?)", facts.items())
            self._db.execute("DELETE FROM meta WHERE value IS NULL")

    def entities(self, view: str) -> list[bytes]:
        return [entity for (entity,) in self._db.execute("SELECT DISTINCT entity FROM records WHERE view = ?", (view,))]

    def delete(self, view: str, entities: Iterable[bytes], source: SourcePartition | None = None) -> int:
        where, more = ("view = ? AND entity = ?", ()) if source is None else (_ONE, source)
        with self._db:
            return sum(
                self._db.execute(f"DELETE FROM records WHERE {where}", (view, entity, *more)).rowcount
                for entity in set(entities)
            )

    def clear(self) -> None:
        with self._db:
            for table in ("records", "positions", "journal", "meta"):
                self._db.execute(f"DELETE FROM {table}")

    def sync(self) -> None:
        """SQLite syncs each transaction."""

    def close(self) -> None:
        self._db.close()
