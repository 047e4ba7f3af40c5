"""Plans and code that changed, and all that is no reason not to compare a lookup; and how an audit is printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.audit import NotComparable, audit_lookups
from headrace.cli import app
from headrace.config import Clock, Project
from headrace.events.decode import EventDecoder
from headrace.log import LookupTable
from headrace.lookup import FeatureClient
from headrace.plan import Column, DType, Feature, Plan, Transform, View, write_plan
from headrace.stores import CatalogueChange, OnlineStore
from headrace.stores.memory import MemoryStore
from headrace.transforms import function_code, load_function
from headrace.worker.pipeline import Pipeline
from tests.audit.edits import edit_by_hand
from tests.audit.outcomes import make_log_anew, of_shops, outcome, serve
from tests.erasure.shop import PLAN, Shop, noted_shop_at
from tests.worker.shop import SHOPS, SOURCE, KeptLetters, Sale, one_round, record

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Shop a sold four times, b and c once each; workers have noted where records come from."""
    with noted_shop_at(tmp_path) as shop:
        yield shop


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
