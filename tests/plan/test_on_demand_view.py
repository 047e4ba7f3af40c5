"""On-demand views in the plan: what they read, what a request must bring, and whose hash they change."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from headrace.errors import LookupRequestError
from headrace.plan import Column, DType, FeatureRef, OnDemandInput, OnDemandView, Plan
from tests.plan.examples import PLAN

LAST, COUNT = FeatureRef(view="shops", feature="last_price"), FeatureRef(view="buyers", feature="count_1h")
OFFER = OnDemandView(
    name="offer",
    inputs=(OnDemandInput(ref=LAST, dtype=DType.FLOAT64), OnDemandInput(ref=COUNT, dtype=DType.INT64)),
    request=(Column(name="price", dtype=DType.FLOAT64),),
    features=(Column(name="over", dtype=DType.FLOAT64), Column(name="is_first", dtype=DType.BOOL)),
    mode="python",
    function="views:offer",
    code="0123456789abcdef",
)
WORDS = OFFER.model_copy(
    update={
        "name": "words",
        "inputs": (),
        "request": (Column(name="text", dtype=DType.STRING),),
        "features": OFFER.features[:1],
    }
)
WITH = PLAN.model_copy(update={"on_demand_views": {"offer": OFFER, "words": WORDS}})
OVER, FIRST = FeatureRef(view="offer", feature="over"), FeatureRef(view="offer", feature="is_first")


def test_plan_without_them_keeps_its_hash_and_its_views_theirs() -> None:
    assert PLAN.model_copy(update={"on_demand_views": {}}).hash == PLAN.hash
    assert WITH.hash != PLAN.hash
    assert {name: view.hash for name, view in WITH.views.items()} == {
        name: view.hash for name, view in PLAN.views.items()
    }
    assert Plan.model_validate_json(WITH.model_dump_json()) == WITH


@pytest.mark.parametrize(
    "change",
    [
        {"code": "fedcba9876543210"},
        {"function": "views:other"},
        {"mode": "pandas"},
        {"singleton": True},
        {"on_error": "null"},
        {"inputs": OFFER.inputs[:1]},
        {"request": ()},
        {"features": OFFER.features[:1]},
    ],
)
def test_every_part_changes_the_hash(change: dict[str, object]) -> None:
    other = OFFER.model_copy(update=change)
    assert other.hash != OFFER.hash
    assert WITH.model_copy(update={"on_demand_views": {"offer": other}}).hash != WITH.hash


def test_features_are_found_like_those_of_other_views() -> None:
    assert WITH.resolve(["offer:*", "shops:last_price"]) == [OVER, FIRST, LAST]
    assert WITH.dtype_of(FIRST) is DType.BOOL
    assert WITH.dtype_of(LAST) is DType.FLOAT64
    with pytest.raises(LookupRequestError, match="It has: over, is_first"):
        WITH.resolve("offer:nope")
    with pytest.raises(LookupRequestError, match="offer, words"):
        WITH.resolve("nope:x")


def test_stored_features_are_what_was_asked_for_and_what_that_reads_each_once() -> None:
    assert WITH.stored([OVER, LAST, FIRST]) == [LAST, COUNT]
    assert WITH.stored([COUNT]) == [COUNT]
    assert WITH.stored(WITH.resolve("words:over")) == []


def test_request_fields_are_those_of_the_views_asked_for() -> None:
    assert list(WITH.request_fields([LAST, OVER])) == ["price"]
    assert list(WITH.request_fields(WITH.resolve(["words:*", "offer:over"]))) == ["text", "price"]
    assert WITH.request_fields([LAST]) == {}


def test_copy_finds_its_own_views() -> None:
    assert WITH.find("offer") is OFFER
    assert WITH.model_copy(update={"on_demand_views": {}}).find("offer") is None
    assert WITH.find("shops") is WITH.views["shops"]


def test_mode_and_failure_are_two_words_each() -> None:
    for wrong in ({"mode": "substrait"}, {"on_error": "skip"}):
        with pytest.raises(ValidationError):
            OnDemandView.model_validate({**OFFER.model_dump(), **wrong})
