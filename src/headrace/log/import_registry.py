"""Which imports there have been: a list in the state (`log/_imports.json`).

The log says how much of an import it holds; the registry says which partition an import has, and of what events it is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import chain, count
from typing import Any

from headrace.errors import IngestError
from headrace.log.log_columns import FIRST_IMPORT, LAST_IMPORT
from headrace.state import Note, State, StateFile

__all__ = ["Entry", "Registry", "undone_imports", "warn_of_half_undone"]

logger = logging.getLogger(__name__)

_FILE = "_imports.json"


@dataclass(frozen=True)
class Entry:
    """An import.

    Attributes:
        id: What it is called: what the user said, or the digest's first 16 digits.
        topic: The topic it is of.
        partition: The partition its events stand in.
        digest: The SHA-256 of its events.
        events: How many it has; their offsets are 0 to one less.
        files: The SHA-256 of each of its files, by path; none for a query.
        begun_at: When it was begun (ISO 8601).
        undoing_at: When somebody began to take it back; None if it was not undone.
        undone_at: When it was taken back wholly.
    """

    id: str
    topic: str
    partition: int
    digest: str
    events: int
    files: dict[str, str]
    begun_at: str
    undoing_at: str | None = None
    undone_at: str | None = None

    @property
    def is_live(self) -> bool:
        """Whether its events count: nobody has begun to take it back."""
        return self.undoing_at is None


class Registry:
    """The imports of a project.

    Args:
        state: The notes on the log (`Project.log_notes`).
    """

    def __init__(self, state: State) -> None:
        self._note = _note(state.file(_FILE))

    def entries(self, topic: str) -> list[Entry]:
        """The imports of a topic.

        Args:
            topic: The topic.

        Raises:
            IngestError: The registry cannot be read.
        """
        return [entry for entry in self._note.read() if entry.topic == topic]

    def all(self) -> list[Entry]:
        """The imports of all topics, those that were taken back among them.

        Raises:
            IngestError: The registry cannot be read.
        """
        return self._note.read()

    def find(self, topic: str, digest: str, name: str | None, files: Mapping[str, str]) -> Entry | None:
        """The import of these events, where there was one.

        Args:
            topic: The topic.
            digest: The SHA-256 of the events.
            name: The id that the user gives them.
            files: The SHA-256 of their files, by path.

        Raises:
            IngestError: That id is another import's, or one of the files is.
        """
        for entry in self.entries(topic):
            if not entry.is_live:
                self._refuse_half_undone(entry)
                continue
            if entry.digest == digest:
                return entry
            if name is not None and entry.id == name:
                msg = (
                    f"The import {name!r} of {topic!r} was begun on {entry.begun_at} with other events "
                    f"({entry.events:,})."
                )
                hint = (
                    "Import the same events again to finish it, or give what is new another --id; it must not hold "
                    "the old events again."
                )
                raise IngestError(msg, hint=hint)
            again = [path for path, checksum in files.items() if checksum in entry.files.values()]
            if again:
                msg = (
                    f"{again[0]} was imported into {topic!r} before: it is part of the import {entry.id!r} of "
                    f"{entry.begun_at}."
                )
                hint = (
                    "Name only files that are new; with other options (or another model) its events would count twice."
                )
                raise IngestError(msg, hint=hint)
        return None

    def add(self, entry: Entry) -> None:
        """Note an import, before any of its events is logged; or what became of it since.

        Args:
            entry: The import.

        Raises:
            IngestError: Another import took its partition at the same moment, or the registry cannot be read or
                written.
        """

        def with_it(entries: list[Entry]) -> list[Entry]:
            place = (entry.topic, entry.partition)
            there = [one for one in entries if (one.topic, one.partition) == place]
            if any((one.id, one.begun_at) != (entry.id, entry.begun_at) for one in there):
                msg = f"Another import into {entry.topic!r} began at the same moment. Nothing was imported."
                raise IngestError(msg, hint="Import again.")
            return [*(one for one in entries if one not in there), entry]

        self._note.update(with_it)

    def free_id(self, topic: str, wanted: str) -> str:
        """An id that no import of a topic has: the one wanted, or with a number behind it.

        Args:
            topic: The topic.
            wanted: The id to begin with.
        """
        taken = {entry.id for entry in self.entries(topic)}
        more = (f"{wanted}-{number}" for number in count(2))
        return next(one for one in chain([wanted], more) if one not in taken)

    def next_partition(self, topic: str, taken: Iterable[int]) -> int:
        """A partition that no import has.

        Args:
            topic: The topic.
            taken: Partitions that log and store hold.

        Raises:
            IngestError: There is none left.
        """
        used = {FIRST_IMPORT - 1, *taken, *(entry.partition for entry in self.entries(topic))}
        partition = max(used) + 1
        if partition > LAST_IMPORT:
            most = LAST_IMPORT - FIRST_IMPORT + 1
            msg = f"The topic {topic!r} has had {most:,} imports, and there are no more positions for another."
            raise IngestError(msg, hint="Import many files at once: --from 'history/*.parquet'.")
        return partition

    def _refuse_half_undone(self, entry: Entry) -> None:
        if entry.undone_at is None:
            msg = f"Taking back the import {entry.id!r} of {entry.topic!r} was cut short."
            raise IngestError(
                msg, hint=f"Run `headrace import --undo {entry.id}` again first: it goes on where it ended."
            )


def _note(file: StateFile) -> Note[list[Entry]]:
    def damaged(error: Exception) -> IngestError:
        msg = f"The list of imports {file} cannot be read: {error}."
        return IngestError(msg, hint="Restore it from a copy: without it, history could be imported twice.")

    def unavailable(error: OSError) -> IngestError:
        msg = f"The list of imports {file} cannot be read or written: {error}."
        return IngestError(msg, hint="Make its folder writable, or set `state` in headrace.toml to another folder.")

    def parse(document: Any) -> list[Entry]:
        return [Entry(**entry) for entry in document["imports"]]

    def render(entries: list[Entry]) -> dict[str, Any]:
        return {"format": 1, "imports": [asdict(one) for one in entries]}

    return Note(file, list, parse, render, damaged, unavailable)


def undone_imports(state: State, topic: str) -> dict[int, Entry]:
    """The imports of a topic that were taken back, or are about to be, by partition.

    Args:
        state: The notes on the log (`Project.log_notes`).
        topic: The topic.

    Raises:
        IngestError: The registry cannot be read.
    """
    return {entry.partition: entry for entry in Registry(state).entries(topic) if not entry.is_live}


def warn_of_half_undone(state: State, topics: Iterable[str]) -> None:
    """Log a warning for each import whose taking back was cut short: log and online store may differ until it is done.

    Args:
        state: The notes on the log (`Project.log_notes`).
        topics: The topics.

    Raises:
        IngestError: The registry cannot be read.
    """
    for topic in topics:
        for entry in undone_imports(state, topic).values():
            if entry.undone_at is None:
                logger.warning(
                    "Taking back the import %r of %r was cut short: the log and the online store may differ. "
                    "Stop the worker and run `headrace import --undo %s`: it goes on where it ended.",
                    entry.id,
                    topic,
                    entry.id,
                )
