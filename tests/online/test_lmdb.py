"""The embedded store's own troubles: locks, damage, folders that cannot be used."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.errors import StoreDamagedError, StoreLockedError, StoreUnavailableError
from headrace.online import Position, RecordKey, SourcePartition, Write
from headrace.online.lmdb import LmdbStore

VIEW = "00112233445566aa"


def record(applied: int, size: int = 0) -> bytes:
    """Bytes with the applied offset where a record has it."""
    return b"HR\x02\x00\x00\x00\x00\x00" + struct.pack("<q", applied) + b"." * size


def fill(path: Path, records: int = 200) -> None:
    with LmdbStore(path, writable=True) as store:
        writes = [Write(RecordKey(VIEW, f"[{n}]".encode(), 0), None, record(n, size=4000)) for n in range(records)]
        store.commit(writes, {SourcePartition("t", 0): Position(records, 0, 0)})
        store.sync()


def test_second_worker_is_refused_with_the_first_ones_process(tmp_path: Path) -> None:
    with LmdbStore(tmp_path, writable=True):
        other = (
            "import sys; from pathlib import Path; from headrace.online.lmdb import LmdbStore;"
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
        "import sys, os; from pathlib import Path; from headrace.online.lmdb import LmdbStore;"
        "LmdbStore(Path(sys.argv[1]), writable=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", hold, str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == -9
    LmdbStore(tmp_path, writable=True).close()


def test_readers_share_the_store_within_a_process_and_see_commits(tmp_path: Path) -> None:
    with LmdbStore(tmp_path, writable=True) as writer, LmdbStore(tmp_path, writable=False) as reader:
        writer.commit([Write(RecordKey(VIEW, b"[1]", 0), None, record(1))], {})
        assert reader.read([RecordKey(VIEW, b"[1]", 0)]) == [record(1)]
        with LmdbStore(tmp_path, writable=False) as another:
            assert another.read([RecordKey(VIEW, b"[1]", 0)]) == [record(1)]
        assert reader.read([RecordKey(VIEW, b"[1]", 0)]) == [record(1)]


def test_lookup_without_a_store_says_what_fills_it(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="headrace stream"):
        LmdbStore(tmp_path / "none", writable=False)


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailableError, match=r"file.*cannot be written(?s:.*)`state` in headrace.toml"):
        LmdbStore(tmp_path / "file" / "online", writable=True)


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize("damage", ["overwritten", "cut short", "emptied of sense"])
def test_damaged_file_is_named_with_the_cure(tmp_path: Path, damage: str, writable: bool) -> None:
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
