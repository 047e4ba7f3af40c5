"""What transforms fail on is counted by the worker, kept in the store for `status`, and gone once it is mended."""

from __future__ import annotations

from pathlib import Path

from headrace.config import Clock
from headrace.events.decode import EventDecoder
from headrace.log import EventLog
from headrace.plan import Column, DType, Plan, Transform
from headrace.stores import CatalogueChange
from headrace.stores.memory import MemoryStore
from headrace.worker.pipeline import Pipeline
from headrace.worker.stats import WorkerStats
from tests.worker.shop import PLAN, SHOPS, SOURCE, KeptLetters, Sale, one_round, record


def plan_with(expression: str) -> Plan:
    transform = Transform(
        kind="sql", columns=(Column(name="each", dtype=DType.INT64),), expressions={"each": expression}
    )
    return PLAN.model_copy(update={"views": {SHOPS.name: SHOPS.model_copy(update={"transforms": (transform,)})}})


def pipeline_of(plan: Plan, store: MemoryStore, log: EventLog) -> Pipeline:
    store.change(CatalogueChange().clock(Clock.RECORD).serve(plan.views.values()))
    decoders = {"sales": EventDecoder(SOURCE, Sale)}
    return Pipeline(plan, decoders, store, {"sales": log}, Clock.RECORD, KeptLetters())


def test_failures_are_counted_in_the_summary_and_in_the_store(tmp_path: Path) -> None:
    store, log, stats = MemoryStore(), EventLog(tmp_path, SOURCE), WorkerStats()
    pipeline = pipeline_of(plan_with("10 // (pieces - 1)"), store, log)
    for first in (0, 2):
        round_ = one_round(record(first, "a", 1, pieces=1), record(first + 1, "a", 2, pieces=3))
        stats.begin_round()
        stats.end_round(pipeline.process(round_), {})
    failures = stats.to_json()["transform_failures"]
    assert list(failures) == ["shop_sales.each"]
    told = failures["shop_sales.each"]
    assert (told["what"], told["failed"], told["events"]) == ("the expression '10 // (pieces - 1)'", 2, 4)
    assert not told["broken"]
    assert "Division by zero" in told["reason"]
    assert store.catalogue().failures == {}  # it is written with what makes events durable
    pipeline.flush()
    assert store.catalogue().failures == failures


def test_a_worker_that_fails_on_nothing_takes_back_what_the_one_before_it_told(tmp_path: Path) -> None:
    store, log = MemoryStore(), EventLog(tmp_path, SOURCE)
    store.change(CatalogueChange().failures({"shop_sales.each": {"failed": 1}}))
    pipeline = pipeline_of(plan_with("pieces + 1"), store, log)
    pipeline.process(one_round(record(0, "a", 1)))
    pipeline.flush()
    assert store.catalogue().failures == {}
