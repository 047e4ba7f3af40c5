"""The tables of headrace.toml, one model each; the module `headrace.config` lists their settings."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

from headrace.config.serve_settings import ServeSettings
from headrace.config.table import Table

__all__ = [
    "EMBEDDED",
    "AuditTable",
    "Clock",
    "HeadraceTable",
    "KafkaSettings",
    "LogTable",
    "SaslMechanism",
    "SecurityProtocol",
    "Settings",
]

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


class HeadraceTable(Table):
    """The table [headrace]."""

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


class KafkaSettings(Table):
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


class AuditTable(Table):
    """The table [audit]."""

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


class LogTable(Table):
    """The table [log]."""

    small_files: Annotated[int, Field(ge=0, le=10_000)] = 32
    target_mb: Annotated[float, Field(ge=0.01, le=10_000)] = 64.0
    uri: Annotated[str, Field(min_length=1), AfterValidator(_checked_log_uri)] | None = None
    options: dict[str, str] = {}


class Settings(Table):
    """The file: one field for each table."""

    headrace: HeadraceTable = HeadraceTable()
    kafka: KafkaSettings = KafkaSettings()
    audit: AuditTable = AuditTable()
    log: LogTable = LogTable()
    serve: ServeSettings = ServeSettings()
