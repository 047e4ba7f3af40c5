"""The address of a server, from its URL."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeGuard
from urllib.parse import urlsplit

from headrace.errors import ConfigError

__all__ = ["ServerAddress", "is_url", "server_address"]

_EXAMPLE = 'Write it as "http://features.internal:6566".'


class ServerAddress(NamedTuple):
    """Where a server is.

    Attributes:
        is_secure: Whether it is asked over TLS.
        host: The host's name or address.
        port: The port.
        path: What stands before the paths of requests: empty, or `/features` behind a gateway.
    """

    is_secure: bool
    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """The URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_secure else 'http'}://{host}:{self.port}{self.path}"


def is_url(value: Any) -> TypeGuard[str]:
    """Whether something is the URL of a server."""
    return isinstance(value, str) and "://" in value


def server_address(url: str) -> ServerAddress:
    """The address in a URL.

    Args:
        url: The URL.

    Raises:
        ConfigError: It is no URL of a server.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        msg = f"{url!r} is no URL: {error}."
        raise ConfigError(msg, hint=_EXAMPLE) from error
    if parts.username is not None or parts.password is not None:
        msg = f"The URL of {parts.hostname} has a user or a password in it."
        raise ConfigError(msg, hint="Give a token instead: FeatureClient(url, token=…).")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        msg = f"{url!r} is no URL of a server."
        raise ConfigError(msg, hint=_EXAMPLE)
    is_secure = parts.scheme == "https"
    return ServerAddress(is_secure, parts.hostname, port or (443 if is_secure else 80), parts.path.rstrip("/"))
