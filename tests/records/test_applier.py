"""Applying fetches and looking up gives the values of a naive loop, however the fetches are cut or replayed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.config import Clock
from headrace.errors import LookupTimeError, StaleWriteError, StoreUnavailableError
from headrace.events.event_batch import EventBatch
from headrace.events.source_partition import SourcePartition
from headrace.lookup import FeatureClient, Status
from headrace.plan import Column, DType, Feature, Plan, Source, View
from headrace.records.applier import Applier
from headrace.stores import CatalogueChange, Position, RecordKey
from headrace.stores.base import NOTHING
from headrace.stores.memory import MemoryStore
from tests.examples import few_and_many

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SOURCE = Source(
    name="orders",
    topic="orders",
    model="events:Order",
    key="shop",
    timestamp_field="at",
    columns=(
        Column(name="shop", dtype=DType.STRING, nullable=True),
        Column(name="at", dtype=DType.TIMESTAMP, nullable=False),
        Column(name="price", dtype=DType.FLOAT64),
        Column(name="pieces", dtype=DType.INT64),
        Column(name="gift", dtype=DType.BOOL),
        Column(name="note", dtype=DType.STRING),
    ),
)
SHAPES: dict[str, tuple[int | None, int | None]] = {
    "sliding": (60, 10),
    "tumbling": (30, 30),
    "exact": (25, 1),
    "lifetime": (None, None),
}
FUNCTIONS = [
    ("count", "*", DType.INT64),
    ("count", "price", DType.INT64),
    ("sum", "pieces", DType.INT64),
    ("sum", "price", DType.FLOAT64),
    ("mean", "gift", DType.FLOAT64),
    ("mean", "price", DType.FLOAT64),
    ("min", "price", DType.FLOAT64),
    ("max", "price", DType.FLOAT64),
    ("max", "pieces", DType.INT64),
    ("min", "at", DType.TIMESTAMP),
    ("last", "note", DType.STRING),
    ("last", "gift", DType.BOOL),
]
VIEW = View(
    name="shop_orders",
    source="orders",
    entities=(Column(name="shop", dtype=DType.STRING, nullable=False),),
    features=tuple(
        Feature(
            name=f"{function}_{column.replace('*', 'all')}_{shape}",
            function=function,
            column=column,
            window_us=w,
            slide_us=s,
            dtype=d,
        )
        for shape, (w, s) in SHAPES.items()
        for function, column, d in FUNCTIONS
    ),
)
PLAN = Plan(project="shop", sources={"orders": SOURCE}, views={VIEW.name: VIEW})


@dataclass(frozen=True)
class Order:
    shop: str | None
    at: int
    known: int
    price: float | None
    pieces: int | None
    gift: bool | None
    note: str | None
    partition: int
    offset: int


def batch_of(orders: list[Order]) -> EventBatch:
    table = pa.table(
        {
            "shop": pa.array([o.shop for o in orders], pa.string()),
            "at": pa.array([o.at for o in orders], pa.int64()).cast(pa.timestamp("us", "UTC")),
            "price": pa.array([o.price for o in orders], pa.float64()),
            "pieces": pa.array([o.pieces for o in orders], pa.int64()),
            "gift": pa.array([o.gift for o in orders], pa.bool_()),
            "note": pa.array([o.note for o in orders], pa.string()),
        }
    )

    def ints(name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([getattr(o, name) for o in orders], np.int64)

    return EventBatch(SOURCE, table, ints("at"), ints("partition"), ints("offset"), ints("known"), ints("known"))


def positions_of(orders: list[Order]) -> dict[SourcePartition, Position]:
    return {
        SourcePartition("orders", o.partition): Position(o.offset, o.known, o.at)
        for o in sorted(orders, key=lambda o: o.offset)
    }


class SoleStore(MemoryStore):
    """A store that nobody else writes, so the applier caches its records.

    Some of its commits fail, before or after they were written.
    """

    failing = ""

    def __init__(self) -> None:
        super().__init__()
        self.now = object()
        self.reads = 0

    def epoch(self) -> object:
        return self.now

    def read(self, keys: Sequence[RecordKey], keep_us: int = 0) -> list[bytes | None]:
        self.reads += len(keys)
        return super().read(keys, keep_us)

    def commit(
        self, writes: Any, positions: Any, required: Any = NOTHING, epoch: Any = None, *, at_once: bool = True
    ) -> None:
        failing, self.failing = self.failing, ""
        reads = self.reads
        if failing != "before":
            super().commit(writes, positions, required, epoch, at_once=at_once)
        self.reads = reads  # the twin's own look does not count
        if failing:
            msg = "Away."
            raise StoreUnavailableError(msg)


def new_store(kind: type[MemoryStore] = MemoryStore) -> MemoryStore:
    store = kind()
    store.change(CatalogueChange().clock(Clock.RECORD).serve([VIEW]))
    return store


def client_of(store: MemoryStore) -> FeatureClient:
    return FeatureClient(plan=PLAN, store=store)


def brute_force(orders: list[Order], shop: str, t: int, feature: Feature) -> Any:
    counted = []
    for o in orders:
        if o.shop != shop or o.known > t:
            continue
        if feature.window_us is not None and feature.slide_us is not None:
            n, tile_t, tile_e = feature.window_us // feature.slide_us, t // feature.slide_us, o.at // feature.slide_us
            if not (tile_t - n < tile_e <= tile_t):
                continue
        counted.append(o)
    counted.sort(key=lambda o: (o.at, o.partition, o.offset))
    if feature.column == "*":
        return len(counted)
    values = [getattr(o, feature.column) for o in counted]
    values = [v for v in values if v is not None]
    match feature.function:
        case "count":
            return len(values)
        case "sum":
            return sum(values)
        case "mean":
            return sum(values) / len(values) if values else None
        case "min":
            numbers = [v for v in values if not (isinstance(v, float) and math.isnan(v))]
            return min(numbers) if numbers else (values[0] if values else None)
        case "max":
            nans = [v for v in values if isinstance(v, float) and math.isnan(v)]
            return nans[0] if nans else max(values, default=None)
        case _:
            return values[-1] if values else None


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, datetime):
        ours = (ours - EPOCH) // timedelta(microseconds=1)
    if isinstance(ours, float) and isinstance(theirs, float | int):
        if math.isnan(ours) or math.isnan(theirs):
            return math.isnan(ours) and math.isnan(theirs)
        return ours == theirs or math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9)
    return bool(ours == theirs)


FLOATS = st.one_of(
    st.floats(-1000, 1000, allow_subnormal=False),
    st.just(math.nan),
    st.just(math.inf),
    st.just(-math.inf),
    st.integers(-3, 3).map(float),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Order]:
    """Orders in arrival order: late, out of order, future-dated, tied, with nulls, over several partitions."""
    n = draw(st.integers(0, 40))
    known = sorted(draw(st.lists(st.integers(-150, 300), min_size=n, max_size=n)))
    offsets: dict[int, int] = {}
    orders = []
    for moment in known:
        partition = draw(st.integers(0, 2))
        # Offsets may have holes (transactions, compaction) but never go back.
        offsets[partition] = offsets.get(partition, -1) + draw(st.integers(1, 3))
        orders.append(
            Order(
                shop=draw(st.sampled_from(["a", "ü", None])),
                at=moment - draw(st.sampled_from([0, 0, 0, 3, 20, 90, -2, -15])),
                known=moment,
                price=draw(st.none() | FLOATS),
                pieces=draw(st.none() | st.integers(-(2**60), 2**60)),
                gift=draw(st.none() | st.booleans()),
                note=draw(st.none() | st.text(max_size=3)),
                partition=partition,
                offset=offsets[partition],
            )
        )
    return orders


@few_and_many(4, 150)
@pytest.mark.parametrize("kind", [MemoryStore, SoleStore])
def test_lookup_equals_brute_force_however_fetches_are_cut_and_replayed(kind: type[MemoryStore], examples: int) -> None:
    @given(orders=histories(), data=st.data())
    @settings(max_examples=examples, deadline=None)
    def check(orders: list[Order], data: st.DataObject) -> None:
        check_lookup(kind, orders, data)

    check()


def check_lookup(kind: type[MemoryStore], orders: list[Order], data: st.DataObject) -> None:
    store = new_store(kind)
    applier = Applier(PLAN, store)
    start = 0
    while start < len(orders):
        end = data.draw(st.integers(start + 1, len(orders)), label="fetch ends")
        back = data.draw(st.integers(0, start), label="replayed from")
        fetch = orders[back:end]  # what was applied before is skipped by its position
        if isinstance(store, SoleStore):
            store.failing = data.draw(st.sampled_from(["", "", "", "before", "after"]), label="fails")
        with suppress(StoreUnavailableError):
            applier.apply([batch_of(fetch)], positions_of(fetch))
            start = end
    newest = max((o.known for o in orders), default=0)
    t = newest + data.draw(st.sampled_from([0, 1, 9, 10, 30, 100]), label="lookup after")
    answer = client_of(store).get_online_features(
        [f"{VIEW.name}:*"], [{"shop": "a"}, {"shop": "ü"}, {"shop": "never"}], at=EPOCH + timedelta(microseconds=t)
    )
    columns = answer.to_dict()
    for row, shop in enumerate(["a", "ü", "never"]):
        for feature in VIEW.features:
            ours = columns[f"{VIEW.name}__{feature.name}"][row]
            theirs = brute_force(orders, shop, t, feature)
            assert same(ours, theirs), (shop, feature.name, ours, theirs)
    seen = {o.shop for o in orders}
    status = answer.views[VIEW.name].status
    assert status[2] is Status.UNKNOWN_KEY
    assert (status[0] is Status.UNKNOWN_KEY) == ("a" not in seen)


@few_and_many(6, 60)
def test_lookup_in_the_past_is_exact_or_refused(examples: int) -> None:
    @given(orders=histories(), data=st.data())
    @settings(max_examples=examples, deadline=None)
    def check(orders: list[Order], data: st.DataObject) -> None:
        check_lookup_in_the_past(orders, data)

    check()


def check_lookup_in_the_past(orders: list[Order], data: st.DataObject) -> None:
    store = new_store()
    Applier(PLAN, store).apply([batch_of(orders)], positions_of(orders))
    t = data.draw(st.integers(-200, 300), label="lookup at")
    for feature in VIEW.features:
        try:
            answer = client_of(store).get_online_features(
                [f"{VIEW.name}:{feature.name}"], [{"shop": "a"}], at=EPOCH + timedelta(microseconds=t)
            )
        except LookupTimeError:
            continue
        assert same(answer.to_dict()[f"{VIEW.name}__{feature.name}"][0], brute_force(orders, "a", t, feature)), (
            feature.name
        )


def order(offset: int, at: int, **changes: Any) -> Order:
    fields: dict[str, Any] = {
        "shop": "a",
        "at": at,
        "known": at,
        "price": 1.0,
        "pieces": 1,
        "gift": True,
        "note": "x",
        "partition": 0,
    }
    return Order(**{**fields, **changes}, offset=offset)


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
