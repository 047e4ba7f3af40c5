"""Lookups of many rows at once: each row is answered as if it were asked for alone, and as the events say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headrace.lookup import FeatureClient, OnlineFeatures
from headrace.plan import FeatureRef, Plan
from headrace.stores import OnlineStore
from tests.lookup.conftest import PLAN, at, fill, order, serving

SHOPS = ["a", "b", "c", "d"]


def _random_events(dice: np.random.Generator, store: OnlineStore) -> list[dict[str, Any]]:
    """Events of some shops in some partitions, applied; a shop may be in none, in one or in several."""
    events: list[dict[str, Any]] = []
    for partition in range(3):
        n = int(dice.integers(0, 9))
        shops = dice.choice(SHOPS[: int(dice.integers(1, 4))], n)
        new = [
            order(int(us), known=200, shop=str(shop), price=float(price), pieces=int(price) - 4, note=f"n{price}")
            for us, shop, price in zip(dice.integers(60, 190, n), shops, dice.integers(1, 9, n), strict=True)
        ]
        if new:
            fill(store, *new, partition=partition)
        events += new
    return events


def _rows(answer: OnlineFeatures) -> list[tuple[Any, ...]]:
    return list(zip(*answer.to_dict().values(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25))
def test_each_row_of_many_is_answered_as_if_alone_and_as_the_events_say(
    store: OnlineStore, client: FeatureClient, seed: int
) -> None:
    dice = np.random.default_rng(seed)
    events = _random_events(dice, store)
    asked = [str(shop) for shop in dice.choice([*SHOPS, "never"], int(dice.integers(1, 9)))]
    names = ["shops:*", "windows:*"]
    moment = at(int(dice.integers(200, 260)))
    answer = client.get_online_features(names, {"shop": asked}, at=moment)
    alone = [client.get_online_features(names, [{"shop": shop}], at=moment) for shop in asked]
    assert _rows(answer) == [row for one in alone for row in _rows(one)]
    assert answer.records() == [record for one in alone for record in one.records()]
    newest = answer.at_us // 10
    for row, shop in enumerate(asked):
        mine = [event for event in events if event["shop"] == shop]
        counted = [event for event in mine if newest - 6 < event["at"] // 10 <= newest]
        prices = [event["price"] for event in counted]
        found = {name: values[row] for name, values in answer.to_dict().items()}
        assert found["shops__count_60"] == found["windows__count_60"] == len(counted)
        assert found["windows__max_price_60"] == max(prices, default=None)
        assert found["shops__mean_price_60"] == (sum(prices) / len(prices) if prices else None)
        assert found["shops__pieces_ever"] == sum(event["pieces"] for event in mine)
        assert found["shops__newest"] == (at(max(event["at"] for event in mine)) if mine else None)
        windows = answer.views["windows"]
        assert windows.status[row] == ("present" if counted else "expired" if mine else "unknown_key")
        assert windows.newest_event_us[row] == max((event["at"] for event in mine), default=None)


def test_what_a_request_means_is_worked_out_once_until_other_versions_are_served(
    store: OnlineStore, client: FeatureClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved: list[object] = []
    resolve = Plan.resolve

    def noted(plan: Plan, names: str | list[str] | tuple[str, ...]) -> list[FeatureRef]:
        resolved.append(names)
        return resolve(plan, names)

    monkeypatch.setattr(Plan, "resolve", noted)
    fill(store, order(5))
    for _ in range(3):
        assert client.get_online_features(["windows:count_60"], [{"shop": "a"}]).to_dict()["windows__count_60"] == [1]
    assert len(resolved) == 1
    client.get_online_features("desk", [{"shop": "a", "buyer": 7}])
    assert len(resolved) == 2
    store.change(serving())  # another generation
    client.get_online_features(["windows:count_60"], [{"shop": "a"}])
    assert len(resolved) == 3


def test_answers_do_not_share_what_callers_may_change(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5))
    first = client.get_online_features(["windows:*"], [{"shop": "a"}])
    first.topics.clear()
    first.dtypes.clear()
    second = client.get_online_features(["windows:*"], [{"shop": "a"}])
    assert second.topics == {"windows": "orders-topic"}
    assert list(second.dtypes) == ["windows__count_60", "windows__max_price_60"]


def test_features_that_mean_the_same_are_all_answered(store: OnlineStore) -> None:
    counted = PLAN.views["windows"].feature("count_60")
    other = counted.model_copy(update={"name": "another_count_60"})
    view = PLAN.views["windows"].model_copy(update={"features": (counted, other)})
    plan = Plan(project="p", sources=PLAN.sources, views={"windows": view})
    store.change(serving(plan))
    fill(store, order(5), plan=plan)
    answer = FeatureClient(plan=plan, store=store).get_online_features(["windows:*"], [{"shop": "a"}]).to_dict()
    assert answer == {"shop": ["a"], "windows__count_60": [1], "windows__another_count_60": [1]}


@pytest.mark.parametrize("slide", [1, 7])
def test_tiles_however_far_apart_are_told_apart(store: OnlineStore, slide: int) -> None:
    """Tiles of one microsecond, centuries apart: their numbers and the rows' do not fit one word together."""
    ever = 4 * 10**18 // slide * slide
    sums = PLAN.views["shops"].feature("pieces_ever")
    features = (
        sums.model_copy(update={"name": "exact", "window_us": 3 * slide, "slide_us": slide}),
        sums.model_copy(update={"name": "long", "window_us": ever, "slide_us": slide}),
    )
    view = PLAN.views["windows"].model_copy(update={"features": features})
    plan = Plan(project="p", sources=PLAN.sources, views={"windows": view})
    store.change(serving(plan))
    newest = 2 * 10**18
    fill(store, order(-newest, known=newest, pieces=2), order(newest, shop="b"), order(newest), plan=plan)
    client = FeatureClient(plan=plan, store=store)
    answer = client.get_online_features(["windows:*"], {"shop": ["b", "a", "never"]}).to_dict()
    assert answer["windows__exact"] == [1, 1, 0]
    assert answer["windows__long"] == [1, 1 + 2 * (2 * newest < ever), 0]
