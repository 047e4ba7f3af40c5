"""The audit judges rows of batch views by their source."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from headrace.audit import audit_lookups
from headrace.audit.not_comparable import NotComparable
from headrace.batch.materialize import materialize_views
from headrace.lookup import FeatureClient
from headrace.plan import BatchSource, BatchView, Column, DType, Plan, write_plan
from headrace.records.entity_keys import entity_key
from headrace.rows import Row, RowCodec, open_rows
from headrace.times import datetime_of
from tests.audit.conftest import Shop
from tests.worker.shop import NAMES, NOON, PLAN

AREAS = BatchView(
    name="areas",
    entities=(Column(name="shop", dtype=DType.STRING, nullable=False),),
    columns=(Column(name="area", dtype=DType.FLOAT64), Column(name="staff", dtype=DType.INT64)),
    source=BatchSource(name="areas", kind="parquet", timestamp_field="at", path="areas.parquet"),
)


def write_areas(shop: Shop, areas: dict[str, float]) -> Path:
    file = shop.project.repo / "areas.parquet"
    file.parent.mkdir(exist_ok=True)
    times = pa.array([datetime_of(NOON - 1_000_000)] * len(areas), pa.timestamp("us", "UTC"))
    table = pa.table({"shop": list(areas), "at": times, "area": list(areas.values()), "staff": [1] * len(areas)})
    parquet.write_table(table, file)
    return file


@pytest.fixture
def plan(shop: Shop) -> Plan:
    """The shop's plan with a batch view of the areas of two shops, materialized."""
    plan = PLAN.model_copy(update={"batch_views": {"areas": AREAS}})
    write_plan(plan, shop.project.plan_file)
    write_areas(shop, {"a": 1.5, "b": 2.5})
    materialize_views(shop.project, [AREAS], end_us=NOON)
    return plan


def serve(shop: Shop, plan: Plan, *shops: str) -> None:
    asked = [*NAMES, "areas:*"]
    with FeatureClient(shop.project, plan=plan, store=shop.store, audit=1) as client:
        answer = client.get_online_features(asked, [{"shop": one} for one in shops])
    assert answer.problems == []


def test_rows_as_the_source_has_them_match(shop: Shop, plan: Plan) -> None:
    serve(shop, plan, "a", "b", "nobody")
    report = audit_lookups(shop.project)
    assert (report.lookups, report.matches, report.values) == (3, 3, 18)


def test_row_with_another_value_is_a_fault(shop: Shop, plan: Plan) -> None:
    with open_rows(shop.project.store_url, writable=True) as rows:
        encoded = RowCodec(AREAS.columns).encode([9.0, 1])
        rows.write(AREAS.rows_hash, [Row(entity_key(["a"]), NOON - 1_000_000, encoded)])
    serve(shop, plan, "a", "b")
    report = audit_lookups(shop.project)
    (skew,) = report.skews
    assert (skew.keys, skew.feature, skew.served, skew.recomputed) == ({"shop": "a"}, "areas__area", 9.0, 1.5)
    assert (report.matches, report.mismatched) == (1, 1)


def test_row_that_the_source_has_no_more_is_counted_apart(shop: Shop, plan: Plan) -> None:
    serve(shop, plan, "a", "b")
    write_areas(shop, {"b": 2.5})
    report = audit_lookups(shop.project)
    assert (report.matches, report.apart[NotComparable.SOURCE_CHANGED], report.partly) == (1, 1, 1)
    assert report.ok
