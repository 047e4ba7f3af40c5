"""What is forgotten is gone, everywhere that headrace keeps it, and stays out whatever is delivered again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from headrace.audit import audit_lookups
from headrace.config import Clock, Project
from headrace.erasure import Ledger, forget, inventory_of, places_of
from headrace.errors import LookupRequestError
from headrace.log import LookupTable
from headrace.log.topic_history import TopicHistory, TopicNotes
from headrace.lookup import FeatureClient
from headrace.plan import Plan
from headrace.records.applier import Applier
from headrace.stores import CatalogueChange
from headrace.worker.log_rows import batch_of_rows
from headrace.worker.startup import refill
from tests.erasure.shop import BOTH, IDENTITY, PLAN, RECORDS, Shop
from tests.worker.shop import NOON, SHOPS, SOURCE, Renewed, one_round, record

forgetting = sys.modules["headrace.erasure.forget"]  # `headrace.erasure.forget` is the function

# --- what is removed


def test_entity_is_gone_from_every_view_keyed_by_it_and_from_the_log(shop: Shop) -> None:
    done = shop.forget(shop="a")
    assert shop.logged() == [("b", 0, 1), ("c", 1, 1)]
    assert [json.loads(key) for key in shop.store.entities(SHOPS.hash)] == [["b"], ["c"]]
    assert sorted(json.loads(key) for key in shop.store.entities(BOTH.hash)) == [[2, "b"], [7, "c"]]
    assert (shop.counts("shop_sales", shop="a"), shop.counts("both", shop="a", pieces=1)) == (0, 0)
    assert (shop.counts("shop_sales", shop="b"), shop.counts("shop_sales", shop="c")) == (2, 7)
    assert done.online == {"shop_sales": 2, "both": 3}
    assert done.log == {"sales": 4}
    assert done.log_versions == {"sales": shop.log.version()}
    assert done.stale_views == ["by_pieces"]


def test_entity_of_two_keys_is_what_has_both(shop: Shop) -> None:
    done = shop.forget(shop="a", pieces=1)
    assert shop.logged() == [("b", 0, 1), ("a", 0, 2), ("c", 1, 1)]
    assert sorted(json.loads(key) for key in shop.store.entities(BOTH.hash)) == [[2, "a"], [2, "b"], [7, "c"]]
    assert done.online == {"both": 2}
    assert done.stale_views == ["by_pieces", "shop_sales"]


def test_key_of_numbers_is_forgotten_too(shop: Shop) -> None:
    assert shop.forget(pieces=2).log == {"sales": 2}
    assert shop.logged() == [("a", 0, 0), ("a", 0, 3), ("a", 1, 0), ("c", 1, 1)]


def test_no_file_of_the_log_and_no_commit_holds_the_key(empty_shop: Shop) -> None:
    key = "someone@example.org"
    empty_shop.deliver(record(0, key, 0), record(1, "b", 1), record(2, key, 60 * 30), record(3, "b", 60 * 30))
    before = {path for path in empty_shop.log.path.rglob("*.parquet") if "_delta_log" not in path.parts}
    empty_shop.forget(shop=key)
    files = {path for path in empty_shop.log.path.rglob("*.parquet") if "_delta_log" not in path.parts}
    assert not files & before
    for path in files:
        assert pc.index(pq.ParquetFile(path).read(["shop"]).column("shop"), key).as_py() == -1
    for path in [*empty_shop.log.path.glob("_delta_log/*"), *(empty_shop.project.state / "erasure").rglob("*")]:
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path


def test_log_stays_append_only_and_stands_for_the_same_offsets(shop: Shop) -> None:
    before = shop.log.last_offsets([0, 1])
    shop.forget(shop="a")
    assert shop.log.last_offsets([0, 1]) == before == {0: 3, 1: 1}
    metadata = [json.loads(line) for line in _commits(shop.log.path) if '"metaData"' in line]
    assert metadata[-1]["metaData"]["configuration"]["delta.appendOnly"] == "true"
    shop.deliver(record(4, "d", 60 * 24 + 1))
    assert shop.logged()[-2:] == [("d", 0, 4), ("c", 1, 1)]


def _commits(path: Path) -> list[str]:
    return [line for file in sorted(path.glob("_delta_log/*.json")) for line in file.read_text().splitlines()]


def test_recorded_lookups_of_the_entity_are_erased_and_others_stay(shop: Shop) -> None:
    with FeatureClient(shop.project, plan=PLAN, store=shop.store, audit=1) as client:
        client.get_online_features("shop_sales:*", [{"shop": "a"}, {"shop": "b"}])
        client.get_online_features("both:*", [{"shop": "a", "pieces": 1}, {"shop": "b", "pieces": 2}])
    assert shop.forget(shop="a").lookups == 2
    kept = [json.loads(row["keys"]) for rows in LookupTable(shop.project.audit_path).read() for row in rows]
    assert kept == [{"shop": "b"}, {"pieces": 2, "shop": "b"}]


# --- what stays out


def test_kafka_delivering_everything_again_brings_nothing_back(shop: Shop) -> None:
    shop.forget(shop="a")
    shop.deliver(*RECORDS)
    assert shop.counts("shop_sales", shop="a") == 0
    assert shop.logged() == [("b", 0, 1), ("c", 1, 1)]


def test_replay_into_new_stores_brings_nothing_back(shop: Shop, tmp_path: Path) -> None:
    shop.forget(shop="a")
    shop.log.path.rename(tmp_path / "lost")
    shop.store.clear()
    shop.deliver(*RECORDS)
    assert shop.counts("shop_sales", shop="a") == 0
    assert shop.counts("shop_sales", shop="c") == 7
    assert shop.logged() == [("b", 0, 1), ("c", 1, 1)]


def test_rebuild_from_the_log_brings_nothing_back_and_mends_what_counted_it(shop: Shop) -> None:
    assert shop.counts("by_pieces", pieces=2) == 2
    shop.forget(shop="a")
    refill(shop.store, shop.project, PLAN)
    assert shop.counts("shop_sales", shop="a") == 0
    assert shop.counts("shop_sales", shop="b") == 2
    assert (shop.counts("by_pieces", pieces=2), shop.counts("by_pieces", pieces=1)) == (1, 0)


def test_records_of_a_definition_before_the_last_apply_go_with_the_rebuild(shop: Shop) -> None:
    shop.store.change(CatalogueChange().live("both", "0123456789abcdef"))
    assert shop.forget(shop="c").stale_views == ["both", "by_pieces"]
    refill(shop.store, shop.project, PLAN)
    assert shop.store.catalogue().live["both"] == BOTH.hash
    assert shop.counts("both", shop="a", pieces=1) == 3


def test_versions_of_a_view_before_the_one_served_forget_it_too(shop: Shop) -> None:
    longer = tuple(
        one.model_copy(update={"window_us": 2 * one.window_us} if one.window_us else {}) for one in SHOPS.features
    )
    before = SHOPS.model_copy(update={"features": longer})
    shop.store.change(CatalogueChange().define(before).previous("shop_sales", before.hash))
    applier = Applier(Plan(project="shop", sources=PLAN.sources, views={}), shop.store)
    applier.prepare(before)
    for rows in shop.log.scan():
        applier.fill(before, batch_of_rows(SOURCE, rows))
    done = shop.forget(shop="a")
    assert [json.loads(key) for key in shop.store.entities(before.hash)] == [["b"], ["c"]]
    assert done.online["shop_sales"] == 4


def test_now_of_the_record_clock_does_not_go_back_with_the_newest_event_erased(shop: Shop) -> None:
    with FeatureClient(plan=PLAN, store=shop.store) as client:
        before = client.now()
        shop.forget(shop="a")
        refill(shop.store, shop.project, PLAN)
        assert client.now() == before


def test_late_event_from_before_the_erasure_stays_out_and_a_newer_one_starts_afresh(shop: Shop) -> None:
    shop.forget(shop="a")
    late, newer = record(4, "a", 60 * 24 - 1, late=5, pieces=100), record(5, "a", 60 * 24 + 6, pieces=5)
    shop.deliver(late, newer, record(6, "b", 1, late=60 * 24, pieces=3))
    assert shop.counts("shop_sales", shop="a") == 5
    assert shop.counts("shop_sales", shop="b") == 5
    assert shop.logged() == [("b", 0, 1), ("a", 0, 5), ("b", 0, 6), ("c", 1, 1)]


def test_running_worker_reads_the_ledger_when_it_changes(shop: Shop) -> None:
    worker = shop.start()
    worker.process(one_round(record(4, "a", 60 * 24 + 1), record(5, "b", 60 * 24 + 1)))
    shop.forget(shop="a")  # the worker has events of it that are not in the log yet
    worker.process(one_round(record(6, "a", 5, late=60 * 24, pieces=9)))
    worker.flush()
    assert shop.counts("shop_sales", shop="a") == 0
    assert shop.logged() == [("b", 0, 1), ("b", 0, 5), ("c", 1, 1)]


def test_system_clock_keeps_out_what_happened_before_the_wall_clocks_erasure(empty_shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text('[headrace]\nclock = "system"\n')
    shop = Shop(Project.load(tmp_path), empty_shop.store)
    shop.deliver(RECORDS[0], clock=Clock.SYSTEM)
    shop.forget(shop="a")
    hour_from_now = (shop.forget(shop="a").before_us // 1000 - NOON) / 60_000 + 60
    yesterday, tomorrow = record(1, "a", hour_from_now - 1440), record(2, "a", hour_from_now, pieces=4)
    shop.deliver(yesterday, tomorrow, clock=Clock.SYSTEM)
    assert shop.logged() == [("a", 0, 2)]


def test_offsets_of_a_topic_made_anew_mean_nothing_but_times_still_do(shop: Shop, tmp_path: Path) -> None:
    shop.forget(shop="a")
    shop.log.path.rename(tmp_path / "old")
    shop.store.clear()
    shop.identity = "cluster/another"
    shop.deliver(record(0, "a", 60 * 24 + 1), record(1, "a", 5), record(2, "b", 5))
    assert shop.logged() == [("a", 0, 0), ("b", 0, 2)]


def test_topic_made_anew_brings_nothing_back_and_its_low_offsets_are_not_those_forgotten(shop: Shop) -> None:
    assert shop.forget(shop="a").log == {"sales": 4}
    anew = Renewed()
    newer, late = record(0, "a", 60 * 24 + 6, pieces=5), record(1, "a", 60 * 24 - 1, late=9)
    shop.deliver(newer, late, record(2, "b", 1, late=60 * 24), topics=anew)
    assert shop.logged() == [("b", 0, 1), ("c", 1, 1), ("a", 2, 0), ("b", 2, 2)]
    assert shop.counts("shop_sales", shop="a") == 5
    assert shop.forget(shop="a").log == {"sales": 1}
    shop.deliver(newer, late, record(3, "a", 60 * 24 + 20, pieces=2), topics=anew)
    assert shop.counts("shop_sales", shop="a") == 2


def test_entity_forgotten_again_stays_forgotten_through_the_newer_offset(shop: Shop) -> None:
    shop.forget(shop="a")
    again = record(4, "a", 60 * 24 + 6)
    shop.deliver(again)
    assert shop.forget(shop="a").log == {"sales": 1}
    shop.deliver(*RECORDS, again)
    assert shop.logged() == [("b", 0, 1), ("c", 1, 1)]
    assert len(Ledger.load(shop.project.erasures).erasures) == 1


def test_other_entities_lose_nothing_to_a_ledger(shop: Shop) -> None:
    shop.forget(shop="a")
    shop.forget(shop="c", pieces=7)
    worker = shop.start()
    worker.process(one_round(record(4, "b", 0, late=1500, pieces=7), record(5, "aa", 0, late=1500)))
    worker.flush()
    assert shop.logged() == [("b", 0, 1), ("b", 0, 4), ("aa", 0, 5)]


def test_audit_compares_nothing_from_before_an_erasure_and_all_from_after_it(shop: Shop) -> None:
    def serve(pieces: int) -> None:
        with FeatureClient(shop.project, plan=PLAN, store=shop.store, audit=1) as client:
            client.get_online_features("by_pieces:*", [{"pieces": pieces}])

    serve(2)
    shop.forget(shop="a")
    refill(shop.store, shop.project, PLAN)
    serve(2)
    report = audit_lookups(shop.project)
    assert (report.lookups, report.erased, report.matches, report.ok) == (2, 1, 1, True)


@pytest.mark.parametrize("names", [{"price": 1.0}, {"nope": "a"}])
def test_what_no_view_is_keyed_by_is_refused(shop: Shop, names: dict[str, Any]) -> None:
    with pytest.raises(LookupRequestError, match="No view is keyed by"):
        shop.forget(**names)
    assert not (shop.project.state / "erasure").exists()


@pytest.mark.parametrize("entity", [{"pieces": "2"}, {"pieces": True}, {"pieces": 2.0}, {"shop": 1}, {"shop": None}])
def test_key_of_another_type_is_refused(shop: Shop, entity: dict[str, Any]) -> None:
    with pytest.raises(LookupRequestError, match="Nothing was erased|is a"):
        shop.forget(**entity)
    assert not (shop.project.state / "erasure").exists()


def test_key_that_was_never_held_is_refused_and_leaves_no_receipt(shop: Shop) -> None:
    with pytest.raises(LookupRequestError, match=r"Nothing was ever stored of shop = 'nobody' \(string\)"):
        shop.forget(shop="nobody")
    assert not (shop.project.state / "erasure").exists()


def test_key_that_only_older_files_of_the_log_hold_was_held(shop: Shop) -> None:
    shop.deliver(record(4, "e", 60 * 24 + 1))
    store_without = [json.loads(key) for key in shop.store.entities(SHOPS.hash)]
    assert ["e"] in store_without
    shop.log.compact()
    places = places_of(PLAN, shop.store, {"shop": "e"})
    held = inventory_of(shop.project, PLAN, shop.store, places)
    assert held.log == {"sales": 1}
    assert held.old_files["sales"] >= 1
    shop.forget(shop="e")
    held = inventory_of(shop.project, PLAN, shop.store, places)
    assert (held.log, held.old_files) == ({"sales": 0}, {"sales": 0})


# --- beside workers, as on Redis


def test_beside_workers_a_round_under_way_is_waited_for_and_removed_too(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = shop.start()
    waited: list[float] = []

    def another_round(seconds: float) -> None:
        waited.append(seconds)
        worker.process(one_round(record(4, "a", 60 * 24 + 1), record(5, "b", 60 * 24 + 1)))

    monkeypatch.setattr(forgetting.time, "sleep", another_round)
    done = forget(shop.project, PLAN, shop.store, {"shop": "a"}, alone=False)
    worker.flush()
    assert waited == [3.0]
    assert done.through["sales"] == {0: 5, 1: 1}
    assert shop.logged() == [("b", 0, 1), ("b", 0, 5), ("c", 1, 1)]
    assert [json.loads(key) for key in shop.store.entities(SHOPS.hash)] == [["b"], ["c"]]
    shop.deliver(record(6, "a", 60 * 24 + 2, pieces=5))
    assert shop.counts("shop_sales", shop="a") == 5  # which is what the log holds of it
    assert ("a", 0, 6) in shop.logged()


def test_beside_workers_views_to_make_anew_are_named_and_left_to_them(shop: Shop) -> None:
    done = forget(shop.project, PLAN, shop.store, {"shop": "a"}, alone=False, grace_s=0)
    assert done.stale_views == ["by_pieces"]
    assert shop.counts("by_pieces", pieces=2) == 2
    assert json.loads(Path(done.receipt).read_text())["views_to_make_anew"] == ["by_pieces"]


# --- the receipt


def test_erasure_from_a_store_that_was_emptied_knows_the_topic_by_the_notes_beside_the_log(shop: Shop) -> None:
    TopicNotes(shop.project.log_notes).update(
        lambda _: {"sales": TopicHistory.begun(IDENTITY, 2, {}, "2013-01-01T00:00:00Z")}
    )
    shop.store.clear()
    shop.forget(shop="a")
    (erasure,) = Ledger.load(shop.project.erasures).erasures.values()
    assert erasure.identities == {"sales": IDENTITY}
    assert erasure.through["sales"] == {0: 3, 1: 1}
