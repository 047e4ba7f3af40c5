"""Applying fetches and looking up gives the values of a naive loop, however the fetches are cut or replayed."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import LookupTimeError, StoreUnavailableError
from headrace.lookup import Status
from headrace.plan import Feature
from headrace.records.applier import Applier
from headrace.stores.memory import MemoryStore
from tests.examples import few_and_many
from tests.records.orders import (
    EPOCH,
    PLAN,
    VIEW,
    Order,
    SoleStore,
    batch_of,
    client_of,
    new_store,
    positions_of,
)


def brute_force(orders: list[Order], shop: str, t: int, feature: Feature) -> Any:
    counted = []
    for o in orders:
        if o.shop != shop or o.known > t:
            continue
        if feature.window_us is not None and feature.slide_us is not None:
            n, tile_t, tile_e = feature.window_us // feature.slide_us, t // feature.slide_us, o.at // feature.slide_us
            if not (tile_t - n < tile_e <= tile_t):
                continue
        counted.append(o)
    counted.sort(key=lambda o: (o.at, o.partition, o.offset))
    if feature.column == "*":
        return len(counted)
    values = [getattr(o, feature.column) for o in counted]
    values = [v for v in values if v is not None]
    match feature.function:
        case "count":
            return len(values)
        case "sum":
            return sum(values)
        case "mean":
            return sum(values) / len(values) if values else None
        case "min":
            numbers = [v for v in values if not (isinstance(v, float) and math.isnan(v))]
            return min(numbers) if numbers else (values[0] if values else None)
        case "max":
            nans = [v for v in values if isinstance(v, float) and math.isnan(v)]
            return nans[0] if nans else max(values, default=None)
        case _:
            return values[-1] if values else None


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, datetime):
        ours = (ours - EPOCH) // timedelta(microseconds=1)
    if isinstance(ours, float) and isinstance(theirs, float | int):
        if math.isnan(ours) or math.isnan(theirs):
            return math.isnan(ours) and math.isnan(theirs)
        return ours == theirs or math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9)
    return bool(ours == theirs)


FLOATS = st.one_of(
    st.floats(-1000, 1000, allow_subnormal=False),
    st.just(math.nan),
    st.just(math.inf),
    st.just(-math.inf),
    st.integers(-3, 3).map(float),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Order]:
    """Orders in arrival order: late, out of order, future-dated, tied, with nulls, over several partitions."""
    n = draw(st.integers(0, 40))
    known = sorted(draw(st.lists(st.integers(-150, 300), min_size=n, max_size=n)))
    offsets: dict[int, int] = {}
    orders = []
    for moment in known:
        partition = draw(st.integers(0, 2))
        # Offsets may have holes (transactions, compaction) but never go back.
        offsets[partition] = offsets.get(partition, -1) + draw(st.integers(1, 3))
        orders.append(
            Order(
                shop=draw(st.sampled_from(["a", "ü", None])),
                at=moment - draw(st.sampled_from([0, 0, 0, 3, 20, 90, -2, -15])),
                known=moment,
                price=draw(st.none() | FLOATS),
                pieces=draw(st.none() | st.integers(-(2**60), 2**60)),
                gift=draw(st.none() | st.booleans()),
                note=draw(st.none() | st.text(max_size=3)),
                partition=partition,
                offset=offsets[partition],
            )
        )
    return orders


@few_and_many(4, 60)
@pytest.mark.parametrize("kind", [MemoryStore, SoleStore])
def test_lookup_equals_brute_force_however_fetches_are_cut_and_replayed(kind: type[MemoryStore], examples: int) -> None:
    @given(orders=histories(), data=st.data())
    @settings(max_examples=examples, deadline=None)
    def check(orders: list[Order], data: st.DataObject) -> None:
        check_lookup(kind, orders, data)

    check()


def check_lookup(kind: type[MemoryStore], orders: list[Order], data: st.DataObject) -> None:
    store = new_store(kind)
    applier = Applier(PLAN, store)
    start = 0
    while start < len(orders):
        end = data.draw(st.integers(start + 1, len(orders)), label="fetch ends")
        back = data.draw(st.integers(0, start), label="replayed from")
        fetch = orders[back:end]  # what was applied before is skipped by its position
        if isinstance(store, SoleStore):
            store.failing = data.draw(st.sampled_from(["", "", "", "before", "after"]), label="fails")
        with suppress(StoreUnavailableError):
            applier.apply([batch_of(fetch)], positions_of(fetch))
            start = end
    newest = max((o.known for o in orders), default=0)
    t = newest + data.draw(st.sampled_from([0, 1, 9, 10, 30, 100]), label="lookup after")
    answer = client_of(store).get_online_features(
        [f"{VIEW.name}:*"], [{"shop": "a"}, {"shop": "ü"}, {"shop": "never"}], at=EPOCH + timedelta(microseconds=t)
    )
    columns = answer.to_dict()
    for row, shop in enumerate(["a", "ü", "never"]):
        for feature in VIEW.features:
            ours = columns[f"{VIEW.name}__{feature.name}"][row]
            theirs = brute_force(orders, shop, t, feature)
            assert same(ours, theirs), (shop, feature.name, ours, theirs)
    seen = {o.shop for o in orders}
    status = answer.views[VIEW.name].status
    assert status[2] is Status.UNKNOWN_KEY
    assert (status[0] is Status.UNKNOWN_KEY) == ("a" not in seen)


@few_and_many(6, 30)
def test_lookup_in_the_past_is_exact_or_refused(examples: int) -> None:
    @given(orders=histories(), data=st.data())
    @settings(max_examples=examples, deadline=None)
    def check(orders: list[Order], data: st.DataObject) -> None:
        check_lookup_in_the_past(orders, data)

    check()


def check_lookup_in_the_past(orders: list[Order], data: st.DataObject) -> None:
    store = new_store()
    Applier(PLAN, store).apply([batch_of(orders)], positions_of(orders))
    t = data.draw(st.integers(-200, 300), label="lookup at")
    for feature in VIEW.features:
        try:
            answer = client_of(store).get_online_features(
                [f"{VIEW.name}:{feature.name}"], [{"shop": "a"}], at=EPOCH + timedelta(microseconds=t)
            )
        except LookupTimeError:
            continue
        assert same(answer.to_dict()[f"{VIEW.name}__{feature.name}"][0], brute_force(orders, "a", t, feature)), (
            feature.name
        )
