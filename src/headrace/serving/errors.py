"""Errors as HTTP answers: a status code, and JSON with the hint."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from starlette.responses import Response

from headrace.errors import (
    BatchSourceAwayError,
    BatchSourceError,
    HeadraceError,
    LookupRequestError,
    NotAuthenticatedError,
    PermissionDeniedError,
    PlanError,
    RetryableError,
    RowsError,
    StoreError,
)

__all__ = ["RETRY_AFTER_S", "RefusedError", "error_body", "error_response", "status_of", "unexpected_error"]

RETRY_AFTER_S = 1
"""What `Retry-After` says, in seconds: a server looks once a second whether its store is there."""

_STATUS: tuple[tuple[type[HeadraceError], int], ...] = (
    (LookupRequestError, 422),
    (NotAuthenticatedError, 401),
    (PermissionDeniedError, 403),
    (RowsError, 422),
    (BatchSourceAwayError, 503),
    (BatchSourceError, 422),
    # These are for the operator: the same request may work later, and nothing in it is wrong.
    (RetryableError, 503),
    (PlanError, 503),
    (StoreError, 503),
)


class RefusedError(HeadraceError):
    """A request that the server refuses before any feature is looked up.

    Args:
        status: The HTTP status code.
        kind: The name of the error that clients raise, one of `headrace.errors`.
        what: What is wrong.
        hint: What to do about it.
        headers: Further headers of the answer.
    """

    def __init__(
        self, status: int, kind: str, what: str, *, hint: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(what, hint=hint)
        self.status = status
        self.kind = kind
        self.headers = dict(headers or {})


def unexpected_error() -> RefusedError:
    """The error that callers see where something failed that nobody foresaw: the log has the reason, they do not."""
    msg = "The server failed at this request. This is a fault of the server, not of the request."
    return RefusedError(500, "unexpected", msg, hint="The server's log has the reason. Please report it.")


def status_of(error: HeadraceError) -> int:
    """The HTTP status code of an error: 4xx where the caller can act, 5xx where only the operator can."""
    if isinstance(error, RefusedError):
        return error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def error_body(kind: str, message: str, hint: str | None) -> bytes:
    """The JSON of an error."""
    return orjson.dumps({"error": {"kind": kind, "message": message, "hint": hint}})


def error_response(error: HeadraceError) -> Response:
    """An error as an HTTP answer.

    Args:
        error: The error.

    Returns:
        The answer, with `Retry-After` where another try may work.
    """
    status = status_of(error)
    headers = dict(error.headers) if isinstance(error, RefusedError) else {}
    if status == 503:
        headers.setdefault("retry-after", str(RETRY_AFTER_S))
    kind = error.kind if isinstance(error, RefusedError) else type(error).__name__
    return Response(error_body(kind, error.what, error.hint), status, headers, "application/json")
