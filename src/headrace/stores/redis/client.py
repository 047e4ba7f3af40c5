"""A client of a Redis server, and its errors as headrace's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from headrace.errors import ConfigError, HeadraceError, StoreError, StoreUnavailableError

__all__ = ["open_client", "server_errors", "without_password"]

# Answers of a server that is there but cannot serve just now; redis-py gives them no class of their own.
_UNAVAILABLE_REPLIES = ("MISCONF ", "NOREPLICAS ", "MASTERDOWN ", "BUSY Redis")


def open_client(url: str) -> Any:
    """A client whose server answers.

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py reads them.

    Raises:
        ConfigError: The URL is not one.
        StoreUnavailableError: No server answers there, or it cannot serve just now.
        StoreError: The server refuses us.
    """
    name = without_password(url)
    try:
        # The caller does the retrying, with backoff, and from what the store then holds: a write whose answer was lost
        # must not be sent again as it was.
        _check_database(url)
        client: Any = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))
    except (ValueError, TypeError) as error:
        msg = f"`store` is {name!r}, which is no Redis URL: {error}."
        hint = "Write redis://host:port/db, rediss://host:port/db or unix:///path?db=N."
        raise ConfigError(msg, hint=hint) from error
    try:
        with server_errors(name):
            client.ping()
    except HeadraceError:
        client.close()
        raise
    return client


@contextmanager
def server_errors(name: str) -> Iterator[None]:
    """Around calls to a server: its errors become headrace's.

    Args:
        name: The server, for messages.

    Yields:
        Nothing.

    Raises:
        StoreUnavailableError: It does not answer, or cannot serve just now.
        StoreError: It refuses us, or a command.
    """
    try:
        yield
    except (exceptions.AuthenticationError, exceptions.NoPermissionError) as error:
        msg = f"Redis at {name} refuses us: {_text(error)}."
        hint = "Put user and password into `store`: redis://user:password@host:port/db."
        raise StoreError(msg, hint=hint) from error
    except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
        msg = f"Redis at {name} does not answer: {_text(error)}."
        hint = "Start it, or check `store` in headrace.toml (or $HEADRACE_STORE)."
        raise StoreUnavailableError(msg, hint=hint) from error
    except exceptions.RedisError as error:
        cannot_now = isinstance(error, exceptions.ReadOnlyError | exceptions.OutOfMemoryError)
        if cannot_now or any(reply in str(error) for reply in _UNAVAILABLE_REPLIES):
            msg = f"Redis at {name} cannot serve just now: {_text(error)}."
            raise StoreUnavailableError(msg, hint="See the server's log.") from error
        msg = f"Redis at {name} refused a command: {_text(error)}."
        hint = "Is the database headrace's own? Give the project one for itself: redis://host:port/db."
        raise StoreError(msg, hint=hint) from error


def without_password(url: str) -> str:
    """The URL as messages show it."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def _check_database(url: str) -> None:
    """redis-py would read redis://host/name as database 0, which may be someone else's."""
    parts = urlsplit(url)
    if parts.scheme != "unix" and parts.path.strip("/"):
        int(parts.path.strip("/"))


def _text(error: Exception) -> str:
    return str(error).rstrip(".")
