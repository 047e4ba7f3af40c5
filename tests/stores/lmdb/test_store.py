"""The embedded store's own troubles: locks, damage, folders that cannot be used."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.errors import (
    StaleWriteError,
    StoreBehindError,
    StoreDamagedError,
    StoreLockedError,
    StoreUnavailableError,
)
from headrace.events.source_partition import SourcePartition
from headrace.stores import Position, RecordKey, Write
from headrace.stores.lmdb.store import LmdbStore

VIEW = "00112233445566aa"


def record(applied: int, size: int = 0) -> bytes:
    return b"%d" % applied + b"." * size


def key_of(entity: str) -> RecordKey:
    return RecordKey(VIEW, entity.encode(), SourcePartition("t", 0))


def fill(path: Path, records: int = 200) -> None:
    with LmdbStore(path, writable=True) as store:
        writes = [Write(key_of(f"[{n}]"), None, n, record(n, size=4000)) for n in range(records)]
        store.commit(writes, {SourcePartition("t", 0): Position(records, 0, 0)})
        store.sync()


def test_second_worker_is_refused_with_the_first_ones_process(tmp_path: Path) -> None:
    with LmdbStore(tmp_path, writable=True):
        other = (
            "import sys; from pathlib import Path; from headrace.stores.lmdb.store import LmdbStore;"
            "from headrace.errors import StoreLockedError\n"
            "try: LmdbStore(Path(sys.argv[1]), writable=True)\n"
            "except StoreLockedError as error: print(error)"
        )
        done = subprocess.run([sys.executable, "-c", other, str(tmp_path)], capture_output=True, text=True, check=True)
        assert f"process {os.getpid()}" in done.stdout
        assert "redis" in done.stdout
        with pytest.raises(StoreLockedError):
            LmdbStore(tmp_path, writable=True)
    LmdbStore(tmp_path, writable=True).close()


def test_lock_of_a_killed_worker_is_free(tmp_path: Path) -> None:
    hold = (
        "import sys, os; from pathlib import Path; from headrace.stores.lmdb.store import LmdbStore;"
        "LmdbStore(Path(sys.argv[1]), writable=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", hold, str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == -9
    LmdbStore(tmp_path, writable=True).close()


def test_readers_share_the_store_within_a_process_and_see_commits(tmp_path: Path) -> None:
    with LmdbStore(tmp_path, writable=True) as writer, LmdbStore(tmp_path, writable=False) as reader:
        writer.commit([write("[1]", None, 1)], {})
        assert reader.read([key_of("[1]")]) == [record(1)]
        with LmdbStore(tmp_path, writable=False) as another:
            assert another.read([key_of("[1]")]) == [record(1)]
        assert reader.read([key_of("[1]")]) == [record(1)]


def test_lookup_without_a_store_says_what_fills_it(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="headrace stream"):
        LmdbStore(tmp_path / "none", writable=False)


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailableError, match=r"file.*cannot be written(?s:.*)`state` in headrace.toml"):
        LmdbStore(tmp_path / "file" / "online", writable=True)


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize("damage", ["overwritten", "cut short", "emptied of sense"])
def test_damaged_file_is_named_with_a_hint(tmp_path: Path, damage: str, writable: bool) -> None:
    fill(tmp_path)
    data = tmp_path / "data.mdb"
    match damage:
        case "overwritten":
            data.write_bytes(b"\xff" * data.stat().st_size)
        case "cut short":
            os.truncate(data, data.stat().st_size // 2)
        case _:
            data.write_bytes(b"not a database")
    with pytest.raises((StoreDamagedError, StoreUnavailableError), match=r"--rebuild|Check that the disk"):
        LmdbStore(tmp_path, writable=writable)


def write(entity: str, expected: int | None, applied: int) -> Write:
    return Write(key_of(entity), expected, applied, record(applied))


def test_epoch_lasts_while_records_are_committed_and_ends_when_they_are_deleted(tmp_path: Path) -> None:
    with LmdbStore(tmp_path, writable=True) as store:
        epoch = store.epoch()
        assert epoch is not None
        store.commit([write("a", None, 1), write("b", None, 1)], {}, epoch=epoch)
        store.add_journal([])  # a transaction that writes nothing
        assert store.epoch() is epoch
        store.commit([write("a", 1, 2), write("b", 1, 2)], {}, epoch=epoch)
        store.delete(VIEW, [b"a"])
        assert store.epoch() is not epoch
        with pytest.raises(StaleWriteError):  # made from what was read before
            store.commit([write("a", 2, 3), write("b", 2, 3)], {}, epoch=epoch)
        keys = [key_of("a"), key_of("b")]
        assert store.read(keys) == [None, record(2)]
        epoch = store.epoch()
        store.clear()
        assert store.epoch() is not epoch
        assert store.read(keys) == [None, None]


def test_reader_has_no_epoch(tmp_path: Path) -> None:
    with LmdbStore(tmp_path, writable=True), LmdbStore(tmp_path, writable=False) as reader:
        assert reader.epoch() is None


def test_record_that_another_wrote_since_it_was_read_is_not_overwritten(tmp_path: Path) -> None:
    with LmdbStore(tmp_path, writable=True) as store:
        store.commit([write("a", None, 1)], {})
        key = key_of("a")
        assert store.read([key]) == [record(1)]
        store.commit([write("a", 1, 5)], {})  # as a version that is filled beside the rounds
        with pytest.raises(StaleWriteError):
            store.commit([write("a", 1, 2)], {})
        assert store.read([key]) == [record(5)]


def test_epoch_ends_when_a_commit_fails(tmp_path: Path) -> None:
    with LmdbStore(tmp_path, writable=True) as store:
        store.commit([write("a", None, 1)], {})
        epoch = store.epoch()
        too_long = SourcePartition("t" * 600, 0)  # no key of the tree is so long
        with pytest.raises(StoreUnavailableError):
            store.commit([write("a", 1, 2), write("b", None, 2)], {too_long: Position(1, 1, 1)}, epoch=epoch)
        assert store.epoch() is not epoch
        keys = [key_of("a"), key_of("b")]
        assert store.read(keys) == [record(1), None]


def test_epoch_ends_when_another_process_writes_in_spite_of_the_lock(tmp_path: Path) -> None:
    """The lock forbids it. Where it happens all the same, the store compares offsets again."""
    with LmdbStore(tmp_path, writable=True) as store:
        store.commit([write("a", None, 1)], {})
        epoch = store.epoch()
        store.add_journal([])  # a transaction that writes nothing uses up no number
        with store._env.begin(write=True) as txn:  # noqa: SLF001
            ((at, _),) = list(txn.cursor(store._records))  # noqa: SLF001
            txn.put(at, record(9) + b"a" + struct.pack("<qI", 9, 1), db=store._records)  # noqa: SLF001
        with pytest.raises(StaleWriteError):
            store.commit([write("a", 1, 2)], {}, epoch=epoch)
        assert store.epoch() is not epoch
        assert store.read([key_of("a")]) == [record(9)]


@pytest.mark.parametrize("at_once", [False, True])
def test_commit_in_chunks_is_several_transactions_and_positions_come_last(tmp_path: Path, at_once: bool) -> None:
    at, names = SourcePartition("t", 0), "abcde"
    with LmdbStore(tmp_path, writable=True, chunk_records=2) as store:
        store.commit([write(name, None, 1) for name in names], {at: Position(1, 1, 1)})
        assert store.positions()[at].offset == 1
        in_order = sorted(names, key=lambda name: key_of(name).sort_key)
        second = [write(name, 7 if name == in_order[-1] else 1, 2) for name in names]
        with pytest.raises(StaleWriteError):  # the last one in the order of the tree
            store.commit(second, {at: Position(2, 2, 2)}, at_once=at_once)
        found = store.read([key_of(name) for name in in_order])
        assert found == ([record(1)] * 5 if at_once else [record(2)] * 4 + [record(1)])
        assert store.positions()[at].offset == 1
        with pytest.raises(StoreBehindError):
            store.commit([write("a", 1, 3)], {}, {at: 5})
        store.commit([], {at: Position(2, 2, 2)})
        assert store.positions()[at].offset == 2


def test_store_that_was_open_when_the_machine_went_down_is_refused(tmp_path: Path) -> None:
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("one\n")
    path = tmp_path / "online"
    with LmdbStore(path, writable=True, boot_id=boot_id) as store:
        store.commit([write("a", None, 1)], {})
    boot_id.write_text("two\n")
    with LmdbStore(path, writable=True, boot_id=boot_id) as store:  # it was closed before the machine went down
        mark = (path / "open-since").read_text()
    (path / "open-since").write_text(mark)  # what a worker leaves that is killed
    with LmdbStore(path, writable=True, boot_id=boot_id) as store:
        assert store.read([key_of("a")]) == [record(1)]
    (path / "open-since").write_text(mark)
    boot_id.write_text("three\n")
    with pytest.raises(StoreDamagedError, match="machine went down"):
        LmdbStore(path, writable=True, boot_id=boot_id)
    with LmdbStore(path, writable=False) as reader:
        assert reader.epoch() is None


def test_commit_of_someone_else_in_this_process_ends_the_epoch(tmp_path: Path) -> None:
    with LmdbStore(tmp_path, writable=True) as store:
        epoch = store.epoch()
        store.commit([write("a", None, 1)], {}, epoch=epoch)
        store.commit([], {SourcePartition("t", 0): Position(1, 1, 1)})  # no record
        store.delete(VIEW, [b"never"])
        assert store.epoch() is epoch
        store.commit([write("a", 1, 2)], {})  # as a version that is filled beside the rounds
        assert store.epoch() is not epoch
        with pytest.raises(StaleWriteError):
            store.commit([write("a", 1, 3)], {}, epoch=epoch)
