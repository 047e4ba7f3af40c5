"""Lookups of on-demand views: what is read, what is returned, and what a failing function does."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import LookupRequestError, OnDemandError, PlanError, PlanMismatchError
from headrace.lookup import FeatureClient, Status
from headrace.plan import DType, FeatureRef, Plan
from headrace.stores import OnlineStore
from headrace.stores.memory import MemoryStore
from tests.lookup.conftest import PLAN, at, fill, order, serving
from tests.ondemand.examples import on_demand_view, write_files

VIEWS = """
    import feast  # nothing needs it


    def price_ratio(inputs):
        rows = zip(inputs["asked"], inputs["mean_price_60"])
        return {
            "ratio": [None if mean is None else asked / mean for asked, mean in rows],
            "is_high": [None if asked is None else asked > 100.0 for asked in inputs["asked"]],
        }


    def age(inputs):
        return {"seconds": (inputs["moment"] - inputs["shops__newest"]).total_seconds()}


    def shout(inputs):
        return {"text": [text.upper() for text in inputs["text"]]}
"""


def plan_with(repo: Path, **more: Any) -> Plan:
    views = [
        on_demand_view(
            repo,
            "views:price_ratio",
            {"ratio": DType.FLOAT64, "is_high": DType.BOOL},
            inputs={"shops:mean_price_60": DType.FLOAT64},
            request={"asked": DType.FLOAT64},
            name="price",
            **more,
        ),
        on_demand_view(
            repo,
            "views:age",
            {"seconds": DType.FLOAT64},
            inputs={"shops:newest": DType.TIMESTAMP, "refunds:refunds_ever": DType.INT64},
            request={"moment": DType.TIMESTAMP},
            name="age",
            singleton=True,
            on_error="null",
        ),
        on_demand_view(repo, "views:shout", {"text": DType.STRING}, request={"text": DType.STRING}, name="shout"),
    ]
    service = tuple(
        FeatureRef(view=v, feature=f) for v, f in (("price", "ratio"), ("shops", "count_60"), ("age", "seconds"))
    )
    return PLAN.model_copy(
        update={"on_demand_views": {view.name: view for view in views}, "services": {**PLAN.services, "quote": service}}
    )


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_with(write_files(tmp_path / "repo", views=VIEWS))


@pytest.fixture
def client(store: OnlineStore, plan: Plan, tmp_path: Path) -> FeatureClient:
    return FeatureClient(plan=plan, store=store, repo=tmp_path / "repo")


def test_on_demand_features_stand_beside_the_others_in_the_order_asked_for(
    store: OnlineStore, client: FeatureClient
) -> None:
    fill(store, order(5, price=2.0), order(6, price=4.0))
    rows = [{"shop": "a", "asked": 6.0, "moment": at(2_000_006)}, {"shop": "b", "asked": 1.0, "moment": at(6)}]
    answer = client.get_online_features("quote", rows)
    assert answer.to_dict() == {
        "shop": ["a", "b"],
        "asked": [6.0, 1.0],
        "moment": [at(2_000_006), at(6)],
        "price__ratio": [2.0, None],
        "shops__count_60": [2, 0],
        "age__seconds": [2.0, None],
    }
    assert list(answer.dtypes) == list(answer.values) == ["price__ratio", "shops__count_60", "age__seconds"]


def test_what_is_only_read_is_not_returned_but_its_evidence_is(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5, price=2.0), first=7)
    answer = client.get_online_features(["price:*"], [{"shop": "a", "asked": 300.0}])
    assert answer.to_dict() == {"shop": ["a"], "asked": [300.0], "price__ratio": [150.0], "price__is_high": [True]}
    (record,) = answer.records()
    assert record["features"] == {"price__ratio": 150.0, "price__is_high": True}
    assert record["evidence"] == {"shops": {"0": 7}}
    assert record["views"]["price"] == {"status": "present", "newest_event": "1970-01-01T00:00:00.000005Z"}
    assert answer.topics == {"shops": "orders-topic"}
    table = answer.to_arrow()
    assert table.column_names == ["shop", "asked", "price__ratio", "price__is_high"]


def test_status_is_the_weakest_of_what_is_read(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5))
    fill(store, order(6), source="refunds")
    fill(store, order(7, shop="b"))
    rows = [{"shop": shop, "moment": at(10), "asked": 1.0, "text": "x"} for shop in ("a", "b", "c")]
    answer = client.get_online_features(["age:*", "price:*", "shout:*"], rows)
    assert answer.views["age"].status == [Status.PRESENT, Status.UNKNOWN_KEY, Status.UNKNOWN_KEY]
    assert answer.views["price"].status == [Status.PRESENT, Status.PRESENT, Status.UNKNOWN_KEY]
    assert answer.views["shout"].status == [Status.PRESENT] * 3
    assert answer.views["age"].newest_event_us == [6, 7, None]
    assert answer.statuses()["age__seconds"] == [Status.PRESENT, Status.UNKNOWN_KEY, Status.ERROR]


def test_view_of_the_request_alone_needs_no_key(store: OnlineStore, client: FeatureClient) -> None:
    answer = client.get_online_features(["shout:text"], {"text": ["a", "b"]})
    assert answer.to_dict() == {"text": ["a", "b"], "shout__text": ["A", "B"]}
    assert client.get_online_features(["shout:text"], []).to_dict() == {"shout__text": []}


def test_time_of_the_lookup_is_that_of_what_is_read(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5, price=2.0), order(65, price=4.0))
    then, now = (
        client.get_online_features(["price:ratio"], [{"shop": "a", "asked": 12.0}], at=at(us)).to_dict()["price__ratio"]
        for us in (70, 90)
    )
    assert (then, now) == ([12.0 / 4.0], [12.0 / 4.0])


def test_missing_field_of_the_request_is_named(client: FeatureClient) -> None:
    with pytest.raises(
        LookupRequestError, match=r"Row 0 of entity_rows has no 'asked', which the on-demand view 'price'"
    ):
        client.get_online_features(["price:ratio"], [{"shop": "a"}])
    with pytest.raises(LookupRequestError, match=r"Row 1 of entity_rows has asked='1'.* reads it as float64"):
        client.get_online_features(["price:ratio"], [{"shop": "a", "asked": 1.0}, {"shop": "a", "asked": "1"}])
    with pytest.raises(LookupRequestError, match="has no 'shop'"):
        client.get_online_features(["price:ratio"], [{"asked": 1.0}])


def test_function_that_fails_fails_the_lookup(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5, price=2.0))
    with pytest.raises(OnDemandError) as caught:
        client.get_online_features(["price:ratio"], [{"shop": "b", "asked": None}, {"shop": "a", "asked": None}])
    assert "The on-demand view 'price' cannot be computed for row 1: views:price_ratio failed: TypeError" in str(
        caught.value
    )
    assert "In that row asked is null." in str(caught.value)


def test_function_that_fails_gives_null_and_the_reason_where_the_view_says_so(
    store: OnlineStore, client: FeatureClient
) -> None:
    fill(store, order(5))
    rows = [{"shop": "a", "moment": at(1_000_005)}, {"shop": "b", "moment": at(5)}]
    answer = client.get_online_features(["age:seconds", "shops:newest"], rows)
    assert answer.to_dict()["age__seconds"] == [1.0, None]
    ((row, feature, reason),) = answer.problems
    assert (row, feature) == (1, "age__seconds")
    assert reason.startswith("views:age failed: TypeError: unsupported operand")
    assert answer.records()[1]["problems"] == {"age__seconds": reason}
    assert answer.statuses()["age__seconds"] == [Status.UNKNOWN_KEY, Status.ERROR]  # nobody refunded anything


def test_values_are_the_same_in_every_form(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5, price=math.inf))
    answer = client.get_online_features(["price:*"], [{"shop": "a", "asked": math.inf}])
    assert math.isnan(answer.to_dict()["price__ratio"][0])
    assert answer.records()[0]["features"] == {"price__ratio": "nan", "price__is_high": True}
    assert answer.values["price__is_high"].data.tolist() == [1]


def test_changed_function_is_refused_and_no_other_feature_is(store: OnlineStore, plan: Plan, tmp_path: Path) -> None:
    file = tmp_path / "repo" / "views.py"
    file.write_text(file.read_text().replace("asked / mean", "mean / asked"))
    client = FeatureClient(plan=plan, store=store, repo=tmp_path / "repo")
    with pytest.raises(PlanError, match="has changed since it was applied"):
        client.get_online_features(["price:ratio"], [{"shop": "a", "asked": 1.0}])
    assert client.get_online_features(["shout:text"], [{"text": "a"}]).to_dict()["shout__text"] == ["A"]


def test_served_version_with_another_type_is_refused(tmp_path: Path) -> None:
    repo = write_files(tmp_path, views=VIEWS)
    plan = plan_with(repo)
    read = plan.on_demand_views["price"].inputs[0].model_copy(update={"dtype": DType.INT64})
    other = plan.on_demand_views["price"].model_copy(update={"inputs": (read,)})
    with MemoryStore() as store:
        store.change(serving())
        client = FeatureClient(
            plan=plan.model_copy(update={"on_demand_views": {"price": other}}), store=store, repo=repo
        )
        with pytest.raises(PlanMismatchError, match="reads shops:mean_price_60 as int64, and the online store serves"):
            client.get_online_features(["price:ratio"], [{"shop": "a", "asked": 1.0}])


def test_store_that_is_not_ready_answers_nulls(tmp_path: Path) -> None:
    repo = write_files(tmp_path, views=VIEWS)
    with MemoryStore() as store:
        client = FeatureClient(plan=plan_with(repo), store=store, repo=repo, not_ready="status")
        answer = client.get_online_features(["price:ratio"], [{"shop": "a", "asked": 1.0}])
        assert answer.to_dict() == {"shop": ["a"], "asked": [1.0], "price__ratio": [None]}
        assert answer.statuses() == {"price__ratio": [Status.NOT_READY]}


def test_unknown_names_list_on_demand_views_too(client: FeatureClient) -> None:
    with pytest.raises(LookupRequestError, match="price, "):
        client.get_online_features(["nope:x"], [])
    with pytest.raises(LookupRequestError, match="has no feature named 'nope'.*\n.*It has: ratio, is_high"):
        client.get_online_features(["price:nope"], [])


def test_lookup_imports_no_feast(tmp_path: Path) -> None:
    """The feature repo's file imports Feast at its top; a model server need not have it."""
    repo = write_files(tmp_path / "repo", views=VIEWS)
    (tmp_path / "plan.json").write_text(plan_with(repo).model_dump_json())
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from headrace.lookup import FeatureClient
        from headrace.config import Clock
        from headrace.plan import Plan
        from headrace.stores import CatalogueChange
        from headrace.stores.memory import MemoryStore

        folder = Path(sys.argv[1])
        plan = Plan.model_validate_json((folder / "plan.json").read_text())
        store = MemoryStore()
        store.change(CatalogueChange().clock(Clock.RECORD).serve(plan.views.values()))
        client = FeatureClient(plan=plan, store=store, repo=folder / "repo")
        print(client.get_online_features(["shout:*"], [{"text": "a"}]).to_dict()["shout__text"])
        print(sorted({"feast", "duckdb", "deltalake"} & set(sys.modules)))
    """)
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["['A']", "[]"]
