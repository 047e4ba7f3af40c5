"""Errors as Feast's clients read them.

The body is a JSON text that holds JSON: the module, the class and the message of one of Feast's errors. Feast's own
client raises that class, so its caller sees our message and hint. The status is 4xx for what the caller can change:
Feast's client tries 429 and 5xx three more times.
"""

from __future__ import annotations

import orjson
from starlette.responses import Response

from headrace.errors import HeadraceError, LookupRequestError, PermissionDeniedError
from headrace.serving.errors import error_response

__all__ = [
    "NAME_COLLISION",
    "PUSH_SOURCE_NOT_FOUND",
    "REQUEST_DATA_NOT_FOUND",
    "SERVICE_NOT_FOUND",
    "VIEW_NOT_FOUND",
    "FeastRequestError",
    "feast_error_body",
    "feast_error_response",
]

# Classes of `feast.errors`.
NAME_COLLISION = "FeatureNameCollisionError"
PUSH_SOURCE_NOT_FOUND = "PushSourceNotFoundException"
REQUEST_DATA_NOT_FOUND = "RequestDataNotFoundInEntityRowsException"
SERVICE_NOT_FOUND = "FeatureServiceNotFoundException"
VIEW_NOT_FOUND = "FeatureViewNotFoundException"


class FeastRequestError(LookupRequestError):
    """A request in Feast's format that cannot be answered, for which Feast has an error of its own.

    Args:
        feast_class: The class of `feast.errors`.
        status: The HTTP status.
        what: What is wrong.
        hint: What to do about it.
    """

    def __init__(self, feast_class: str, status: int, what: str, *, hint: str | None = None) -> None:
        super().__init__(what, hint=hint)
        self.feast_class = feast_class
        self.status = status


def feast_error_response(error: HeadraceError) -> Response:
    """An error as an HTTP answer, with the status and the headers that every route of the server gives it.

    Args:
        error: The error.
    """
    answer = error_response(error)
    headers = {name: value for name, value in answer.headers.items() if name in ("retry-after", "www-authenticate")}
    status, feast_class = answer.status_code, "FeastError"
    if isinstance(error, FeastRequestError):
        status, feast_class = error.status, error.feast_class
    elif isinstance(error, PermissionDeniedError):
        feast_class = "FeastPermissionError"
    message = error.what if error.hint is None else f"{error.what} {error.hint}"
    return Response(feast_error_body(feast_class, message), status, headers, "application/json")


def feast_error_body(feast_class: str, message: str) -> bytes:
    """The JSON text that Feast's client makes an error of.

    Args:
        feast_class: The class of `feast.errors`.
        message: Its message.
    """
    detail = orjson.dumps({"module": "feast.errors", "class": feast_class, "message": message})
    return orjson.dumps(detail.decode())
