"""Records on Redis that expire by themselves: when, and that no value ever changes by it.

Times are in the year 2100, so the server, which has only its own clock, expires nothing by itself: the tests delete
what would have expired.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from headrace.config import Clock
from headrace.errors import LookupTimeError, StaleWriteError
from headrace.events.event_batch import EventBatch
from headrace.events.source_partition import SourcePartition
from headrace.lookup import FeatureClient, Status
from headrace.plan import Column, DType, Feature, Plan, Source, View
from headrace.records.applier import Applier
from headrace.records.entity_keys import entity_key
from headrace.records.expiry import KEPT_US, REMEMBERED_US, expires_us, reach_us
from headrace.stores import CatalogueChange, OnlineStore, Position, RecordKey
from headrace.stores.redis.store import RedisStore
from headrace.windows import NEVER

if TYPE_CHECKING:
    import redis

    from tests.servers.redis import RedisServer

pytestmark = pytest.mark.redis

MINUTE = 60_000_000
HOUR = 60 * MINUTE
START = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000

SOURCE = Source(
    name="orders",
    topic="orders",
    model="m:M",
    key=None,
    timestamp_field="at",
    columns=(
        Column(name="shop", dtype=DType.STRING),
        Column(name="price", dtype=DType.INT64),
        Column(name="at", dtype=DType.TIMESTAMP),
    ),
)


def _feature(name: str, window: int | None, slide: int | None, offset: int = 0, function: str = "sum") -> Feature:
    column = "price" if function == "sum" else "*"
    return Feature(
        name=name,
        function=function,
        column=column,
        window_us=window,
        slide_us=slide,
        offset_us=offset,
        dtype=DType.INT64,
    )


def _view(name: str, *features: Feature) -> View:
    return View(name=name, source="orders", entities=(SOURCE.columns[0],), features=features)


WINDOWS = _view(
    "windows",
    _feature("sum_1h", HOUR, 10 * MINUTE),
    _feature("sum_1h_before", HOUR, 10 * MINUTE, 30 * MINUTE),
    _feature("sales_5m", 5 * MINUTE, MINUTE, function="count"),
)
LONGEST = HOUR + 30 * MINUTE
EVER = _view("ever", _feature("sum_1h", HOUR, 10 * MINUTE), _feature("sum_ever", None, None))
PLAN = Plan(project="shop", sources={"orders": SOURCE}, views={"windows": WINDOWS, "ever": EVER})

FIRST = SourcePartition("orders", 0)
Event = tuple[int, str, int]
"""When it happened, in µs, in which shop, and at what price."""


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    with RedisStore(redis_url) as opened:
        opened.change(CatalogueChange().clock(Clock.SYSTEM).serve(PLAN.views.values()))
        yield opened


@pytest.fixture
def server(shared_redis: RedisServer, store: RedisStore) -> Iterator[redis.Redis]:
    with shared_redis.client() as client:
        yield client


def apply(store: OnlineStore, events: list[Event], now_us: int, first: int = 0, partition: int = 0) -> None:
    def ints(values: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        return np.array(values, np.int64)

    ts, n = ints([at for at, _, _ in events]), len(events)
    table = pa.table(
        {
            "shop": [shop for _, shop, _ in events],
            "price": ints([price for _, _, price in events]),
            "at": pa.array(ts).cast(pa.timestamp("us", "UTC")),
        }
    )
    known = np.full(n, now_us)
    batch = EventBatch(SOURCE, table, ts, ints([partition] * n), np.arange(first, first + n), known, known)
    position = Position(first + n - 1, now_us, int(ts.max()))
    Applier(PLAN, store).apply([batch], {SourcePartition("orders", partition): position}, now_us)


def key_of(view: View, shop: str = "a") -> bytes:
    return b"headrace:records:" + view.hash.encode() + b":" + entity_key([shop])


def expires(server: redis.Redis, view: View, shop: str = "a") -> int:
    """When a shop's records expire, in ms; -1 never, -2 they are not there."""
    return _ends(server, key_of(view, shop))


def _ends(server: Any, key: bytes | str) -> int:
    return int(server.execute_command("PEXPIRETIME", key))


def test_records_expire_an_hour_after_the_last_tile_can_be_reached(store: RedisStore, server: redis.Redis) -> None:
    newest = START + 7 * MINUTE + 3
    apply(store, [(START, "a", 1), (newest, "a", 1)], newest)
    assert 0 <= expires(server, WINDOWS) * 1000 - (newest + LONGEST + KEPT_US) <= 1000


def test_records_with_a_lifetime_never_expire(store: RedisStore, server: redis.Redis) -> None:
    apply(store, [(START, "a", 1)], START)
    assert expires(server, EVER) == -1


def test_records_under_the_record_clock_never_expire(store: RedisStore, server: redis.Redis) -> None:
    store.change(CatalogueChange().clock(Clock.RECORD))
    apply(store, [(START, "a", 1)], START)
    assert expires(server, WINDOWS) == -1


def test_late_event_and_another_partition_never_bring_the_end_forward(store: RedisStore, server: redis.Redis) -> None:
    apply(store, [(START + 5 * HOUR, "a", 1)], START + 5 * HOUR)
    last = expires(server, WINDOWS)
    apply(store, [(START + HOUR, "a", 1)], START + 5 * HOUR, first=1)
    apply(store, [(START + HOUR, "a", 1)], START + 5 * HOUR, partition=1)
    assert expires(server, WINDOWS) == last
    apply(store, [(START + 6 * HOUR, "a", 1)], START + 6 * HOUR, first=1, partition=1)
    assert expires(server, WINDOWS) == last + HOUR // 1000


def test_record_that_a_worker_has_read_stays_until_it_is_written(store: RedisStore, server: redis.Redis) -> None:
    apply(store, [(START, "a", 1)], START)
    server.pexpire(key_of(WINDOWS), 2_000)
    assert store.read([RecordKey(WINDOWS.hash, entity_key(["a"]), FIRST)], KEPT_US) != [None]
    assert server.pttl(key_of(WINDOWS)) > KEPT_US // 1000 - 60_000
    both = [RecordKey(view.hash, entity_key([shop]), FIRST) for shop in "ab" for view in (EVER, WINDOWS)]
    assert [record is None for record in store.read(both, KEPT_US)] == [False, False, True, True]
    assert expires(server, EVER) == -1


def test_record_that_was_forgotten_for_a_person_is_still_refused(store: RedisStore) -> None:
    apply(store, [(START, "a", 1)], START)

    class Forgetful(RedisStore):
        def read(self, keys: Any, keep_us: int = 0) -> list[bytes | None]:
            found = super().read(keys, keep_us)
            self.delete(WINDOWS.hash, [entity_key(["a"])])
            return found

    store.__class__ = Forgetful
    with pytest.raises(StaleWriteError):
        apply(store, [(START, "a", 1)], START, first=1)


class Bench:
    """Shops over virtual hours: what was sent, and what is right of it."""

    def __init__(self, store: RedisStore, server: redis.Redis, seed: int) -> None:
        self.store, self.server = store, server
        self.dice = np.random.default_rng(seed)
        self.now = START
        self.sent: list[list[Event]] = [[], []]
        self.forgotten = 0

    def send(self) -> None:
        """Some events of one partition, some of them hours late."""
        partition = int(self.dice.integers(2))
        sent = self.sent[partition]
        late = self.dice.integers(0, 4 * HOUR, 3) * (self.dice.random(3) < 0.4)
        new = [(self.now - int(by), "ab"[int(self.dice.integers(2))], int(self.dice.integers(1, 100))) for by in late]
        sent += new
        apply(self.store, new, self.now, len(sent) - len(new), partition)

    def replay(self) -> None:
        """All that was sent since some offset once more, as a worker does that had not committed."""
        partition = int(self.dice.integers(2))
        sent = self.sent[partition]
        if sent:
            first = int(self.dice.integers(len(sent)))
            apply(self.store, sent[first:], self.now, first, partition)

    def pass_time(self) -> None:
        """Up to three hours; what would have expired by then is gone."""
        self.now += int(self.dice.integers(3 * HOUR))
        for key in self.server.keys(b"headrace:records:*"):
            at_ms = _ends(self.server, key)
            if 0 <= at_ms <= self.now // 1000:
                self.forgotten += self.server.delete(key)

    def right(self, shop: str) -> dict[str, int]:
        """The features by the one definition, straight from the events."""
        events = [event for sent in self.sent for event in sent if event[1] == shop]

        def counted(window: int, slide: int, offset: int = 0) -> list[int]:
            newest = self.now // slide - offset // slide
            return [price for at, _, price in events if newest - window // slide < at // slide <= newest]

        return {
            "windows__sum_1h": sum(counted(HOUR, 10 * MINUTE)),
            "windows__sum_1h_before": sum(counted(HOUR, 10 * MINUTE, 30 * MINUTE)),
            "windows__sales_5m": len(counted(5 * MINUTE, MINUTE)),
            "ever__sum_ever": sum(price for _, _, price in events),
        }


@pytest.mark.parametrize("seed", range(12))
def test_no_value_changes_by_records_that_expire_whatever_is_late_or_replayed(
    store: RedisStore, server: redis.Redis, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(store, server, seed)
    client = FeatureClient(plan=PLAN, store=store)
    monkeypatch.setattr(time, "time_ns", lambda: bench.now * 1000)
    steps = (bench.send, bench.send, bench.replay, bench.pass_time)
    for _ in range(40):
        steps[int(bench.dice.integers(len(steps)))]()
        found = client.get_online_features(["windows:*", "ever:sum_ever"], {"shop": ["a", "b"]}).to_dict()
        for row, shop in enumerate("ab"):
            right = bench.right(shop)
            assert {name: found[name][row] for name in right} == right
    assert bench.forgotten > 0


def test_status_of_a_record_that_has_expired_is_unknown_key(
    store: RedisStore, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(store, server, 0)
    apply(store, [(START, "a", 1)], START)
    client = FeatureClient(plan=PLAN, store=store)
    monkeypatch.setattr(time, "time_ns", lambda: bench.now * 1000)
    found = []
    for hours in (0, 2, 4):
        bench.now = START + hours * HOUR
        for key in server.keys(b"headrace:records:*"):
            if 0 <= _ends(server, key) <= bench.now // 1000:
                server.delete(key)
        answer = client.get_online_features(["windows:*"], [{"shop": "a"}])
        found.append((answer.views["windows"].status[0], answer.views["windows"].applied[0]))
    assert found == [(Status.PRESENT, {0: 0}), (Status.EXPIRED, {0: 0}), (Status.UNKNOWN_KEY, {})]


def test_time_at_which_records_may_have_counted_that_have_expired_is_refused_not_guessed(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = START + 10 * HOUR
    monkeypatch.setattr(time, "time_ns", lambda: now * 1000)
    client = FeatureClient(plan=PLAN, store=store)

    def look_up(view: str, us: int) -> object:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
        return client.get_online_features([f"{view}:sum_1h"], [{"shop": "a"}], at=at).to_dict()[f"{view}__sum_1h"]

    assert look_up("windows", now - REMEMBERED_US) == [0]
    with pytest.raises(LookupTimeError, match=r"windows(?s:.*)may have expired(?s:.*)headrace history"):
        look_up("windows", now - REMEMBERED_US - 1)
    assert look_up("ever", START) == [0]
    store.change(CatalogueChange().clock(Clock.RECORD))
    client = FeatureClient(plan=PLAN, store=store)
    assert look_up("windows", START) == [0]


def test_end_of_a_record_counts_from_its_newest_event() -> None:
    assert reach_us(WINDOWS) == LONGEST
    assert reach_us(EVER) is None
    newest = np.array([START + 9, NEVER])
    assert expires_us(newest, LONGEST)[0] == START + 9 + LONGEST + KEPT_US
    assert expires_us(newest, LONGEST)[1] < 0  # no event: no window reaches it


def test_worker_keeps_records_that_it_reads_only_where_they_expire(store: RedisStore, server: redis.Redis) -> None:
    apply(store, [(START, "a", 1)], START)
    for shop in ("a", "b"):
        server.pexpire(key_of(WINDOWS), 2_000)
        apply(store, [(START, shop, 1)], START, first=1)
        assert server.pttl(key_of(WINDOWS)) > 2_000 if shop == "a" else server.pttl(key_of(WINDOWS)) <= 2_000
