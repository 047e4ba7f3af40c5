"""Lookups of on-demand views are recomputed with the request that was recorded, by the function that served them."""

from __future__ import annotations

import json
from pathlib import Path

from headrace.audit import NotComparable, audit_lookups
from headrace.log import LookupTable
from headrace.lookup import FeatureClient
from headrace.plan import DType, Plan, write_plan
from tests.audit.conftest import Shop
from tests.ondemand.examples import on_demand_view, write_files
from tests.worker.shop import PLAN

VIEWS = """
    import feast


    def dearness(inputs):
        return {"times": inputs["bid"] / inputs["last_price"]}
"""


def plan_of(shop: Shop) -> Plan:
    write_files(shop.project.repo, views=VIEWS)
    dear = on_demand_view(
        shop.project.repo,
        "views:dearness",
        {"times": DType.FLOAT64},
        inputs={"shop_sales:last_price": DType.FLOAT64},
        request={"bid": DType.FLOAT64},
        name="dear",
        singleton=True,
        on_error="null",
    )
    plan = PLAN.model_copy(update={"on_demand_views": {"dear": dear}})
    write_plan(plan, shop.project.plan_file)
    return plan


def serve(shop: Shop, plan: Plan) -> list[float | None]:
    rows = [
        {"shop": name, "bid": bid, "private": "x"} for name, bid in (("a", 3.0), ("a", float("inf")), ("nobody", 1.0))
    ]
    with FeatureClient(shop.project, plan=plan, store=shop.store, audit=1) as client:
        found: list[float | None] = client.get_online_features(["dear:times"], rows).to_dict()["dear__times"]
    return found


def test_they_match_and_keep_only_what_was_read(shop: Shop) -> None:
    served = serve(shop, plan_of(shop))
    assert served[0] is not None
    assert served[2] is None
    report = audit_lookups(shop.project)
    assert (report.lookups, report.matches, report.mismatched) == (3, 3, 0)
    rows = [row for part in LookupTable(shop.project.audit_root).read() for row in part]
    assert [json.loads(row["keys"]) for row in rows] == [
        {"shop": "a", "bid": 3.0}, {"shop": "a", "bid": "inf"}, {"shop": "nobody", "bid": 1.0}
    ]  # fmt: skip


def test_wrong_value_is_a_skew(shop: Shop) -> None:
    plan = plan_of(shop)
    serve(shop, plan)
    table = LookupTable(shop.project.audit_root)
    (row, *_) = [row for part in table.read() for row in part]
    table.append([{**row, "features": json.dumps({"dear__times": 123.0})}])
    report = audit_lookups(shop.project)
    assert report.mismatched == 1
    assert (report.skews[0].feature, report.skews[0].served) == ("dear__times", 123.0)


def test_function_that_changed_since_is_not_compared(shop: Shop) -> None:
    serve(shop, plan_of(shop))
    file: Path = shop.project.repo / "views.py"
    file.write_text(file.read_text().replace('inputs["bid"] /', '1 + inputs["bid"] /'))
    report = audit_lookups(shop.project)
    assert report.apart[NotComparable.CODE_CHANGED] == 3
    assert report.mismatched == report.matches == 0
