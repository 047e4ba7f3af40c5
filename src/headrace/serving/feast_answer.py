"""A lookup's answer in Feast's JSON.

    {"results": [{"values": […], "statuses": […], "event_timestamps": […]}, …], "metadata": {"feature_names": […]}}

One result per name: first the join keys, as the request had them, then the features in the order asked for. An empty
list is null, because Feast's own client fails on an answer that has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from headrace.lookup import OnlineFeatures, Status
from headrace.plan import DType
from headrace.serving.feast_values import feast_values
from headrace.times import datetime_of

__all__ = ["AnsweredFeature", "AnsweringView", "answer_to_feast", "feast_time"]

_SECOND = 1_000_000
_NO_TIME = "1970-01-01T00:00:00Z"
"""Feast's time of a value that has none: a join key, an entity that was never seen."""


class AnsweredFeature(NamedTuple):
    """A feature of an answer, and what Feast's answer calls it.

    Attributes:
        name: Its name there.
        column: Its column in `OnlineFeatures`.
        view: The view that answers for it.
    """

    name: str
    column: str
    view: str


class AnsweringView(NamedTuple):
    """A view that answers, and in which version.

    Attributes:
        name: The view's name.
        number: Its number, as in `view@v2`; 0 where it has none.
        hash: Its content hash.
    """

    name: str
    number: int
    hash: str


def answer_to_feast(
    answer: OnlineFeatures,
    features: Sequence[AnsweredFeature],
    keys: Mapping[str, tuple[Sequence[Any], DType]],
    versions: Sequence[AnsweringView] | None = None,
) -> bytes:
    """The body of the response to `POST /get-online-features`.

    Args:
        answer: What was found.
        features: The features to write, in order.
        keys: The join keys of the request, in its order: their values and type.
        versions: The versions of the views, if the request asks for them.
    """
    rows = len(answer.entity_rows)
    present = _shared(["PRESENT"] * rows)
    no_times = _shared([_NO_TIME] * rows)
    results = [
        {"values": feast_values(values, dtype), "statuses": present, "event_timestamps": no_times}
        for values, dtype in keys.values()
    ]
    columns = answer.to_dict()
    times = {view: _shared(list(map(feast_time, of.newest_event_us))) for view, of in answer.views.items()}
    for _, column, view in features:
        values, dtype = columns[column], answer.dtypes[column]
        if dtype.element is not None:
            values = [one or None for one in values]  # Feast's client fails on an answer with an empty list
        statuses: Any = present
        if None in values:
            of_nulls = (_OF_NULL[status] for status in answer.views[view].status)
            statuses = ["PRESENT" if one is not None else of for one, of in zip(values, of_nulls, strict=True)]
        results.append({"values": feast_values(values, dtype), "statuses": statuses, "event_timestamps": times[view]})
    metadata: dict[str, Any] = {"feature_names": [*keys, *(feature.name for feature in features)]}
    if versions:
        metadata["feature_view_metadata"] = [_version(version) for version in versions]
    return orjson.dumps({"results": results, "metadata": metadata})


def feast_time(us: int | None) -> str:
    """A time as Feast's JSON has it: with as many digits after the second as it needs, by threes."""
    if us is None:
        return _NO_TIME
    try:
        second = datetime_of(us - us % _SECOND).isoformat()[:19]
    except OverflowError:  # not on the calendar
        return _NO_TIME
    rest = us % _SECOND
    digits = "" if not rest else f".{rest // 1000:03}" if rest % 1000 == 0 else f".{rest:06}"
    return f"{second}{digits}Z"


_OF_NULL = {
    Status.PRESENT: "NULL_VALUE",
    Status.EXPIRED: "OUTSIDE_MAX_AGE",
    Status.UNKNOWN_KEY: "NOT_FOUND",
    Status.ERROR: "NULL_VALUE",
    Status.NOT_READY: "NULL_VALUE",
}
"""The status of a null, by what its view knew.

What is not null is PRESENT, also of an entity without events: its count is 0, the same 0 as in training data, and
Feast's clients take a value only where it is PRESENT.
"""


def _version(version: AnsweringView) -> dict[str, Any]:
    found: dict[str, Any] = {"name": version.name}
    if version.number:  # Feast leaves a zero out too
        found["version"] = version.number
    return found | {"hash": version.hash}


def _shared(values: list[Any]) -> Any:
    """A list that stands in many results, encoded once."""
    return orjson.Fragment(orjson.dumps(values))
