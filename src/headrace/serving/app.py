"""The application: hot routes, FastAPI routes, and the errors of both as JSON."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace import __version__
from headrace.config import Project
from headrace.errors import HeadraceError
from headrace.serving.access_log import access_log_of
from headrace.serving.auth import AuthMiddleware, authenticator_of
from headrace.serving.context import ServingContext
from headrace.serving.errors import RefusedError, error_response, unexpected_error
from headrace.serving.exposure import check_exposure, check_still_signs_in, has_authentication
from headrace.serving.feast_routes import feast_routes
from headrace.serving.hot_route import HotRoute
from headrace.serving.lookup_route import lookup_route
from headrace.serving.metrics import Metrics
from headrace.serving.openapi import openapi_document
from headrace.serving.settings import ServerSettings
from headrace.serving.status_routes import status_routes

__all__ = ["create_app"]

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0


def create_app(settings: ServerSettings, *, supervisor: int | None = None) -> FastAPI:
    """Make the application of one server process.

    Nothing is opened before the application starts (ASGI's lifespan), so that it can be made before a fork.

    Args:
        settings: The server's settings.
        supervisor: The process that started this one: when it is gone, this one ends too. None is nobody.

    Returns:
        The application; `app.state.context` is its `ServingContext`.

    Raises:
        ConfigError: The project's settings are wrong, its tokens are damaged, the access log cannot be written, or
            everybody who reaches the address could ask.
        AuthUnavailableError: The tokens cannot be read now.
    """
    project = Project.load(settings.project)
    signs_in = not settings.insecure and has_authentication(project)
    check_exposure(settings.host, has_authentication=signs_in, insecure=settings.insecure)
    check_still_signs_in(did=settings.signs_in, does=signs_in)
    context = ServingContext(project, settings.limits, Metrics())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watch = asyncio.create_task(_end_with(supervisor))
        await context.start()
        try:
            yield
        finally:
            watch.cancel()
            await context.stop()

    app = FastAPI(
        title="headrace",
        summary="A streaming feature store: features now, by entity.",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    app.state.context = context
    authenticator = None if settings.insecure else authenticator_of(project)
    app.add_middleware(
        AuthMiddleware,
        authenticator=authenticator,
        answer=error_response,
        access_log=access_log_of(project.serve.access_log, has_authentication=signs_in),
    )
    hot = _hot_routes(context)
    app.router.routes[:0] = [one.route(context) if isinstance(one, HotRoute) else one for one in hot]
    app.include_router(status_routes(context))
    app.add_exception_handler(HeadraceError, _known_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _wrong_parameter)
    app.add_exception_handler(Exception, _unexpected_error)
    document = openapi_document(app, [one for one in hot if isinstance(one, HotRoute)])
    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way
    return app


def _hot_routes(context: ServingContext) -> Sequence[HotRoute[Any] | Route]:
    return [lookup_route(), *feast_routes()]


async def _end_with(supervisor: int | None) -> None:
    """End this process when its supervisor was killed: nobody else would, and it would keep the port."""
    while supervisor is not None:
        await asyncio.sleep(_LOOK_EVERY_S)
        if os.getppid() != supervisor:
            logger.warning("The supervisor (process %d) is gone: this process ends.", supervisor)
            signal.raise_signal(signal.SIGTERM)
            return


async def _known_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HeadraceError)  # noqa: S101 Starlette's handlers are typed for any error
    return error_response(error)


async def _unexpected_error(request: Request, error: Exception) -> Response:
    return error_response(unexpected_error())  # Starlette raises the error again, and uvicorn logs it


async def _http_error(request: Request, error: Exception) -> Response:
    """There is no such path, or the path has other methods."""
    assert isinstance(error, HTTPException)  # noqa: S101
    what = f"{request.method} {request.url.path}: {error.detail}."
    hint = "GET /openapi.json lists the paths and their methods."
    refused = RefusedError(error.status_code, "LookupRequestError", what, hint=hint, headers=error.headers)
    return error_response(refused)


async def _wrong_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    refused = RefusedError(
        422, "LookupRequestError", f"{where}: {first['msg']}.", hint="GET /openapi.json describes it."
    )
    return error_response(refused)
