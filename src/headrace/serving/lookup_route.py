"""`POST /v1/lookup`: features now (or at a time), with status, freshness and evidence."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import orjson
from msgspec import Meta

from headrace.errors import LookupRequestError
from headrace.lookup.wire import ARROW_TYPE, JSON_TYPE, answer_to_arrow, answer_to_json
from headrace.lookup.wire_request import at_from_json, rows_from_json
from headrace.serving.context import ServingContext
from headrace.serving.hot_route import Answer, Asked, HotRoute, Tells
from headrace.serving.identity import Permission
from headrace.serving.permissions import require_features

__all__ = ["LookupBody", "lookup_route"]

Name = Annotated[str, Meta(min_length=1, max_length=1_000)]


class LookupBody(msgspec.Struct, forbid_unknown_fields=True):
    """What to look up.

    Attributes:
        features: A feature service, or a list of `view:feature`, `view:*` and services.
        entities: The rows as columns: by join key, a value per row.
        entity_rows: The rows as objects, instead of `entities`.
        at: The time to answer for, in ISO 8601 with a time zone; now if it is left out.
        request: Request data of on-demand features that is the same for all rows, or a value per row.
    """

    features: Annotated[Name | list[Name], Meta(description="A service, or features by view:feature.")]
    entities: dict[str, list[Any]] | None = None
    entity_rows: list[dict[str, Any]] | None = None
    at: str | None = None
    request: dict[str, Any] | None = None


def lookup_route() -> HotRoute[LookupBody]:
    """The route."""
    return HotRoute(
        "/v1/lookup",
        LookupBody,
        _look_up,
        Tells(
            "Look features up",
            "Give `entities` or `entity_rows`. The answer is JSON, or Arrow IPC where `Accept` is "
            f"`{ARROW_TYPE}`: values, status, freshness and evidence per view and row.",
            {
                200: (
                    "The features.",
                    {JSON_TYPE: {"type": "object"}, ARROW_TYPE: {"type": "string", "format": "binary"}},
                )
            },
        ),
        rows=_count_rows,
    )


def _count_rows(body: LookupBody) -> int:
    if body.entities is not None:
        return max(map(len, body.entities.values()), default=0)
    return len(body.entity_rows or ())


def _look_up(context: ServingContext, asked: Asked[LookupBody]) -> Answer:
    body = asked.body
    names = body.features if isinstance(body.features, str) else tuple(body.features)
    rows = _count_rows(body)
    context.limits.check(rows, 1 if isinstance(names, str) else len(names))  # each name is a feature at least
    with context.using() as opened:
        require_features(asked.caller, Permission.READ_ONLINE, opened.plan, names)
        if body.at is not None:
            require_features(asked.caller, Permission.READ_HISTORY, opened.plan, names)
        facts = opened.asked(names)
        context.limits.check(rows, facts.features)
        entities, entity_rows = body.entities, body.entity_rows
        if entities is not None:
            entities = _columns_with_request(entities, body.request, rows)
        elif entity_rows is not None:
            entity_rows = _rows_with_request(entity_rows, body.request, rows)
        given = rows_from_json(facts.types, entities=entities, entity_rows=entity_rows)
        answer = opened.client.get_online_features(names, given, at_from_json(body.at))
    asked.access.update(rows=rows, asked=[names] if isinstance(names, str) else list(names))
    if ARROW_TYPE in asked.accept:
        return Answer(answer_to_arrow(answer), ARROW_TYPE, rows, facts.service)
    return Answer(orjson.dumps(answer_to_json(answer)), JSON_TYPE, rows, facts.service)


def _columns_with_request(columns: dict[str, Any], data: dict[str, Any] | None, count: int) -> dict[str, Any]:
    return columns | _request_columns(data, count)


def _rows_with_request(rows: list[Any], data: dict[str, Any] | None, count: int) -> list[Any]:
    columns = _request_columns(data, count)
    if not columns:
        return rows
    return [row | {name: values[number] for name, values in columns.items()} for number, row in enumerate(rows)]


def _request_columns(data: dict[str, Any] | None, count: int) -> dict[str, list[Any]]:
    """The request's data as columns; a single value is that of every row."""
    columns = {name: values if isinstance(values, list) else [values] * count for name, values in (data or {}).items()}
    for name, values in columns.items():
        if len(values) != count:
            msg = f"The request has {len(values):,} values of request.{name} and {count:,} rows."
            raise LookupRequestError(msg, hint="Give one value for all rows, or one per row.")
    return columns
