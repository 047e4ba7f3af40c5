"""The OpenAPI document: FastAPI's routes, and the hot routes beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from headrace.serving.hot_route import HotRoute

__all__ = ["openapi_document"]

_SCHEMAS = "#/components/schemas/{name}"
_PROBLEM = {"$ref": _SCHEMAS.format(name="Problem")}
_REFUSALS = {
    400: "The body is not JSON.",
    413: "The body is too large.",
    415: "The body is not `application/json`.",
    422: "The request names something unknown, leaves a key out, has a value of a wrong type, or asks for too much.",
    503: "The store is away or not filled yet, or the server has too much to do; `Retry-After` says when to try again.",
}


def openapi_document(app: FastAPI, hot: Sequence[HotRoute[Any]]) -> Callable[[], dict[str, Any]]:
    """What makes the document, once.

    Args:
        app: The application with its FastAPI routes.
        hot: The hot routes.
    """

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            components = made.setdefault("components", {}).setdefault("schemas", {})
            bodies, shared = msgspec.json.schema_components([route.body for route in hot], ref_template=_SCHEMAS)
            components.update(shared)
            for route, body in zip(hot, bodies, strict=True):
                made["paths"][route.path] = {"post": _operation(route, body)}
            app.openapi_schema = made
        return app.openapi_schema

    return document


def _operation(route: HotRoute[Any], body: dict[str, Any]) -> dict[str, Any]:
    errors = route.tells.errors or _PROBLEM
    refusals = {
        str(status): {"description": why, "content": {"application/json": {"schema": errors}}}
        for status, why in _REFUSALS.items()
    }
    answers = {
        str(status): {
            "description": why,
            "content": {media_type: {"schema": schema} for media_type, schema in content.items()},
        }
        for status, (why, content) in route.tells.answers.items()
    }
    return {
        "summary": route.tells.summary,
        "description": route.tells.description,
        "operationId": route.path.strip("/").replace("/", "_").replace("-", "_"),
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": answers | refusals,
    }
