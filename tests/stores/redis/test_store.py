"""What only the Redis adapter has: its script, an absent server, durability. The contract suite has the rest."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest
import redis

from headrace.errors import ConfigError, StaleWriteError, StoreBehindError, StoreError, StoreUnavailableError
from headrace.events.source_partition import SourcePartition
from headrace.stores import FoundRecords, JournalEntry, Position, RecordKey, Write, open_store
from headrace.stores.redis.protocol import chunks_of
from headrace.stores.redis.store import RedisStore

if TYPE_CHECKING:
    from tests.servers.redis import RedisServer

pytestmark = pytest.mark.redis

VIEW = "0123456789abcdef"
DEPARTURES = SourcePartition("departures", 0)


def record(applied: int, body: bytes = b"") -> bytes:
    return b"%d " % applied + body


def key_of(entity: bytes, partition: int = 0) -> RecordKey:
    return RecordKey(VIEW, entity, SourcePartition("departures", partition))


def write(entity: bytes, expected: int | None, applied: int, partition: int = 0, body: bytes = b"") -> Write:
    return Write(key_of(entity, partition), expected, applied, record(applied, body))


def contents(client: redis.Redis) -> dict[bytes, object]:
    """All hashes of a server."""
    return {key: client.hgetall(key) for key in client.scan_iter()}


def test_a_url_opens_the_redis_adapter(redis_url: str) -> None:
    with open_store(redis_url, writable=True) as store:
        assert isinstance(store, RedisStore)


def test_records_of_all_partitions_are_fields_of_one_hash(redis_url: str, shared_redis: RedisServer) -> None:
    with RedisStore(redis_url) as store:
        store.commit([write(b'["EWR"]', None, 7, partition) for partition in (10, 2, 0)], {})
        assert store.lookup({VIEW: [b'["EWR"]', b'["JFK"]']}).records[VIEW] == FoundRecords.of(
            [[(SourcePartition("departures", number), record(7)) for number in (0, 2, 10)], []]
        )
    with shared_redis.client() as client:
        assert client.keys() == [b'headrace:records:0123456789abcdef:["EWR"]']


def test_a_refused_write_leaves_the_whole_commit_undone(redis_url: str) -> None:
    with RedisStore(redis_url) as store:
        store.commit([write(b"a", None, 5)], {DEPARTURES: Position(5, 50, 500)})
        with pytest.raises(StaleWriteError, match="offset 5, not 3"):
            store.commit([write(b"b", None, 9), write(b"a", 3, 9)], {DEPARTURES: Position(9, 90, 900)})
        assert store.read([key_of(b"a"), key_of(b"b")]) == [record(5), None]
        assert store.positions() == {DEPARTURES: Position(5, 50, 500)}


def test_offsets_that_lua_cannot_tell_apart_as_numbers_are_told_apart(redis_url: str) -> None:
    offset = 2**53
    with RedisStore(redis_url) as store:
        store.commit([write(b"a", None, offset)], {})
        with pytest.raises(StaleWriteError):
            store.commit([write(b"a", offset + 1, offset + 2)], {})
        store.commit([write(b"a", offset, offset + 1)], {})
        with pytest.raises(StaleWriteError):
            store.commit([write(b"a", offset, offset + 2)], {})


def test_of_two_workers_that_read_the_same_record_one_is_refused(redis_url: str) -> None:
    refused: list[StaleWriteError] = []
    both_ready = threading.Barrier(2)

    def work(mark: bytes) -> None:
        with RedisStore(redis_url) as store:
            both_ready.wait()
            try:
                store.commit([write(b"%d" % n, None, 1, body=mark) for n in range(500)], {})
            except StaleWriteError as error:
                refused.append(error)

    workers = [threading.Thread(target=work, args=(mark,)) for mark in (b"x", b"y")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(refused) == 1
    with RedisStore(redis_url) as store:
        assert len(set(store.read([key_of(b"%d" % n) for n in range(500)]))) == 1


def test_a_commit_of_many_records_goes_through(redis_url: str) -> None:
    many = [write(b"%d" % n, None, n, body=bytes(200)) for n in range(20_000)]
    with RedisStore(redis_url) as store:
        store.commit(many, {})
        assert store.read([item.key for item in many]) == [item.record for item in many]


def test_topics_may_hold_colons_and_dots(redis_url: str) -> None:
    source = SourcePartition("eu:orders.v1", 12)
    entry = JournalEntry(source, 3, 9, 1_000)
    with RedisStore(redis_url) as store:
        store.commit([], {source: Position(9, -1, -2)})
        store.add_journal([entry])
        assert store.positions() == {source: Position(9, -1, -2)}
        assert store.journal() == [entry]
        store.trim_journal({source: 9})
        assert store.journal() == []


def test_a_server_that_is_away_is_said_so_without_its_password() -> None:
    with pytest.raises(StoreUnavailableError, match="does not answer") as caught:
        RedisStore("redis://user:secret@127.0.0.1:1/0")
    assert "127.0.0.1:1/0" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["redis://localhost:port/0", "redis://localhost/not-a-number", "redis://localhost?db=x"]
)
def test_a_url_that_is_none_is_a_setting_to_fix(url: str) -> None:
    with pytest.raises(ConfigError, match="no Redis URL"):
        RedisStore(url)


def test_a_store_works_again_when_its_server_is_back(redis_server: RedisServer) -> None:
    redis_server.start()
    with RedisStore(redis_server.url) as store:
        store.set_meta({"plan": "1"})
        redis_server.stop()
        with pytest.raises(StoreUnavailableError):
            store.commit([write(b"a", None, 1)], {})
        with pytest.raises(StoreUnavailableError):
            store.meta()
        redis_server.start()
        store.commit([write(b"a", None, 1)], {})
        assert store.read([key_of(b"a")]) == [record(1)]


def test_wrong_credentials_are_not_worth_a_retry(redis_server: RedisServer) -> None:
    redis_server.start()
    with redis_server.client() as client:
        client.config_set("requirepass", "secret")
    with pytest.raises(StoreError, match="refuses us"):
        RedisStore(redis_server.url)


def test_a_full_server_is_worth_a_retry_and_nothing_was_written(redis_server: RedisServer) -> None:
    redis_server.start()
    with RedisStore(redis_server.url) as store, redis_server.client() as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(StoreUnavailableError, match="cannot serve just now"):
            store.commit([write(b"a", None, 1)], {DEPARTURES: Position(1, 1, 1)})
        client.config_set("maxmemory", 0)
        assert store.read([key_of(b"a")]) == [None]


def test_a_database_of_someone_else_is_refused(redis_url: str, shared_redis: RedisServer) -> None:
    with shared_redis.client() as client, RedisStore(redis_url) as store:
        client.set("headrace:meta", "not a hash")
        with pytest.raises(StoreError, match="refused a command"):
            store.meta()


@pytest.mark.slow
def test_what_was_synced_survives_the_server(redis_server: RedisServer) -> None:
    redis_server.start("--appendonly", "yes")
    with RedisStore(redis_server.url) as store:
        store.commit([write(b"a", None, 1)], {})
        store.sync()
    redis_server.stop()
    redis_server.start("--appendonly", "yes")
    with RedisStore(redis_server.url) as store:
        assert store.read([key_of(b"a")]) == [record(1)]


def test_a_server_without_a_file_is_warned_about_once(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), RedisStore(redis_url) as store:
        store.sync()
        store.sync()
    assert [record.getMessage() for record in caplog.records if "append-only" in record.getMessage()] == [
        f"Redis at {redis_url.partition('?')[0]} keeps no append-only file: set `appendonly yes`, or be ready to run "
        "`headrace stream --rebuild` after a power cut"
    ]


def test_a_sync_on_a_newer_server_waits_for_its_file(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis 7.0 has no WAITAOF: what is sent is checked against a server that answers as 7.2 does."""
    sent: list[tuple[object, ...]] = []
    answers = [[True, [1, 0]], [True, [0, 0]]]

    def execute(pipe: redis.client.Pipeline, raise_on_error: bool = True) -> list[object]:
        sent.extend(command[0] for command in pipe.command_stack)
        return answers.pop(0)

    def info(*_: object) -> dict[str, object]:
        return {"aof_enabled": 1, "redis_version": "7.2.4"}

    with RedisStore(redis_url) as store:
        monkeypatch.setattr(redis.Redis, "info", info)
        monkeypatch.setattr(redis.client.Pipeline, "execute", execute)
        store.sync()
        assert sent == [("SET", b"headrace:sync", b"1"), ("WAITAOF", 1, 0, 3000)]
        with pytest.raises(StoreUnavailableError, match="append-only file"):
            store.sync()


def test_a_long_commit_in_chunks_is_several_writes_and_the_positions_come_last(redis_url: str) -> None:
    many = [write(b"%d" % n, None, 5) for n in range(1_000)]
    taken = write(b"900", None, 3)
    with RedisStore(redis_url) as store:
        store.commit([taken], {DEPARTURES: Position(3, 30, 300)})
        with pytest.raises(StaleWriteError, match="offset 3, not None"):
            store.commit(many, {DEPARTURES: Position(5, 50, 500)}, at_once=False)
        assert store.positions() == {DEPARTURES: Position(3, 30, 300)}
        kept = store.read([one.key for one in many])
        assert kept[900] == taken.record
        assert kept[0] == many[0].record
        assert kept[999] is None
        # What was written is not written again: from what the store holds, the rest goes through.
        rest = [one._replace(expected=3) if n == 900 else one for n, one in enumerate(many) if kept[n] != one.record]
        store.commit(rest, {DEPARTURES: Position(5, 50, 500)}, {DEPARTURES: 3}, at_once=False)
        assert store.read([one.key for one in many]) == [one.record for one in many]
        assert store.positions() == {DEPARTURES: Position(5, 50, 500)}


def test_a_long_commit_at_once_is_one_write(redis_url: str) -> None:
    many = [write(b"%d" % n, None, 5) for n in range(1_000)]
    with RedisStore(redis_url) as store:
        store.commit([write(b"900", None, 3)], {})
        with pytest.raises(StaleWriteError):
            store.commit(many, {DEPARTURES: Position(5, 50, 500)})
        assert store.read([many[0].key, many[999].key]) == [None, None]
        assert store.positions() == {}


def test_a_refused_commit_in_one_moment_puts_back_all_that_was_there(redis_url: str, shared_redis: RedisServer) -> None:
    with RedisStore(redis_url) as store, shared_redis.client() as client:
        there = [write(b"%d" % n, None, 1, partition, b"old") for n in range(0, 3_000, 2) for partition in (0, 1)]
        store.commit([*there, write(b"2999", None, 3)], {DEPARTURES: Position(1, 10, 100)})
        client.pexpire(b"headrace:records:0123456789abcdef:4", 3_600_000)
        before = contents(client)
        many = [write(b"%d" % n, None if n % 2 else 1, 5, body=b"new") for n in range(3_000)]
        other = write(b"0", 1, 5, 1)
        with pytest.raises(StaleWriteError, match="offset 3, not None"):
            store.commit([other, *many, many[7]], {DEPARTURES: Position(5, 50, 500)})
        assert contents(client) == before
        assert client.pttl(b"headrace:records:0123456789abcdef:4") > 0
        with pytest.raises(StoreBehindError):
            store.commit(many[:-1], {DEPARTURES: Position(5, 50, 500)}, {DEPARTURES: 2})
        assert contents(client) == before
        # Without what was refused, the rest goes through.
        store.commit([other, *many[:-1]], {DEPARTURES: Position(5, 50, 500)}, {DEPARTURES: 1})
        assert store.read([other.key, many[8].key, many[7].key]) == [other.record, many[8].record, many[7].record]
        assert store.read([there[3].key, many[2999].key]) == [there[3].record, record(3)]
        assert store.positions() == {DEPARTURES: Position(5, 50, 500)}


def test_a_key_of_someone_else_refuses_the_whole_commit(redis_url: str, shared_redis: RedisServer) -> None:
    with RedisStore(redis_url) as store, shared_redis.client() as client:
        store.commit([write(b"a", None, 1)], {})
        client.set("headrace:records:0123456789abcdef:c", "no hash")
        new = [write(b"%d" % n, None, 2) for n in range(100)]
        with pytest.raises(StoreError, match="refused a command"):
            store.commit([write(b"a", 1, 2), *new, write(b"c", None, 2)], {DEPARTURES: Position(2, 20, 200)})
        assert store.read([key_of(b"a"), key_of(b"5")]) == [record(1), None]
        assert store.positions() == {}
        assert client.exists("headrace:aside") == 0


@pytest.mark.parametrize("taken", ["headrace:positions", "headrace:records:0123456789abcdef:%d"])
def test_nothing_is_written_where_other_keys_are_someone_elses(
    redis_url: str, shared_redis: RedisServer, taken: str
) -> None:
    with RedisStore(redis_url) as store, shared_redis.client() as client:
        before = {taken % n if "%d" in taken else taken for n in range(50)}
        client.mset(dict.fromkeys(before, "no hash"))
        with pytest.raises(StoreError, match="refused a command"):
            store.commit(
                [write(b"%d" % n, None, 2) for n in range(50)], {DEPARTURES: Position(2, 20, 200)}, {DEPARTURES: 1}
            )
        assert {key.decode() for key in client.scan_iter()} == before


def test_a_lookup_beside_a_commit_in_one_moment_sees_all_of_it_or_nothing(redis_url: str) -> None:
    many = [b"%d" % n for n in range(3_000)]
    seen: list[set[int]] = []

    def look() -> None:
        with RedisStore(redis_url) as store:
            while not seen or seen[-1] != {4}:
                found = store.lookup({VIEW: [many[0], many[1_500], many[-1]]}).records[VIEW]
                seen.append(set(map(int, found.records)))

    with RedisStore(redis_url) as store:
        reader = threading.Thread(target=look)
        reader.start()
        for expected, applied in ((None, 1), (1, 2), (2, 3), (3, 4)):
            store.commit([write(one, expected, applied) for one in many], {})
        reader.join(20)
    assert all(len(one) <= 1 for one in seen)
    assert seen[-1] == {4}


def test_check_that_goes_wrong_refuses_the_whole_commit(redis_url: str, shared_redis: RedisServer) -> None:
    """What comes behind the check in its transaction is written in any case."""
    at, keys = SourcePartition("departures", 0), [b"%d" % number for number in range(50)]
    with open_store(redis_url, writable=True) as store, shared_redis.client() as client:
        store.commit([write(key, None, 9) for key in keys], {at: Position(9, 9, 9)})
        client.hset("headrace:positions", f"{at.partition}:{at.topic}", "garbage")
        with pytest.raises(StoreError):
            store.commit([write(key, 1, 5) for key in keys], {at: Position(5, 5, 5)}, {at: 1})
        assert store.read([key_of(key) for key in keys]) == [record(9)] * len(keys)
        client.delete("headrace:positions")
        client.set("headrace:positions", "of someone else")
        with pytest.raises(StoreError):
            store.commit([write(key, 9, 12) for key in keys], {at: Position(12, 12, 12)})
        assert store.read([key_of(key) for key in keys]) == [record(9)] * len(keys)


def test_answers_come_in_order_over_many_batches_and_after_an_error(redis_url: str, shared_redis: RedisServer) -> None:
    many = [write(b"%d" % n, None, n, body=bytes(n % 700)) for n in range(3_500)]
    with RedisStore(redis_url) as store, shared_redis.client() as client:
        store.commit(many, {})
        client.set("headrace:records:0123456789abcdef:x", "no hash")
        keys = [one.key for one in many]
        with pytest.raises(StoreError, match="refused a command"):
            store.read([*keys[:50], key_of(b"x"), *keys])
        assert store.read(keys[::-1]) == [one.record for one in many[::-1]]
        assert store.positions() == {}


def test_answers_on_their_way_when_one_is_an_error_are_taken_by_nobody(
    redis_url: str, shared_redis: RedisServer
) -> None:
    many = [write(b"%d" % n, None, n, body=bytes(n)) for n in range(40)]
    with RedisStore(redis_url, read_records=5) as store, shared_redis.client() as client:
        store.commit(many, {})
        client.set("headrace:records:0123456789abcdef:x", "no hash")
        for place in range(0, 40, 3):
            keys = [one.key for one in many]
            keys.insert(place, key_of(b"x"))
            with pytest.raises(StoreError, match="refused a command"):
                store.read(keys)
            assert store.read([one.key for one in many]) == [one.record for one in many]


def test_no_chunk_is_sent_once_one_was_refused(redis_url: str) -> None:
    with RedisStore(redis_url, chunk_records=1) as store:
        store.commit([write(b"0", None, 9)], {})
        with pytest.raises(StaleWriteError):
            store.commit(
                [write(b"%d" % number, None, 5) for number in range(200)],
                {DEPARTURES: Position(5, 5, 5)},
                at_once=False,
            )
        found = store.read([key_of(b"%d" % number) for number in range(200)])
        assert found[0] == record(9)
        assert found[-100:] == [None] * 100
        assert store.positions() == {}


@pytest.mark.parametrize(
    ("most", "most_bytes", "sizes"), [(3, 10**9, [3, 3, 1]), (100, 64, [3, 3, 1]), (9, 1, [1] * 7)]
)
def test_chunks_have_a_largest_count_and_a_largest_size(most: int, most_bytes: int, sizes: list[int]) -> None:
    seven = [write(b"%d" % n, None, n, body=bytes(22)) for n in range(7)]  # 24 bytes each
    found = chunks_of(seven, most, most_bytes)
    assert [len(one) for one in found] == sizes
    assert [one for chunk in found for one in chunk] == seven
    assert [len(one) for one in chunks_of([], most, most_bytes)] == [0]
