"""An answer in Feast's JSON: names, values, statuses, times and versions."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from headrace.aggregates import NO_PROBLEMS
from headrace.events.columns import Values
from headrace.lookup import OnlineFeatures, Status
from headrace.lookup.response import Block, FeatureValues, maker
from headrace.plan import DType
from headrace.serving.feast_answer import AnsweredFeature, AnsweringView, answer_to_feast, feast_time

KEYS = {"shop": (["a", "b", "never", "old"], DType.STRING)}
FEATURES = [AnsweredFeature("orders", "shops__orders", "shops"), AnsweredFeature("price", "shops__price", "shops")]
NEVER = "1970-01-01T00:00:00Z"


class View:
    """What a view knew; the part of `ViewAnswer` that is read."""

    def __init__(self, status: list[Status], newest_event_us: list[int | None]) -> None:
        self.status, self.newest_event_us = status, newest_event_us


def _answer(problems: dict[int, str] | None = None) -> OnlineFeatures:
    columns: dict[str, tuple[DType, list[Any]]] = {
        "shops__orders": (DType.INT64, [2**62, 1, 0, 0]),
        "shops__price": (DType.FLOAT64, [2.5, None, None, None]),
    }
    blocks = []
    for name, (dtype, values) in columns.items():
        valid = np.array([value is not None for value in values])
        kind = np.int64 if dtype is DType.INT64 else np.float64
        data = np.array([0 if value is None else value for value in values], kind)
        found = NO_PROBLEMS if problems is None or name != "shops__price" else problems
        blocks.append(Block(((name,),), *Values(data, valid), found))
    dtypes = {name: dtype for name, (dtype, _) in columns.items()}
    status = [Status.PRESENT, Status.PRESENT, Status.UNKNOWN_KEY, Status.EXPIRED]
    views: dict[str, Any] = {"shops": View(status, [1_500_000, 5, None, 1])}
    return OnlineFeatures(
        at_us=0,
        plan_hash="p",
        topics={},
        entity_rows=[{"shop": name} for name in KEYS["shop"][0]],
        dtypes=dtypes,
        values=FeatureValues({name: maker(dtype) for name, dtype in dtypes.items()}, blocks),
        views=views,
    )


def test_results_are_the_keys_and_then_the_features() -> None:
    body = json.loads(answer_to_feast(_answer(), FEATURES, KEYS))
    times = ["1970-01-01T00:00:01.500Z", "1970-01-01T00:00:00.000005Z", NEVER, "1970-01-01T00:00:00.000001Z"]
    assert body == {
        "results": [
            {"values": KEYS["shop"][0], "statuses": ["PRESENT"] * 4, "event_timestamps": [NEVER] * 4},
            {
                "values": [2**62, 1, 0, 0],
                "statuses": ["PRESENT"] * 4,
                "event_timestamps": times,
            },
            {
                "values": [2.5, None, None, None],
                "statuses": ["PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"],
                "event_timestamps": times,
            },
        ],
        "metadata": {"feature_names": ["shop", "orders", "price"]},
    }


def test_a_value_that_cannot_be_given_is_a_null_value() -> None:
    body = json.loads(answer_to_feast(_answer({1: "the sum does not fit"}), FEATURES, KEYS))
    assert body["results"][2]["statuses"][1] == "NULL_VALUE"


def test_versions_are_named_if_they_are_asked_for() -> None:
    versions = [AnsweringView("shops", 2, "ab12"), AnsweringView("buyers", 0, "cd34")]
    body = json.loads(answer_to_feast(_answer(), FEATURES, KEYS, versions))
    assert body["metadata"]["feature_view_metadata"] == [
        {"name": "shops", "version": 2, "hash": "ab12"},
        {"name": "buyers", "hash": "cd34"},
    ]


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC),
        datetime(2024, 2, 29, 23, 59, 59, 120_000, tzinfo=UTC),
        datetime(2024, 2, 29, 23, 59, 59, 120_001, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
    ],
)
def test_times_are_written_as_protobuf_writes_them(moment: datetime) -> None:
    from google.protobuf.timestamp_pb2 import Timestamp

    stamp = Timestamp()
    stamp.FromDatetime(moment)
    us = round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)
    assert feast_time(us) == stamp.ToJsonString()


def test_an_entity_without_events_has_feasts_empty_time() -> None:
    assert feast_time(None) == NEVER
