"""The routes of Feast's feature server: its clients work unchanged against this server (docs/feast-clients.md).

    POST /get-online-features      features in Feast's JSON
    POST /push                     rows for the views of a push source
    POST /write-to-online-store    rows of one view
    POST /materialize              loads the sources of batch views between two times
    POST /materialize-incremental  loads what is new in them

`GET /health` is the server's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.serving.feast_errors import feast_error_response
from headrace.serving.feast_lookup import FeastLookup, row_count
from headrace.serving.feast_materialize import FeastMaterialize
from headrace.serving.feast_request import (
    GetOnlineFeatures,
    Materialize,
    MaterializeIncremental,
    Push,
    WriteToOnlineStore,
)
from headrace.serving.feast_writes import push, write_to_online_store
from headrace.serving.hot_route import HotRoute, Tells

__all__ = ["feast_routes"]

_JSON = "application/json"
_ERROR = {
    _JSON: {"type": "string", "description": "JSON as a text: module and class of an error of Feast, and message."}
}
_Answers = Mapping[int, tuple[str, Mapping[str, Any]]]
_UNKNOWN: _Answers = {404: ("There is no such feature service or view, or request data is missing.", _ERROR)}
_DONE: _Answers = {**_UNKNOWN, 200: ("Done.", {_JSON: {"type": "null"}})}
_ACCEPTED = {
    "type": "object",
    "properties": {"status": {"type": "string"}, "feature_views": {"type": "array", "items": {"type": "string"}}},
}
_BUSY = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "feature_views": {"type": "array", "items": {"type": "string"}}},
}
_MATERIALIZED: _Answers = {
    **_DONE,
    202: ("Accepted: it runs in the background (`?async=true`).", {_JSON: _ACCEPTED}),
    409: ("A view is being materialized already (`?async=true` without `force=true`).", {_JSON: _BUSY}),
}
_FEATURES: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "results": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "values": {"type": "array"},
                    "statuses": {
                        "type": "array",
                        "items": {"enum": ["PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"]},
                    },
                    "event_timestamps": {"type": "array", "items": {"type": "string", "format": "date-time"}},
                },
            },
        },
        "metadata": {"type": "object", "properties": {"feature_names": {"type": "array", "items": {"type": "string"}}}},
    },
}


def feast_routes() -> list[HotRoute[Any]]:
    """The routes."""
    lookup, materialize = FeastLookup(), FeastMaterialize()
    return [
        HotRoute(
            "/get-online-features",
            GetOnlineFeatures,
            lookup.answer,
            Tells(
                "Features, in Feast's format",
                answers={**_UNKNOWN, 200: ("The features.", {_JSON: _FEATURES})},
                errors=_ERROR,
            ),
            error=feast_error_response,
            rows=row_count,
        ),
        HotRoute(
            "/push",
            Push,
            push,
            Tells("Rows for the views of a push source", answers={200: ("Written.", {})}, errors=_ERROR),
            error=feast_error_response,
            writes=True,
        ),
        HotRoute(
            "/write-to-online-store",
            WriteToOnlineStore,
            write_to_online_store,
            Tells("Rows of one view", answers=_DONE, errors=_ERROR),
            error=feast_error_response,
            writes=True,
        ),
        HotRoute(
            "/materialize",
            Materialize,
            materialize.between,
            Tells("Load the sources of batch views", answers=_MATERIALIZED, errors=_ERROR),
            error=feast_error_response,
            is_job=True,
        ),
        HotRoute(
            "/materialize-incremental",
            MaterializeIncremental,
            materialize.incremental,
            Tells("Load what is new in the sources of batch views", answers=_MATERIALIZED, errors=_ERROR),
            error=feast_error_response,
            is_job=True,
        ),
    ]
