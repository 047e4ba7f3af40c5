"""A store of the format before is refused with one message, and a rebuild refills it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
import pytest

from headrace.config import Clock
from headrace.errors import StoreFormatError
from headrace.events.source_partition import SourcePartition
from headrace.stores import CatalogueChange, FoundRecords, OnlineStore, Position, RecordKey, Write, open_store
from headrace.stores.base import entity_digest

if TYPE_CHECKING:
    from tests.servers.redis import RedisServer

VIEW, ENTITY, TOPIC = "00112233445566aa", b'["a"]', SourcePartition("orders", 0)
FACTS = {"clock": "system", "generation": "1", f"view:{VIEW}": VIEW}
RECORD = b"HR\x02\0\0\0\0\0" + struct.pack("<qqqII", 7, 1, 1, len(ENTITY), 0) + ENTITY


def old_lmdb(folder: Path) -> str:
    """A store as format 1 had it: the record alone, by view, digest and partition."""
    folder.mkdir()
    with lmdb.open(str(folder), map_size=1 << 30, max_dbs=4) as env:
        named = {name: env.open_db(name) for name in (b"records", b"positions", b"journal", b"meta")}
        with env.begin(write=True) as txn:
            place = bytes.fromhex(VIEW) + entity_digest(ENTITY) + struct.pack(">I", 0)
            txn.put(place, RECORD, db=named[b"records"])
            txn.put(b"orders\0" + struct.pack(">I", 0), struct.pack("<qqq", 7, 70, 700), db=named[b"positions"])
            for name, value in FACTS.items():
                txn.put(name.encode(), value.encode(), db=named[b"meta"])
    return f"lmdb:{folder}"


def old_redis(url: str, server: RedisServer) -> str:
    with server.client() as client:
        client.hset(b"headrace:record:" + VIEW.encode() + b":" + ENTITY, "0", RECORD)
        client.hset("headrace:positions", "0:orders", "7 70 700")
        client.hset("headrace:meta", mapping=FACTS)
    return url


@pytest.fixture(params=["lmdb", pytest.param("redis", marks=pytest.mark.redis)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of the format before."""
    if request.param == "lmdb":
        return old_lmdb(tmp_path / "online")
    return old_redis(request.getfixturevalue("redis_url"), request.getfixturevalue("shared_redis"))


@pytest.mark.parametrize("writable", [False, True])
def test_store_of_the_format_before_is_refused_with_what_refills_it(url: str, writable: bool) -> None:
    with pytest.raises(StoreFormatError, match="has format 1") as caught:
        open_store(url, writable=writable, replace_damaged=writable)
    assert caught.value.hint == "`headrace stream --rebuild` refills the store from the log, and loses nothing."


def test_rebuild_reads_positions_of_the_format_before_and_clears_all_of_it(url: str) -> None:
    with open_store(url, writable=True, any_format=True) as store:
        assert store.positions() == {TOPIC: Position(7, 70, 700)}
        assert store.catalogue().clock is Clock.SYSTEM
        store.clear()
        assert contents(store) == ([], {}, {})
        store.change(CatalogueChange().clock(Clock.SYSTEM))
        store.commit([Write(RecordKey(VIEW, ENTITY, TOPIC), None, 0, b"new")], {})
    with open_store(url, writable=False) as store:
        assert store.lookup({VIEW: [ENTITY]}).records == {VIEW: FoundRecords([0], [TOPIC], [b"new"])}


def contents(store: OnlineStore) -> tuple[object, object, object]:
    return store.entities(VIEW), store.positions(), store.meta()


@pytest.mark.redis
def test_clear_of_a_redis_store_leaves_no_key_of_the_format_before(redis_url: str, shared_redis: RedisServer) -> None:
    with open_store(old_redis(redis_url, shared_redis), writable=True, any_format=True) as store:
        store.clear()
    with shared_redis.client() as client:
        assert client.keys() == []
