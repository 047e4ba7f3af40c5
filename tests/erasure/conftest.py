from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.config import Project
from headrace.plan import write_plan
from headrace.stores import open_store
from tests.erasure.shop import PLAN, RECORDS, Shop


@pytest.fixture
def empty_shop(tmp_path: Path) -> Iterator[Shop]:
    (tmp_path / "headrace.toml").write_text('[headrace]\nclock = "record"\n')
    project = Project.load(tmp_path)
    write_plan(PLAN, project.plan_file)
    with open_store(project.store_url, writable=True) as store:
        yield Shop(project, store)


@pytest.fixture
def shop(empty_shop: Shop) -> Shop:
    """Shop a sold four times on two days in two partitions; b and c once each."""
    empty_shop.deliver(*RECORDS)
    return empty_shop
