"""Which version of a view lookups get, while the plan says another."""

from __future__ import annotations

import pytest

from headrace.errors import PlanMismatchError
from headrace.lookup import FeatureClient
from headrace.lookup import client as client_module
from headrace.plan import FeatureRef, Plan
from headrace.worker.handoff_requests import Request, ask
from tests.worker.handoffs import VERSIONS, Deployment, Sales, plan_of
from tests.worker.shop import (
    NAMES,
    NOON,
    PLAN,
    SHOPS,
    SOURCE,
    brute_force,
)


def test_client_of_the_old_plan_follows_when_the_new_version_goes_live(deployed: Deployment) -> None:
    sales = Sales(3)
    deployed.send(sales.some(30))
    client = FeatureClient(plan=plan_of(VERSIONS[10]), store=deployed.store)
    before = client.get_online_features(NAMES, [{"shop": "a"}])
    deployed.ask(30)
    deployed.hand_off()
    deployed.send(sales.some(10))
    after = client.get_online_features(NAMES, [{"shop": "a"}])
    assert client.plan.views[SHOPS.name].hash == VERSIONS[30].hash
    assert (before.plan_hash, after.plan_hash) == (plan_of(VERSIONS[10]).hash, plan_of(VERSIONS[30]).hash)
    newest = max(one.timestamp for one in deployed.sent)
    expected = brute_force(deployed.sent, ["a"], (newest - NOON) / 60_000, 30)
    assert after.to_dict()["shop_sales__sales_10m"] == expected["sales_10m"]


def test_changed_view_that_nobody_asked_to_build_is_served_as_it_was_and_that_is_said(
    deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(client_module.logger, "warning", told.append)
    deployed.send(Sales(11).some(10))
    assert deployed.check(declared=20) == 10
    assert len(told) == 1
    assert f"{VERSIONS[20].versioned_name} is served as {VERSIONS[10].versioned_name}: `headrace backfill" in told[0]
    deployed.ask(20)
    deployed.hand_off()
    assert deployed.check(declared=20) == 20
    assert len(told) == 1


def test_feature_that_only_the_new_version_has_is_refused_until_that_is_live(deployed: Deployment) -> None:
    more = (*VERSIONS[20].features, VERSIONS[20].features[0].model_copy(update={"name": "sales_more"}))
    view = SHOPS.model_copy(update={"features": more, "input": SOURCE.input_of(more)})
    refs = tuple(FeatureRef(view=view.name, feature=name) for name in ("sales_10m", "sales_more"))
    plan = Plan(project="shop", sources=PLAN.sources, views={view.name: view}, services={"model": refs})
    client = FeatureClient(plan=plan, store=deployed.store)
    deployed.send(Sales(13).some(10))
    with pytest.raises(PlanMismatchError, match=r"(?s)has no feature 'sales_more'.*headrace backfill shop_sales"):
        client.get_online_features("model", [{"shop": "a"}])
    assert client.get_online_features(["shop_sales:sales_10m"], [{"shop": "a"}]).to_dict()
    ask(deployed.requests, Request(view=view, source=SOURCE))
    deployed.hand_off()
    assert client.get_online_features("model", [{"shop": "a"}]).to_dict()["shop_sales__sales_more"][0] >= 0


def test_view_that_the_store_has_never_held_is_refused_and_can_be_built(deployed: Deployment) -> None:
    other = VERSIONS[20].model_copy(update={"name": "other"})
    plan = Plan(project="shop", sources=PLAN.sources, views={"other": other})
    client = FeatureClient(plan=plan, store=deployed.store)
    sales = Sales(12)
    deployed.send(sales.some(30))
    with pytest.raises(PlanMismatchError, match=r"(?s)never had the view other.*headrace backfill other"):
        client.get_online_features(["other:sales_10m"], [{"shop": "a"}])
    ask(deployed.requests, Request(view=other, source=SOURCE))
    deployed.build()
    with pytest.raises(PlanMismatchError, match="is being built"):
        client.get_online_features(["other:sales_10m"], [{"shop": "a"}])
    deployed.hand_off()
    deployed.send(sales.some(5))
    answer = client.get_online_features(["other:sales_10m"], [{"shop": "a"}]).to_dict()
    newest = max(one.timestamp for one in deployed.sent)
    assert answer["other__sales_10m"] == brute_force(deployed.sent, ["a"], (newest - NOON) / 60_000, 20)["sales_10m"]
