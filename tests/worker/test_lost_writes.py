"""A store that forgets acknowledged writes, as a restarted Redis does: the worker notices before it writes."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from headrace.errors import StoreBehindError
from headrace.stores.memory import MemoryStore
from headrace.worker.replay import replay
from tests.worker.handoffs import PARTITIONS, Deployment, Sales


def forget(store: MemoryStore, before: MemoryStore) -> None:
    """The store holds what it held then."""
    store.__dict__.update(copy.deepcopy(before.__dict__))


def test_worker_stops_and_the_next_one_applies_what_is_missing(tmp_path: Path) -> None:
    store, sales = MemoryStore(), Sales(1)
    deployed = Deployment(tmp_path, store)
    deployed.send(sales.some(20))
    before = copy.deepcopy(store)
    deployed.send(sales.some(20))
    deployed.pipeline.flush()
    forget(store, before)
    lost = sales.some(20)
    with pytest.raises(StoreBehindError, match="has lost writes"):
        deployed.send(lost)
    deployed.start()
    replay(store, deployed.applier, [deployed.log], lambda _log: range(PARTITIONS), deployed.erased)
    deployed.process(lost)
    deployed.check(10)


def test_version_in_building_goes_on_from_what_the_store_holds(tmp_path: Path) -> None:
    store, sales = MemoryStore(), Sales(2)
    deployed = Deployment(tmp_path, store)
    deployed.send(sales.some(60))
    deployed.pipeline.flush()
    deployed.ask(20)
    deployed.build()
    before = copy.deepcopy(store)
    for _ in range(3):
        deployed.build()
    forget(store, before)
    deployed.hand_off()
    assert deployed.check(20) == 20
