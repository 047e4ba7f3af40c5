"""Checking a connection as far as signing in, so that a wrong security setting is named at once.

Kafka's clients do not name it. kafka-python and aiokafka report every failure as "unable to bootstrap", librdkafka
reports some failures to a callback, and all three try again forever. So before a client starts, headrace asks the
broker two short questions over a socket of its own: which API versions it knows, and then either for its metadata or
whether it takes the SASL mechanism. A password is checked by librdkafka, which reports a wrong one.

Only what is certain is a refusal. A connection that is closed without a word may be a proxy whose broker is starting:
that is a broker that is away.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient

from headrace.errors import BrokerRefusedError
from headrace.kafka.broker_errors import refused, unavailable
from headrace.kafka.connection import KafkaConnection

__all__ = ["TIMEOUT_S", "check_connection"]

TIMEOUT_S = 8.0
"""How long a broker is waited for unless the caller says otherwise, in seconds."""

_CONNECT_S = 2.0
_POLL_S = 0.01

_METADATA, _SASL_HANDSHAKE, _API_VERSIONS = (3, 1), (17, 1), (18, 0)
"""Requests by key and version, which every broker since Kafka 1.0 knows, and the embedded one."""

_NO_TOPICS = struct.pack(">i", 0)
_UNSUPPORTED_MECHANISM, _WRONG_PASSWORD = 33, 58
_AUTHENTICATION = KafkaError._AUTHENTICATION  # noqa: SLF001 its public name
_TLS_ALERT = b"\x15\x03"
_WRONG_HOST = {62, 63, 64}
"""OpenSSL's codes for a certificate that names another host, e-mail or address."""


def check_connection(connection: KafkaConnection, timeout_s: float = TIMEOUT_S) -> None:
    """Connect to any one of the servers, and sign in.

    Args:
        connection: The connection.
        timeout_s: How long to wait for each answer, in seconds.

    Raises:
        BrokerRefusedError: A broker answers and a security setting is wrong; the message says which.
        BrokerUnavailableError: None of the servers answers.
        ConfigError: A certificate or key cannot be used.
    """
    why: object = "the address is empty"
    for host, port in connection.servers:
        try:
            _check_server(connection, host, port, timeout_s)
        except OSError as error:
            why = error.strerror or error
        else:
            break
    else:
        raise unavailable(connection, why)
    if connection.uses_sasl:
        _sign_in(connection, timeout_s)


def _check_server(connection: KafkaConnection, host: str, port: int, timeout_s: float) -> None:
    try:
        with _open(host, port, timeout_s) as plain, _encrypted(connection, plain, host) as stream:
            if _ask(stream, *_API_VERSIONS)[:2] == _TLS_ALERT:
                hint = _protocol_hint(connection, "SSL or SASL_SSL")
                raise refused(connection, "the listener speaks TLS", hint=hint)
            if connection.uses_sasl:
                _check_mechanism(connection, _ask(stream, *_SASL_HANDSHAKE, _text(str(connection.sasl_mechanism))))
            else:
                _check_open(connection, stream, (host, port), timeout_s)
    except (ssl.SSLError, ConnectionError) as error:
        if (refusal := _tls_refusal(connection, host, port, timeout_s, error)) is None:
            raise
        raise refusal from error


def _open(host: str, port: int, timeout_s: float) -> socket.socket:
    opened = socket.create_connection((host, port), timeout=min(timeout_s, _CONNECT_S))
    opened.settimeout(timeout_s)
    return opened


def _encrypted(connection: KafkaConnection, plain: socket.socket, host: str) -> socket.socket:
    context = connection.ssl_context()
    return plain if context is None else context.wrap_socket(plain, server_hostname=host)


def _ask(stream: socket.socket, key: int, version: int, body: bytes = b"") -> bytes:
    """Send a request; returns the response's body, or the beginning of what is no response."""
    request = struct.pack(">hhi", key, version, 0) + _text("headrace") + body
    stream.sendall(struct.pack(">i", len(request)) + request)
    size = _receive(stream, 4)
    if size[:2] == _TLS_ALERT:
        return size
    return _receive(stream, int.from_bytes(size))[4:]  # behind the correlation id


def _receive(stream: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        more = stream.recv(size - len(received))
        if not more:
            msg = "it closed the connection without an answer"
            raise ConnectionResetError(msg)
        received += more
    return received


def _text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def _check_open(connection: KafkaConnection, stream: socket.socket, server: tuple[str, int], timeout_s: float) -> None:
    """Whether the listener answers a client that has not signed in. One that closes both times does not."""
    with suppress(ConnectionError):
        _ask(stream, *_METADATA, _NO_TOPICS)
        return
    with _open(*server, timeout_s) as plain, _encrypted(connection, plain, server[0]) as again:
        _ask(again, *_API_VERSIONS)
        try:
            _ask(again, *_METADATA, _NO_TOPICS)
        except ConnectionError as error:
            hint = _protocol_hint(connection, "SASL_SSL" if connection.uses_tls else "SASL_PLAINTEXT")
            raise refused(connection, "the listener asks for a user and a password", hint=hint) from error


def _check_mechanism(connection: KafkaConnection, response: bytes) -> None:
    code, count = struct.unpack_from(">hi", response)
    if code == 0:
        return
    if not count:
        hint = _protocol_hint(connection, "SSL" if connection.uses_tls else "PLAINTEXT")
        raise refused(connection, "the listener takes no sign-in", hint=hint)
    at, mechanisms = 6, []
    for _ in range(count):
        (length,) = struct.unpack_from(">h", response, at)
        mechanisms.append(response[at + 2 : at + 2 + length].decode())
        at += 2 + length
    why = f"the listener does not take sasl_mechanism {connection.sasl_mechanism}, but {', '.join(mechanisms)}"
    raise refused(connection, why, _UNSUPPORTED_MECHANISM)


def _tls_refusal(
    connection: KafkaConnection, host: str, port: int, timeout_s: float, error: OSError
) -> BrokerRefusedError | None:
    """What an error of TLS means; None where it may only mean that the broker is away."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _WRONG_HOST:
            hint = "Connect by a name that is in the certificate, or set `check_hostname = false` in [kafka]."
            return refused(connection, f"its certificate is not for {host!r}", hint=hint)
        hint = "Set `ca_file` in [kafka] of headrace.toml to the certificates that signed the broker's."
        return refused(connection, f"its certificate is not trusted ({error.verify_message})", hint=hint)
    if isinstance(error, ssl.SSLError) and "CERTIFICATE" in (error.reason or ""):  # its alert
        if connection.certificate_file is None:
            hint = "Set `certificate_file` and `key_file` in [kafka] of headrace.toml."
            return refused(connection, "the listener asks for a client certificate", hint=hint)
        hint = "Set `certificate_file` in [kafka] to one that the broker's truststore knows and that has not expired."
        return refused(connection, "it does not accept the client certificate", hint=hint)
    if connection.uses_tls:
        with suppress(OSError), _open(host, port, timeout_s) as plain:
            if _ask(plain, *_API_VERSIONS)[:2] != _TLS_ALERT:
                hint = _protocol_hint(connection, "PLAINTEXT or SASL_PLAINTEXT")
                return refused(connection, "the listener does not speak TLS", hint=hint)
    return None


def _protocol_hint(connection: KafkaConnection, instead: str) -> str:
    now = f"it is {connection.security_protocol}"
    return f"Set `security_protocol` in [kafka] of headrace.toml to {instead} ({now}), or `broker` to another port."


def _sign_in(connection: KafkaConnection, timeout_s: float) -> None:
    """Sign in by librdkafka, which reports a wrong password to a callback and then tries again forever."""
    errors: list[KafkaError] = []
    settings: dict[str, Any] = {**connection.librdkafka(), "log_level": 0, "error_cb": errors.append}
    client = AdminClient(settings)
    answer = client.describe_cluster(request_timeout=timeout_s)
    deadline = time.monotonic() + timeout_s
    while not answer.done() and time.monotonic() < deadline:
        client.poll(_POLL_S)
        if any(error.code() == _AUTHENTICATION for error in errors):
            why = f"the sign-in as user {connection.username!r} by {connection.sasl_mechanism} failed"
            raise refused(connection, why, _WRONG_PASSWORD)
    if not answer.done() or answer.exception() is not None:
        raise unavailable(connection, errors[0].str().rstrip(".") if errors else f"no sign-in within {timeout_s:g} s")
