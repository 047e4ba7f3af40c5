"""What the store serves: names that are unknown, stores of other plans, and versions whose fields have changed."""

from __future__ import annotations

import pytest

from headrace.config import Clock
from headrace.errors import LookupRequestError, PlanMismatchError, StoreNotReadyError
from headrace.lookup import FeatureClient, Status
from headrace.plan import Column, DType, Plan
from headrace.stores import CatalogueChange, OnlineStore
from headrace.stores.memory import MemoryStore
from tests.lookup.conftest import PLAN, at, fill, order, serving

A = [{"shop": "a"}]


@pytest.mark.parametrize(
    ("features", "what", "hint"),
    [
        (["shops:count"], "The view 'shops' has no feature named 'count'", "It has: count_60, mean_price_60"),
        (["shop:count_60"], "no view named 'shop'", "Views: shops, windows, buyers"),
        ("dusk", "no feature service named 'dusk'", "Feature services: desk"),
        (["shops"], "no feature service named 'shops'", "view:feature, or view:*"),
        ([], "The request names no features", "Feature services: desk"),
        (["shops:"], "has no feature named ''", "It has: count_60"),
    ],
)
def test_unknown_feature_is_refused_with_what_there_is(
    client: FeatureClient, features: str | list[str], what: str, hint: str
) -> None:
    with pytest.raises(LookupRequestError) as caught:
        client.get_online_features(features, A)
    assert what in caught.value.what
    assert hint in str(caught.value.hint)


def test_store_never_filled_answers_unknown_key_where_it_has_the_plan(client: FeatureClient) -> None:
    answer = client.get_online_features(["shops:*"], A)
    assert answer.views["shops"].status == [Status.UNKNOWN_KEY]
    assert answer.at == at(0)
    assert answer.to_dict()["shops__count_60"] == [0]


def test_store_that_never_held_the_view_is_a_plan_mismatch_with_a_hint() -> None:
    store = MemoryStore()
    store.change(CatalogueChange().clock(Clock.RECORD))
    client = FeatureClient(plan=PLAN, store=store)
    with pytest.raises(PlanMismatchError, match=r"never had the view shops(?s:.*)--rebuild"):
        client.get_online_features(["shops:*"], A)


def test_store_of_another_plan_is_a_mismatch_that_names_both(store: OnlineStore, client: FeatureClient) -> None:
    store.change(CatalogueChange().live("windows", "0123456789abcdef"))
    with pytest.raises(PlanMismatchError) as caught:
        FeatureClient(plan=PLAN, store=store).get_online_features(["windows:*"], A)
    assert PLAN.views["windows"].versioned_name in caught.value.what
    assert "windows@0123456789abcdef" in caught.value.what
    assert "headrace stream --rebuild" in str(caught.value.hint)
    # Views that agree are served.
    assert client.get_online_features(["shops:count_60"], A).to_dict()["shops__count_60"] == [0]


def plan_since(store: OnlineStore, pieces: DType | None) -> Plan:
    """A plan whose orders have other pieces than the view that the store serves was declared with."""
    orders, shops = PLAN.sources["orders"], PLAN.views["shops"]
    served = shops.model_copy(update={"input": orders.input_of(shops.features)})
    kept = [column for column in orders.columns if column.name != "pieces"]
    kept += [] if pieces is None else [Column(name="pieces", dtype=pieces)]
    now = orders.model_copy(update={"columns": tuple(kept)})
    features = tuple(feature for feature in shops.features if feature.column != "pieces")
    declared = shops.model_copy(update={"input": now.input_of(features), "features": features})
    store.change(CatalogueChange().serve([served]))
    return Plan(project="shop", sources={**PLAN.sources, "orders": now}, views={**PLAN.views, "shops": declared})


@pytest.mark.parametrize("pieces", [DType.FLOAT64, None])
def test_version_whose_field_was_widened_or_removed_goes_on_as_it_was(store: OnlineStore, pieces: DType | None) -> None:
    plan = plan_since(store, pieces)
    assert FeatureClient(plan=plan, store=store).get_online_features(["shops:count_60"], A).to_dict() == {
        "shop": ["a"],
        "shops__count_60": [0],
    }


def test_version_whose_fields_have_other_types_by_now_is_refused_not_misread(store: OnlineStore) -> None:
    plan = plan_since(store, DType.STRING)
    with pytest.raises(PlanMismatchError, match="'pieces' as int64") as caught:
        FeatureClient(plan=plan, store=store).get_online_features(["shops:count_60"], A)
    assert "headrace stream --rebuild" in str(caught.value.hint)


def test_client_may_be_made_before_the_worker_started() -> None:
    store = MemoryStore()
    client = FeatureClient(plan=PLAN, store=store)
    with pytest.raises(StoreNotReadyError, match="is empty(?s:.*)headrace stream"):
        client.get_online_features(["shops:*"], A)
    store.change(serving())
    fill(store, order(5))
    assert client.now() == at(5)
    assert client.get_online_features(["shops:count_60"], A).to_dict()["shops__count_60"] == [1]
