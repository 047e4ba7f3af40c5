from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.errors import ConfigError, LookupRequestError, PlanError
from headrace.plan import BatchView, Column, DType, Plan, View
from headrace.plan.batch_view import BatchSource
from headrace.plan.view_versions import (
    AskedVersion,
    ViewVersion,
    ViewVersions,
    asked_versions,
    with_versions,
    without_versions,
)
from headrace.state import LocalState, MemoryState
from tests.training.conftest import PLAN, VIEW, plan_of, with_one_more

OTHER = with_one_more("city_rides", VIEW)
THIRD = with_one_more("city_rides", OTHER.model_copy(update={"features": VIEW.features[:2]}))
NOW = 1_700_000_000_000_000


def noted(*views: View) -> ViewVersions:
    versions = ViewVersions(MemoryState())
    for number, view in enumerate(views):
        versions.note(plan_of(view), NOW + number)
    return versions


def resolved(plan: Plan, versions: ViewVersions, *features: str) -> list[tuple[str, str]]:
    """View and feature of what is asked for; the view by its hash where it is a version."""
    whole = with_versions(
        plan, asked_versions(features), lambda name: versions.of(plan, name), lambda asked, version, every: version.view
    )
    return [(ref.view, ref.feature) for ref in whole.resolve(features)]


def test_each_definition_gets_the_next_number_and_keeps_it() -> None:
    versions = noted(VIEW, OTHER, VIEW, THIRD, OTHER)
    found = versions.of(plan_of(OTHER), "city_rides")
    assert [(one.number, one.view) for one in found] == [(0, VIEW), (1, OTHER), (2, THIRD)]
    assert [one.applied_us for one in found] == [NOW, NOW + 1, NOW + 3]


def test_a_version_that_nobody_noted_has_a_hash_and_no_number() -> None:
    found = ViewVersions(MemoryState()).of(PLAN, "city_rides")
    assert found == (ViewVersion(None, VIEW),)
    with pytest.raises(LookupRequestError, match="has no version 'v0'") as refused:
        resolved(PLAN, ViewVersions(MemoryState()), "city_rides@v0:n_10m")
    assert f"{VIEW.hash}, not numbered before the next apply" in str(refused.value.hint)
    assert resolved(PLAN, ViewVersions(MemoryState()), f"city_rides@{VIEW.hash}:n_10m") == [
        (f"city_rides@{VIEW.hash}", "n_10m")
    ]


def test_versions_survive_in_a_file_that_people_can_read(tmp_path: Path) -> None:
    ViewVersions(LocalState(tmp_path)).note(plan_of(VIEW), NOW)
    ViewVersions(LocalState(tmp_path)).note(plan_of(OTHER), NOW)
    assert [one.view for one in ViewVersions(LocalState(tmp_path)).of(PLAN, "city_rides")] == [VIEW, OTHER]
    stored = json.loads((tmp_path / "city_rides.json").read_text())
    assert [(one["number"], one["hash"]) for one in stored["versions"]] == [(0, VIEW.hash), (1, OTHER.hash)]


@pytest.mark.parametrize("version", ["v0", VIEW.hash, VIEW.hash[:6]])
def test_a_version_is_named_by_number_or_by_the_first_digits_of_its_hash(version: str) -> None:
    versions = noted(VIEW, OTHER)
    assert resolved(plan_of(OTHER), versions, f"city_rides@{version}:n_10m") == [(f"city_rides@{version}", "n_10m")]
    whole = with_versions(
        plan_of(OTHER),
        [AskedVersion("city_rides", version)],
        lambda name: versions.of(PLAN, name),
        lambda asked, found, every: found.view,
    )
    assert whole.views[f"city_rides@{version}"].features == VIEW.features
    assert whole.views["city_rides"] == OTHER


def test_versions_stand_beside_each_other_and_a_star_is_all_features_of_one() -> None:
    asked = ["city_rides@v0:*", "city_rides:more", "city_rides@v1:more"]
    found = resolved(plan_of(OTHER), noted(VIEW, OTHER), *asked)
    assert found == [
        *(("city_rides@v0", feature.name) for feature in VIEW.features),
        ("city_rides", "more"),
        ("city_rides@v1", "more"),
    ]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("city_rides@v3:n_10m", "has no version 'v3'"),
        ("city_rides@v2:n_10m", "has no version 'v2'"),
        ("city_rides@:n_10m", "has no version ''"),
        ("city_rides@v:n_10m", "has no version 'v'"),
        ("city_rides@ffffffff:n_10m", "has no version 'ffffffff'"),
        ("city_rides@latest:n_10m", "has no version 'latest'"),
        (f"city_rides@{VIEW.hash[:3]}:n_10m", "has no version"),
        (f"city_rides@{VIEW.hash}0:n_10m", "has no version"),
        ("city_rides@v0@v1:n_10m", "has no version 'v0@v1'"),
        ("city_rides@v99999999999999999999:n_10m", "has no version"),
    ],
)
def test_an_unknown_version_is_refused_with_what_there_is(name: str, what: str) -> None:
    with pytest.raises(LookupRequestError, match=what) as refused:
        resolved(plan_of(OTHER), noted(VIEW, OTHER), name)
    assert f"v0 ({VIEW.hash}), applied 2023-11-14T22:13:20Z; v1 ({OTHER.hash})" in str(refused.value.hint)


@pytest.mark.parametrize("view", ["nowhere", "../plan", "a/b", "", ".hidden", "x" * 300])
def test_a_view_that_nobody_declared_is_refused(view: str) -> None:
    with pytest.raises(LookupRequestError, match="no view named") as refused:
        resolved(PLAN, noted(VIEW), f"{view}@v0:n_10m")
    assert refused.value.hint == "Views: city_rides."


def test_a_view_of_another_kind_has_no_versions() -> None:
    source = BatchSource(name="fares", kind="parquet", timestamp_field="at", path="fares.parquet")
    columns = (Column(name="fare", dtype=DType.FLOAT64),)
    fares = BatchView(name="fares", entities=VIEW.entities, columns=columns, source=source, ttl_us=None)
    plan = PLAN.model_copy(update={"batch_views": {"fares": fares}})
    with pytest.raises(LookupRequestError, match="'fares' is no stream view: only those have versions") as refused:
        resolved(plan, noted(VIEW), "fares@v0:fare")
    assert refused.value.hint == "Ask for fares:feature."


def test_a_feature_that_a_version_lacks_is_refused() -> None:
    with pytest.raises(LookupRequestError, match="view 'city_rides@v0' has no feature named 'more'"):
        resolved(plan_of(OTHER), noted(VIEW, OTHER), "city_rides@v0:more")


def test_a_plan_alone_knows_no_versions_and_says_who_does() -> None:
    with pytest.raises(LookupRequestError, match="'city_rides@v0' names a version") as refused:
        PLAN.resolve(["city_rides@v0:n_10m"])
    assert "FeatureClient and TrainingClient" in str(refused.value.hint)


@pytest.mark.parametrize("change", ['"number": 7', '"hash": "0"', None])
def test_damaged_versions_are_named(tmp_path: Path, change: str | None) -> None:
    versions = ViewVersions(LocalState(tmp_path))
    versions.note(PLAN, NOW)
    file = tmp_path / "city_rides.json"
    text = file.read_text()
    if change is None:
        file.write_text(text[:-20])
    else:
        before = '"number": 0' if "number" in change else f'"hash": "{VIEW.hash}"'
        file.write_text(text.replace(before, change))
    with pytest.raises(PlanError, match=r"city_rides\.json cannot be read"):
        versions.of(PLAN, "city_rides")


def test_a_state_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be read or written"):
        ViewVersions(LocalState(tmp_path / "file" / "versions")).note(PLAN, NOW)


def test_names_lose_their_versions() -> None:
    facts = {"a@v2__x": 1, "a__y": 2, "b@0123abcd": 3, "c": 4, "d__e@v0__f": 5}
    assert without_versions(facts) == {"a__x": 1, "a__y": 2, "b": 3, "c": 4, "d__e__f": 5}
