from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.erasure.shop import RECORDS, Shop, empty_shop_at


@pytest.fixture
def empty_shop(tmp_path: Path) -> Iterator[Shop]:
    with empty_shop_at(tmp_path) as shop:
        yield shop


@pytest.fixture
def shop(empty_shop: Shop) -> Shop:
    """Shop a sold four times on two days in two partitions; b and c once each."""
    empty_shop.deliver(*RECORDS)
    return empty_shop
