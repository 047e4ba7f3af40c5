"""A project's settings: `headrace.toml` at its root, each value open to an environment variable.

[headrace]
repo = "feature_repo"       # the Feast repo, relative to this file
state = ".headrace"         # plan, embedded online store, log, registry
clock = "system"            # or "record": an event is known at its Kafka record's timestamp (replays of history)
broker = "embedded"         # or "host:port[,host:port]"
store = "lmdb"              # or "redis://host:port/db"
partitions = 3              # of topics that headrace creates
group = "headrace"          # the workers' consumer group
session_timeout = 6.0       # seconds of silence after which a worker's partitions go to others
metadata_refresh = 5.0      # seconds after which new partitions of a topic are noticed

[audit]
sample = 0.0                # the share of lookups recorded for `headrace audit` (HEADRACE_AUDIT_SAMPLE)

[log]
small_files = 32            # that many files of a date and about one size are merged by the worker; 0 leaves them (HEADRACE_LOG_SMALL_FILES)
target_mb = 64.0            # the size of file that merging aims at (HEADRACE_LOG_TARGET_MB)
"""

from __future__ import annotations

import os
import tomllib
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headrace.errors import ConfigError
from headrace.state import LocalState, State, StateFile

__all__ = ["CONFIG_FILE", "Clock", "Project"]

CONFIG_FILE = "headrace.toml"
EMBEDDED = "embedded"


class Clock(StrEnum):
    """What `known_at` is.

    `system`: the worker's wall clock, after the online write is acknowledged. `record`: the Kafka record's timestamp.
    """

    SYSTEM = "system"
    RECORD = "record"


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    repo: Path = Path("feature_repo")
    state: Path = Path(".headrace")
    clock: Clock = Clock.SYSTEM
    broker: Annotated[str, Field(min_length=1)] = EMBEDDED
    store: Annotated[str, Field(min_length=1)] = "lmdb"
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 3
    group: Annotated[str, Field(min_length=1)] = "headrace"
    session_timeout: Annotated[float, Field(ge=1, le=60)] = 6.0
    metadata_refresh: Annotated[float, Field(ge=0.1, le=300)] = 5.0
    audit_sample: Annotated[float, Field(ge=0, le=1)] = 0.0
    log_small_files: Annotated[int, Field(ge=0, le=10_000)] = 32
    log_target_mb: Annotated[float, Field(ge=0.01, le=10_000)] = 64.0


class Project:
    """One project: where it lives and how it is set.

    Args:
        root: The folder that holds `headrace.toml`.
        settings: The values read from it.
    """

    def __init__(self, root: Path, settings: _Settings) -> None:
        self.root = root
        self._settings = settings

    @classmethod
    def load(cls, start: str | os.PathLike[str] | None = None) -> Project:
        """Read the settings of the project that `start` lies in.

        Args:
            start: A folder in the project (or its headrace.toml); None is `$HEADRACE_PROJECT`, else the current folder. Parents are searched.

        Returns:
            The project.

        Raises:
            ConfigError: There is no headrace.toml, or a value in it (or in an environment variable) is wrong.
        """
        begin = Path(start if start is not None else os.environ.get("HEADRACE_PROJECT", ".")).resolve()
        begin = begin.parent if begin.name == CONFIG_FILE else begin
        for folder in (begin, *begin.parents):
            if (folder / CONFIG_FILE).is_file():
                return cls(folder, _read_settings(folder / CONFIG_FILE))
        hint = "Run the command inside a headrace project, or start one with `headrace init NAME`."
        msg = f"There is no {CONFIG_FILE} in {begin} or above it."
        raise ConfigError(msg, hint=hint)

    @property
    def repo(self) -> Path:
        """The Feast repo's folder."""
        return self.root / self._settings.repo

    @property
    def state(self) -> Path:
        """The folder of everything headrace writes."""
        return self.root / self._settings.state

    @property
    def state_files(self) -> State:
        """The small facts that must survive, and that all processes of the project share."""
        return LocalState(self.state)

    @property
    def plan_file(self) -> StateFile:
        """The compiled plan."""
        return self.state_files.file("plan.json")

    @property
    def log_path(self) -> Path:
        """The folder of the log's tables, one per topic."""
        return self.state / "log"

    @property
    def audit_path(self) -> Path:
        """The folder of the table of recorded lookups."""
        return self.state / "audit"

    @property
    def log_notes(self) -> State:
        """Notes on the log: which topics and which imports it was made from."""
        return self.state_files.below("log")

    @property
    def erasures(self) -> State:
        """What was erased: ledger, its secret, receipts."""
        return self.state_files.below("erasure")

    @property
    def served_plans(self) -> State:
        """The plans that recorded lookups were served under, as `HASH.json`."""
        return self.state_files.below("plans")

    @property
    def requests(self) -> State:
        """What the workers are asked to build."""
        return self.state_files.below("requests")

    @property
    def pins(self) -> State:
        """Which versions of the log datasets need, where that was noted."""
        return self.state_files.below("pins")

    @property
    def undelivered_path(self) -> Path:
        """The file of dead letters that no form of could be delivered, one JSON object a line."""
        return self.state / "undelivered.jsonl"

    @property
    def workers_path(self) -> Path:
        """The folder of the workers' signs of life."""
        return self.state / "workers"

    @property
    def audit_sample(self) -> float:
        """The share of lookups that clients record, 0 to 1."""
        return self._settings.audit_sample

    @property
    def log_small_files(self) -> int:
        """How many files of a date and about one size the worker merges into one; 0 leaves them alone."""
        return self._settings.log_small_files

    @property
    def log_target_bytes(self) -> int:
        """The size of file that merging aims at, in bytes."""
        return int(self._settings.log_target_mb * 1_000_000)

    @property
    def broker_state_path(self) -> Path:
        """Where the embedded broker writes down its address."""
        return self.state / "broker.json"

    @property
    def broker(self) -> str | None:
        """The Kafka bootstrap servers; None is the embedded broker."""
        return None if self._settings.broker == EMBEDDED else self._settings.broker

    @cached_property
    def store_url(self) -> str:
        """The online store: `lmdb:PATH` or `redis://…`."""
        return f"lmdb:{self.state / 'online'}" if self._settings.store == "lmdb" else self._settings.store

    @property
    def clock(self) -> Clock:
        """What `known_at` is."""
        return self._settings.clock

    @property
    def partitions(self) -> int:
        """Partitions of topics that headrace creates."""
        return self._settings.partitions

    @property
    def group(self) -> str:
        """The workers' consumer group."""
        return self._settings.group

    @property
    def metadata_refresh(self) -> float:
        """How often a worker asks the broker for its topics' partitions, in seconds."""
        return self._settings.metadata_refresh

    @property
    def session_timeout(self) -> float:
        """How long the broker waits for a silent worker before its partitions go to others, in seconds."""
        return self._settings.session_timeout


def _read_settings(path: Path) -> _Settings:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{path} cannot be read: {error}."
        raise ConfigError(msg, hint="Fix the file; it is TOML.") from error
    section, audit, log = (_section(path, table, name) for name in ("headrace", "audit", "log"))
    unknown = sorted(set(table) - {"headrace", "audit", "log"})
    if unknown:
        msg = f"{path}: headrace knows no table or value {unknown[0]!r} at its top."
        raise ConfigError(msg, hint="Settings stand below the line [headrace].")
    elsewhere = set(section) & {"audit_sample", "log_small_files", "log_target_mb"}
    misplaced = sorted((set(audit) - {"sample"}) | (set(log) - {"small_files", "target_mb"}) | elsewhere)
    if misplaced:
        msg = f"{path}: headrace knows no setting {misplaced[0]!r} there."
        hint = "[audit] has one setting, `sample`: the share of lookups to record, 0 to 1. [log] has small_files and target_mb."
        raise ConfigError(msg, hint=hint)
    values = {**section, **{f"audit_{name}": value for name, value in audit.items()}}
    values |= {f"log_{name}": value for name, value in log.items()}
    for name in _Settings.model_fields:
        variable = f"HEADRACE_{name.upper()}"
        if variable in os.environ:
            values[name] = os.environ[variable]
    try:
        return _Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        under = name.partition("_")[0] if name.startswith(("audit_", "log_")) else "headrace"
        place = f"{path}, [{under}]"
        source = f"${'HEADRACE_' + name.upper()}" if f"HEADRACE_{name.upper()}" in os.environ else place
        hint = f"Settings are: {', '.join(_Settings.model_fields)}; `clock` is system or record."
        msg = f"{source}: `{name}` is wrong: {first['msg']}."
        raise ConfigError(msg, hint=hint) from error


def _section(path: Path, table: dict[str, Any], name: str) -> dict[str, Any]:
    section = table.get(name, {})
    if not isinstance(section, dict):
        msg = f"{path}: `{name}` is {section!r}, and it should be a table."
        raise ConfigError(msg, hint=f"Write the line [{name}], and the settings below it.")
    return section
