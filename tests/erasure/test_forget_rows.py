"""Forgetting removes the rows of batch views too."""

from __future__ import annotations

from headrace.erasure import forget, inventory_of, places_of
from headrace.plan import BatchSource, BatchView, Column, DType
from headrace.records.entity_keys import entity_key
from headrace.rows import Row, open_rows
from tests.erasure.shop import PIECES, PLAN, SHOP, Shop

SOURCE = BatchSource(name="areas", kind="parquet", timestamp_field="at", path="areas.parquet")
AREAS = BatchView(name="areas", entities=(SHOP,), columns=(Column(name="area", dtype=DType.FLOAT64),), source=SOURCE)
PAIRS = AREAS.model_copy(update={"name": "pairs", "entities": (PIECES, SHOP)})
OTHER = AREAS.model_copy(update={"name": "other", "entities": (PIECES,)})
WITH_ROWS = PLAN.model_copy(update={"batch_views": {view.name: view for view in (AREAS, PAIRS, OTHER)}})


def test_rows_of_an_entity_are_removed_and_others_stay(shop: Shop) -> None:
    project = shop.project
    with open_rows(project.store_url, writable=True) as rows:
        rows.write(AREAS.rows_hash, [Row(entity_key([key]), 1, b"") for key in ("a", "b")])
        rows.write(PAIRS.rows_hash, [Row(entity_key([number, key]), 1, b"") for number in (1, 2) for key in "ab"])
        rows.write(OTHER.rows_hash, [Row(entity_key([1]), 1, b"")])
    found = inventory_of(project, WITH_ROWS, shop.store, places_of(WITH_ROWS, shop.store, {"shop": "a"}))
    assert (found.online["areas"], found.online["pairs"]) == (1, 2)
    done = forget(project, WITH_ROWS, shop.store, {"shop": "a"}, alone=True)
    assert (done.online["areas"], done.online["pairs"], "other" in done.online) == (1, 2, False)
    with open_rows(project.store_url, writable=False) as rows:
        assert list(rows.entities(AREAS.rows_hash)) == [entity_key(["b"])]
        assert sorted(rows.entities(PAIRS.rows_hash)) == [entity_key([1, "b"]), entity_key([2, "b"])]
        assert list(rows.entities(OTHER.rows_hash)) == [entity_key([1])]
