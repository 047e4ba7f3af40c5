"""The ledger of erasures and its receipts: they say what and where, but not who, and none is lost."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

import pytest

from headrace.erasure import Erasure, Ledger
from headrace.errors import ConfigError
from headrace.state import LocalState
from tests.erasure.shop import RECORDS, Shop


def test_two_erasures_at_once_are_both_kept(shop: Shop) -> None:
    folder = shop.project.erasures
    shop.forget(shop="c")
    one, other = Ledger.load(folder), Ledger.load(folder)
    for ledger, name in ((one, "a"), (other, "b")):
        ledger.add(Erasure(("shop",), ledger.digest({"shop": name}), 1, 2, {"sales": {0: 3}}, {}))
    assert set(Ledger.load(folder).erasures) == {one.digest({"shop": name}) for name in "abc"}


def test_receipt_says_what_and_where_but_not_who(shop: Shop) -> None:
    done = shop.forget(shop="a")
    receipt = json.loads(Path(done.receipt).read_text())
    assert receipt["entity"] == ["shop"]
    assert receipt["hmac_sha256"] == Ledger.load(shop.project.erasures).digest({"shop": "a"})
    assert receipt["removed"] == {
        "online_records": {"shop_sales": 2, "both": 3},
        "log_events": {"sales": 4},
        "recorded_lookups": 0,
    }
    assert receipt["versions"]["log"] == {"sales": shop.log.version()}
    assert receipt["stays_out"]["through_offset"] == {"sales": {"0": 3, "1": 1}}
    assert '"a"' not in Path(done.receipt).read_text()


def test_secret_is_its_owners_and_every_projects_own(shop: Shop, tmp_path: Path) -> None:
    shop.forget(shop="a")
    assert (shop.project.state / "erasure" / "secret").stat().st_mode & 0o777 == 0o600
    other = Ledger.load(LocalState(tmp_path / "elsewhere"))
    assert other.digest({"shop": "a"}) not in Ledger.load(shop.project.erasures).erasures


@pytest.mark.parametrize("lost", ["secret", "ledger.json"])
def test_damaged_ledger_stops_the_worker_instead_of_letting_all_back_in(shop: Shop, lost: str) -> None:
    shop.forget(shop="a")
    (shop.project.state / "erasure" / lost).write_text("")
    with pytest.raises(ConfigError, match="ledger of erasures"):
        shop.deliver(*RECORDS)


def test_a_person_with_the_secret_can_check_whom_a_receipt_is_about(shop: Shop) -> None:
    receipt = json.loads(Path(shop.forget(shop="a").receipt).read_text())
    secret = bytes.fromhex((shop.project.state / "erasure" / "secret").read_text().strip())
    told = [
        hmac.new(secret, json.dumps([["shop"], [name]], separators=(",", ":")).encode(), hashlib.sha256).hexdigest()
        for name in ("a", "b")
    ]
    assert (receipt["hmac_sha256"] == told[0], receipt["hmac_sha256"] == told[1]) == (True, False)
