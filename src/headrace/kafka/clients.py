"""kafka-python's clients, made in one place so that every way a broker can be away becomes one error."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from headrace.errors import BrokerUnavailableError, ConfigError
from headrace.kafka.packages import KafkaAdminClient, KafkaError
from headrace.kafka.refusals import refused

__all__ = ["TIMEOUT_S", "admin_client", "broker_errors", "check_reachable", "unavailable"]

TIMEOUT_S = 8.0
"""How long a broker is waited for unless the caller says otherwise, in seconds."""

_CONNECT_S = 2.0


class _Admin(KafkaAdminClient):  # type: ignore[misc]  # kafka-python ships no types
    """An admin client that leaves no thread behind when it finds no broker."""

    def __init__(self, **configs: object) -> None:
        try:
            super().__init__(**configs)
        except Exception:
            self._client.close()
            self._net.stop()
            raise


def unavailable(bootstrap: str, why: object) -> BrokerUnavailableError:
    """The error for a broker that does not answer.

    Args:
        bootstrap: The address that was tried.
        why: What went wrong.
    """
    hint = "Start the broker (`headrace dev` runs the embedded one), or set `broker` in headrace.toml to one that runs."
    return BrokerUnavailableError(f"No Kafka broker answers at {bootstrap}: {why}.", hint=hint)


def check_reachable(bootstrap: str, timeout_s: float = _CONNECT_S) -> None:
    """Open a connection to any one of the servers, and close it.

    kafka-python tries a refused address again until its timeout; this says at once that nobody listens.

    Args:
        bootstrap: ``host:port[,host:port]``.
        timeout_s: How long to wait for each server, in seconds.

    Raises:
        BrokerUnavailableError: Nobody listens at any of the addresses.
        ConfigError: An address is not ``host:port``.
    """
    why: OSError | None = None
    for host, port in _servers(bootstrap):
        try:
            socket.create_connection((host, port), timeout=timeout_s).close()
        except OSError as error:
            why = error
        else:
            return
    raise unavailable(bootstrap, why.strerror or why if why else "the address is empty")


def _servers(bootstrap: str) -> list[tuple[str, int]]:
    servers = []
    for server in bootstrap.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            hint = "Write `broker` in headrace.toml (or $HEADRACE_BROKER) as host:port[,host:port], or as embedded."
            msg = f"The broker address {bootstrap!r} is not host:port."
            raise ConfigError(msg, hint=hint)
        servers.append((host.strip("[]"), int(port)))
    return servers


@contextmanager
def broker_errors(bootstrap: str) -> Iterator[None]:
    """Turn what kafka-python raises inside the block into headrace's errors.

    Args:
        bootstrap: The broker that is talked to.

    Raises:
        BrokerUnavailableError: The broker went away, or did not answer in time.
        BrokerRefusedError: It answered, and refused.
    """
    try:
        yield
    except (KafkaError, OSError) as error:
        why = (str(error) or type(error).__name__).rstrip(".")
        if isinstance(error, OSError) or error.retriable:
            raise unavailable(bootstrap, why) from error
        raise refused(bootstrap, why, getattr(error, "errno", None)) from error


@contextmanager
def admin_client(bootstrap: str, timeout_s: float = TIMEOUT_S) -> Iterator[KafkaAdminClient]:
    """Connect an admin client, and close it.

    Args:
        bootstrap: ``host:port[,host:port]``.
        timeout_s: How long to wait for the connection, and then for each answer, in seconds.

    Yields:
        The client.

    Raises:
        BrokerUnavailableError: No broker answers, or it goes away.
    """
    check_reachable(bootstrap, min(timeout_s, _CONNECT_S))
    timeout_ms = int(timeout_s * 1000)
    with broker_errors(bootstrap):
        client = _Admin(
            bootstrap_servers=bootstrap.split(","), bootstrap_timeout_ms=timeout_ms, request_timeout_ms=timeout_ms
        )
        try:
            yield client
        finally:
            client.close()
