"""`headrace status` says why stores, log and recorded lookups may not agree though nothing is broken."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.cli.status_remarks import remarks_on_the_past
from headrace.log import LookupTable
from headrace.worker.startup import refill
from tests.erasure.shop import PLAN, Shop, noted_shop_at


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with noted_shop_at(tmp_path) as shop:
        yield shop


def remarks(shop: Shop) -> list[str]:
    """What status remarks, in another process' eyes: it opens the store itself."""
    return remarks_on_the_past(shop.project, PLAN)


def test_project_of_which_all_is_well_has_no_remarks(shop: Shop) -> None:
    assert remarks(shop) == []


def test_log_that_was_replaced_under_its_store_is_told_until_the_rebuild(shop: Shop) -> None:
    shutil.rmtree(shop.log.path)
    (gone,) = remarks(shop)
    shop.note_origin()
    (replaced,) = remarks(shop)
    assert gone == replaced
    assert gone.startswith("The online records of sales were made from a log that was removed or replaced since")
    refill(shop.store, shop.project, PLAN)
    assert remarks(shop) == []


def test_views_that_still_count_erased_events_are_told_until_the_rebuild(shop: Shop) -> None:
    shop.forget(shop="a")
    (told,) = remarks(shop)
    assert told.startswith("by_pieces still count erased events for other keys.")
    refill(shop.store, shop.project, PLAN)
    assert remarks(shop) == []


def test_erasure_that_was_cut_short_is_told_until_it_is_finished(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError

    with monkeypatch.context() as broken:
        broken.setattr(LookupTable, "erase", fail)
        with pytest.raises(OSError):  # noqa: PT011 ours, without a text
            shop.forget(shop="a")
    assert remarks(shop)[0] == "An erasure by shop was interrupted: run the same `headrace forget` again to finish it."
    shop.forget(shop="a")
    refill(shop.store, shop.project, PLAN)
    assert remarks(shop) == []
