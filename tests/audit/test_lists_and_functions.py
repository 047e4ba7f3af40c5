"""Lookups of lists, and of what a function of the feature repo computes, are recomputed as they were served."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from headrace.audit import audit_lookups
from headrace.config import Clock, Project
from headrace.events.decode import EventDecoder
from headrace.log import EventLog
from headrace.lookup import FeatureClient
from headrace.plan import Column, DType, Feature, Plan, Transform, View, write_plan
from headrace.stores import CatalogueChange, open_store
from headrace.transforms import function_code
from headrace.worker.pipeline import Pipeline
from tests.worker.shop import MINUTE, SHOPS, SOURCE, KeptLetters, Sale, one_round, record

FUNCTION = """
def taxed(events):
    return {"taxed": [price * 1.5 if price < 90 else float("nan") for price in events["price"]]}
"""


def test_they_match(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text('[headrace]\nclock = "record"\n[audit]\nsample = 1.0\n')
    project = Project.load(tmp_path)
    project.repo.mkdir()
    (project.repo / "taxes.py").write_text(FUNCTION)
    spec = importlib.util.spec_from_file_location("taxes_here", project.repo / "taxes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    taxed = Transform(
        kind="python",
        columns=(Column(name="taxed", dtype=DType.FLOAT64),),
        function="taxes:taxed",
        code=function_code(module.taxed),
    )
    hour = {"window_us": 60 * MINUTE, "slide_us": MINUTE}
    features = (
        Feature(name="dear", function="last_n", column="taxed", params=(3,), dtype=DType.FLOAT64_LIST, **hour),
        Feature(name="when", function="distinct_n", column="sold_at", params=(2,), dtype=DType.TIMESTAMP_LIST, **hour),
        Feature(name="since", function="time_since_last", column="*", dtype=DType.FLOAT64, **hour),
        Feature(name="shops", function="top_k", column="shop", params=(2, 1000), dtype=DType.STRING_LIST, **hour),
    )
    view = View(
        name="sold",
        source="sales",
        entities=SHOPS.entities,
        features=features,
        transforms=(taxed,),
        input=SOURCE.input_of(features, (taxed,)),
    )
    plan = Plan(project="shop", sources={"sales": SOURCE}, views={view.name: view})
    write_plan(plan, project.plan_file)
    with open_store(project.store_url, writable=True) as store:
        store.change(CatalogueChange().clock(Clock.RECORD).serve([view]))
        log = EventLog(project.log_path, SOURCE)
        decoders = {"sales": EventDecoder(SOURCE, Sale)}
        pipeline = Pipeline(plan, decoders, store, {"sales": log}, Clock.RECORD, KeptLetters(), repo=project.repo)
        prices = [1.0, 100.0, 2.5, 4.0]
        pipeline.process(one_round(*(record(n, "a", n, price=price) for n, price in enumerate(prices))))
        pipeline.flush()
        with FeatureClient(project, store=store) as client:
            served = client.get_online_features(["sold:*"], [{"shop": "a"}, {"shop": "nobody"}])
    (first, _) = served.records()
    assert json.loads(json.dumps(first["features"]["sold__dear"])) == ["nan", 3.75, 6.0]
    assert len(first["features"]["sold__when"]) == 2
    report = audit_lookups(project)
    assert (report.lookups, report.matches, report.values, report.skews) == (2, 2, 8, [])
