"""Opening the rows beside a project's store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headrace.errors import ConfigError, StoreDamagedError, StoreError
from headrace.rows import Row, open_rows
from headrace.rows.lmdb_rows import LmdbRows

VIEW = "00112233445566aa"


def test_a_reader_has_no_rows_until_there_are_some(tmp_path: Path) -> None:
    url = f"lmdb:{tmp_path / 'online'}"
    with open_rows(url, writable=False) as reader:
        assert reader.read(VIEW, [b"a"]) == [None]
        assert reader.views() == set()
        assert list(reader.entities(VIEW)) == []
        assert not (tmp_path / "online-rows").exists()
        with open_rows(url, writable=True) as writer:
            writer.write(VIEW, [Row(b"a", 5, b"x")])
        (found,) = reader.read(VIEW, [b"a"])
        assert found is not None
        assert found.values == b"x"


def test_a_reader_does_not_write(tmp_path: Path) -> None:
    url = f"lmdb:{tmp_path / 'online'}"
    with open_rows(url, writable=True) as writer, open_rows(url, writable=False) as reader:
        writer.write(VIEW, [Row(b"a", 5, b"x")])
        with pytest.raises(StoreError, match="opened to read"):
            reader.write(VIEW, [Row(b"a", 6, b"y")])


def test_memory_is_a_store_of_its_own() -> None:
    with open_rows("memory:", writable=True) as one, open_rows("memory:", writable=True) as other:
        one.write(VIEW, [Row(b"a", 5, b"x")])
        assert other.read(VIEW, [b"a"]) == [None]


def test_an_unknown_store_is_named() -> None:
    with pytest.raises(ConfigError, match="'mysql'"):
        open_rows("mysql://host", writable=True)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "data.mdb").write_bytes(b"not a store" * 1_000)
    with pytest.raises(StoreDamagedError, match="headrace materialize"):
        LmdbRows(tmp_path / "rows", writable=True)


_WRITER = """
import sys
from pathlib import Path
from headrace.rows import Row
from headrace.rows.lmdb_rows import LmdbRows
path, writer = Path(sys.argv[1]), int(sys.argv[2])
with LmdbRows(path, writable=True, chunk_rows=7) as rows:
    print("open", flush=True)
    sys.stdin.readline()
    for number in range(60):
        at = number * 3 + writer
        rows.write("00112233445566aa", [Row(b"k%d" % key, at, b"%d of %d" % (at, writer)) for key in range(20)])
"""


def test_several_processes_write_and_the_newest_row_wins(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITER, str(tmp_path / "rows")]
    writers = [
        subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(3)
    ]
    for one in writers:
        assert one.stdout is not None
        assert one.stdout.readline() == "open\n"
    for one in writers:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    assert [one.communicate()[1] for one in writers] == [None] * 3
    assert [one.returncode for one in writers] == [0] * 3
    with LmdbRows(tmp_path / "rows", writable=False) as rows:
        found = rows.read(VIEW, [b"k%d" % key for key in range(20)])
    assert [(one.event_us, one.values) for one in found if one] == [(179, b"179 of 2")] * 20


_KILLED = """
import os, sys
from pathlib import Path
from headrace.rows import Row
from headrace.rows.lmdb_rows import LmdbRows
def rows():
    for number in range(1_000):
        if number == 777:
            os.kill(os.getpid(), 9)
        yield Row(b"k%d" % number, number, b"x")
LmdbRows(Path(sys.argv[1]), writable=True, chunk_rows=100).write("00112233445566aa", rows())
"""


def test_a_killed_writer_leaves_whole_chunks_and_the_same_write_completes_them(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path / "rows")], check=False)
    assert done.returncode == -9
    keys = [b"k%d" % number for number in range(1_000)]
    with LmdbRows(tmp_path / "rows", writable=True) as rows:
        assert [one is not None for one in rows.read(VIEW, keys)] == [True] * 700 + [False] * 300
        rows.write(VIEW, [Row(key, number, b"x") for number, key in enumerate(keys)])
        assert [one.event_us if one else None for one in rows.read(VIEW, keys)] == list(range(1_000))
