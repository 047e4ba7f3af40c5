"""Looking up: what is found, as of when, what the answer knew, and what is refused."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from headrace.config import Clock, Project
from headrace.errors import (
    ConfigError,
    LookupRequestError,
    LookupTimeError,
    PlanError,
    StoreUnavailableError,
)
from headrace.lookup import FeatureClient, Status
from headrace.plan import Plan, write_plan
from headrace.stores import OnlineStore, open_store
from tests.lookup.conftest import PLAN, at, fill, order, serving

A = [{"shop": "a"}]


def one(client: FeatureClient, feature: str, us: int | None = None, shop: str = "a") -> object:
    answer = client.get_online_features([feature], [{"shop": shop}], at=None if us is None else at(us))
    return answer.to_dict()[feature.replace(":", "__")][0]


# What a status says


def test_status_tells_present_expired_and_unknown_apart(store: OnlineStore, client: FeatureClient) -> None:
    #   0         60
    #   |---------|---------    count_60, slide 10
    #   a              b        ^ 65: a has left, b has not
    fill(store, order(5, shop="a"), order(65, shop="b"))
    answer = client.get_online_features(["windows:*"], {"shop": ["a", "b", "never"]})
    windows = answer.views["windows"]
    assert windows.status == [Status.EXPIRED, Status.PRESENT, Status.UNKNOWN_KEY]
    assert windows.newest_event_us == [5, 65, None]
    assert windows.applied == [{0: 0}, {0: 1}, {}]
    columns = answer.to_dict()
    assert columns["windows__count_60"] == [0, 1, 0]
    assert columns["windows__max_price_60"] == [None, 1.0, None]


def test_entity_of_which_a_lifetime_counts_is_present_for_good(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5))
    answer = client.get_online_features(["shops:count_60", "windows:count_60"], A, at=at(10**15))
    assert {name: view.status for name, view in answer.views.items()} == {
        "shops": [Status.PRESENT],
        "windows": [Status.EXPIRED],
    }


def test_events_that_no_window_reaches_yet_are_not_present(store: OnlineStore) -> None:
    lagging = PLAN.views["windows"].feature("count_60").model_copy(update={"offset_us": 100})
    view = PLAN.views["windows"].model_copy(update={"features": (lagging,)})
    plan = Plan(project="p", sources=PLAN.sources, views={"windows": view})
    store.change(serving(plan))
    fill(store, order(1_000), plan=plan)
    client = FeatureClient(plan=plan, store=store)
    found = {t: client.get_online_features(["windows:*"], [{"shop": "a"}], at=at(t)) for t in (1_000, 1_100, 1_200)}
    assert [one.views["windows"].status[0] for one in found.values()] == [
        Status.EXPIRED,
        Status.PRESENT,
        Status.EXPIRED,
    ]
    assert [one.to_dict()["windows__count_60"][0] for one in found.values()] == [0, 1, 0]


def test_status_is_each_views_own(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5, buyer=None))
    fill(store, order(7, shop=None, buyer=8), partition=1)
    answer = client.get_online_features(["shops:count_60", "buyers:count_60"], [{"shop": "a", "buyer": 7}])
    assert answer.views["shops"].status == [Status.PRESENT]
    assert answer.views["buyers"].status == [Status.UNKNOWN_KEY]


def test_newest_event_is_by_event_time_over_all_partitions(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(40), order(12, known=41))
    fill(store, order(37, known=42), partition=2)
    answer = client.get_online_features(["shops:count_60"], A)
    assert answer.views["shops"].newest_event_us == [40]


# Evidence


def test_evidence_is_the_applied_offset_per_source_partition(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5), order(6, shop="b"), order(7), partition=0, first=10)
    fill(store, order(8, shop="b"), partition=2, first=3)
    fill(store, order(9), source="refunds", partition=1, first=90)
    answer = client.get_online_features("desk", [{"shop": shop, "buyer": 7} for shop in ("a", "b", "c")])
    # The offset is that of the entity's own record, not the partition's: what others did since cannot matter to it.
    assert answer.views["shops"].applied == [{0: 12}, {0: 11, 2: 3}, {}]
    assert answer.views["refunds"].applied == [{1: 90}, {}, {}]
    assert answer.topics == {"refunds": "refunds-topic", "shops": "orders-topic", "pairs": "orders-topic"}
    assert answer.plan_hash == PLAN.hash
    assert client.positions() == store.positions()


def test_partials_of_all_partitions_are_one_value(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5, price=1.0, pieces=4), order(6, price=2.0, pieces=9, note="x"), partition=0)
    fill(store, order(7, price=6.0, pieces=-1, note="y"), partition=1)
    fill(store, order(6, price=7.0, pieces=5, note="z"), partition=3)
    answer = client.get_online_features(["shops:*"], A).to_dict()
    assert answer["shops__count_60"] == [4]
    assert answer["shops__mean_price_60"] == [4.0]
    assert answer["shops__pieces_ever"] == [17]
    assert answer["shops__max_pieces_60"] == [9]
    assert answer["shops__last_note"] == ["y"]
    assert answer["shops__newest"] == [at(7)]


def test_entity_asked_for_twice_is_answered_twice(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5))
    fill(store, order(6, shop="b"), order(7), partition=1)
    answer = client.get_online_features(["shops:count_60"], {"shop": ["a", "b", "a"]})
    assert answer.to_dict() == {"shop": ["a", "b", "a"], "shops__count_60": [2, 1, 2]}
    assert answer.views["shops"].applied == [{0: 0, 1: 1}, {1: 0}, {0: 0, 1: 1}]


# Now


def test_now_of_the_record_clock_is_the_newest_record_of_any_topic(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5))
    assert client.now() == at(5)
    assert one(client, "windows:count_60") == 1
    fill(store, order(70), source="refunds", partition=4)
    assert client.now() == at(70)
    answer = client.get_online_features(["windows:count_60"], A)
    assert (answer.at, answer.to_dict()["windows__count_60"]) == (at(70), [0])


def test_now_of_the_record_clock_is_when_the_event_was_sent_not_when_it_happened(
    store: OnlineStore, client: FeatureClient
) -> None:
    fill(store, order(5, known=42))
    assert client.now() == at(42)


def test_now_of_the_system_clock_is_now(store: OnlineStore) -> None:
    store.change(serving(clock=Clock.SYSTEM))
    client = FeatureClient(plan=PLAN, store=store)
    now = time.time_ns() // 1000
    fill(store, order(now), now=now)
    before = datetime.now(UTC)
    answer = client.get_online_features(["shops:pieces_ever", "shops:exact_5"], A)
    assert before - timedelta(seconds=1) <= answer.at <= datetime.now(UTC) + timedelta(seconds=1)
    assert before - timedelta(seconds=1) <= client.now() <= datetime.now(UTC) + timedelta(seconds=1)
    assert answer.to_dict()["shops__pieces_ever"] == [1]


def test_value_changes_as_time_passes_with_no_new_event(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5), order(29))
    assert [one(client, "shops:count_60", t) for t in (29, 59, 60, 79, 80)] == [2, 2, 1, 1, 0]
    assert [one(client, "shops:exact_5", t) for t in (29, 33, 34)] == [1, 1, 0]


# Times that cannot be answered


def test_past_that_later_events_have_changed_is_refused_not_guessed(store: OnlineStore, client: FeatureClient) -> None:
    #   0    5         20
    #   |    a         b     b may lie in a tile that the lookup counts; when it became known is too late
    fill(store, order(5), order(20))
    with pytest.raises(LookupTimeError, match=r"shops:pieces_ever(?s:.*)later(?s:.*)headrace history"):
        one(client, "shops:pieces_ever", 19)
    assert one(client, "shops:pieces_ever", 20) == 2
    assert one(client, "shops:count_60", 9) == 1  # b's tile begins after that
    fill(store, order(6, known=30), first=2)  # late: it lies in the tile that counts
    with pytest.raises(LookupTimeError, match="known later"):
        one(client, "shops:count_60", 9)
    assert one(client, "shops:count_60", 30) == 3


def test_past_that_pruned_tiles_would_have_served_is_refused_not_guessed(
    store: OnlineStore, client: FeatureClient
) -> None:
    fill(store, order(5))
    fill(store, order(100), first=1)  # now is 100: tile 0 can be reached no more
    with pytest.raises(LookupTimeError, match="pruned"):
        one(client, "windows:count_60", 59)
    assert one(client, "windows:count_60", 60) == 0
    assert one(client, "windows:count_60", 59, shop="never") == 0


def test_lookup_of_now_is_never_refused(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5), order(700, known=20), now=20)
    assert one(client, "shops:count_60") == 1
    assert one(client, "shops:pieces_ever") == 2


def test_naive_time_is_refused(client: FeatureClient) -> None:
    with pytest.raises(LookupRequestError, match=r"at=2013-01-01T10:00:00 has no time zone(?s:.*)UTC"):
        client.get_online_features(["shops:*"], A, at=datetime(2013, 1, 1, 10))  # noqa: DTZ001 that is the point


def test_time_may_be_in_any_zone(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5))
    answer = client.get_online_features(["shops:count_60"], A, at=at(7).astimezone(timezone(timedelta(hours=-5))))
    assert (answer.at_us, answer.at) == (7, at(7))


# Features


@pytest.mark.parametrize(
    ("features", "columns"),
    [
        ("desk", ["refunds__refunds_ever", "shops__count_60", "pairs__count_60"]),
        (["desk"], ["refunds__refunds_ever", "shops__count_60", "pairs__count_60"]),
        (["windows:*"], ["windows__count_60", "windows__max_price_60"]),
        (
            ["shops:newest", "refunds:refunds_ever", "shops:count_60"],
            ["shops__newest", "refunds__refunds_ever", "shops__count_60"],
        ),
        (
            ["pairs:count_60", "desk", "windows:*", "windows:count_60"],
            [
                "pairs__count_60",
                "refunds__refunds_ever",
                "shops__count_60",
                "windows__count_60",
                "windows__max_price_60",
            ],
        ),
        (("shops:count_60",), ["shops__count_60"]),
    ],
)
def test_features_come_in_the_order_asked_each_once(
    store: OnlineStore, client: FeatureClient, features: str | list[str] | tuple[str, ...], columns: list[str]
) -> None:
    fill(store, order(5))
    answer = client.get_online_features(features, [{"shop": "a", "buyer": 7}])
    assert list(answer.to_dict()) == ["shop", "buyer", *columns]


# Projects and stores


def project_in(folder: Path) -> Project:
    (folder / "headrace.toml").write_text('[headrace]\nclock = "record"\n')
    return Project.load(folder)


def test_project_gives_plan_and_store_and_the_client_closes_it(tmp_path: Path) -> None:
    project = project_in(tmp_path)
    write_plan(PLAN, project.plan_file)
    with open_store(project.store_url, writable=True) as store:
        store.change(serving())
        fill(store, order(5))
    for start in (project, tmp_path, str(tmp_path / "headrace.toml")):
        with FeatureClient(start) as client:
            assert client.plan == PLAN
            assert one(client, "shops:count_60") == 1
    with pytest.raises(StoreUnavailableError):
        client.positions()
    client.close()  # twice is fine
    with open_store(project.store_url, writable=True) as again:  # the process has let go of it
        assert again.catalogue().clock is Clock.RECORD


def test_store_that_was_given_stays_open(store: OnlineStore) -> None:
    fill(store, order(5))
    with FeatureClient(plan=PLAN, store=store) as client:
        assert one(client, "shops:count_60") == 1
    assert len(store.positions()) == 1


def test_project_without_plan_or_store_or_toml_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"headrace.toml(?s:.*)headrace init"):
        FeatureClient(tmp_path)
    project = project_in(tmp_path)
    with pytest.raises(PlanError, match=r"no plan at(?s:.*)headrace apply"):
        FeatureClient(project)
    write_plan(PLAN, project.plan_file)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreUnavailableError, match=r"no online store at(?s:.*)headrace stream"):
        FeatureClient()
