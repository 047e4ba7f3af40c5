"""`headrace forget`."""

from __future__ import annotations

import json
import multiprocessing
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.cli import app
from headrace.online import open_store
from tests.erasure.shop import Shop

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


def run(shop: Shop, *arguments: str) -> Any:
    return runner.invoke(app, ["forget", *arguments, "--project", str(shop.project.root)])


def test_command_forgets_each_key_and_mends_the_views_that_had_counted_it(shop: Shop) -> None:
    shop.store.close()
    done = run(shop, "shop", "a", "c")
    assert done.exit_code == 0, done.output
    assert "Receipt: " in done.output
    with open_store(shop.project.store_url, writable=True) as store:
        shop.store = store
        assert shop.logged() == [("b", 0, 1)]
        assert [shop.counts("by_pieces", pieces=pieces) for pieces in (1, 2, 7)] == [0, 1, 0]
        assert shop.counts("shop_sales", shop="b") == 2


def test_command_takes_several_join_keys(shop: Shop) -> None:
    shop.store.close()
    done = run(shop, "--key", "shop=a", "--key", "pieces=2", "--json")
    assert done.exit_code == 0, done.output
    (forgotten,) = json.loads(done.stdout)["forgotten"]
    assert (forgotten["names"], forgotten["log"]) == (["pieces", "shop"], {"sales": 1})


@pytest.mark.parametrize("arguments", [[], ["shop"], ["nope", "a"], ["shop", "a", "--key", "shop=a"], ["pieces", "x"]])
def test_command_that_names_nobody_erases_nothing(shop: Shop, arguments: list[str]) -> None:
    shop.store.close()
    assert run(shop, *arguments).exit_code == 1
    assert not shop.project.erasure_path.exists()


def _hold(url: str, held: Any, free: Any) -> None:
    with open_store(url, writable=True):
        held.set()
        free.wait(60)


def test_command_leaves_a_store_alone_that_a_worker_holds(shop: Shop) -> None:
    shop.store.close()
    context = multiprocessing.get_context("spawn")
    held, free = context.Event(), context.Event()
    worker = context.Process(target=_hold, args=(shop.project.store_url, held, free))
    worker.start()
    try:
        assert held.wait(60)
        refused = run(shop, "shop", "a")
    finally:
        free.set()
        worker.join()
    assert refused.exit_code == 1
    assert "Nothing was erased" in refused.output
    assert "Stop the worker, forget again" in refused.output
    assert len(shop.logged()) == 6
