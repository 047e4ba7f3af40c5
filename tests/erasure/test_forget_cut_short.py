"""An erasure that dies at any step is finished by forgetting again."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from headrace.audit import audit_lookups
from headrace.erasure import Forgotten, Ledger, forget_all
from headrace.log import EventLog, LookupTable
from headrace.lookup import FeatureClient
from headrace.stores.lmdb.store import LmdbStore
from headrace.worker import startup
from headrace.worker.record_origin import note_origin
from tests.erasure.shop import PLAN, Shop

forgetting = sys.modules["headrace.erasure.forget"]  # `headrace.erasure.forget` is the function

STEPS: dict[str, tuple[Any, str]] = {
    "the ledger's first word": (Ledger, "begin"),
    "the online records": (LmdbStore, "delete"),
    "the log": (EventLog, "erase"),
    "the recorded lookups": (LookupTable, "erase"),
    "the sync": (LmdbStore, "sync"),
    "the datasets": (forgetting, "datasets_holding"),
    "the records made anew": (startup, "refill"),
    "the receipt": (forgetting, "receipt"),
    "the ledger's last word": (Ledger, "finish"),
}


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_erasure_that_dies_at_any_step_is_finished_by_forgetting_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    note_origin(shop.store, shop.project.log_path, PLAN.sources.values())
    with FeatureClient(shop.project, plan=PLAN, store=shop.store, audit=1) as client:
        client.get_online_features("shop_sales:*", [{"shop": "a"}, {"shop": "b"}])
        client.get_online_features("by_pieces:*", [{"pieces": 1}, {"pieces": 2}])
    owner, name = STEPS[step]
    real = getattr(owner, name)

    def die(*given: Any, **named: Any) -> None:
        if when == "after":
            real(*given, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(owner, name, die)
        with pytest.raises(KeyboardInterrupt):
            erase_as_the_command_does(shop, "a")
    assert audit_lookups(shop.project).ok
    if (step, when) != ("the ledger's last word", "after"):
        assert not any(one.is_finished for one in Ledger.load(shop.project.erasures).erasures.values())
    done = erase_as_the_command_does(shop, "a")
    (erasure,) = Ledger.load(shop.project.erasures).erasures.values()
    assert (erasure.is_finished, erasure.rows) == (True, {"sales": 4})
    assert shop.logged() == [("b", 0, 1), ("c", 1, 1)]
    assert (shop.counts("shop_sales", shop="a"), shop.counts("shop_sales", shop="b")) == (0, 2)
    assert (shop.counts("by_pieces", pieces=2), shop.counts("by_pieces", pieces=1)) == (1, 0)
    kept = [json.loads(row["keys"]) for rows in LookupTable(shop.project.audit_path).read() for row in rows]
    assert {"shop": "a"} not in kept
    assert audit_lookups(shop.project).ok
    receipts = [json.loads(path.read_text()) for path in (shop.project.state / "erasure" / "receipts").glob("*.json")]
    assert any(receipt["removed"]["log_events"] == {"sales": 4} for receipt in receipts)
    assert done.log_versions == {"sales": shop.log.version()}


def erase_as_the_command_does(shop: Shop, name: str) -> Forgotten:
    def anew() -> None:
        startup.refill(shop.store, shop.project, PLAN)

    (done,) = forget_all(shop.project, PLAN, shop.store, [{"shop": name}], alone=True, make_anew=anew)
    return done
