from __future__ import annotations

from typing import Any

import pytest

from headrace.errors import PermissionDeniedError
from headrace.plan import FeatureRef, Plan
from headrace.serving.identity import Caller, Grant, Permission
from headrace.serving.permissions import require_features, visible_catalog
from tests.training.conftest import PLAN, VIEW, with_one_more

WHOLE = with_one_more("city_more", VIEW)
PLAN_2 = PLAN.model_copy(
    update={
        "views": {"city_rides": VIEW, "city_more": WHOLE},
        "services": {
            **PLAN.services,
            "mixed": (FeatureRef(view="city_rides", feature="n_10m"), FeatureRef(view="city_more", feature="more")),
        },
    }
)
READ = Permission.READ_ONLINE


def caller(*, services: tuple[str, ...] = (), views: tuple[str, ...] = (), may: Permission = READ) -> Caller:
    return Caller("kim", (Grant(frozenset({may}), frozenset(services), frozenset(views)),))


def allows(one: Caller, features: Any, plan: Plan = PLAN_2, permission: Permission = READ) -> bool:
    try:
        require_features(one, permission, plan, features)
    except PermissionDeniedError:
        return False
    return True


@pytest.mark.parametrize(
    "asked",
    ["model", ["model"], ["city_rides:n_10m"], ["model", "city_rides:max_price"]],
)
def test_a_service_grants_its_features_however_they_are_asked_for(asked: Any) -> None:
    assert allows(caller(services=("model",)), asked)


@pytest.mark.parametrize(
    "asked",
    [
        "mixed",
        ["model", "mixed"],
        ["city_more:more"],
        ["city_rides:*"],
        ["city_rides@v1:n_10m"],
        ["city_rides:unknown"],
        ["nowhere:x"],
        "nowhere",
        ["nowhere@v1:x"],
        ["*"],
        ["*:*"],
    ],
)
def test_a_service_grants_nothing_else(asked: Any) -> None:
    assert not allows(caller(services=("model",)), asked)


@pytest.mark.parametrize(
    "asked", [["city_rides:*"], ["city_rides:n_10m"], ["city_rides@v1:n_10m"], "model", ["city_rides:unknown"]]
)
def test_a_view_grants_all_its_features_and_versions_and_services_of_only_it(asked: Any) -> None:
    assert allows(caller(views=("city_rides",)), asked)


def test_a_view_does_not_grant_a_service_that_contains_more() -> None:
    assert not allows(caller(views=("city_rides",)), "mixed")
    assert allows(caller(views=("city_rides", "city_more")), "mixed")


@pytest.mark.parametrize("asked", ["model", "mixed", ["city_more:more"], ["city_rides@v2:*"], "nowhere"])
def test_a_star_grants_every_view(asked: Any) -> None:
    assert allows(caller(views=("*",)), asked)
    assert allows(Caller.anyone(), asked)


def test_nothing_is_granted_by_default_and_no_permission_contains_another() -> None:
    assert not allows(Caller("nobody"), "model")
    for permission in Permission:
        for other in Permission:
            assert allows(caller(views=("*",), may=permission), "model", permission=other) is (permission is other)


def test_several_grants_add_up_and_do_not_mix() -> None:
    both = Caller(
        "kim",
        (
            Grant(frozenset({READ}), views=frozenset({"city_rides"})),
            Grant(frozenset({Permission.WRITE}), views=frozenset({"city_more"})),
        ),
    )
    both.require(READ, views=["city_rides"])
    both.require(Permission.WRITE, views=["city_more"])
    for permission, view in ((READ, "city_more"), (Permission.WRITE, "city_rides")):
        with pytest.raises(
            PermissionDeniedError, match=f"'kim' lacks the permission {permission} for the view '{view}'"
        ):
            both.require(permission, views=[view])


def test_what_exists_and_what_does_not_is_refused_in_the_same_words() -> None:
    limited = caller(services=("model",))
    said = []
    for name in ("city_more:more", "nowhere:more"):
        with pytest.raises(PermissionDeniedError) as error:
            require_features(limited, READ, PLAN_2, [name])
        said.append(str(error.value).replace(name, "NAME"))
    assert said[0] == said[1]
    assert "city_more" not in said[0]
    assert "read-online of the services model and the views none" in said[0]


def test_a_remembered_answer_is_of_one_plan_and_one_permission() -> None:
    limited = caller(services=("model",))
    assert allows(limited, ["city_rides:n_10m"])
    changed = PLAN_2.model_copy(update={"services": {}})
    assert not allows(limited, ["city_rides:n_10m"], changed)
    assert not allows(limited, ["city_rides:n_10m"], permission=Permission.READ_HISTORY)
    assert allows(limited, ["city_rides:n_10m"])


def test_no_feature_asked_for_needs_the_permission_still() -> None:
    assert not allows(Caller("nobody"), [])
    assert allows(caller(services=("model",)), [])


def test_a_catalogue_shows_what_a_caller_may_read() -> None:
    catalog = {
        "project": "test",
        "services": {"model": [], "mixed": []},
        "views": {
            name: {"version": view.hash, "features": {one.name: str(one.dtype) for one in view.features}}
            for name, view in PLAN_2.views.items()
        },
    }
    seen = visible_catalog(caller(services=("mixed",)), PLAN_2, catalog)
    assert list(seen["services"]) == ["mixed"]
    assert {name: list(facts["features"]) for name, facts in seen["views"].items()} == {
        "city_rides": ["n_10m"],
        "city_more": ["more"],
    }
    assert visible_catalog(Caller.anyone(), PLAN_2, catalog) == catalog
    assert visible_catalog(Caller("nobody"), PLAN_2, catalog)["views"] == {}


@pytest.mark.parametrize("asked", [[f"city_rides:f{number}" for number in range(65)], ["city_rides:" + "x" * 5_000]])
def test_only_small_requests_are_remembered(asked: list[str]) -> None:
    one = caller(views=("city_rides",))
    assert allows(one, asked)
    assert not one.remembered
    assert allows(one, ["city_rides:n_10m"])
    assert len(one.remembered) == 1
