"""What the log cannot judge is counted apart by name, and a real difference beside it is still found."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.audit import AuditReport, NotComparable, audit_lookups
from headrace.cli import app
from headrace.config import Clock, Project
from headrace.erasure import Ledger
from headrace.events.decode import EventDecoder
from headrace.events.source_partition import SourcePartition
from headrace.log import Gap, LookupTable, TopicHistory, TopicNotes
from headrace.log.import_registry import Entry, Registry
from headrace.log.log_columns import FIRST_IMPORT
from headrace.log.row_erasure import leave_out_partition
from headrace.lookup import FeatureClient
from headrace.plan import Column, DType, Feature, Plan, Transform, View, write_plan
from headrace.stores import CatalogueChange, OnlineStore, open_store
from headrace.stores.memory import MemoryStore
from headrace.times import iso_time
from headrace.transforms import function_code, load_function
from headrace.worker.pipeline import Pipeline
from headrace.worker.record_origin import note_origin
from headrace.worker.startup import refill
from tests.audit.edits import edit_by_hand
from tests.erasure.shop import PLAN, RECORDS, Shop
from tests.worker.shop import SHOPS, SOURCE, KeptLetters, Sale, one_round, record

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Shop a sold four times, b and c once each; workers have noted where records come from."""
    (tmp_path / "headrace.toml").write_text('[headrace]\nclock = "record"\n')
    project = Project.load(tmp_path)
    write_plan(PLAN, project.plan_file)
    with open_store(project.store_url, writable=True) as store:
        shop = Shop(project, store)
        start(shop)
        shop.deliver(*RECORDS)
        start(shop)
        yield shop


def start(shop: Shop) -> None:
    """A worker starts, and notes what the store is made from."""
    note_origin(shop.store, shop.project.log_path, PLAN.sources.values())


def make_log_anew(shop: Shop, *records: Any, keep_store: bool = False) -> None:
    """Somebody removes the log (and the store), and workers begin with other events."""
    shutil.rmtree(shop.log.path)
    if not keep_store:
        shop.store.clear()
    start(shop)
    shop.deliver(*records)
    start(shop)


def serve(shop: Shop, *asked: dict[str, Any], features: str | list[str] = "shop_sales:*") -> None:
    chosen = [features] if isinstance(features, str) else features
    with FeatureClient(shop.project, plan=PLAN, store=shop.store, audit=1) as client:
        client.get_online_features(chosen, list(asked))


def of_shops(*names: str) -> list[dict[str, Any]]:
    return [{"shop": name} for name in names]


def apart(report: AuditReport) -> dict[str, int]:
    return {str(reason): count for reason, count in report.apart.items() if count}


def outcome(shop: Shop) -> tuple[dict[str, int], int, int]:
    """What is apart, how many match, how many differ."""
    report = audit_lookups(shop.project)
    assert report.lookups == sum(report.apart.values()) + report.matches + report.mismatched
    assert report.ok == (report.mismatched == 0)
    return apart(report), report.matches, report.mismatched


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
    (tmp_path / "headrace.toml").write_text('[headrace]\nclock = "record"\n')
    project = Project.load(tmp_path)
    write_plan(PLAN, project.plan_file)
    with open_store(project.store_url, writable=True) as store:
        shop = Shop(project, store)
        start(shop)
        worker = shop.start()
        worker.process(one_round(*RECORDS))
        serve(shop, *of_shops("a", "b"))
        assert outcome(shop) == ({"pending": 2}, 0, 0)
        worker.flush()
        assert outcome(shop) == ({}, 2, 0)
        edit_by_hand(store, "a", 1)
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


# --- plans and code


def test_plan_that_is_gone_or_does_not_read_is_counted_apart(shop: Shop) -> None:
    serve(shop, *of_shops("a", "b"))
    renamed = replace_plan(shop)
    serve_by(shop, renamed, "a")
    edit_by_hand(shop.store, "a", 1)
    serve_by(shop, renamed, "a")
    kept = shop.project.state / "plans" / f"{PLAN.hash}.json"
    kept.write_text("{}")
    assert outcome(shop) == ({"other_plan": 2}, 1, 1)
    kept.unlink()
    assert outcome(shop) == ({"other_plan": 2}, 1, 1)


def replace_plan(shop: Shop) -> Plan:
    renamed = Plan(project="renamed", sources=PLAN.sources, views=PLAN.views)
    write_plan(renamed, shop.project.plan_file)
    return renamed


def serve_by(shop: Shop, plan: Plan, *names: str) -> None:
    with FeatureClient(shop.project, plan=plan, store=shop.store, audit=1) as client:
        client.get_online_features(["shop_sales:*"], of_shops(*names))


def test_plan_that_the_log_no_longer_fits_is_counted_apart(shop: Shop) -> None:
    serve(shop, *of_shops("a", "b"))
    rows = [row for rows in LookupTable(shop.project.audit_path).read() for row in rows]
    columns = tuple(
        column.model_copy(update={"dtype": DType.STRING}) if column.name == "pieces" else column
        for column in SOURCE.columns
    )
    source = SOURCE.model_copy(update={"columns": columns})
    view = SHOPS.model_copy(update={"input": None})
    old = Plan(project="old", sources={"sales": source}, views={"shop_sales": view})
    write_plan(old, shop.project.served_plans.file(f"{old.hash}.json"))
    LookupTable(shop.project.audit_path).append([{**rows[0], "plan": old.hash}])
    edit_by_hand(shop.store, "b", 1)
    serve(shop, *of_shops("b"))
    assert outcome(shop) == ({"other_plan": 1}, 2, 1)


def test_python_function_that_was_edited_since_is_counted_apart(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text('[headrace]\nclock = "record"\n')
    project = Project.load(tmp_path)
    project.repo.mkdir()
    module = project.repo / "taxes.py"
    module.write_text('def taxed(events):\n    return {"taxed": [price * 2 for price in events["price"]]}\n')
    made = Transform(
        kind="python",
        columns=(Column(name="taxed", dtype=DType.FLOAT64),),
        function="taxes:taxed",
        code=function_code(load_function("taxes:taxed", project.repo)),
    )
    most = Feature(name="most", function="max", column="taxed", dtype=DType.FLOAT64, window_us=None, slide_us=None)
    taxed = View(name="taxed", source="sales", entities=SHOPS.entities, features=(most,), transforms=(made,))
    plan = Plan(project="shop", sources={"sales": SOURCE}, views={"taxed": taxed, "shop_sales": SHOPS})
    write_plan(plan, project.plan_file)
    store = MemoryStore()
    decoders = {"sales": EventDecoder(SOURCE, Sale)}
    shop = Shop(project, store)
    serving(store, plan)
    pipeline = Pipeline(plan, decoders, store, {"sales": shop.log}, Clock.RECORD, KeptLetters(), repo=project.repo)
    pipeline.process(one_round(record(0, "a", 0, price=3.0), record(1, "b", 1)))
    pipeline.flush()

    def serve_all(*names: str) -> None:
        with FeatureClient(project, plan=plan, store=store, audit=1) as client:
            for name in names:
                client.get_online_features(["taxed:*", "shop_sales:*"], of_shops(name))

    serve_all("a", "b")
    assert outcome(shop) == ({}, 2, 0)
    edit_by_hand(store, "a", 1)
    serve_all("a", "b")
    module.write_text(module.read_text().replace("* 2", "* 3"))
    assert outcome(shop) == ({"code_changed": 3}, 0, 1)
    module.unlink()
    assert outcome(shop) == ({"code_changed": 3}, 0, 1)


def serving(store: OnlineStore, plan: Plan) -> None:

    store.change(CatalogueChange().clock(Clock.RECORD).serve(plan.views.values()))


# --- what is no reason at all


def test_compaction_and_vacuum_of_the_log_change_nothing(shop: Shop) -> None:
    serve(shop, *of_shops("a", "b"))
    shop.deliver(record(4, "a", 60 * 24 + 1))
    shop.log.compact()
    assert shop.log.vacuum(retention_s=0).files
    edit_by_hand(shop.store, "b", 1)
    serve(shop, *of_shops("a", "b"))
    assert outcome(shop) == ({}, 3, 1)


# --- how it is printed


def test_command_names_each_reason_with_what_it_means_and_what_to_do(shop: Shop) -> None:
    serve(shop, *of_shops("a", "b"))
    make_log_anew(shop, record(0, "a", 0))
    shop.start().process(one_round(record(1, "b", 1)))
    serve(shop, *of_shops("a", "b"))
    arguments = ["audit", "--project", str(shop.project.root)]
    printed = runner.invoke(app, arguments)
    assert printed.exit_code == 0, printed.output
    assert "2 lookups came from a log that was removed or created again since" in printed.output
    assert "1 lookups knew events that the log does not have yet" in printed.output
    assert "Audit again" in printed.output
    found = json.loads(runner.invoke(app, [*arguments, "--json"]).stdout)
    assert (found["new_log"], found["pending"], found["erased"], found["ok"]) == (2, 1, 0, True)
    assert found["apart"]["pending"] == {
        "lookups": 1,
        "means": NotComparable.PENDING.means,
        "do": NotComparable.PENDING.hint,
    }


# --- cells that cannot be given


def test_cell_that_cannot_be_given_is_compared_with_its_reason(shop: Shop) -> None:
    shop.deliver(record(4, "d", 0, pieces=2**63 - 1), record(5, "d", 1, pieces=2**63 - 1))
    serve(shop, *of_shops("a", "d"))
    assert outcome(shop) == ({}, 2, 0)
    table = LookupTable(shop.project.audit_path)
    rows = [row for rows in table.read() for row in rows]
    (failed,) = [row for row in rows if json.loads(row["keys"]) == {"shop": "d"}]
    assert set(json.loads(failed["problems"])) == {"shop_sales__pieces_ever"}
    table.append([{**failed, "problems": "{}"}])  # as if it had been served as an ordinary null
    table.append([{**failed, "problems": None}])  # as recordings of before are, which cannot tell
    report = audit_lookups(shop.project)
    assert (report.matches, report.mismatched) == (3, 1)
    (skew,) = report.skews
    assert (skew.feature, skew.served) == ("shop_sales__pieces_ever", None)
    assert str(skew.recomputed).startswith("null: ")
