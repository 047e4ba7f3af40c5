"""Which imports there have been: a file beside the logs, so that it goes where they go.

The log says how much of an import it holds; the registry says which partition an import has, and of what events it is.
"""

from __future__ import annotations

import fcntl
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain, count
from pathlib import Path

from headrace.errors import IngestError
from headrace.log.log_columns import FIRST_IMPORT, LAST_IMPORT
from headrace.state.durable_file import write_durably

__all__ = ["Entry", "Registry", "undone_imports", "warn_of_half_undone"]

logger = logging.getLogger(__name__)

_FILE, _LOCK = "_imports.json", "_imports.lock"


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
        undoing_at: When somebody began to take it back; None where nobody did.
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
        folder: The folder of all logs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / _FILE

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other imports out.

        Raises:
            IngestError: Another one is under way, or the folder cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = (self._folder / _LOCK).open("w")
        except OSError as error:
            msg = f"The log's folder {self._folder} cannot be written: {error}."
            hint = "Make it writable, or set `state` in headrace.toml to another folder."
            raise IngestError(msg, hint=hint) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                msg = "Another import into this project is under way."
                raise IngestError(msg, hint="Wait for it to end, and import again.") from None
            yield

    def entries(self, topic: str) -> list[Entry]:
        """The imports of a topic.

        Args:
            topic: The topic.

        Raises:
            IngestError: The registry cannot be read.
        """
        return [entry for entry in self._read() if entry.topic == topic]

    def all(self) -> list[Entry]:
        """The imports of all topics, those that were taken back among them.

        Raises:
            IngestError: The registry cannot be read.
        """
        return self._read()

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
                msg = f"The import {name!r} of {topic!r} was begun on {entry.begun_at} with other events ({entry.events:,})."
                hint = "Import the same events again to finish it, or give what is new another --id; it must not hold the old events again."
                raise IngestError(msg, hint=hint)
            again = [path for path, checksum in files.items() if checksum in entry.files.values()]
            if again:
                msg = f"{again[0]} was imported into {topic!r} before: it is part of the import {entry.id!r} of {entry.begun_at}."
                hint = (
                    "Name only files that are new; with other options (or another model) its events would count twice."
                )
                raise IngestError(msg, hint=hint)
        return None

    def add(self, entry: Entry) -> None:
        """Note an import, before any of its events is logged; or what became of it since.

        Args:
            entry: The import.
        """
        others = [one for one in self._read() if (one.topic, one.partition) != (entry.topic, entry.partition)]
        document = {"format": 1, "imports": [asdict(one) for one in [*others, entry]]}
        write_durably(self._path, json.dumps(document, indent=1) + "\n")

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
            msg = f"The topic {topic!r} has had {LAST_IMPORT - FIRST_IMPORT + 1:,} imports, and there are no more positions for another."
            raise IngestError(msg, hint="Import many files at once: --from 'history/*.parquet'.")
        return partition

    def _refuse_half_undone(self, entry: Entry) -> None:
        if entry.undone_at is None:
            msg = f"Taking back the import {entry.id!r} of {entry.topic!r} was cut short."
            raise IngestError(
                msg, hint=f"Run `headrace import --undo {entry.id}` again first: it goes on where it ended."
            )

    def _read(self) -> list[Entry]:
        if not self._path.exists():
            return []
        try:
            return [Entry(**entry) for entry in json.loads(self._path.read_text(encoding="utf-8"))["imports"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = f"The list of imports {self._path} cannot be read: {error}."
            raise IngestError(
                msg, hint="Restore it from a copy: without it, history could be imported twice."
            ) from error


def undone_imports(folder: Path, topic: str) -> dict[int, Entry]:
    """The imports of a topic that were taken back, or are about to be, by partition.

    Args:
        folder: The folder of all logs.
        topic: The topic.

    Raises:
        IngestError: The registry cannot be read.
    """
    return {entry.partition: entry for entry in Registry(folder).entries(topic) if not entry.is_live}


def warn_of_half_undone(folder: Path, topics: Iterable[str]) -> None:
    """Log a warning for each import whose taking back was cut short: log and online store may differ until it is done.

    Args:
        folder: The folder of all logs.
        topics: The topics.

    Raises:
        IngestError: The registry cannot be read.
    """
    for topic in topics:
        for entry in undone_imports(folder, topic).values():
            if entry.undone_at is None:
                logger.warning(
                    "Taking back the import %r of %r was cut short: the log and the online store may differ. "
                    "Stop the worker and run `headrace import --undo %s`: it goes on where it ended.",
                    entry.id,
                    topic,
                    entry.id,
                )
