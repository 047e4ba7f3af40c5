"""A project with its store, from which entities are forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.config import Clock, Project
from headrace.erasure import ErasureFilter, Forgotten, forget
from headrace.events.decode import EventDecoder
from headrace.log import EventLog
from headrace.lookup import FeatureClient
from headrace.plan import Column, DType, Feature, Plan, View, write_plan
from headrace.stores import CatalogueChange, OnlineStore, open_store
from headrace.worker.pipeline import Pipeline
from headrace.worker.record_origin import note_origin
from tests.worker.shop import SHOPS, SOURCE, KeptLetters, Sale, one_round, record

SHOP = Column(name="shop", dtype=DType.STRING, nullable=False)
PIECES = Column(name="pieces", dtype=DType.INT64, nullable=False)
EVER = Feature(name="ever", function="count", column="*", window_us=None, slide_us=None, dtype=DType.INT64)
BY_PIECES = View(name="by_pieces", source="sales", entities=(PIECES,), features=(EVER,))
BOTH = View(name="both", source="sales", entities=(PIECES, SHOP), features=(EVER,))
PLAN = Plan(project="shop", sources={"sales": SOURCE}, views={view.name: view for view in (SHOPS, BY_PIECES, BOTH)})
IDENTITY = "cluster/topic"


@dataclass
class Shop:
    """A project, its store, and workers over it that read the ledger as real ones do."""

    project: Project
    store: OnlineStore
    identity: str = IDENTITY
    letters: KeptLetters = field(default_factory=KeptLetters)

    @property
    def log(self) -> EventLog:
        return EventLog(self.project.log_path, SOURCE)

    def start(self, clock: Clock = Clock.RECORD, **more: Any) -> Pipeline:
        """A worker that starts; an empty store takes the plan as its own."""
        change = CatalogueChange().clock(clock).topic("sales", self.identity)
        self.store.change(change.serve(PLAN.views.values()))
        erased = ErasureFilter(self.project.erasures, {"sales": self.identity})
        decoders = {"sales": EventDecoder(SOURCE, Sale)}
        return Pipeline(PLAN, decoders, self.store, {"sales": self.log}, clock, self.letters, erased=erased, **more)

    def deliver(self, *records: Any, clock: Clock = Clock.RECORD, **more: Any) -> None:
        """A worker starts, applies these records and flushes."""
        worker = self.start(clock, **more)
        worker.process(one_round(*records))
        worker.flush()

    def note_origin(self) -> None:
        """What a worker that starts notes: what the store is made from."""
        note_origin(self.store, self.project.log_path, PLAN.sources.values())

    def forget(self, **entity: Any) -> Forgotten:
        return forget(self.project, PLAN, self.store, entity, alone=True)

    def logged(self) -> list[tuple[str, int, int]]:
        """Shop, partition and offset of every event in the log."""
        rows = [row for batch in self.log.scan() for row in batch.to_pylist()]
        return [(row["shop"], row["_partition"], row["_offset"]) for row in rows]

    def counts(self, view: str, **keys: Any) -> int:
        client = FeatureClient(plan=PLAN, store=self.store)
        feature = "pieces_ever" if view == "shop_sales" else "ever"
        found = client.get_online_features([f"{view}:{feature}"], [keys]).to_dict()
        return int(found[f"{view}__{feature}"][0])


@contextmanager
def empty_shop_at(root: Path) -> Iterator[Shop]:
    """A project with nothing sold, on the record clock, and its open store."""
    (root / "headrace.toml").write_text('[headrace]\nclock = "record"\n')
    project = Project.load(root)
    write_plan(PLAN, project.plan_file)
    with open_store(project.store_url, writable=True) as store:
        yield Shop(project, store)


@contextmanager
def noted_shop_at(root: Path) -> Iterator[Shop]:
    """A project that delivered `RECORDS`, whose workers have noted where records come from."""
    with empty_shop_at(root) as shop:
        shop.note_origin()
        shop.deliver(*RECORDS)
        shop.note_origin()
        yield shop


RECORDS = [
    record(0, "a", 0),
    record(1, "b", 1, pieces=2),
    record(2, "a", 2, pieces=2),
    record(3, "a", 60 * 24, pieces=1),
    record(0, "a", 1, partition=1),
    record(1, "c", 3, pieces=7, partition=1),
]
