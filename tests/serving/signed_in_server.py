"""A small application behind the middleware that signs callers in, served by uvicorn on loopback."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from headrace.errors import HeadraceError
from headrace.serving.access_log import AccessLog
from headrace.serving.auth import Authenticator, AuthMiddleware
from headrace.serving.errors import error_response
from headrace.serving.identity import Permission
from tests.waits import wait_until

__all__ = ["Answer", "ask", "served"]


class Answer(NamedTuple):
    """What the server answered."""

    status: int
    headers: dict[str, str]
    body: Any


async def _whoami(request: Request) -> Response:
    request.state.access["rows"] = 3
    return JSONResponse({"caller": request.state.caller.name})


async def _metrics(request: Request) -> Response:
    try:
        request.state.caller.require(Permission.ADMIN)
    except HeadraceError as error:
        return error_response(error)
    return PlainTextResponse("up 1")


async def _health(request: Request) -> Response:
    return PlainTextResponse("")


@contextmanager
def served(authenticator: Authenticator | None, access_log: AccessLog | None = None) -> Iterator[int]:
    """Serve the application; gives its port."""
    app = Starlette(
        routes=[
            Route("/whoami", _whoami, methods=["GET", "POST"]),
            Route("/metrics", _metrics),
            Route("/health", _health),
        ]
    )
    guarded = AuthMiddleware(app, authenticator, answer=error_response, access_log=access_log)
    server = uvicorn.Server(uvicorn.Config(guarded, log_level="critical", access_log=False, lifespan="on"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        wait_until(lambda: server.started, "the server is ready")
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def ask(port: int, path: str = "/whoami", *, token: str | None = None, headers: list[tuple[str, str]] = []) -> Answer:  # noqa: B006 not changed
    """Ask the server for a path."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest("GET", path)
        for name, value in [*headers, *([("Authorization", f"Bearer {token}")] if token is not None else [])]:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    is_json = answer.getheader("content-type", "").startswith("application/json")
    return Answer(
        answer.status,
        {name.lower(): value for name, value in answer.getheaders()},
        json.loads(text) if is_json else text,
    )
