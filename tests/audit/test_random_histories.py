"""Random histories of sales, lookups, erasures, refills, late appends, new logs, edits: audit finds only the edits."""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from headrace.audit import audit_lookups
from headrace.config import Project
from headrace.errors import LookupRequestError
from headrace.events.source_partition import SourcePartition
from headrace.log import LookupTable, made_log
from headrace.lookup import FeatureClient
from headrace.plan import write_plan
from headrace.records.entity_keys import entity_key
from headrace.stores import RecordKey, open_store
from headrace.worker.pipeline import Pipeline
from headrace.worker.record_origin import note_origin
from headrace.worker.startup import refill
from tests.audit.edits import edit_by_hand
from tests.erasure.shop import PLAN, Shop
from tests.examples import few_and_many
from tests.worker.shop import SHOPS, SOURCE, one_round, record

SHOP_NAMES = ["a", "b", "c", "d"]
PIECES = [1, 2, 3]


class Lookup(NamedTuple):
    """A recorded lookup: the shop, where it was asked by that, and whether it was served from an edited record."""

    shop: str | None
    is_fault: bool


@dataclass
class History:
    """A shop to which random things happen, and what is known of each lookup.

    Attributes:
        edited: The shops whose record somebody edited.
        lookups: What is recorded, in order.
        offsets: By partition, the next record's offset.
        minute: The newest record's time.
        waiting: The worker that has not logged all that it applied.
    """

    shop: Shop
    dice: random.Random
    edited: set[str] = field(default_factory=set)
    lookups: list[Lookup] = field(default_factory=list)
    offsets: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    minute: float = 0
    waiting: Pipeline | None = None

    def sell(self) -> None:
        records = []
        for _ in range(self.dice.randint(1, 6)):
            partition = self.dice.randrange(2)
            self.minute += self.dice.random() * 4
            name, pieces = self.dice.choice(SHOP_NAMES), self.dice.choice(PIECES)
            records.append(record(self.offsets[partition], name, self.minute, pieces=pieces, partition=partition))
            self.offsets[partition] += 1
        self.flush()
        worker = self.shop.start()
        worker.process(one_round(*records))
        self.waiting = worker
        if self.dice.random() < 0.7:
            self.flush()

    def flush(self) -> None:
        if self.waiting is not None:
            self.waiting.flush()
            self.waiting = None

    def serve(self) -> None:
        name, pieces = self.dice.choice([*SHOP_NAMES, "nobody"]), self.dice.choice(PIECES)
        views = self.dice.sample(["shop_sales", "by_pieces", "both"], self.dice.randint(1, 3))
        with FeatureClient(self.shop.project, plan=PLAN, store=self.shop.store, audit=1) as client:
            client.get_online_features([f"{view}:*" for view in views], [{"shop": name, "pieces": pieces}])
        recorded = None if views == ["by_pieces"] else name
        self.lookups.append(Lookup(recorded, name in self.edited and "shop_sales" in views))

    def edit(self) -> None:
        name = self.dice.choice(SHOP_NAMES)
        (held,) = self.shop.store.read([RecordKey(SHOPS.hash, entity_key([name]), SourcePartition("sales", 0))])
        if held is not None:
            edit_by_hand(self.shop.store, name, self.dice.randint(1, 9))
            self.edited.add(name)

    def forget(self) -> None:
        self.flush()
        name = self.dice.choice(SHOP_NAMES)
        try:
            self.shop.forget(shop=name)
        except LookupRequestError:
            return  # nothing was ever held of it
        self.edited.discard(name)
        self.lookups = [lookup for lookup in self.lookups if lookup.shop != name]
        if self.dice.random() < 0.5:
            self.refill()

    def refill(self) -> None:
        self.flush()
        refill(self.shop.store, self.shop.project, PLAN)
        self.edited.clear()

    def make_log_anew(self) -> None:
        self.waiting = None
        shutil.rmtree(self.shop.log.path, ignore_errors=True)
        self.shop.store.clear()
        self.restart()
        self.edited.clear()

    def restart(self) -> None:
        self.shop.start()
        note_origin(self.shop.store, self.shop.project.log_path, PLAN.sources.values())

    def check(self) -> None:
        """Audit finds each lookup from an edited record that the log can judge, and no other."""
        made, ends = made_log(self.shop.project.log_path, SOURCE), self.shop.log.last_offsets([0, 1])
        rows = [row for rows in LookupTable(self.shop.project.audit_path).read() for row in rows]
        rows.sort(key=lambda row: row["served_at_us"])
        expected = 0
        for row, lookup in zip(rows, self.lookups, strict=True):
            of_log = json.loads(row["origin"]).get("log:sales")
            known = json.loads(row["evidence"]).get("shop_sales", {})
            is_here = made is not None and (
                of_log == made.id or (of_log is None and row["served_at_us"] >= (made.at_us or 0))
            )
            is_logged = all(offset <= ends.get(int(partition), -1) for partition, offset in known.items())
            expected += lookup.is_fault and is_here and is_logged
        report = audit_lookups(self.shop.project)
        assert report.mismatched == expected, (report.apart, report.skews)
        assert report.lookups == len(rows) == report.matches + report.mismatched + sum(report.apart.values())


@few_and_many(15, 40, "steps")
@pytest.mark.parametrize("seed", range(int(os.environ.get("HEADRACE_HISTORIES", "4"))))
def test_audit_finds_the_edits_and_nothing_else(seed: int, steps: int, tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text('[headrace]\nclock = "record"\n')
    project = Project.load(tmp_path)
    write_plan(PLAN, project.plan_file)
    with open_store(project.store_url, writable=True) as store:
        history = History(Shop(project, store), random.Random(seed))
        history.restart()
        actions = [history.sell, history.serve, history.edit, history.forget, history.refill, history.restart]
        actions += [history.make_log_anew, history.check]
        weights = [6, 9, 2, 1.5, 0.5, 1, 0.7, 1]
        for action in history.dice.choices(actions, weights, k=steps):
            action()
        history.flush()
        history.check()
