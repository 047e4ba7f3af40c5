"""What is looked up while a worker fills its store from the log: nothing, until all of it is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from headrace.errors import HeadraceError, StoreNotReadyError
from headrace.ingest import Origin, import_history
from headrace.kafka import KafkaConnection
from headrace.log import EventLog
from headrace.lookup import FeatureClient
from headrace.plan import read_plan, write_plan
from headrace.records.applier import Applier
from headrace.stores import CatalogueChange, OnlineStore, open_store
from headrace.stores.lmdb.store import LmdbStore
from headrace.stores.redis.store import RedisStore
from headrace.worker.startup import prepare, refill
from tests.ingest.conftest import FEATURES, SOURCE, Shop, random_sales, shop_at

pytestmark = pytest.mark.kafka

SALES = random_sales(3, 300)
MINUTE = 2_000


class Killed(Exception):
    """Stands for a worker's sudden end."""


@pytest.fixture(params=["lmdb", "redis"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, topic_name: str, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop whose log and store hold 300 sales."""
    if request.param == "redis":
        monkeypatch.setenv("HEADRACE_STORE", request.getfixturevalue("redis_url"))
    made = shop_at(tmp_path)
    made.load(made.put(SALES), known_at="seen")
    return made


def look_up(shop: Shop) -> object:
    try:
        return shop.online("abc", MINUTE)
    except HeadraceError as error:
        return type(error)


def empty(shop: Shop) -> None:
    with open_store(shop.project.store_url, writable=True) as store:
        store.clear()


@pytest.fixture
def seen(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What lookups said after each batch that was applied."""
    said: list[object] = []
    apply: Callable[..., Any] = Applier.apply

    def applying(*args: Any, **kwargs: Any) -> Any:
        done = apply(*args, **kwargs)
        said.append(look_up(shop))
        return done

    monkeypatch.setattr(Applier, "apply", applying)
    return said


def start(shop: Shop, broker: str, *, rebuild: bool = False) -> None:
    prepare(shop.project, read_plan(shop.project.plan_file), KafkaConnection.of(broker), rebuild=rebuild).close()


@pytest.mark.parametrize("rebuild", [False, True])
def test_lookups_are_refused_until_the_store_holds_all_of_the_log(
    shop: Shop, broker: str, seen: list[object], rebuild: bool
) -> None:
    right = look_up(shop)
    if not rebuild:
        empty(shop)
        assert look_up(shop) is StoreNotReadyError
    start(shop, broker, rebuild=rebuild)
    assert seen
    assert set(map(str, seen)) == {str(StoreNotReadyError)}
    assert look_up(shop) == right


def test_worker_killed_while_it_fills_leaves_a_store_that_is_not_ready_and_the_next_completes_it(
    shop: Shop, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = look_up(shop)
    apply: Callable[..., Any] = Applier.apply

    def die(*args: Any, **kwargs: Any) -> Any:
        apply(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Applier, "apply", die)
        with pytest.raises(Killed):
            start(shop, broker, rebuild=True)
    assert look_up(shop) is StoreNotReadyError
    start(shop, broker)
    assert look_up(shop) == right


def test_refill_after_an_erasure_answers_nothing_meanwhile(shop: Shop, seen: list[object]) -> None:
    right = look_up(shop)
    with open_store(shop.project.store_url, writable=True) as store:
        refill(store, shop.project, read_plan(shop.project.plan_file))
    assert set(map(str, seen)) == {str(StoreNotReadyError)}
    assert look_up(shop) == right


def test_store_that_a_first_worker_makes_answers_at_once_where_the_log_holds_nothing(
    tmp_path: Path, broker: str, topic_name: str
) -> None:
    shop = shop_at(tmp_path)
    start(shop, broker)
    with FeatureClient(shop.project) as client:
        assert client.get_online_features(FEATURES, [{"shop": "a"}]).to_dict()["shops__n_10m"] == [0]


def test_import_into_an_emptied_store_does_not_pass_for_all_there_is(shop: Shop, broker: str) -> None:
    plan = read_plan(shop.project.plan_file)
    other = plan.sources["sales"].model_copy(update={"name": "returns", "topic": "shop.returns"})
    write_plan(plan.model_copy(update={"sources": {**plan.sources, "returns": other}}), shop.project.plan_file)
    import_history(shop.project, "returns", Origin(files=shop.put(SALES, "returns.parquet")), known_at="seen")
    empty(shop)
    done = shop.load(shop.put(random_sales(4, 10), "more.parquet"), known_at="seen")
    assert done.online is not None
    assert done.online.events is None
    assert "next worker" in done.online.note
    assert look_up(shop) is StoreNotReadyError
    start(shop, broker)
    assert look_up(shop) != StoreNotReadyError


def test_refill_of_a_store_that_was_filled_in_part_takes_all_of_the_log(shop: Shop) -> None:
    right = look_up(shop)
    rows = pa.Table.from_batches(EventLog(shop.project.log_path, SOURCE).scan())
    shutil.rmtree(shop.project.log_path)
    streamed = rows.drop_columns(["_partition"]).append_column("_partition", pa.array([0] * len(rows), pa.int32()))
    EventLog(shop.project.log_path, SOURCE).append(streamed, {0: len(rows) - 1})
    empty(shop)  # a worker was killed before it had filled anything
    with open_store(shop.project.store_url, writable=True) as store:
        refill(store, shop.project, read_plan(shop.project.plan_file))
    assert look_up(shop) == right


def test_rebuild_gives_signs_of_life_while_it_reads_the_log(
    shop: Shop, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    for kind in (LmdbStore, RedisStore):
        clear = kind.clear

        def clearing(store: Any, clear: Callable[[Any], None] = clear) -> None:
            said.append("emptied")
            clear(store)

        monkeypatch.setattr(kind, "clear", clearing)
    plan = read_plan(shop.project.plan_file)
    prepare(shop.project, plan, KafkaConnection.of(broker), rebuild=True, on_step=lambda: said.append("step")).close()
    assert said.index("step") < said.index("emptied")


def test_import_leaves_a_store_that_a_worker_begins_to_fill_meanwhile_to_the_worker(
    shop: Shop, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = read_plan(shop.project.plan_file)

    def overtaken(store: OnlineStore, *_: object, **__: object) -> int:
        store.change(CatalogueChange().serve(plan.views.values(), is_filling=True))
        return 0

    with monkeypatch.context() as patch:
        patch.setattr("headrace.ingest.apply_online.replay", overtaken)
        shop.load(shop.put(random_sales(4, 10), "more.parquet"), known_at="seen")
    assert look_up(shop) is StoreNotReadyError
    start(shop, broker)
    assert look_up(shop) is not StoreNotReadyError
