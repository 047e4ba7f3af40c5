"""A project's settings: `headrace.toml` at its root. An environment variable can set each value.

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
handoff_chunk = 20_000      # events of the log that a view's new version is built from at a time

[kafka]                     # how to connect to the broker: docs/kafka.md has all settings
security_protocol = "PLAINTEXT"

[audit]
sample = 0.0                # the share of lookups recorded for `headrace audit`

[log]
small_files = 32            # the worker merges this many files of one date and about the same size; 0 merges none
target_mb = 64.0            # the wanted size of a merged file
uri = "s3://bucket/prefix"  # where the log is: an object store or a folder; by default `log` in the state folder

[log.options]               # Delta Lake's storage options; secrets come from the environment (AWS_SECRET_ACCESS_KEY)
AWS_REGION = "eu-central-1"

The variable of a setting of [headrace] is `HEADRACE_NAME`; of another table it is `HEADRACE_TABLE_NAME`, such as
HEADRACE_AUDIT_SAMPLE.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import PydanticCustomError

from headrace.errors import ConfigError
from headrace.state import LocalState, State, StateFile

__all__ = ["Clock", "KafkaSettings", "Project", "SaslMechanism", "SecurityProtocol", "TableRoot"]

CONFIG_FILE = "headrace.toml"
EMBEDDED = "embedded"
_LOG_SCHEMES = ("file", "s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl", "hdfs")


class Clock(StrEnum):
    """Which clock gives `known_at`: the worker's, once the online write is acknowledged, or the Kafka record's."""

    SYSTEM = "system"
    RECORD = "record"


class SecurityProtocol(StrEnum):
    """Whether a connection to Kafka is encrypted (SSL), and whether headrace signs in with a password (SASL)."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"


class SaslMechanism(StrEnum):
    """How the password is proved to the broker: sent as it is (PLAIN), or by a challenge (SCRAM)."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class _Headrace(_Table):
    repo: Path = Path("feature_repo")
    state: Path = Path(".headrace")
    clock: Clock = Clock.SYSTEM
    broker: Annotated[str, Field(min_length=1)] = EMBEDDED
    store: Annotated[str, Field(min_length=1)] = "lmdb"
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 3
    group: Annotated[str, Field(min_length=1)] = "headrace"
    session_timeout: Annotated[float, Field(ge=1, le=60)] = 6.0
    metadata_refresh: Annotated[float, Field(ge=0.1, le=300)] = 5.0
    handoff_chunk: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000


class KafkaSettings(_Table):
    """The table [kafka]. Its secrets come from the environment or from files, and are never printed.

    Attributes:
        client_id: The name of headrace's clients in the broker's logs, metrics and quotas.
        security_protocol: Whether the connection is encrypted, and whether headrace signs in.
        sasl_mechanism: How the password is proved.
        username: The user.
        password: The password.
        password_file: The file that holds the password instead.
        ca_file: Certificates (PEM) that may have signed a broker's certificate; None is those of the system.
        certificate_file: The client's own certificate (PEM), for brokers that ask for one.
        key_file: The certificate's private key (PEM); None is where the certificate is.
        key_password: The password that the key is encrypted with.
        key_password_file: The file that holds that password instead.
        check_hostname: Whether a broker's certificate must name the host that headrace connects to.
    """

    client_id: Annotated[str, Field(min_length=1)] = "headrace"
    security_protocol: SecurityProtocol = SecurityProtocol.PLAINTEXT
    sasl_mechanism: SaslMechanism | None = None
    username: Annotated[str, Field(min_length=1)] | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    key_password: SecretStr | None = None
    key_password_file: Path | None = None
    check_hostname: bool = True


class _Audit(_Table):
    sample: Annotated[float, Field(ge=0, le=1)] = 0.0


def _checked_log_uri(uri: str) -> str:
    """A path, or a URI of a kind that Delta Lake opens. It would take any other for a table that is still empty."""
    scheme, separator, rest = uri.partition("://")
    host = rest.partition("/")[0]
    wrong = ""
    if not separator:
        wrong = "A file's URI begins with file:///" if uri.startswith("file:") else ""
    elif scheme not in _LOG_SCHEMES:
        wrong = f"{scheme}:// is not known. It is a path, or begins with {', '.join(f'{s}://' for s in _LOG_SCHEMES)}"
    elif scheme == "file":
        wrong = "" if host in ("", "localhost") else "A file's URI begins with file:///"
    elif not host:
        wrong = f"It names no bucket. Write {scheme}://bucket/prefix"
    if wrong:
        kind, message = "log_uri", "{wrong}"  # pydantic fills the message in
        raise PydanticCustomError(kind, message, {"wrong": wrong})
    return uri


class _Log(_Table):
    small_files: Annotated[int, Field(ge=0, le=10_000)] = 32
    target_mb: Annotated[float, Field(ge=0.01, le=10_000)] = 64.0
    uri: Annotated[str, Field(min_length=1), AfterValidator(_checked_log_uri)] | None = None
    options: dict[str, str] = {}


class _Settings(_Table):
    """The file: one field for each table."""

    headrace: _Headrace = _Headrace()
    kafka: KafkaSettings = KafkaSettings()
    audit: _Audit = _Audit()
    log: _Log = _Log()


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

    def __init__(self, root: Path, settings: _Settings) -> None:
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
                return cls(folder, _read_settings(folder / CONFIG_FILE))
        hint = "Run the command inside a headrace project, or start one with `headrace init NAME`."
        msg = f"There is no {CONFIG_FILE} in {begin} or above it."
        raise ConfigError(msg, hint=hint)

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


def _read_settings(path: Path) -> _Settings:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{path} cannot be read: {error}."
        raise ConfigError(msg, hint="Fix the file; it is TOML.") from error
    _refuse_secrets(path, tables)
    for table, settings in _TABLES.items():
        variables = {name: _variable(table, name) for name in settings.model_fields}
        values = {name: os.environ[variable] for name, variable in variables.items() if variable in os.environ}
        if values and isinstance(tables.setdefault(table, {}), dict):
            tables[table] |= values
    try:
        return _Settings.model_validate(tables)
    except ValidationError as error:
        raise _wrong_setting(path, tables, error) from error


def _wrong_setting(path: Path, tables: dict[str, Any], error: ValidationError) -> ConfigError:
    first = error.errors(include_url=False)[0]
    table, *names = (str(part) for part in first["loc"])
    if table not in _TABLES:
        msg = f"{path}: headrace knows no table or value {table!r} at its top."
        return ConfigError(msg, hint=f"Tables are: {', '.join(f'[{name}]' for name in _TABLES)}.")
    if not names:
        msg = f"{path}: `{table}` is {tables[table]!r}, and it should be a table."
        return ConfigError(msg, hint=f"Write the line [{table}], and the settings below it.")
    hint = f"Settings of [{table}] are: {', '.join(_TABLES[table].model_fields)}."
    if first["type"] == "extra_forbidden":
        return ConfigError(f"{path}: headrace knows no setting {names[0]!r} in [{table}].", hint=hint)
    variable = _variable(table, names[0])
    place = f"${variable}" if variable in os.environ else f"{path}, [{table}]"
    return ConfigError(f"{place}: `{names[0]}` is wrong: {first['msg']}.", hint=hint)


def _refuse_secrets(path: Path, tables: dict[str, Any]) -> None:
    """Passwords do not belong in a file that people share."""
    for name in ("password", "key_password"):
        if isinstance(tables.get("kafka"), dict) and name in tables["kafka"]:
            msg = f"{path}, [kafka]: `{name}` is a secret and may not stand in this file."
            hint = f"Set ${_variable('kafka', name)}, or write the secret to a file and name that as `{name}_file`."
            raise ConfigError(msg, hint=hint)
    log = tables.get("log")
    options = log.get("options") if isinstance(log, dict) else None
    for name in options if isinstance(options, dict) else ():
        if any(word in name.lower() for word in ("secret", "token", "password", "account_key")):
            msg = f"{path}, [log.options]: `{name}` is a secret and may not stand in this file."
            raise ConfigError(msg, hint=f"Set ${name.upper()} in the environment; Delta Lake reads it there.")


def _variable(table: str, name: str) -> str:
    return f"HEADRACE_{name}".upper() if table == "headrace" else f"HEADRACE_{table}_{name}".upper()


_TABLES: dict[str, type[_Table]] = {"headrace": _Headrace, "kafka": KafkaSettings, "audit": _Audit, "log": _Log}
