"""A store that was emptied, or is being filled, gives no answers: neither zeros nor unknown keys."""

from __future__ import annotations

import pytest

from headrace.config import Clock
from headrace.errors import LookupRequestError, StoreNotReadyError
from headrace.lookup import FeatureClient, Status
from headrace.stores import CatalogueChange, OnlineStore, Readiness
from tests.lookup.conftest import PLAN, fill, order, serving

A = [{"shop": "a"}, {"shop": "never"}]


def begin_filling(store: OnlineStore) -> None:
    store.clear()
    store.change(CatalogueChange().clock(Clock.RECORD).serve(PLAN.views.values(), is_filling=True))


def test_lookup_while_the_store_is_filled_raises_and_afterwards_answers(
    store: OnlineStore, client: FeatureClient
) -> None:
    fill(store, order(5))
    assert client.get_online_features(["shops:count_60"], A).to_dict()["shops__count_60"] == [1, 0]
    begin_filling(store)
    for _ in range(2):
        with pytest.raises(StoreNotReadyError, match="being filled"):
            client.get_online_features(["shops:count_60"], A)
        fill(store, order(5))  # half of it is there, and nobody is told
    store.end_filling()
    assert client.get_online_features(["shops:count_60"], A).to_dict()["shops__count_60"] == [1, 0]


def test_lookup_in_a_store_that_was_emptied_names_the_state_and_what_fills_it(
    store: OnlineStore, client: FeatureClient
) -> None:
    store.change(serving())
    fill(store, order(5))
    client.get_online_features(["shops:count_60"], A)
    store.clear()
    with pytest.raises(StoreNotReadyError, match=r"is empty(?s:.*)headrace stream") as caught:
        client.get_online_features(["shops:count_60"], A)
    assert "backfill" not in str(caught.value)
    store.change(serving())  # a worker starts, and there is no log
    assert client.get_online_features(["shops:count_60"], A).views["shops"].status[0] is Status.UNKNOWN_KEY


def test_client_that_asked_for_statuses_gets_nulls_that_say_not_ready(store: OnlineStore) -> None:
    client = FeatureClient(plan=PLAN, store=store, not_ready="status")
    begin_filling(store)
    fill(store, order(5))
    answer = client.get_online_features(["shops:*", "windows:count_60"], A)
    assert {name: view.status for name, view in answer.views.items()} == {
        "shops": [Status.NOT_READY] * 2,
        "windows": [Status.NOT_READY] * 2,
    }
    columns = answer.to_dict()
    assert columns.pop("shop") == ["a", "never"]
    assert set(map(tuple, columns.values())) == {(None, None)}
    assert answer.to_arrow().num_rows == 2
    assert [record["views"]["shops"]["status"] for record in answer.records()] == ["not_ready"] * 2
    assert answer.views["shops"].applied == [{}, {}]


def test_request_that_names_something_unknown_is_refused_as_such(store: OnlineStore, client: FeatureClient) -> None:
    store.clear()
    with pytest.raises(LookupRequestError, match="no view named 'nope'"):
        client.get_online_features(["nope:x"], A)


def test_end_of_filling_changes_nothing_in_a_store_that_is_ready(store: OnlineStore) -> None:
    before = store.catalogue()
    store.end_filling()
    assert store.catalogue() == before
    assert before.readiness is Readiness.READY
