"""What the log cannot judge is counted apart by name, and a real difference beside it is still found."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.audit import audit_lookups
from headrace.erasure import Ledger
from headrace.events.source_partition import SourcePartition
from headrace.log import Gap, LookupTable, TopicHistory, TopicNotes
from headrace.log.import_registry import Entry, Registry
from headrace.log.log_columns import FIRST_IMPORT
from headrace.log.row_erasure import leave_out_partition
from headrace.times import iso_time
from headrace.worker.startup import refill
from tests.audit.edits import edit_by_hand
from tests.audit.outcomes import apart, make_log_anew, of_shops, outcome, serve
from tests.erasure.shop import PLAN, RECORDS, Shop, empty_shop_at, noted_shop_at
from tests.worker.shop import one_round, record

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Shop a sold four times, b and c once each; workers have noted where records come from."""
    with noted_shop_at(tmp_path) as shop:
        yield shop


# --- a log that was made anew


def test_lookups_from_a_log_that_was_made_anew_are_counted_apart(shop: Shop) -> None:
    serve(shop, *of_shops("a", "b", "c"))
    make_log_anew(shop, *(record(n, "a", n, pieces=5) for n in range(5)))
    serve(shop, *of_shops("a", "nobody"))
    assert outcome(shop) == ({"new_log": 3}, 2, 0)
    edit_by_hand(shop.store, "a", 1)
    serve(shop, *of_shops("a", "nobody"))
    assert outcome(shop) == ({"new_log": 3}, 3, 1)


def test_lookups_from_a_log_that_is_gone_are_counted_apart(shop: Shop) -> None:
    serve(shop, *of_shops("a", "b", "nobody"))
    shutil.rmtree(shop.log.path)
    assert outcome(shop) == ({"new_log": 2}, 1, 0)


def test_store_that_outlives_its_log_is_not_held_against_the_new_one(shop: Shop) -> None:
    make_log_anew(shop, record(4, "c", 60 * 24 + 1), record(2, "d", 60 * 24 + 1, partition=1), keep_store=True)
    serve(shop, *of_shops("a", "c", "d"))
    assert outcome(shop) == ({"new_log": 2}, 1, 0)
    refill(shop.store, shop.project, PLAN)
    edit_by_hand(shop.store, "c", 1)
    serve(shop, *of_shops("a", "c"))
    assert outcome(shop) == ({"new_log": 2}, 2, 1)


def test_old_recordings_that_name_no_log_go_by_when_the_log_was_made(shop: Shop) -> None:
    serve(shop, *of_shops("a", "b"))
    forget_origins(shop)
    make_log_anew(shop, *(record(n, "a", n, pieces=5) for n in range(5)))
    assert outcome(shop) == ({"new_log": 2}, 0, 0)
    edit_by_hand(shop.store, "a", 1)
    serve(shop, *of_shops("a"))
    forget_origins(shop)
    assert outcome(shop) == ({"new_log": 2}, 0, 1)


def forget_origins(shop: Shop) -> None:
    """As recordings of an earlier version are: without `origin`."""
    table = LookupTable(shop.project.audit_path)
    rows = [{**row, "origin": None} for rows in table.read() for row in rows]
    shutil.rmtree(table.location.path)
    table.append(rows)


def test_lookups_before_the_first_append_of_a_project_are_compared(tmp_path: Path) -> None:
    with empty_shop_at(tmp_path) as shop:
        shop.note_origin()
        worker = shop.start()
        worker.process(one_round(*RECORDS))
        serve(shop, *of_shops("a", "b"))
        assert outcome(shop) == ({"pending": 2}, 0, 0)
        worker.flush()
        assert outcome(shop) == ({}, 2, 0)
        edit_by_hand(shop.store, "a", 1)
        serve(shop, *of_shops("a"))
        assert outcome(shop) == ({}, 2, 1)


# --- erasures


def test_after_an_erasure_of_one_key_lookups_of_other_keys_are_still_compared(shop: Shop) -> None:
    serve(shop, *of_shops("b", "c"))
    edit_by_hand(shop.store, "b", 1)
    serve(shop, *of_shops("a", "b", "c"))
    shop.forget(shop="a")
    assert outcome(shop) == ({}, 3, 1)


def test_erased_keys_own_lookups_are_counted_apart_where_a_client_wrote_them_late(shop: Shop) -> None:
    serve(shop, *of_shops("a", "b"))
    table = LookupTable(shop.project.audit_path)
    rows = [row for rows in table.read() for row in rows]
    shop.forget(shop="a")
    table.append([row for row in rows if json.loads(row["keys"]) == {"shop": "a"}])
    assert outcome(shop) == ({"erased": 1}, 1, 0)


def test_view_keyed_otherwise_is_compared_again_once_it_was_made_anew(shop: Shop) -> None:
    serve(shop, {"pieces": 1}, {"pieces": 7}, features="by_pieces:*")
    shop.forget(shop="a")
    serve(shop, {"pieces": 1}, {"pieces": 7}, features="by_pieces:*")  # a worker has not made it anew yet
    assert outcome(shop) == ({"erased": 2}, 2, 0)
    refill(shop.store, shop.project, PLAN)
    serve(shop, {"pieces": 1}, {"pieces": 7}, features="by_pieces:*")
    assert outcome(shop) == ({"erased": 2}, 4, 0)


def test_erasure_that_touches_one_view_of_a_lookup_excuses_nothing_in_the_other(shop: Shop) -> None:
    both = ["shop_sales:*", "by_pieces:*"]
    serve(shop, {"shop": "b", "pieces": 1}, {"shop": "c", "pieces": 1}, features=both)
    edit_by_hand(shop.store, "b", 1)
    serve(shop, {"shop": "b", "pieces": 1}, features=both)
    shop.forget(shop="a")
    report = audit_lookups(shop.project)
    assert (apart(report), report.matches, report.mismatched) == ({"erased": 2}, 0, 1)
    assert report.partly == 2
    assert [skew.feature for skew in report.skews] == ["shop_sales__pieces_ever"]


def test_key_that_was_erased_and_came_back_is_compared(shop: Shop) -> None:
    shop.forget(shop="a")
    refill(shop.store, shop.project, PLAN)
    shop.deliver(record(4, "a", 60 * 24 + 6, pieces=5))
    serve(shop, *of_shops("a"))
    edit_by_hand(shop.store, "a", 1)
    serve(shop, *of_shops("a"))
    assert outcome(shop) == ({}, 1, 1)


def test_erasure_cut_short_explains_what_it_took_until_it_is_finished(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError

    serve(shop, {"pieces": 1}, features="by_pieces:*")
    with monkeypatch.context() as broken:
        broken.setattr(LookupTable, "erase", fail)  # after the log, before the end
        with pytest.raises(OSError):  # noqa: PT011 ours, without a text
            shop.forget(shop="a")
    serve(shop, {"pieces": 1}, features="by_pieces:*")
    assert outcome(shop) == ({"erased": 2}, 0, 0)
    shop.forget(shop="a")
    (erasure,) = Ledger.load(shop.project.erasures).erasures.values()
    assert (erasure.is_finished, erasure.rows) == (True, {"sales": 4})
    assert outcome(shop) == ({"erased": 2}, 0, 0)


# --- what is still to come, and what will never come


def test_append_still_to_come_is_pending_and_a_difference_beside_it_is_found(shop: Shop) -> None:
    edit_by_hand(shop.store, "b", 1)
    worker = shop.start()
    worker.process(one_round(record(4, "c", 60 * 24 + 1)))
    serve(shop, *of_shops("a", "b", "c"))
    assert outcome(shop) == ({"pending": 1}, 1, 1)
    worker.flush()
    assert outcome(shop) == ({}, 2, 1)


def test_view_that_is_pending_does_not_hide_a_difference_in_another_view_of_the_lookup(shop: Shop) -> None:
    edit_by_hand(shop.store, "b", 1)
    shop.start().process(one_round(record(4, "d", 60 * 24 + 1, pieces=7)))
    serve(shop, {"shop": "b", "pieces": 7}, features=["shop_sales:*", "by_pieces:*"])
    assert outcome(shop) == ({}, 0, 1)


def test_lookup_that_knew_events_of_an_accepted_gap_is_counted_apart(shop: Shop) -> None:
    shop.start().process(one_round(record(4, "c", 60 * 24 + 1)))  # online, and lost before it was logged
    serve(shop, *of_shops("b", "c"))
    accept_gap(shop, first=4, last=9)
    assert outcome(shop) == ({"gap": 1}, 1, 0)
    shop.deliver(record(10, "b", 60 * 24 + 2))
    assert outcome(shop) == ({"gap": 1}, 1, 0)
    edit_by_hand(shop.store, "b", 1)
    serve(shop, *of_shops("a", "b"))
    assert outcome(shop) == ({"gap": 1}, 2, 1)


def accept_gap(shop: Shop, first: int, last: int) -> None:
    now = iso_time(time.time_ns() // 1000) or ""
    history = TopicHistory.begun("cluster/topic", 2, {}, now).with_gaps([Gap(0, 0, first, last, now)])
    TopicNotes(shop.project.log_notes).update(lambda _: {"sales": history})


def test_import_that_was_taken_back_explains_only_what_knew_it(shop: Shop) -> None:
    shop.deliver(record(0, "b", 60 * 24 + 1, partition=FIRST_IMPORT))
    serve(shop, *of_shops("a", "b"))
    entry = Entry("old", "sales", FIRST_IMPORT, "0", 1, {}, "2026-01-01T00:00:00Z", undoing_at="2026-01-02T00:00:00Z")
    Registry(shop.project.log_notes).add(entry)
    assert leave_out_partition(shop.log.location, FIRST_IMPORT).rows == 1
    for view in PLAN.views.values():
        shop.store.delete(view.hash, shop.store.entities(view.hash), SourcePartition("sales", FIRST_IMPORT))
    assert outcome(shop) == ({"import_undone": 1}, 1, 0)
    edit_by_hand(shop.store, "b", 1)
    serve(shop, *of_shops("a", "b"))
    assert outcome(shop) == ({"import_undone": 1}, 2, 1)


def test_events_that_a_topic_took_with_it_are_never_pending(shop: Shop) -> None:
    shop.start().process(one_round(record(4, "c", 60 * 24 + 1)))
    serve(shop, *of_shops("b", "c"))
    history = TopicHistory.begun("cluster/topic", 2, {}, "2026-01-01T00:00:00Z")
    TopicNotes(shop.project.log_notes).update(
        lambda _: {"sales": history.renewed("cluster/another", 2, {}, "2026-01-02T00:00:00Z")}
    )
    edit_by_hand(shop.store, "b", 1)
    serve(shop, *of_shops("b"))
    assert outcome(shop) == ({"gap": 1}, 1, 1)
