"""What an applier writes, caches and refuses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from headrace.config import Clock
from headrace.errors import LookupTimeError, StaleWriteError, StoreUnavailableError
from headrace.events.source_partition import SourcePartition
from headrace.records.applier import Applier
from headrace.stores import CatalogueChange, RecordKey
from headrace.stores.base import NOTHING
from headrace.stores.memory import MemoryStore
from tests.records.orders import (
    EPOCH,
    PLAN,
    VIEW,
    SoleStore,
    batch_of,
    client_of,
    new_store,
    order,
    positions_of,
)


def test_write_of_a_worker_that_lost_its_partition_is_refused_and_changes_nothing() -> None:
    store = new_store()

    class Zombie(MemoryStore):
        """Another worker gets in between this one's read and its write."""

        def read(self, keys: Sequence[RecordKey], keep_us: int = 0) -> list[bytes | None]:
            found = store.read(keys)
            other = [order(1, 6)]
            Applier(PLAN, store).apply([batch_of(other)], positions_of(other))
            return found

        def commit(
            self, writes: Any, positions: Any, required: Any = NOTHING, epoch: Any = None, *, at_once: bool = True
        ) -> None:
            store.commit(writes, positions)

    first = [order(0, 5)]
    Applier(PLAN, store).apply([batch_of(first)], positions_of(first))
    with pytest.raises(StaleWriteError, match="another worker owns the partition"):
        Applier(PLAN, Zombie()).apply([batch_of([order(1, 6), order(2, 7)])], {})
    answer = client_of(store).get_online_features([f"{VIEW.name}:count_all_lifetime"], [{"shop": "a"}])
    assert answer.to_dict()[f"{VIEW.name}__count_all_lifetime"] == [2]


def test_records_are_read_once_as_long_as_nobody_else_writes() -> None:
    store = SoleStore()
    applier = Applier(PLAN, store)
    rounds = [[order(2 * n, n, shop="a"), order(2 * n + 1, n, shop=f"b{n}")] for n in range(5)]
    for orders in rounds[:3]:
        applier.apply([batch_of(orders)], positions_of(orders))
    assert store.reads == 4  # a, b0, b1, b2
    store.now = object()
    applier.apply([batch_of(rounds[3])], positions_of(rounds[3]))
    assert store.reads == 6


def test_cache_that_is_too_large_is_discarded_and_read_again() -> None:
    store = SoleStore()
    applier = Applier(PLAN, store, cache_bytes=0)
    for n in range(3):
        orders = [order(2 * n, n, shop="a"), order(2 * n + 1, n, shop=f"b{n}")]
        applier.apply([batch_of(orders)], positions_of(orders))
    assert store.reads == 6


def test_version_that_is_filled_is_read_again() -> None:
    store = SoleStore()
    store.change(CatalogueChange().clock(Clock.RECORD).serve([VIEW]))
    applier = Applier(PLAN, store)
    applier.apply([batch_of([order(0, 5)])], positions_of([order(0, 5)]))
    store.failing = "before"
    with pytest.raises(StoreUnavailableError):
        applier.fill(VIEW, batch_of([order(1, 6)]))
    applier.fill(VIEW, batch_of([order(1, 6)]))
    applier.apply([batch_of([order(2, 7)])], positions_of([order(2, 7)]))
    answer = client_of(store).get_online_features([f"{VIEW.name}:count_all_lifetime"], [{"shop": "a"}])
    assert answer.to_dict()[f"{VIEW.name}__count_all_lifetime"] == [3]


def test_commit_beside_a_version_that_is_being_built_says_no_epoch() -> None:
    said: list[object] = []

    class Noting(SoleStore):
        def commit(
            self, writes: Any, positions: Any, required: Any = NOTHING, epoch: Any = None, *, at_once: bool = True
        ) -> None:
            said.append(epoch)
            super().commit(writes, positions, required, epoch, at_once=at_once)

    store = new_store(Noting)
    assert isinstance(store, SoleStore)
    applier = Applier(PLAN, store)
    other = VIEW.model_copy(update={"features": VIEW.features[:3]})
    applier.apply([batch_of([order(0, 5)])], positions_of([order(0, 5)]))
    applier.prepare(other)
    writes = applier.writes([batch_of([order(1, 6)])])
    applier.serve(other)  # what was made beside it stays what it was
    applier.commit(writes, positions_of([order(1, 6)]))
    assert said == [store.now, None]


def test_pruned_tiles_keep_the_record_small() -> None:
    store = new_store()
    applier = Applier(PLAN, store)
    sizes = []
    for number in range(60):
        orders = [order(number * 10 + i, number * 10 + i) for i in range(10)]
        applier.apply([batch_of(orders)], positions_of(orders))
        sizes.append(len(next(iter(store._records.values()))[SourcePartition("orders", 0)][1]))  # noqa: SLF001 the twin's own insides
    assert max(sizes[20:]) == max(sizes[10:20])


def test_lookup_at_a_pruned_time_is_refused_not_guessed() -> None:
    store = new_store()
    applier = Applier(PLAN, store)
    for orders in ([order(0, 5)], [order(1, 500)]):
        applier.apply([batch_of(orders)], positions_of(orders))
    with pytest.raises(LookupTimeError, match="pruned"):
        client_of(store).get_online_features(
            [f"{VIEW.name}:count_all_sliding"], [{"shop": "a"}], at=EPOCH + timedelta(microseconds=10)
        )
