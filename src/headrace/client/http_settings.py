"""How a client talks HTTP: time limits, retries, connections, TLS."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace.errors import ConfigError

__all__ = ["HttpSettings"]

_CA, _CERTIFICATE = "ca_file", "certificate_file"
_OWN_HEADERS = frozenset({"accept", "authorization", "connection", "content-length", "content-type", "host"})


@dataclass(frozen=True, kw_only=True)
class HttpSettings:
    """How a client talks HTTP.

    Attributes:
        connect_timeout_s: How long a connection may take, in seconds.
        read_timeout_s: How long the server may send nothing, in seconds.
        total_timeout_s: How long a call may take with all its retries, in seconds.
        retries: How often a request is sent again that failed for a reason that may pass: the server is away,
            overloaded or too slow. All requests only read, so sending one again is safe.
        max_idle: How many connections are kept open for the next requests.
        idle_s: How long an idle connection is kept, in seconds. Keep it below the server's limit of 75 s.
        arrow_from: From how many rows on answers come as Arrow instead of JSON. The values are the same.
        ca_file: The certificates of the authorities to trust (PEM), instead of the system's.
        certificate_file: This client's certificate (PEM), if the server asks for one.
        key_file: Its private key (PEM), if it is not in `certificate_file`.
        key_password: The password of the private key.
        headers: Further headers of every request, for gateways and tracing.

    Raises:
        ConfigError: A value is out of range.
    """

    connect_timeout_s: float = 2.0
    read_timeout_s: float = 10.0
    total_timeout_s: float = 20.0
    retries: int = 2
    max_idle: int = 16
    idle_s: float = 60.0
    arrow_from: int = 1_000
    ca_file: str | Path | None = None
    certificate_file: str | Path | None = None
    key_file: str | Path | None = None
    key_password: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("connect_timeout_s", "read_timeout_s", "total_timeout_s"):
            if not 0 < getattr(self, name) < float("inf"):
                msg = f"{name} is {getattr(self, name)!r}; it must be a number of seconds above 0."
                raise ConfigError(msg)
        for name in ("retries", "max_idle", "idle_s", "arrow_from"):
            if not getattr(self, name) >= 0:
                msg = f"{name} is {getattr(self, name)!r}; it must not be negative."
                raise ConfigError(msg)
        own = sorted(name for name in self.headers if name.lower() in _OWN_HEADERS)
        if own:
            msg = f"headers has {own[0]!r}, which the client sets itself."
            raise ConfigError(msg, hint="A token is given as `token=`.")

    def tls(self) -> ssl.SSLContext:
        """What TLS connections are made with.

        Raises:
            ConfigError: A file is missing or has something else.
        """
        try:
            context = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
        except (OSError, ValueError) as error:
            raise _unusable(_CA, self.ca_file, error) from error
        if self.certificate_file is None:
            return context
        key = None if self.key_file is None else str(self.key_file)
        # Without this OpenSSL would ask for a password at the terminal.
        password = self.key_password or ""
        try:
            context.load_cert_chain(str(self.certificate_file), key, password)
        except (OSError, ValueError) as error:
            raise _unusable(_CERTIFICATE, self.certificate_file, error) from error
        return context


def _unusable(name: str, path: str | Path | None, error: Exception) -> ConfigError:
    msg = f"{name}={str(path)!r} cannot be used: {error}."
    return ConfigError(msg, hint="Give a PEM file; key_file= and key_password= if its private key needs them.")
