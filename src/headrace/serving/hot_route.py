"""Hot routes: read a request, decode it by msgspec, do the work, answer bytes; the same for every one.

A web page of another site can make a browser send a POST with plain text to a server on this machine, without asking it
first. With `application/json` the browser asks, and gets no permission. So other content types are refused.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from headrace.errors import HeadraceError
from headrace.serving.context import ServingContext
from headrace.serving.errors import RefusedError, error_response, unexpected_error
from headrace.serving.metrics import MANY

__all__ = ["Answer", "Asked", "HotRoute", "Tells"]

logger = logging.getLogger(__name__)

Body = TypeVar("Body")

_CLIENT_IS_GONE = 499
"""What metrics count for a request whose client hung up before it was complete."""


@dataclass(frozen=True, slots=True)
class Asked(Generic[Body]):
    """One request.

    Attributes:
        body: The decoded body.
        caller: Who asks (`headrace.serving.identity.Caller`); it may be anyone.
        accept: The header `Accept`; empty if there is none.
        query: The parameters of the query, each with its last value.
        access: What the access log is told; keys are added to it.
    """

    body: Body
    caller: Any
    accept: str
    query: Mapping[str, str]
    access: dict[str, Any]


class Answer(NamedTuple):
    """The answer to a request.

    Attributes:
        content: The body.
        media_type: Its type.
        rows: How many rows it has, for metrics.
        service: The feature service asked for, for metrics; None if it names features. It must exist.
        status: The status code.
    """

    content: bytes
    media_type: str = "application/json"
    rows: int = 0
    service: str | None = None
    status: int = 200


@dataclass(frozen=True)
class Tells:
    """What the OpenAPI document says of a route.

    Attributes:
        summary: One line.
        description: More.
        answers: By status code, the description and, by media type, the JSON schema of each answer but errors.
        errors: The JSON schema of the answer to an error; None is the server's own form.
    """

    summary: str
    description: str = ""
    answers: Mapping[int, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    errors: Mapping[str, Any] | None = None


def _one_row(body: Any) -> int:
    return 1


@dataclass(frozen=True)
class HotRoute(Generic[Body]):
    """A route that takes JSON by POST.

    Attributes:
        path: Its path.
        body: The msgspec type of the body.
        answer: Makes the answer; it may run in any thread.
        tells: Its documentation.
        error: Makes the answer to an error.
        rows: About how many rows a request is about. Few rows of a local store are looked up in the event loop, which
            is faster than handing them to a thread.
        writes: Whether the work writes: it always goes to a thread, and is waited for once it runs. A client that is
            told to try again would write a second time.
        is_job: Whether the work may take minutes: it goes to the threads for jobs, and has no limit of time.
    """

    path: str
    body: type[Body]
    answer: Callable[[ServingContext, Asked[Body]], Answer]
    tells: Tells
    error: Callable[[HeadraceError], Response] = error_response
    rows: Callable[[Body], int] = _one_row
    writes: bool = False
    is_job: bool = False

    def route(self, context: ServingContext) -> Route:
        """The Starlette route."""
        return Route(self.path, _Endpoint(self, context), methods=["POST"])


class _Endpoint(Generic[Body]):
    """Answers the requests of one route, as an ASGI application."""

    def __init__(self, route: HotRoute[Body], context: ServingContext) -> None:
        self._route = route
        self._context = context
        self._limits = context.limits
        self._decode = msgspec.json.Decoder(route.body).decode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        service, rows = MANY, 0
        try:
            answer = await self._answer(scope, receive)
        except _ClientGoneError:
            status = _CLIENT_IS_GONE
        except Exception as error:
            response = self._failed(error)
            status = response.status_code
            await response(scope, receive, send)
        else:
            status, rows, service = answer.status, answer.rows, answer.service or MANY
            headers = [
                (b"content-type", answer.media_type.encode()),
                (b"content-length", str(len(answer.content)).encode()),
            ]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": answer.content})
        self._context.metrics.count(self._route.path, service, status, time.perf_counter() - began, rows)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        headers = dict(scope["headers"])
        _check_type(headers.get(b"content-type", b""))
        content = await _read(headers, receive, self._limits.body_bytes)
        try:
            body = self._decode(content)
        except msgspec.ValidationError as error:
            msg = f"The request's body has another shape: {error}."
            raise RefusedError(422, "LookupRequestError", msg, hint="GET /openapi.json describes it.") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            msg = f"The request's body is not JSON: {error}."
            hint = "Send one JSON object, in UTF-8. JSON has no NaN and no trailing commas."
            raise RefusedError(400, "LookupRequestError", msg, hint=hint) from None
        state = scope.get("state", {})
        accept = headers.get(b"accept", b"").decode("latin-1")
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"))) if scope["query_string"] else {}
        asked = Asked(body, state.get("caller"), accept, query, state.get("access", {}))
        route, context = self._route, self._context
        if route.is_job:
            return await context.as_job(partial(route.answer, context, asked))
        is_small = context.is_local and route.rows(body) <= self._limits.inline_rows
        if is_small and not route.writes:
            return route.answer(context, asked)
        return await context.in_thread(partial(route.answer, context, asked), writes=route.writes)

    def _failed(self, error: Exception) -> Response:
        """The answer to an error; one that nobody foresaw is logged, and the caller is not told what it was."""
        if isinstance(error, HeadraceError):
            if not isinstance(error, RefusedError):
                logger.debug("%s is refused: %s", self._route.path, error)
            return self._route.error(error)
        logger.error("%s failed.", self._route.path, exc_info=error)
        return self._route.error(unexpected_error())


class _ClientGoneError(Exception):
    """The client hung up before its request was complete."""


def _check_type(content_type: bytes) -> None:
    if content_type.partition(b";")[0].strip().lower() != b"application/json":
        found = content_type.decode("latin-1") or "no content type"
        msg = f"The request has {found!r}; this route takes application/json."
        hint = "Send the header Content-Type: application/json (curl: --json instead of --data)."
        raise RefusedError(415, "LookupRequestError", msg, hint=hint)


async def _read(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """The request's body. A client that is slow is cut off by its connection (`headrace.serving.connection`)."""
    told = headers.get(b"content-length", b"")
    if told.isdigit() and int(told[:20]) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGoneError
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limit: int) -> RefusedError:
    msg = f"The request's body is larger than {limit:,} bytes."
    return RefusedError(413, "LookupRequestError", msg, hint="Ask for fewer rows at once.")
