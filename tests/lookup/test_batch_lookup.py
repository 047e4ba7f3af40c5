"""Lookups that ask stream and batch features together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from headrace.errors import LookupRequestError, LookupTimeError, StoreNotReadyError
from headrace.lookup import FeatureClient, OnlineFeatures, Status
from headrace.lookup.wire import answer_from_arrow, answer_from_json, answer_to_arrow, answer_to_json
from headrace.plan import BatchSource, BatchView, Column, DType, FeatureRef, Plan
from headrace.records.entity_keys import entity_key
from headrace.rows import Row, RowCodec, RowStore
from headrace.rows.memory_rows import MemoryRows
from headrace.stores import OnlineStore
from headrace.stores.memory import MemoryStore
from tests.lookup.conftest import PLAN as STREAM_PLAN
from tests.lookup.conftest import at, fill, order, serving

AREAS = BatchView(
    name="areas",
    entities=(Column(name="shop", dtype=DType.STRING),),
    columns=(
        Column(name="area", dtype=DType.FLOAT64),
        Column(name="staff", dtype=DType.INT64),
        Column(name="name", dtype=DType.STRING),
        Column(name="open", dtype=DType.BOOL),
        Column(name="rooms", dtype=DType.INT64_LIST),
    ),
    source=BatchSource(name="areas", kind="parquet", timestamp_field="at", path="areas.parquet"),
    ttl_us=50,
)
PLAN = STREAM_PLAN.model_copy(
    update={
        "batch_views": {"areas": AREAS},
        "services": {
            "both": (
                FeatureRef(view="areas", feature="staff"),
                FeatureRef(view="shops", feature="count_60"),
                FeatureRef(view="areas", feature="area"),
            )
        },
    }
)
A = [{"shop": "a"}]


def put(rows: RowStore, shop: str, event_us: int, *values: object) -> None:
    rows.write(AREAS.rows_hash, [Row(entity_key([shop]), event_us, RowCodec(AREAS.columns).encode(values))])


@pytest.fixture
def rows() -> MemoryRows:
    return MemoryRows()


@pytest.fixture
def both(store: OnlineStore, rows: MemoryRows) -> Iterator[FeatureClient]:
    store.change(serving(PLAN))
    with FeatureClient(plan=PLAN, store=store, rows=rows) as opened:
        yield opened


def test_a_service_of_both_kinds_is_answered_in_its_order(
    store: OnlineStore, rows: MemoryRows, both: FeatureClient
) -> None:
    fill(store, order(90, shop="a"), order(95, shop="b"))
    put(rows, "a", 60, 1.5, 7, "north", True, [1, 2])
    answer = both.get_online_features("both", {"shop": ["a", "b"]}, at=at(100))
    assert answer.to_dict() == {
        "shop": ["a", "b"],
        "areas__staff": [7, None],
        "shops__count_60": [1, 1],
        "areas__area": [1.5, None],
    }
    assert answer.views["areas"].status == [Status.PRESENT, Status.UNKNOWN_KEY]
    assert answer.statuses()["areas__area"] == [Status.PRESENT, Status.UNKNOWN_KEY]
    assert answer.topics == {"shops": "orders-topic"}
    assert answer.to_arrow().column("areas__area").to_pylist() == [1.5, None]
    first, second = answer.records()
    assert first["evidence"]["areas"] == {"-1": 1}
    assert second["evidence"]["areas"] == {}
    assert first["views"]["areas"]["status"] == "present"


def test_all_types_are_served(rows: MemoryRows, both: FeatureClient) -> None:
    put(rows, "a", 60, None, 2**60, "µ", False, [])
    answer = both.get_online_features(["areas:*"], A, at=at(100)).to_dict()
    assert answer == {
        "shop": ["a"],
        "areas__area": [None],
        "areas__staff": [2**60],
        "areas__name": ["µ"],
        "areas__open": [False],
        "areas__rooms": [[]],
    }


def test_a_row_counts_to_the_end_of_its_ttl(rows: MemoryRows, both: FeatureClient) -> None:
    put(rows, "a", 60, 1.5, 7, None, None, None)
    found = {us: both.get_online_features(["areas:staff"], A, at=at(us)) for us in (60, 110, 111)}
    assert [one.to_dict()["areas__staff"] for one in found.values()] == [[7], [7], [None]]
    assert [one.views["areas"].status[0] for one in found.values()] == [
        Status.PRESENT,
        Status.PRESENT,
        Status.EXPIRED,
    ]
    with pytest.raises(LookupTimeError, match="areas"):
        both.get_online_features("both", A, at=at(59))


def test_a_feature_that_is_asked_for_twice_is_given_once(rows: MemoryRows, both: FeatureClient) -> None:
    put(rows, "a", 60, 1.5, 7, None, None, None)
    answer = both.get_online_features(["areas:staff", "both", "areas:staff"], A, at=at(100))
    assert list(answer.values) == ["areas__staff", "shops__count_60", "areas__area"]


def test_rows_of_batch_views_are_there_before_the_store_is_ready(rows: MemoryRows) -> None:
    put(rows, "a", 60, 1.5, 7, None, None, None)
    with FeatureClient(plan=PLAN, store=MemoryStore(), rows=rows) as client:
        assert client.get_online_features(["areas:staff"], A, at=at(100)).to_dict()["areas__staff"] == [7]
        with pytest.raises(StoreNotReadyError):
            client.get_online_features("both", A, at=at(100))
    with FeatureClient(plan=PLAN, store=MemoryStore(), rows=rows, not_ready="status") as client:
        answer = client.get_online_features("both", A, at=at(100))
    assert answer.to_dict()["areas__staff"] == [None]
    assert answer.views["areas"].status == [Status.NOT_READY]


def test_key_that_is_missing_or_of_a_wrong_type_is_refused(both: FeatureClient) -> None:
    with pytest.raises(LookupRequestError, match="'areas'"):
        both.get_online_features(["areas:staff"], [{"store": "a"}])
    with pytest.raises(LookupRequestError, match="keyed by string"):
        both.get_online_features(["areas:staff"], [{"shop": 1}])


def test_client_without_rows_says_what_it_needs(store: OnlineStore) -> None:
    store.change(serving(PLAN))
    with (
        FeatureClient(plan=PLAN, store=store) as client,
        pytest.raises(LookupRequestError, match="needs the rows"),
    ):
        client.get_online_features(["areas:staff"], A)


def test_plan_of_batch_views_alone_needs_no_store(rows: MemoryRows) -> None:
    plan = Plan(project="p", sources={}, views={}, batch_views={"areas": AREAS.model_copy(update={"ttl_us": None})})
    put(rows, "a", 60, 1.5, 7, None, None, None)
    with FeatureClient(plan=plan, store=MemoryStore(), rows=rows) as client:
        assert client.get_online_features(["areas:staff"], A).to_dict()["areas__staff"] == [7]


@pytest.mark.parametrize(
    "cross",
    [
        lambda answer: answer_from_json(json.loads(json.dumps(answer_to_json(answer), allow_nan=False))),
        lambda answer: answer_from_arrow(answer_to_arrow(answer)),
    ],
    ids=["json", "arrow"],
)
def test_answers_cross_the_wire(
    store: OnlineStore, rows: MemoryRows, both: FeatureClient, cross: Callable[[OnlineFeatures], OnlineFeatures]
) -> None:
    fill(store, order(90, shop="a"))
    put(rows, "a", 60, float("nan"), 2**60, "µ", False, [1, None, 2**60])
    put(rows, "b", 60, float("-inf"), None, None, True, [])
    put(rows, "c", 10, 1.0, 1, "", None, None)
    answer = both.get_online_features(["areas:*", "shops:count_60"], {"shop": ["a", "b", "c", "d"]}, at=at(100))
    crossed = cross(answer)
    assert repr(crossed.to_dict(include_status=True)) == repr(answer.to_dict(include_status=True))
    for name, view in answer.views.items():
        assert crossed.views[name].status == view.status
        assert crossed.views[name].newest_event_us == view.newest_event_us
        assert crossed.views[name].applied == view.applied
    assert crossed.topics == answer.topics
