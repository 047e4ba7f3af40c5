"""The routes of Feast's feature server: its clients work unchanged against this server (docs/feast-clients.md).

    POST /get-online-features      features in Feast's JSON

`GET /health` is the server's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.serving.feast_errors import feast_error_response
from headrace.serving.feast_lookup import FeastLookup, row_count
from headrace.serving.feast_request import GetOnlineFeatures
from headrace.serving.hot_route import HotRoute, Tells

__all__ = ["feast_routes"]

_JSON = "application/json"
_ERROR = {
    _JSON: {"type": "string", "description": "JSON as a text: module and class of an error of Feast, and message."}
}
_UNKNOWN = {404: ("There is no such feature service or view.", _ERROR)}
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
    lookup = FeastLookup()
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
    ]
