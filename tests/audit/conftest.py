"""A project whose shop sold things: the online store, the log and a client that records all it serves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from headrace.config import Project
from headrace.log import EventLog
from headrace.lookup import FeatureClient
from headrace.plan import write_plan
from headrace.stores import OnlineStore, open_store
from headrace.worker.pipeline import Pipeline
from tests.worker.shop import NAMES, PLAN, SOURCE, new_pipeline, one_round, record


@dataclass
class Shop:
    """The project and its writable store; `sold` is every record processed."""

    project: Project
    store: OnlineStore
    sold: list[Any] = field(default_factory=list)

    @property
    def log(self) -> EventLog:
        return EventLog(self.project.log_path, SOURCE)

    def pipeline(self) -> Pipeline:
        return new_pipeline(self.store, self.log)

    def sell(self, *records: Any, logged: bool = True) -> Pipeline:
        pipeline = self.pipeline()
        pipeline.process(one_round(*records))
        if logged:
            pipeline.flush()
        self.sold += records
        return pipeline

    def client(self, audit: float | None = 1) -> FeatureClient:
        return FeatureClient(self.project, plan=PLAN, store=self.store, audit=audit)

    def serve(self, *shops: str) -> list[dict[str, Any]]:
        """Look shops up in one lookup, recorded."""
        with self.client() as client:
            return client.get_online_features(NAMES, [{"shop": shop} for shop in shops]).records()


@pytest.fixture
def empty_shop(tmp_path: Path) -> Iterator[Shop]:
    (tmp_path / "headrace.toml").write_text('[headrace]\nclock = "record"\n')
    project = Project.load(tmp_path)
    write_plan(PLAN, project.plan_file)
    with open_store(project.store_url, writable=True) as store:
        yield Shop(project, store)


@pytest.fixture
def shop(empty_shop: Shop) -> Shop:
    """Six sales in two partitions."""
    empty_shop.sell(
        record(0, "a", 0, price=1.5),
        record(1, "b", 1, price=2.5),
        record(2, "a", 2, price=4.0),
        record(0, "a", 1, price=3.0, partition=1),
        record(1, "c", 3, pieces=7, partition=1),
        record(2, "b", 4, pieces=2, partition=1),
    )
    return empty_shop
