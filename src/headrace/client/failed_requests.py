"""Requests that failed: which error it is, and whether and when the request is sent again."""

from __future__ import annotations

import http
import json
import random
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any, Protocol

from headrace import errors
from headrace.client.http_settings import HttpSettings
from headrace.client.server_address import ServerAddress
from headrace.errors import (
    ConfigError,
    HeadraceError,
    LookupRequestError,
    MissingExtraError,
    NotAuthenticatedError,
    PermissionDeniedError,
    ServerError,
    ServerUnavailableError,
)
from headrace.lookup.wire_format import NO_SERVER

__all__ = ["FailedRequest", "Headers", "Retries", "connection_failure", "refused_answer", "timed_out"]

_PASSING = frozenset({429, 502, 503, 504})
"""Status codes of servers and gateways that say: not now."""

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0

_START = "Start it with `headrace serve`, or check the URL."
_CERTIFICATE = "Give the certificate of its authority: HttpSettings(ca_file=…)."


class Headers(Protocol):
    """An answer's headers."""

    def get(self, name: str, /) -> Any:
        """The value of a header, in any case; None if there is none."""


class FailedRequest(Exception):  # noqa: N818 callers see the error that it carries
    """A request that failed.

    Args:
        error: The error that callers see.
        may_pass: Whether the same request may work soon.
        after_s: How long to wait before it, as the server asks; None leaves it to the client.
    """

    def __init__(self, error: HeadraceError, *, may_pass: bool = False, after_s: float | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.may_pass = may_pass
        self.after_s = after_s


class Retries:
    """The attempts of one call: how long they may take, and how long to wait between them.

    Pauses grow, and are random, so that the clients of a server that was away do not all come back at once.

    Args:
        settings: How often, and how long in all.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self.deadline = time.monotonic() + settings.total_timeout_s
        self._left = settings.retries
        self._pause_s = _FIRST_PAUSE_S

    def pause_after(self, failed: FailedRequest) -> float:
        """How long to wait before the request is sent again, in seconds.

        Args:
            failed: Why it must be.

        Raises:
            HeadraceError: The failure's error, if the request is not sent again.
        """
        pause_s = random.uniform(0, self._pause_s)  # noqa: S311 no secret
        if failed.after_s is not None:
            pause_s += failed.after_s
        is_over = time.monotonic() + pause_s >= self.deadline
        if not failed.may_pass or not self._left or is_over:
            raise failed.error from failed.__cause__
        self._left -= 1
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
        return pause_s


def timed_out(address: ServerAddress, what: str) -> FailedRequest:
    """The failure of a request that took too long.

    Args:
        address: The server.
        what: What was not done in time.
    """
    hint = "Raise the limits of HttpSettings, ask for fewer rows at once, or look at the server's load."
    return FailedRequest(ServerUnavailableError(f"The server at {address.url} {what}.", hint=hint), may_pass=True)


def connection_failure(address: ServerAddress, error: BaseException) -> FailedRequest:
    """The failure of a request for which there was no connection, or whose connection broke.

    Args:
        address: The server.
        error: What happened.
    """
    where = address.url
    if isinstance(error, ssl.SSLCertVerificationError):
        msg = f"The certificate of {where} is not trusted: {error.verify_message}."
        return FailedRequest(ServerError(msg, hint=_CERTIFICATE))
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        if "alert" in reason and ("certificate" in reason or "unknown ca" in reason):
            msg = f"The server at {where} refuses this client's certificate: {reason}."
            return FailedRequest(ServerError(msg, hint="Give HttpSettings(certificate_file=…, key_file=…)."))
        msg = f"There is no TLS connection to {where}: {reason}."
        return FailedRequest(ServerError(msg, hint="If the server has no TLS, write http:// instead of https://."))
    if isinstance(error, socket.gaierror):
        msg = f"The host {address.host!r} of {where} is not known: {error.strerror}."
        return FailedRequest(ServerUnavailableError(msg, hint="Check the URL."), may_pass=True)
    if isinstance(error, ConnectionRefusedError):
        msg = f"No server answers at {where}: the connection was refused."
        return FailedRequest(ServerUnavailableError(msg, hint=_START), may_pass=True)
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    msg = f"The connection to {where} broke: {reason}."
    hint = "The server may have ended. If it has TLS, write https:// instead of http://."
    return FailedRequest(ServerUnavailableError(msg, hint=hint), may_pass=True)


def refused_answer(address: ServerAddress, status: int, headers: Headers, body: bytes, path: str) -> FailedRequest:
    """The failure of a request that was answered with another status than 200.

    Args:
        address: The server.
        status: The status code.
        headers: The answer's headers.
        body: The answer's body.
        path: The path that was asked.
    """
    if 300 <= status < 400:
        target = headers.get("location") or "nowhere"
        msg = f"The server at {address.url} redirects {path} to {target!r}."
        hint = (
            "The client follows no redirects, so that tokens go to no other server. Give the URL of the server itself."
        )
        return FailedRequest(ServerError(msg, hint=hint))
    told = _told(body)
    may_pass = status in _PASSING
    if told is not None:
        error = _as_raised(told, status)
        # A store that is being filled is not ready for minutes: callers decide what to do meanwhile.
        is_filling = isinstance(error, errors.StoreNotReadyError | errors.StoreMissingError)
        return FailedRequest(error, may_pass=may_pass and not is_filling, after_s=_seconds(headers.get("retry-after")))
    name = http.HTTPStatus(status).phrase if status in _KNOWN else "unknown status"
    msg = f"The server at {address.url} answered {path} with {status} {name}."
    if may_pass:
        unavailable = ServerUnavailableError(msg, hint="A gateway before the server may be overloaded.")
        return FailedRequest(unavailable, may_pass=True, after_s=_seconds(headers.get("retry-after")))
    if status == 401:
        return FailedRequest(NotAuthenticatedError(msg, hint="Give a token: FeatureClient(url, token=…)."))
    if status == 403:
        return FailedRequest(PermissionDeniedError(msg, hint="Ask for a token that may read these features."))
    return FailedRequest(ServerError(msg, hint=NO_SERVER))


_KNOWN = frozenset(int(status) for status in http.HTTPStatus)


def _told(body: bytes) -> dict[str, Any] | None:
    """The error in an answer's body; None where it has none."""
    try:
        found = json.loads(body)["error"]
    except (ValueError, TypeError, KeyError):
        return None
    is_error = isinstance(found, dict) and all(isinstance(found.get(name), str) for name in ("kind", "message"))
    return found if is_error else None


def _as_raised(told: Mapping[str, Any], status: int) -> HeadraceError:
    """The error of the class that the server raised."""
    hint = told.get("hint")
    kind = getattr(errors, told["kind"], None) if told["kind"] in errors.__all__ else None
    if kind is None or not issubclass(kind, HeadraceError) or kind is HeadraceError:
        kind = LookupRequestError if 400 <= status < 500 else ServerError
    if issubclass(kind, MissingExtraError):  # it is made of a package and its extra
        kind = ConfigError
    error: HeadraceError = kind(told["message"], hint=hint if isinstance(hint, str) else None)
    return error


def _seconds(text: str | None) -> float | None:
    """The seconds that `Retry-After` asks for; None if it says a date or nothing."""
    return float(text) if text is not None and text.strip().isdecimal() else None
