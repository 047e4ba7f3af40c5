"""On-demand views in training sets and proofs: the same function over the joined table, pinned by its source."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from headrace import Dataset, TrainingClient
from headrace.config import Project
from headrace.errors import LookupRequestError, OnDemandError, PlanError, SpineError
from headrace.plan import DType, FeatureRef, Plan, write_plan
from headrace.training import verify_dataset
from headrace.training.verify_reasons import Reason
from tests.ondemand.examples import on_demand_view, write_files
from tests.training.conftest import MINUTE, PLAN, START_US

VIEWS = """
    import feast


    def offer(inputs):
        rows = zip(inputs["offered"], inputs["max_price"])
        return {"over": [None if not most else price / most for price, most in rows]}
"""


@pytest.fixture
def plan(project: Project) -> Plan:
    """The plan of rides with an on-demand view of it, written."""
    write_files(project.repo, views=VIEWS)
    view = on_demand_view(
        project.repo,
        "views:offer",
        {"over": DType.FLOAT64},
        inputs={"city_rides:max_price": DType.FLOAT64},
        request={"offered": DType.FLOAT64},
        name="offer",
    )
    service = (FeatureRef(view="offer", feature="over"), FeatureRef(view="city_rides", feature="n_10m"))
    made = PLAN.model_copy(update={"on_demand_views": {"offer": view}, "services": {"deal": service}})
    write_plan(made, project.plan_file)
    return made


def spine(rows: int = 5) -> pa.Table:
    times = [datetime.fromtimestamp(0, UTC) + timedelta(microseconds=START_US + n * MINUTE) for n in range(rows)]
    return pa.table(
        {
            "city": ["a"] * rows,
            "event_timestamp": times,
            "offered": [float(n) for n in range(rows)],
            "label": [0] * rows,
        }
    )


def test_features_stand_in_the_order_asked_for(project: Project, plan: Plan) -> None:
    found = TrainingClient(project).get_historical_features(spine(), "deal").to_arrow()
    assert found.column_names == ["city", "event_timestamp", "offered", "label", "offer__over", "city_rides__n_10m"]
    most = (
        TrainingClient(project)
        .get_historical_features(spine(), ["city_rides:max_price"])
        .to_arrow()
        .column("city_rides__max_price")
    )
    expected = [n / one if one else None for n, one in enumerate(most.to_pylist())]
    assert found.column("offer__over").to_pylist() == expected


def test_spine_without_the_field_is_refused(project: Project, plan: Plan) -> None:
    with pytest.raises(SpineError, match="The spine has no column 'offered'"):
        TrainingClient(project).get_historical_features(spine().drop_columns(["offered"]), "deal")
    as_text = spine().set_column(2, "offered", pa.array(["1"] * 5))
    with pytest.raises(
        SpineError, match="The spine's 'offered' is string, and the on-demand view 'offer' reads it as float64"
    ):
        TrainingClient(project).get_historical_features(as_text, "deal")


def test_csv_spines_are_read_by_the_fields_type(project: Project, plan: Plan, tmp_path: Path) -> None:
    file = tmp_path / "spine.csv"
    file.write_text("city,event_timestamp,offered\na,2013-01-01T00:20:00Z,4\n")
    found = TrainingClient(project).get_historical_features(file, ["offer:over"]).to_arrow()
    assert found.column("offer__over").to_pylist()[0] is not None


def lookup(offered: Any, over: Any, **more: Any) -> dict[str, Any]:
    return {
        "at_us": START_US + 20 * MINUTE,
        "keys": {"city": "a", "offered": offered},
        "features": {"offer__over": over},
        "evidence": {"city_rides": {"0": 20}},
        **more,
    }


def test_recorded_lookups_are_recomputed_with_their_request(project: Project, plan: Plan) -> None:
    records = [lookup(4.0, 2.0), lookup(4, 2.0), lookup("inf", "inf"), lookup(4.0, 2.5), lookup(None, None)]
    report = TrainingClient(project).verify_lookups(json.loads(json.dumps(records)))
    assert report.matches == 3
    wrong, failed = report.mismatches
    assert (wrong.number, wrong.served, wrong.recomputed) == (3, 2.5, 2.0)
    # The function fails on it, so it was never served as a plain null.
    assert (failed.number, failed.served) == (4, None)
    assert str(failed.recomputed).startswith("null: views:offer failed: TypeError")


def test_recorded_lookup_without_its_request_is_refused(project: Project, plan: Plan) -> None:
    with pytest.raises(LookupRequestError, match="Lookup 0 has 'offer__over', but no field of the request 'offered'"):
        TrainingClient(project).verify_lookups([{**lookup(1.0, 1.0), "keys": {"city": "a"}}])


def dataset() -> Dataset:
    return Dataset(name="deals", features="deal", spine=lambda project: spine().slice(1), label="label")


def test_dataset_is_built_again_by_the_same_function_and_refused_with_another(
    project: Project, plan: Plan, tmp_path: Path
) -> None:
    client = TrainingClient(project)
    built = client.export(dataset(), tmp_path / "deals")
    assert set(built.manifest["definitions"]) == {"view city_rides", "on-demand view offer", "source rides"}
    assert "offer__over" in parquet.read_table(tmp_path / "deals" / "all").column_names
    assert verify_dataset(client, dataset(), tmp_path / "deals").ok
    # The plan may change: the manifest has the one that it was built with.
    write_plan(PLAN, project.plan_file)
    assert verify_dataset(TrainingClient(project), dataset(), tmp_path / "deals").ok
    file = project.repo / "views.py"
    file.write_text(file.read_text().replace("price / most", "most / price"))
    report = verify_dataset(TrainingClient(project), dataset(), tmp_path / "deals")
    assert report.reasons == [Reason.CODE_CHANGED]
    with pytest.raises(PlanError, match="has changed since it was applied"):
        client.get_historical_features(spine(), "deal")


def test_failing_row_of_a_spine_is_named(project: Project, plan: Plan) -> None:
    without = spine().set_column(2, "offered", pa.array([1.0, None, None, 1.0, None], pa.float64()))
    with pytest.raises(OnDemandError, match="cannot be computed for row 2: views:offer failed: TypeError"):
        TrainingClient(project).get_historical_features(without, ["offer:over"])
