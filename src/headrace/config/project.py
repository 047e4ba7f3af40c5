"""A project: its folder, and where everything that belongs to it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from headrace.config.reading import read_settings, settings_of
from headrace.config.serve_settings import ServeSettings
from headrace.config.tables import EMBEDDED, Clock, KafkaSettings, Settings
from headrace.errors import ConfigError
from headrace.state import LocalState, State, StateFile

__all__ = ["Project", "TableRoot"]

CONFIG_FILE = "headrace.toml"


@dataclass(frozen=True)
class TableRoot:
    """Where tables are.

    Attributes:
        uri: A local path, or the URI of an object store.
        options: Storage options for it.
    """

    uri: str
    options: Mapping[str, str] = field(default_factory=dict)


class Project:
    """One project: its folder and its settings.

    Args:
        root: The folder with `headrace.toml`.
        settings: The values read from it.
    """

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root = root
        self._settings = settings

    @classmethod
    def load(cls, start: str | os.PathLike[str] | None = None) -> Project:
        """Read the settings of the project that `start` is in.

        Args:
            start: A folder in the project (or its headrace.toml); None is `$HEADRACE_PROJECT`, else the current folder.
                Parents are searched.

        Returns:
            The project.

        Raises:
            ConfigError: There is no headrace.toml, or a value in it (or in an environment variable) is wrong.
        """
        begin = Path(start if start is not None else os.environ.get("HEADRACE_PROJECT", ".")).resolve()
        begin = begin.parent if begin.name == CONFIG_FILE else begin
        for folder in (begin, *begin.parents):
            if (folder / CONFIG_FILE).is_file():
                return cls(folder, read_settings(folder / CONFIG_FILE))
        hint = "Run the command inside a headrace project, or start one with `headrace init NAME`."
        msg = f"There is no {CONFIG_FILE} in {begin} or above it."
        raise ConfigError(msg, hint=hint)

    @classmethod
    def with_defaults(cls, root: Path, **settings: str) -> Project:
        """A project without a headrace.toml: settings have their defaults, or come from the environment.

        Args:
            root: Its folder.
            settings: Settings of the table [headrace] that differ.

        Raises:
            ConfigError: A value is wrong.
        """
        return cls(root, settings_of({"headrace": settings}, root / CONFIG_FILE))

    @property
    def repo(self) -> Path:
        """The Feast repo's folder."""
        return self.root / self._settings.headrace.repo

    @property
    def state(self) -> Path:
        """The folder of everything headrace writes."""
        return self.root / self._settings.headrace.state

    @property
    def state_files(self) -> State:
        """The small files that must survive a power cut, and that all processes of the project share."""
        return LocalState(self.state)

    @property
    def plan_file(self) -> StateFile:
        """The compiled plan."""
        return self.state_files.file("plan.json")

    @property
    def log_root(self) -> TableRoot:
        """Where the log's tables are, one per topic."""
        uri = self._settings.log.uri
        if uri is None:
            return TableRoot(str(self.log_path))
        return TableRoot(uri if "://" in uri else str(self.root / uri), self._settings.log.options)

    @property
    def log_path(self) -> Path:
        """The folder of the log's tables, unless `[log] uri` says otherwise."""
        return self.state / "log"

    @property
    def audit_root(self) -> TableRoot:
        """Where the table of recorded lookups is: beside the log's tables where `[log] uri` says where those are."""
        root = self.log_root
        is_elsewhere = self._settings.log.uri is not None
        return TableRoot(f"{root.uri}/_lookups", root.options) if is_elsewhere else TableRoot(str(self.audit_path))

    @property
    def audit_path(self) -> Path:
        """The folder of the table of recorded lookups, unless `[log] uri` says where the log is."""
        return self.state / "audit"

    @property
    def log_notes(self) -> State:
        """Notes on the log: the topics and the imports that it was made from."""
        return self.state_files.below("log")

    @property
    def erasures(self) -> State:
        """What was erased: ledger, its secret, receipts."""
        return self.state_files.below("erasure")

    @property
    def served_plans(self) -> State:
        """The plans by which recorded lookups were served, as `HASH.json`."""
        return self.state_files.below("plans")

    @property
    def view_versions(self) -> State:
        """The definitions that views have had, as `VIEW.json`."""
        return self.state_files.below("versions")

    @property
    def requests(self) -> State:
        """What the workers are asked to build."""
        return self.state_files.below("requests")

    @property
    def pins(self) -> State:
        """Notes on the versions of the log that datasets need."""
        return self.state_files.below("pins")

    @property
    def undelivered_path(self) -> Path:
        """The file of dead letters that could not be delivered in any form, one JSON object per line."""
        return self.state / "undelivered.jsonl"

    @property
    def workers_path(self) -> Path:
        """The folder of the workers' signs of life."""
        return self.state / "workers"

    @property
    def audit_sample(self) -> float:
        """The share of lookups that clients record, 0 to 1."""
        return self._settings.audit.sample

    @property
    def log_small_files(self) -> int:
        """How many files of one date and about the same size the worker merges into one; 0 merges none."""
        return self._settings.log.small_files

    @property
    def log_target_bytes(self) -> int:
        """The wanted size of a merged file, in bytes."""
        return int(self._settings.log.target_mb * 1_000_000)

    @property
    def broker_state_path(self) -> Path:
        """The file with the embedded broker's address."""
        return self.state / "broker.json"

    @property
    def broker(self) -> str | None:
        """The Kafka bootstrap servers; None is the embedded broker."""
        return None if self._settings.headrace.broker == EMBEDDED else self._settings.headrace.broker

    @property
    def kafka(self) -> KafkaSettings:
        """How to connect to Kafka, with absolute paths."""
        settings = self._settings.kafka
        files = {name: self.root / value for name, value in settings if isinstance(value, Path)}
        return settings.model_copy(update=files)

    @property
    def serve(self) -> ServeSettings:
        """The server, with absolute paths."""
        settings = self._settings.serve
        special = (Path("-"), Path("none"))
        files = {
            name: self.root / value for name, value in settings if isinstance(value, Path) and value not in special
        }
        return settings.model_copy(update=files)

    @property
    def serve_state(self) -> State:
        """What servers and `headrace token` share: the tokens."""
        return self.state_files.below("serve")

    @cached_property
    def store_url(self) -> str:
        """The online store: `lmdb:PATH` or `redis://…`."""
        store = self._settings.headrace.store
        return f"lmdb:{self.state / 'online'}" if store == "lmdb" else store

    @property
    def clock(self) -> Clock:
        """What `known_at` is."""
        return self._settings.headrace.clock

    @property
    def partitions(self) -> int:
        """How many partitions a topic gets that headrace creates."""
        return self._settings.headrace.partitions

    @property
    def group(self) -> str:
        """The workers' consumer group."""
        return self._settings.headrace.group

    @property
    def metadata_refresh(self) -> float:
        """How often a worker asks the broker for its topics' partitions, in seconds."""
        return self._settings.headrace.metadata_refresh

    @property
    def handoff_chunk(self) -> int:
        """About how many events of the log are read at a time to build a view's new version."""
        return self._settings.headrace.handoff_chunk

    @property
    def session_timeout(self) -> float:
        """How long the broker waits for a silent worker before its partitions go to others, in seconds."""
        return self._settings.headrace.session_timeout
