"""A stock Feast repo with both kinds of stores, and a shop with stream views; each made once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.feast.repos import Shop, copied, feast_apply, stock_repo, with_two_lines, write_shop

pytestmark = pytest.mark.filterwarnings("ignore")

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_warnings_of_feast() -> Iterator[None]:
    """Feast and its dependencies warn about themselves; users cannot fix that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass
class Stock:
    """The same stock repo twice, with the same data.

    Attributes:
        ours: Its store with headrace's two lines.
        theirs: Its store as `feast init` makes it: SQLite and dask.
        repo: The repo of ours.
        data: The rows of its file.
    """

    ours: Any
    theirs: Any
    repo: Path
    data: pd.DataFrame


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stock]:
    """The stock repo after `feast apply`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = stock_repo(tmp_path_factory.mktemp("theirs") / "stock")
        ours = copied(theirs, tmp_path_factory.mktemp("ours") / "feature_repo")
        with_two_lines(ours)
        data = pd.read_parquet(theirs / "data" / "driver_stats.parquet")
        yield Stock(feast_apply(ours), feast_apply(theirs), ours, data)


@pytest.fixture(scope="session")
def shop_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's feature repo with the rows of its file."""
    repo = write_shop(tmp_path_factory.mktemp("shop"))
    (repo / "data").mkdir()
    rows = pd.DataFrame(
        {
            "customer": ["ann", "ann", "bob", "ann"],
            "at": [NOON - timedelta(hours=hours) for hours in (30, 3, 2, 3)],
            "created": [NOON - timedelta(hours=hours) for hours in (30, 3, 1, 2)],
            "score": [0.1, 0.2, 0.5, 0.25],
            "level": [1, 2, 3, 4],
        }
    )
    rows.to_parquet(repo / "data" / "scores.parquet")
    return repo


@pytest.fixture(scope="session")
def shop(shop_repo: Path) -> Iterator[Shop]:
    """The shop after `feast apply`, with orders in its store and its log."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        feast_apply(shop_repo)
        opened = Shop(shop_repo)
    minutes = timedelta(minutes=1)
    opened.order(
        {"customer": "ann", "shop": 7, "placed_at": NOON - 90 * minutes, "price": 1.5, "items": 1},
        {"customer": "ann", "shop": 7, "placed_at": NOON - 50 * minutes, "price": 2.5, "items": 2},
        {"customer": "bob", "shop": 8, "placed_at": NOON - 40 * minutes, "price": 0.1, "items": 3},
    )
    opened.order(
        {"customer": "ann", "shop": 8, "placed_at": NOON - 5 * minutes, "price": 0.2, "items": 4},
        {"customer": "bob", "shop": 8, "placed_at": NOON - 20 * minutes, "known": NOON, "price": 0.7, "items": 5},
        {"customer": "eve", "shop": 7, "placed_at": NOON - 600 * minutes, "known": NOON, "price": 9.0, "items": 6},
    )
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def shop_store(shop: Shop, shop_repo: Path) -> Any:
    """Feast's store of the shop."""
    from feast import FeatureStore

    return FeatureStore(repo_path=str(shop_repo))
