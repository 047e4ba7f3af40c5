"""The plan: its hash, its sources and views by name, and what a request's features mean."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from headrace.errors import LookupRequestError
from headrace.plan import Column, DType, Feature, FeatureRef, Plan, View
from tests.plan.examples import PLAN, body


def paths(value: Any, so_far: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a plan's JSON that holds no others."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from paths(inner, (*so_far, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from paths(inner, (*so_far, number))
    else:
        yield so_far


def changed(path: tuple[Any, ...]) -> Plan:
    """The example with one value changed to another that the model takes."""
    whole = body()
    *way, last = path
    holder: Any = whole
    for step in way:
        holder = holder[step]
    other = {"nullable": not holder[last], "key": "other"}
    is_number = isinstance(holder[last], int) and last != "nullable"
    if holder[last] in list(DType):
        holder[last] = "bool"
    else:
        holder[last] = holder[last] + 1 if is_number else other.get(last, f"{holder[last]}x")
    if last in ("window_us", "slide_us") and not is_number:
        holder[last] = 5  # from a lifetime
    return Plan.model_validate(whole)


VALUES = [path for path in paths(body()) if path != ("format",)]


@pytest.mark.parametrize("path", VALUES, ids=[".".join(map(str, path)) for path in VALUES])
def test_hash_changes_with_every_value(path: tuple[Any, ...]) -> None:
    other = changed(path)
    assert other != PLAN
    assert other.hash != PLAN.hash
    in_view = path[:2] == ("views", "shops")
    assert (other.views["shops"].hash != PLAN.views["shops"].hash) == in_view
    assert other.views["buyers"].hash == PLAN.views["buyers"].hash or path[:2] == ("views", "buyers")


def test_hash_changes_with_the_order_of_features_keys_and_columns() -> None:
    """Records are laid out in that order."""
    for keys in (("views", "shops", "features"), ("views", "shops", "entities"), ("sources", "orders", "columns")):
        whole = body()
        whole[keys[0]][keys[1]][keys[2]].reverse()
        assert Plan.model_validate(whole).hash != PLAN.hash


def test_hash_does_not_change_with_the_order_of_names() -> None:
    whole = body()
    for kind in ("sources", "views", "services"):
        whole[kind] = dict(reversed(whole[kind].items()))
    assert Plan.model_validate(dict(reversed(whole.items()))).hash == PLAN.hash


def test_hash_is_the_same_in_every_process() -> None:
    program = "import sys; from headrace.plan import Plan; print(Plan.model_validate_json(sys.stdin.read()).hash)"
    for seed in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=PLAN.model_dump_json(),
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == PLAN.hash


def test_hash_stays_from_release_to_release() -> None:
    """Stores in the field are keyed by view hashes: if this changes, every store has to be rebuilt."""
    assert PLAN.views["buyers"].hash == "6983acb6a41df90e"
    assert PLAN.views["buyers"].versioned_name == "buyers@6983acb6a41df90e"


def test_plan_cannot_be_changed() -> None:
    for frozen in (PLAN, PLAN.sources["orders"], PLAN.views["shops"], PLAN.views["shops"].features[0]):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(frozen, next(iter(type(frozen).model_fields)), "other")


@pytest.mark.parametrize(
    "change",
    [
        {"topic": "other"},
        {"timestamp_field": "other"},
        {"columns": tuple(Column(name=c.name, dtype=DType.INT64) for c in PLAN.sources["orders"].columns)},
    ],
)
def test_what_a_view_reads_of_its_source_is_part_of_its_hash(change: dict[str, Any]) -> None:
    """The mean of an int and of a float are floats both; their records cannot be told apart by their bytes."""
    orders, shops = PLAN.sources["orders"], PLAN.views["shops"]
    before = shops.model_copy(update={"input": orders.input_of(shops.features)})
    after = shops.model_copy(update={"input": orders.model_copy(update=change).input_of(shops.features)})
    assert before.hash != after.hash
    unread = orders.model_copy(update={"max_future_us": 5, "key": None, "model": "events:Other"})
    assert unread.input_of(shops.features) == before.input


def test_changed_copy_has_a_hash_of_its_own() -> None:
    plan = Plan.model_validate(body())
    view = plan.views["shops"]
    assert plan.hash == PLAN.hash
    assert view.hash == PLAN.views["shops"].hash
    other = view.model_copy(update={"name": "stores"})
    assert other.hash != view.hash
    assert other.hash == View.model_validate(other.model_dump()).hash
    assert plan.model_copy(update={"project": "other"}).hash != plan.hash
    assert plan.model_copy(deep=True).hash == plan.hash


@pytest.mark.parametrize("field", ["window_us", "slide_us"])
@pytest.mark.parametrize("length", [0, -1])
def test_window_has_a_length(field: str, length: int) -> None:
    fields = {"name": "f", "function": "count", "column": "*", "window_us": 10, "slide_us": 5, "dtype": "int64"}
    with pytest.raises(ValidationError, match="greater than 0"):
        Feature.model_validate({**fields, field: length})


def test_sources_views_and_columns_are_found_by_name() -> None:
    orders, shops = PLAN.sources["orders"], PLAN.views["shops"]
    assert PLAN.source_of(shops) is orders
    assert [view.name for view in PLAN.views_of("orders")] == ["shops", "buyers"]
    assert PLAN.views_of("refunds") == []
    assert PLAN.source_for_topic("orders-topic") is orders
    assert orders.column("price").name == "price"
    assert shops.feature("count_1h").window_us == 3_600_000_000
    assert shops.join_keys == ("shop", "region")
    for find in (PLAN.source_for_topic, orders.column, shops.feature):
        with pytest.raises(KeyError, match="never"):
            find("never")


def refs(*names: str) -> list[FeatureRef]:
    return [FeatureRef(view=name.split(":")[0], feature=name.split(":")[1]) for name in names]


@pytest.mark.parametrize(
    ("features", "meant"),
    [
        ("desk", refs("buyers:count_1h", "shops:last_price")),
        (["desk"], refs("buyers:count_1h", "shops:last_price")),
        (["shops:*"], refs("shops:count_1h", "shops:last_price")),
        ("shops:*", refs("shops:count_1h", "shops:last_price")),
        ("shops:last_price", refs("shops:last_price")),
        (["shops:last_price", "buyers:count_1h"], refs("shops:last_price", "buyers:count_1h")),
        (("shops:last_price", "shops:*", "desk"), refs("shops:last_price", "shops:count_1h", "buyers:count_1h")),
        (["empty"], []),
    ],
)
def test_features_resolve_in_the_order_asked_each_once(
    features: str | list[str] | tuple[str, ...], meant: list[FeatureRef]
) -> None:
    assert PLAN.resolve(features) == meant


@pytest.mark.parametrize(
    ("features", "what", "hint"),
    [
        ([], "The request names no features", "Feature services: desk, empty. Views: shops, buyers"),
        ("shops", "no feature service named 'shops'", "ask for view:feature, or view:*"),
        (["desk", "disk"], "no feature service named 'disk'", "Feature services: desk, empty"),
        (["carrier:*"], "no view named 'carrier' (in 'carrier:*')", "Views: shops, buyers"),
        (["shops:mean"], "The view 'shops' has no feature named 'mean'", "It has: count_1h, last_price."),
        ([""], "no feature service named ''", "Feature services: desk"),
        (["shops:count_1h:x"], "has no feature named 'count_1h:x'", "It has: count_1h"),
    ],
)
def test_unknown_name_is_refused_with_what_there_is(features: str | list[str], what: str, hint: str) -> None:
    with pytest.raises(LookupRequestError) as caught:
        PLAN.resolve(features)
    assert what in caught.value.what
    assert hint in str(caught.value.hint)


def test_plan_with_nothing_says_so() -> None:
    with pytest.raises(LookupRequestError, match=r"Feature services: none\. Views: none"):
        Plan(project="p", sources={}, views={}).resolve("desk")


def test_feature_is_named_view_feature_in_results() -> None:
    assert FeatureRef(view="shops", feature="count_1h").column == "shops__count_1h"
