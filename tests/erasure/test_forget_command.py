"""`headrace forget`."""

from __future__ import annotations

import json
import multiprocessing
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from headrace.cli import app, output
from headrace.log import EventLog
from headrace.lookup import FeatureClient
from headrace.stores import open_store
from tests.erasure.shop import PLAN, Shop
from tests.worker.shop import record

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


def run(shop: Shop, *arguments: str) -> Any:
    return runner.invoke(app, ["forget", *arguments, "--project", str(shop.project.root)])


def test_command_forgets_each_key_and_mends_the_views_that_had_counted_it(shop: Shop) -> None:
    shop.store.close()
    done = run(shop, "shop", "a", "c", "--yes")
    assert done.exit_code == 0, done.output
    assert "Receipt: " in done.output
    with open_store(shop.project.store_url, writable=True) as store:
        shop.store = store
        assert shop.logged() == [("b", 0, 1)]
        assert [shop.counts("by_pieces", pieces=pieces) for pieces in (1, 2, 7)] == [0, 1, 0]
        assert shop.counts("shop_sales", shop="b") == 2


def test_command_takes_several_join_keys(shop: Shop) -> None:
    shop.store.close()
    done = run(shop, "--key", "shop=a", "--key", "pieces=2", "--json", "--yes")
    assert done.exit_code == 0, done.output
    (forgotten,) = json.loads(done.stdout)["forgotten"]
    assert (forgotten["names"], forgotten["log"]) == (["pieces", "shop"], {"sales": 1})


@pytest.mark.parametrize("arguments", [[], ["shop"], ["nope", "a"], ["shop", "a", "--key", "shop=a"], ["pieces", "x"]])
def test_command_that_names_nobody_erases_nothing(shop: Shop, arguments: list[str]) -> None:
    shop.store.close()
    assert run(shop, *arguments).exit_code == 1
    assert not (shop.project.state / "erasure").exists()


def _hold(url: str, held: Any, free: Any) -> None:
    with open_store(url, writable=True):
        held.set()
        free.wait(60)


@pytest.mark.slow
def test_command_leaves_a_store_alone_that_a_worker_holds(shop: Shop) -> None:
    shop.store.close()
    context = multiprocessing.get_context("spawn")
    held, free = context.Event(), context.Event()
    worker = context.Process(target=_hold, args=(shop.project.store_url, held, free))
    worker.start()
    try:
        assert held.wait(60)
        refused = run(shop, "shop", "a", "--yes")
        shown = run(shop, "shop", "a", "--dry-run")
    finally:
        free.set()
        worker.join()
    assert refused.exit_code == 1
    assert "Nothing was erased" in refused.output
    assert "Stop the worker, forget again" in refused.output
    assert len(shop.logged()) == 6
    assert shown.exit_code == 0, shown.output


# --- what it shows, and asks


def untouched(shop: Shop) -> None:
    """Nothing was erased, and nothing was written about it."""
    assert not (shop.project.state / "erasure").exists()
    with open_store(shop.project.store_url, writable=True) as store:
        shop.store = store
        assert len(shop.logged()) == 6
        assert shop.counts("shop_sales", shop="a") == 5


def record_lookups(shop: Shop) -> None:
    with FeatureClient(shop.project, plan=PLAN, store=shop.store, audit=1) as client:
        client.get_online_features("shop_sales:*", [{"shop": "a"}, {"shop": "b"}, {"shop": "a"}])


def test_dry_run_shows_what_would_be_erased_and_erases_nothing(shop: Shop) -> None:
    record_lookups(shop)
    shop.store.close()
    shown = run(shop, "shop", "a", "--dry-run")
    assert shown.exit_code == 0, shown.output
    for line in ("online records of shop_sales", "events in the log of sales", "recorded lookups", "built again"):
        assert line in shown.output
    told = json.loads(run(shop, "shop", "a", "--dry-run", "--json").stdout)
    (held,) = told["would_forget"]
    assert told["dry_run"] is True
    assert (held["online"], held["log"], held["lookups"]) == ({"shop_sales": 2, "both": 3}, {"sales": 4}, 2)
    assert held["made_anew"] == ["by_pieces"]
    untouched(shop)


def test_dry_run_names_the_datasets_that_hold_it(shop: Shop) -> None:
    folder = shop.project.state / "datasets" / "held"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"shop": ["a", "b", "a"]}), folder / "part.parquet")
    (folder / "manifest.json").write_text(json.dumps({"dataset": "held", "files": [{"path": "part.parquet"}]}))
    shop.store.close()
    (held,) = json.loads(run(shop, "shop", "a", "--dry-run", "--json").stdout)["would_forget"]
    assert held["datasets"] == [{"manifest": str(folder / "manifest.json"), "rows": 2}]


def test_dry_run_tells_as_many_as_forgetting_then_erases(shop: Shop) -> None:
    record_lookups(shop)
    shop.store.close()
    (held,) = json.loads(run(shop, "shop", "a", "--dry-run", "--json").stdout)["would_forget"]
    (done,) = json.loads(run(shop, "shop", "a", "--yes", "--json").stdout)["forgotten"]
    assert [held[name] for name in ("online", "log", "lookups")] == [
        done[name] for name in ("online", "log", "lookups")
    ]


def test_without_a_terminal_and_without_yes_nothing_is_erased(shop: Shop) -> None:
    shop.store.close()
    refused = run(shop, "shop", "a")
    assert refused.exit_code == 1
    assert "Nothing was changed" in refused.output
    assert "--yes" in refused.output
    untouched(shop)


def test_person_is_shown_what_is_held_before_the_question(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.store.close()
    monkeypatch.setattr(output, "can_ask", lambda: True)
    refused = runner.invoke(app, ["forget", "shop", "a", "--project", str(shop.project.root)], input="n\n")
    assert refused.exit_code == 1
    assert refused.output.index("events in the log of sales") < refused.output.index("Erase all of this permanently?")
    untouched(shop)
    agreed = runner.invoke(app, ["forget", "shop", "a", "--project", str(shop.project.root)], input="y\n")
    assert agreed.exit_code == 0, agreed.output
    assert "Receipt: " in agreed.output


# --- keys that were never held


@pytest.mark.parametrize("arguments", [["shop", "nobody"], ["pieces", "99"], ["shop", "a", "nobody"], ["shop", "A"]])
def test_key_that_was_never_held_is_refused_and_nothing_is_written(shop: Shop, arguments: list[str]) -> None:
    shop.store.close()
    refused = run(shop, *arguments, "--yes")
    assert refused.exit_code == 1
    assert "Nothing was ever stored of" in refused.output
    untouched(shop)


def test_key_is_what_its_type_makes_of_it(empty_shop: Shop) -> None:
    empty_shop.deliver(record(0, "1", 0, pieces=7), record(1, "b", 1, pieces=1))
    empty_shop.store.close()
    assert run(empty_shop, "shop", "7", "--yes").exit_code == 1  # a shop's name is text, and none is "7"
    done = json.loads(run(empty_shop, "pieces", "7", "--yes", "--json").stdout)["forgotten"]
    assert [one["log"] for one in done] == [{"sales": 1}]
    assert run(empty_shop, "shop", "1", "--yes").exit_code == 1  # its only sale had the 7 pieces
    assert run(empty_shop, "shop", "b", "--yes").exit_code == 0


def test_key_that_was_erased_before_may_be_forgotten_again(shop: Shop) -> None:
    shop.store.close()
    assert run(shop, "shop", "a", "--yes").exit_code == 0
    again = run(shop, "shop", "a", "--dry-run")
    assert again.exit_code == 0, again.output
    assert "It was erased before" in again.output
    assert run(shop, "shop", "a", "--yes").exit_code == 0


def test_ctrl_c_says_how_to_go_on_and_going_on_finishes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.store.close()

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(EventLog, "erase", interrupt)
        stopped = run(shop, "shop", "a", "--yes")
    assert stopped.exit_code == 130
    assert "run the same command again to finish it" in stopped.output
    assert len(stopped.output.strip().splitlines()) == 1
    shown = run(shop, "shop", "a", "--dry-run")
    assert "was interrupted" in shown.output
    done = run(shop, "shop", "a", "--yes")
    assert done.exit_code == 0, done.output
    with open_store(shop.project.store_url, writable=True) as store:
        shop.store = store
        assert shop.logged() == [("b", 0, 1), ("c", 1, 1)]
