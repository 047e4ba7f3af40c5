"""`view@v1:feature` in lookups: the version that is served, and a clear error for every other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.config import Project
from headrace.errors import LookupRequestError, VersionNotServedError
from headrace.log import LookupTable
from headrace.lookup import FeatureClient, Status
from headrace.plan import Plan, View, write_plan
from headrace.plan.view_versions import ViewVersions
from headrace.stores import CatalogueChange, OnlineStore
from headrace.stores.memory import MemoryStore
from tests.lookup.conftest import PLAN, fill, order, serving

A = [{"shop": "a"}]
ORDERS = PLAN.sources["orders"]
DECLARED = PLAN.views["shops"]
OLD = DECLARED.model_copy(update={"input": ORDERS.input_of(DECLARED.features)})
NEW = OLD.model_copy(update={"features": OLD.features[:2], "input": ORDERS.input_of(OLD.features[:2])})


def plan_with(view: View) -> Plan:
    return PLAN.model_copy(update={"views": {**PLAN.views, "shops": view}})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose view had a version before: v0 is OLD, v1 is NEW."""
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    project = Project.load(tmp_path)
    versions = ViewVersions(project.view_versions)
    versions.note(plan_with(OLD), 1)
    versions.note(plan_with(NEW), 2)
    write_plan(plan_with(NEW), project.plan_file)
    return project


@pytest.fixture
def serves_old(project: Project) -> tuple[FeatureClient, MemoryStore]:
    """The plan is NEW, and the store still serves OLD."""
    store = MemoryStore()
    store.change(serving(plan_with(OLD)))
    fill(store, order(5), order(7), plan=plan_with(OLD))
    return FeatureClient(project, store=store), store


@pytest.mark.parametrize("version", ["v0", OLD.hash, OLD.hash[:8]])
def test_the_version_that_is_served_answers_under_the_name_that_was_asked_for(
    serves_old: tuple[FeatureClient, MemoryStore], version: str
) -> None:
    client, _ = serves_old
    answer = client.get_online_features([f"shops@{version}:count_60", "shops:exact_5", "windows:count_60"], A)
    name = f"shops@{version}"
    assert answer.to_dict() == {
        "shop": ["a"],
        f"{name}__count_60": [2],
        "shops__exact_5": [2],
        "windows__count_60": [2],
    }
    assert answer.views[name].status == [Status.PRESENT]
    assert answer.views[name].applied == answer.views["shops"].applied == [{0: 1}]
    assert answer.topics[name] == "orders-topic"
    assert answer.to_dict(include_status=True)[f"{name}__count_60__status"] == ["present"]
    assert answer.records()[0]["features"][f"{name}__count_60"] == 2
    assert answer.to_arrow().column_names == list(answer.to_dict())


def test_a_star_is_every_feature_of_the_version(serves_old: tuple[FeatureClient, MemoryStore]) -> None:
    client, _ = serves_old
    found = client.get_online_features("shops@v0:*", A).to_dict()
    assert list(found) == ["shop", *(f"shops@v0__{feature.name}" for feature in OLD.features)]


def test_a_version_that_is_not_served_is_refused_with_what_there_is(
    serves_old: tuple[FeatureClient, MemoryStore],
) -> None:
    client, _ = serves_old
    with pytest.raises(VersionNotServedError) as refused:
        client.get_online_features(["shops@v1:count_60"], A)
    assert (
        refused.value.what == f"'shops@v1' is v1 ({NEW.hash}), and the online store serves v0 ({OLD.hash}) of 'shops'."
    )
    assert "headrace backfill shops" in str(refused.value.hint)
    assert f"v0 ({OLD.hash}), applied 1970-01-01T00:00:00.000001Z; v1 ({NEW.hash})" in str(refused.value.hint)


@pytest.mark.parametrize(
    "name", ["shops@v3:count_60", "shops@0000:count_60", "nowhere@v0:count_60", "shops@v0:nothing"]
)
def test_an_unknown_name_is_refused(serves_old: tuple[FeatureClient, MemoryStore], name: str) -> None:
    client, _ = serves_old
    with pytest.raises(LookupRequestError) as refused:
        client.get_online_features([name], A)
    assert refused.value.hint


def test_a_version_that_goes_live_is_answered_by_the_same_client(
    serves_old: tuple[FeatureClient, MemoryStore],
) -> None:
    client, store = serves_old
    assert client.get_online_features(["shops@v0:count_60"], A).to_dict()["shops@v0__count_60"] == [2]
    store.change(CatalogueChange().serve([NEW]).previous("shops", OLD.hash))
    assert client.plan_for(["shops@v1:count_60"]).views["shops@v1"].features == NEW.features
    assert client.get_online_features(["shops@v1:count_60"], A).to_dict()["shops@v1__count_60"] == [0]
    with pytest.raises(VersionNotServedError, match="serves v1"):
        client.get_online_features(["shops@v0:count_60"], A)


def test_without_a_project_versions_are_named_by_their_hash(store: OnlineStore) -> None:
    fill(store, order(5))
    client = FeatureClient(plan=PLAN, store=store)
    assert client.get_online_features([f"shops@{DECLARED.hash}:count_60"], A).to_dict()[
        f"shops@{DECLARED.hash}__count_60"
    ] == [1]
    with pytest.raises(LookupRequestError, match="no version 'v0'"):
        client.get_online_features(["shops@v0:count_60"], A)


def test_a_store_that_is_not_ready_answers_nulls_under_the_name_that_was_asked_for(project: Project) -> None:
    client = FeatureClient(project, store=MemoryStore(), not_ready="status")
    found = client.get_online_features(["shops@v0:exact_5", "shops@v1:count_60"], A)
    assert found.to_dict() == {"shop": ["a"], "shops@v0__exact_5": [None], "shops@v1__count_60": [None]}
    assert found.views["shops@v0"].status == [Status.NOT_READY]


def test_recorded_lookups_are_of_the_view_that_was_served(project: Project) -> None:
    store = MemoryStore()
    store.change(serving(plan_with(NEW)))
    fill(store, order(5), plan=plan_with(NEW))
    with FeatureClient(project, store=store, audit=1) as client:
        client.get_online_features(["shops@v1:count_60"], A)
    (row,) = [row for rows in LookupTable(project.audit_root).read() for row in rows]
    assert json.loads(row["features"]) == {"shops__count_60": 1}
    assert list(json.loads(row["evidence"])) == list(json.loads(row["views"])) == ["shops"]
    assert row["plan"] == plan_with(NEW).hash
