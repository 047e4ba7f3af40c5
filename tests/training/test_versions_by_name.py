"""`view@v1:feature` in training sets: any version that its source can still feed."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace import Dataset, TrainingClient
from headrace.config import Project
from headrace.errors import LookupRequestError, PlanMismatchError
from headrace.plan import Column, DType, Plan, View, write_plan
from headrace.plan.view_versions import ViewVersions
from headrace.training import verify_dataset
from tests.training.conftest import PLAN, SOURCE, VIEW, feature, plan_of, spine_of

FIRST = VIEW.model_copy(update={"input": SOURCE.input_of(VIEW.features)})
WIDER = (feature("n_10m", "count", "*", DType.INT64, 20), feature("seats_10m", "sum", "seats", DType.INT64, 10))
SECOND = View(name="city_rides", source="rides", entities=VIEW.entities, features=WIDER, input=SOURCE.input_of(WIDER))
SPINE = spine_of([30.5], ["a"])


def applied(project: Project, *plans: Plan) -> None:
    for plan in plans:
        ViewVersions(project.view_versions).note(plan, 1)
        write_plan(plan, project.plan_file)


@pytest.fixture
def two_versions(project: Project) -> Project:
    applied(project, plan_of(FIRST), Plan(project="test", sources=PLAN.sources, views={"city_rides": SECOND}))
    return project


def test_two_versions_stand_beside_each_other(two_versions: Project) -> None:
    asked = ["city_rides@v0:n_10m", "city_rides@v1:n_10m", "city_rides:n_10m", f"city_rides@{FIRST.hash}:max_price"]
    found = TrainingClient(two_versions).get_historical_features(SPINE, asked).to_arrow().to_pylist()[0]
    assert found["city_rides@v0__n_10m"] == 10
    assert found["city_rides@v1__n_10m"] == found["city_rides__n_10m"] == 20
    assert found[f"city_rides@{FIRST.hash}__max_price"] == 3.0


def test_an_older_version_gives_what_it_gave_while_it_was_declared(two_versions: Project, project: Project) -> None:
    then = TrainingClient(project, plan=plan_of(FIRST)).get_historical_features(SPINE, ["city_rides:*"]).to_arrow()
    now = TrainingClient(two_versions).get_historical_features(SPINE, ["city_rides@v0:*"]).to_arrow()
    assert now.column_names == [name.replace("city_rides__", "city_rides@v0__") for name in then.column_names]
    assert now.columns == then.columns


def test_an_unknown_version_is_refused_with_what_there_is(two_versions: Project) -> None:
    with pytest.raises(LookupRequestError, match="has no version 'v3'") as refused:
        TrainingClient(two_versions).get_historical_features(SPINE, ["city_rides@v3:n_10m"])
    assert f"v0 ({FIRST.hash})" in str(refused.value.hint)
    assert f"v1 ({SECOND.hash})" in str(refused.value.hint)


def test_a_version_whose_field_changed_its_type_is_refused(two_versions: Project) -> None:
    columns = tuple(
        Column(name="seats", dtype=DType.STRING) if column.name == "seats" else column for column in SOURCE.columns
    )
    changed = SOURCE.model_copy(update={"columns": columns})
    features = (feature("n_10m", "count", "*", DType.INT64, 20),)
    view = View(
        name="city_rides", source="rides", entities=VIEW.entities, features=features, input=changed.input_of(features)
    )
    applied(two_versions, Plan(project="test", sources={"rides": changed}, views={"city_rides": view}))
    with pytest.raises(PlanMismatchError, match="reads the field 'seats' as int64") as refused:
        TrainingClient(two_versions).get_historical_features(SPINE, ["city_rides@v0:n_10m"])
    assert "'city_rides@v0' is v0" in refused.value.what


def test_a_version_whose_source_is_gone_is_refused(two_versions: Project) -> None:
    applied(two_versions, Plan(project="test", sources={}, views={}))
    with pytest.raises(PlanMismatchError, match="the plan has no source 'rides'"):
        TrainingClient(two_versions).get_historical_features(SPINE, ["city_rides@v0:n_10m"])


def test_a_dataset_of_a_version_is_built_and_verified_after_the_plan_changed(
    two_versions: Project, tmp_path: Path
) -> None:
    spine = spine_of(range(30), ["a"] * 30)
    dataset = Dataset(
        name="pinned", features=["city_rides@v0:n_10m", "city_rides:n_10m"], spine=lambda _: spine, label="label"
    )
    built = TrainingClient(two_versions).export(dataset, tmp_path / "out")
    assert built.manifest["features"] == ["city_rides@v0:n_10m", "city_rides:n_10m"]
    applied(two_versions, plan_of(FIRST))
    report = verify_dataset(TrainingClient(two_versions), dataset, built.folder)
    assert report.ok, report.problems


def test_lookups_that_named_a_version_are_verified(two_versions: Project) -> None:
    client = TrainingClient(two_versions, plan=Plan(project="test", sources=PLAN.sources, views={"city_rides": SECOND}))
    record = {
        "at_us": 1_356_998_400_000_000 + 30 * 60_000_000 + 30_000_000,
        "keys": {"city": "a"},
        "features": {"city_rides@v1__n_10m": 20},
        "views": {"city_rides@v1": {"status": "present", "newest_event": None}},
        "evidence": {"city_rides@v1": {"0": 30}},
        "plan": client.plan.hash,
    }
    report = client.verify_lookups([record, {**record, "features": {"city_rides@v1__n_10m": 21}}])
    assert (report.matches, len(report.mismatches)) == (1, 1)
