"""One meaning through every door: over HTTP the same values, statuses and errors as in process, to the bit."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from headrace.client import FeatureClient, HttpSettings
from headrace.errors import HeadraceError, LookupRequestError, StoreNotReadyError
from headrace.lookup import FeatureClient as InProcessClient
from headrace.lookup import OnlineFeatures, Status
from headrace.stores import OnlineStore
from headrace.stores.memory import MemoryStore
from tests.client.conftest import Connect
from tests.client.wire_server import WireServer
from tests.lookup.conftest import EPOCH, PLAN, at
from tests.lookup.test_wire import check_same

ALL = [f"{view}:*" for view in PLAN.views]
KEYS: dict[str, list[Any]] = {
    "shop": ["a", "b", "never"],
    "buyer": [7, 2**62, -1],
    "member": [True, False, True],
    "day": [EPOCH, datetime(2026, 1, 1, tzinfo=UTC), EPOCH],
}
ROWS = [dict(zip(KEYS, values, strict=True)) for values in zip(*KEYS.values(), strict=True)]
SHOPS = [{"shop": "a"}]

ROWS_LIKE: dict[str, Callable[[], Any]] = {
    "rows": lambda: ROWS,
    "columns": lambda: KEYS,
    "numpy": lambda: {**KEYS, "buyer": np.array(KEYS["buyer"]), "shop": np.array(KEYS["shop"])},
    "pandas": lambda: pd.DataFrame(KEYS),
    "arrow": lambda: pa.table(KEYS),
    "rows of different names": lambda: [ROWS[0], {**ROWS[1], "extra": 1.5}],
    "extra columns": lambda: {**KEYS, "score": [float("nan"), float("inf"), -0.0], "tags": [["a"], [], None]},
    "no rows": lambda: [],
}


def service(name: str, **features: list[str]) -> Any:
    """What Feast's `FeatureService` looks like."""
    views = [
        SimpleNamespace(name=view, features=[SimpleNamespace(name=one) for one in of_view])
        for view, of_view in features.items()
    ]
    return SimpleNamespace(name=name, feature_view_projections=views)


DESK = {"refunds": ["refunds_ever"], "shops": ["count_60"], "pairs": ["count_60"]}


@pytest.mark.parametrize("arrow_from", [0, 1_000])
@pytest.mark.parametrize("like", ROWS_LIKE)
def test_values_and_statuses_are_those_of_the_client_in_process(
    server: WireServer, here: InProcessClient, connect: Connect, like: str, arrow_from: int
) -> None:
    client = connect(server.url, http=HttpSettings(arrow_from=arrow_from))
    check_same(
        client.get_online_features(ALL, ROWS_LIKE[like](), at(9)),
        here.get_online_features(ALL, ROWS_LIKE[like](), at(9)),
    )
    expected = "application/json" if arrow_from and len(ROWS) < arrow_from else "application/vnd.apache.arrow.stream"
    assert server.asked[-1].headers["accept"] == expected


def test_answer_has_everything_that_the_one_in_process_has(
    server: WireServer, here: InProcessClient, connect: Connect
) -> None:
    found, expected = (one.get_online_features("desk", ROWS) for one in (connect(server.url), here))
    assert isinstance(found, OnlineFeatures)
    assert found.to_df().equals(expected.to_df())
    assert found.to_arrow().equals(expected.to_arrow())
    assert found.to_dict(include_status=True) == expected.to_dict(include_status=True)
    assert found.views["refunds"].status == expected.views["refunds"].status
    check_same(pickle.loads(pickle.dumps(found)), expected)  # noqa: S301 our own bytes


def test_now_and_positions_and_catalog_are_those_of_the_store(
    server: WireServer, here: InProcessClient, connect: Connect
) -> None:
    client = connect(server.url)
    assert client.now() == here.now()
    assert client.positions() == here.positions()
    catalog = client.catalog()
    assert catalog["plan"] == PLAN.hash
    assert catalog["services"]["desk"] == ["refunds:refunds_ever", "shops:count_60", "pairs:count_60"]
    assert catalog["views"]["pairs"]["keys"] == {"shop": "string", "buyer": "int64"}
    assert catalog["views"]["pairs"]["features"] == {"count_60": "int64"}


def test_catalog_is_the_same_in_process(server: WireServer, store: OnlineStore) -> None:
    with FeatureClient(server.url) as there, FeatureClient(plan=PLAN, store=store) as client:
        assert client.catalog() == there.catalog()


@pytest.mark.parametrize(
    ("features", "rows", "when"),
    [
        ("nothing", SHOPS, None),
        (["shops:nothing"], SHOPS, None),
        (["nothing:count_60"], SHOPS, None),
        ([], SHOPS, None),
        (["shops:count_60"], [{"buyer": 7}], None),
        (["shops:count_60"], [{"shop": None}], None),
        (["shops:count_60"], [{"shop": 7}], None),
        (["shops:count_60"], [{"shop": b"a"}], None),
        (["buyers:count_60"], [{"buyer": "7"}], None),
        (["buyers:count_60"], [{"buyer": True}], None),
        (["buyers:count_60"], [{"buyer": 7.0}], None),
        (["members:count_60"], [{"member": 1}], None),
        (["days:count_60"], [{"day": datetime(2026, 1, 1)}], None),  # noqa: DTZ001 that is what is wrong with it
        (["days:count_60"], [{"day": 5}], None),
        (["shops:count_60"], {"shop": "a"}, None),
        (["shops:count_60"], {"shop": ["a"], "buyer": []}, None),
        (["shops:count_60"], [5], None),
        (["shops:count_60"], SHOPS, datetime(2026, 1, 1)),  # noqa: DTZ001 that is what is wrong with it
        (["shops:count_60"], SHOPS, at(2)),
    ],
)
def test_bad_requests_are_refused_as_in_process(
    server: WireServer, here: InProcessClient, connect: Connect, features: Any, rows: Any, when: datetime | None
) -> None:
    with pytest.raises(HeadraceError) as expected:
        here.get_online_features(features, rows, when)
    with pytest.raises(HeadraceError) as found:
        connect(server.url).get_online_features(features, rows, when)
    assert (type(found.value), found.value.what, found.value.hint) == (
        type(expected.value),
        expected.value.what,
        expected.value.hint,
    )


def test_what_cannot_be_sent_is_refused_here(server: WireServer, connect: Connect) -> None:
    client = connect(server.url)
    with pytest.raises(LookupRequestError, match=r"entity_rows has shop=\{1\}, a set, which cannot be sent"):
        client.get_online_features(["shops:count_60"], [{"shop": {1}}])
    with pytest.raises(LookupRequestError, match="must be Unicode text"):
        client.get_online_features(["shops:count_60"], [{"shop": "\ud800"}])
    assert server.asked == []


def test_services_are_named_listed_or_given_as_objects(
    server: WireServer, here: InProcessClient, connect: Connect
) -> None:
    client = connect(server.url)
    expected = here.get_online_features("desk", ROWS)
    for asked in ("desk", ["desk"], service("desk", **DESK), [service("desk", **DESK)]):
        check_same(client.get_online_features(asked, ROWS), expected)
    check_same(
        client.get_online_features(["shops:exact_5", service("desk", **DESK)], ROWS),
        here.get_online_features(["shops:exact_5", "desk"], ROWS),
    )
    assert json.loads(server.asked[0].body)["features"] == "desk"
    # The objects are compared with what was applied once, not at every lookup.
    assert [one.path for one in server.asked].count("/v1/catalog") == 1


def test_a_service_object_that_was_changed_since_apply_is_refused_as_in_process(
    server: WireServer, here: InProcessClient, connect: Connect
) -> None:
    changed = service("desk", **DESK | {"shops": ["count_60", "exact_5"]})
    with pytest.raises(LookupRequestError) as expected:
        here.get_online_features(changed, ROWS)
    client = connect(server.url)
    for _ in range(2):
        with pytest.raises(LookupRequestError) as found:
            client.get_online_features(changed, ROWS)
        assert (found.value.what, found.value.hint) == (expected.value.what, expected.value.hint)


@pytest.fixture
def empty_server() -> Any:
    with MemoryStore() as store:
        client = InProcessClient(plan=PLAN, store=store)
        with WireServer(client) as serving_it:
            yield serving_it


def test_a_store_that_is_not_ready_raises_at_once(empty_server: WireServer, connect: Connect) -> None:
    client = connect(empty_server.url, http=HttpSettings(retries=5))
    with pytest.raises(StoreNotReadyError):
        client.get_online_features("desk", ROWS)
    assert len(empty_server.asked) == 1


def test_a_store_that_is_not_ready_may_answer_with_statuses(empty_server: WireServer, connect: Connect) -> None:
    client = connect(empty_server.url, not_ready="status")
    found = client.get_online_features("desk", ROWS, at(9))
    expected = InProcessClient(plan=PLAN, store=MemoryStore(), not_ready="status").get_online_features(
        "desk", ROWS, at(9)
    )
    assert found.to_dict(include_status=True) == expected.to_dict(include_status=True)
    assert found.to_arrow().schema.equals(expected.to_arrow().schema)
    assert set(found.views["shops"].status) == {Status.NOT_READY}
    every = client.get_online_features(["shops:*"], SHOPS)
    assert list(every.values) == [f"shops__{feature.name}" for feature in PLAN.views["shops"].features]
    with pytest.raises(LookupRequestError, match="has no feature named 'nothing'"):
        client.get_online_features(["shops:nothing"], SHOPS)
