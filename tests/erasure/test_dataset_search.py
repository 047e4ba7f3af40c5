"""Exported datasets that still hold an erased entity are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.erasure import forget
from tests.erasure.shop import PLAN, Shop


def test_datasets_that_still_hold_it_are_named(shop: Shop) -> None:
    def dataset(folder: Path, **columns: Any) -> str:
        (folder / "train").mkdir(parents=True)
        pq.write_table(pa.table(columns), folder / "train" / "part-00000.parquet")
        files = [{"split": "train", "path": "train/part-00000.parquet"}]
        (folder / "manifest.json").write_text(json.dumps({"dataset": folder.name, "files": files}))
        return str(folder / "manifest.json")

    root, state = shop.project.root, shop.project.state
    held = dataset(state / "datasets" / "held", shop=["a", "b", "a"])
    dataset(state / "datasets" / "free", shop=["b", None])
    dataset(root / "exports" / "features_only", ever=[1, 2])
    unreadable = dataset(root / "exports" / "cut_short", shop=["a"])
    (root / "exports" / "cut_short" / "train" / "part-00000.parquet").write_bytes(b"PAR1")
    (root / "exports" / "manifest.json").write_text("{}")
    found = {(holder.manifest, holder.rows) for holder in shop.forget(shop="a").datasets}
    assert found == {(held, 2), (unreadable, None)}


def test_datasets_elsewhere_are_named_where_one_says_so(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    pq.write_table(pa.table({"shop": ["a"]}), elsewhere / "part.parquet")
    (elsewhere / "manifest.json").write_text(json.dumps({"dataset": "far", "files": [{"path": "part.parquet"}]}))
    done = forget(shop.project, PLAN, shop.store, {"shop": "a"}, alone=True, folders=[elsewhere])
    assert [(holder.manifest, holder.rows) for holder in done.datasets] == [(str(elsewhere / "manifest.json"), 1)]
    assert (elsewhere / "part.parquet").exists()
