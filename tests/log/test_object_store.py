"""A log in an object store: appended, read, merged, erased and vacuumed like one in a folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pyarrow as pa
import pytest

from headrace.config import TableRoot
from headrace.history.column_files import LogFiles
from headrace.history.join_plan import TimeBounds
from headrace.log import EventLog, LookupTable, Upkeep, log_head, made_log, newest_record
from headrace.log.commits import trim_commits
from tests.log.conftest import SOURCE, rows
from tests.log.trickles import NEVER, lookup, scanned, trickle
from tests.servers.object_store import object_store

pytestmark = pytest.mark.slow


@pytest.fixture
def root() -> Iterator[TableRoot]:
    with object_store() as options:
        yield TableRoot("s3://bucket/shop/log", options)


def test_log_is_appended_merged_erased_and_vacuumed(root: TableRoot) -> None:
    log = EventLog(root, SOURCE, Upkeep(small_files=4))
    for number in range(10):
        trickle(log, number)
    assert scanned(log) == [(partition, offset) for partition in (0, 1) for offset in range(50)]
    assert EventLog(root, SOURCE).last_offsets() == {0: 49, 1: 49}
    assert log.append(rows(0, range(50)), {0: 49}).rows == 0
    version = log.version()
    assert version is not None
    log.keep_readable([version])
    assert log.compact().after == 1
    assert log.erase({"sensor": pa.scalar("s1")}, alone=False).rows == 50
    assert log.holds({"sensor": pa.scalar("s1")}) == (0, 0)
    assert log.vacuum(retention_s=0).version is not None
    assert log.facts().old_files == 0
    assert scanned(EventLog(root, SOURCE)) == [(0, offset) for offset in range(50)]
    assert made_log(root, SOURCE) is not None


def test_readers_open_files_by_the_snapshots_file_system(root: TableRoot) -> None:
    log = EventLog(root, SOURCE, NEVER)
    for number in range(4):
        trickle(log, number)
    snapshot = log.snapshot()
    assert log_head(snapshot, SOURCE, 1).column("_offset").to_pylist() == [19]
    assert newest_record(snapshot, 1) is not None
    files = LogFiles(snapshot, SOURCE, TimeBounds(None, None), threads=2)
    assert files.rows == 40
    assert sum(files.read(unit, ["value"]).num_rows for unit in files.units) == 40


def test_workers_that_append_at_once_all_land(root: TableRoot) -> None:
    def append(partition: int) -> None:
        log = EventLog(root, SOURCE, Upkeep(small_files=3))
        for first in range(0, 60, 10):
            log.append(rows(partition, range(first, first + 10)), {partition: first + 9})

    threads = [threading.Thread(target=append, args=(partition,)) for partition in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log = EventLog(root, SOURCE)
    assert scanned(log) == [(partition, offset) for partition in range(3) for offset in range(60)]
    assert trim_commits(log.location, kept_s=0.0) > 0
    assert EventLog(root, SOURCE).last_offsets() == {0: 59, 1: 59, 2: 59}


def test_lookups_are_recorded_there(root: TableRoot) -> None:
    lookups = LookupTable(TableRoot(f"{root.uri}/_lookups", root.options), NEVER)
    for number in range(3):
        lookups.append([lookup(number)])
    assert lookups.compact().after == 1
    assert [row["served_at_us"] for found in lookups.read() for row in found] == [0, 1, 2]
