"""Compaction changes where rows lie, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from headrace.errors import LogError
from headrace.log import EventLog
from headrace.log import compaction as compacting
from headrace.log.log_columns import FIRST_IMPORT
from headrace.log.parquet_files import GROUP_ROWS
from headrace.plan import Column, DType
from tests.log.conftest import DAY, SOURCE, rows
from tests.log.trickles import NEVER, held, scanned, trickle, trickled


def test_compaction_leaves_one_file_a_date_with_the_same_rows(tmp_path: Path) -> None:
    log = trickled(tmp_path, 12, step_us=DAY // 20)
    before, offsets = held(log), log.last_offsets()
    files = len(log.snapshot().files)
    done = log.compact()
    dates = {file.date for file in log.snapshot().files}
    assert (done.before, done.after, done.rows) == (files, len(dates), 120)
    assert len(log.snapshot().files) == len(dates) == 3
    assert held(log) == before
    assert log.last_offsets() == offsets
    assert scanned(log) == [(partition, offset) for partition in (0, 1) for offset in range(60)]
    assert [file.rows for file in log.snapshot().files] == [40, 40, 40]
    again = log.compact()
    assert (again.rows, again.version) == (0, done.version)


def test_version_before_stays_readable(tmp_path: Path) -> None:
    log = trickled(tmp_path, 6)
    before, version = held(log), log.version()
    log.compact()
    trickle(log, 6)
    assert held(log, version) == before
    assert len(held(log)) == 70


def test_commit_says_that_no_data_has_changed(tmp_path: Path) -> None:
    log = trickled(tmp_path, 4)
    version = log.compact().version
    commit = (log.path / "_delta_log" / f"{version:020}.json").read_text()
    assert '"dataChange":true' not in commit
    assert commit.count('"remove"') == 4
    assert DeltaTable(log.path).metadata().configuration["delta.appendOnly"] == "true"


def test_files_come_near_to_the_size_asked_for_and_not_past_it(tmp_path: Path) -> None:
    log = trickled(tmp_path, 20)
    sizes = [Path(file.path).stat().st_size for file in log.snapshot().files]
    target = 5 * max(sizes)
    log.compact(target)
    files = log.snapshot().files
    assert 1 < len(files) < 10
    assert all(Path(file.path).stat().st_size <= target for file in files)
    assert len(held(log)) == 200


def test_imports_and_kafkas_partitions_stay_in_files_of_their_own(tmp_path: Path) -> None:
    log = EventLog(tmp_path, SOURCE, NEVER)
    for first in (0, 10):
        for partition in (0, 3, FIRST_IMPORT, FIRST_IMPORT + 2):
            log.append(rows(partition, range(first, first + 10)), {partition: first + 9})
    log.compact()
    assert sorted(file.partitions for file in log.snapshot().files) == [
        (0, 3),
        (FIRST_IMPORT, FIRST_IMPORT),
        (FIRST_IMPORT + 2, FIRST_IMPORT + 2),
    ]
    assert log.imports() == [FIRST_IMPORT, FIRST_IMPORT + 2]


def test_file_that_lacks_a_column_is_not_merged_with_those_that_have_it(tmp_path: Path) -> None:
    trickled(tmp_path, 4)
    note = Column(name="note", dtype=DType.STRING, fill='"none yet"')
    log = EventLog(tmp_path, SOURCE.model_copy(update={"columns": (*SOURCE.columns, note)}), NEVER)
    for first in (20, 22):
        log.append(rows(0, range(first, first + 2), note=pa.array(["x", None])), {0: first + 1})
    log.compact()
    assert sorted(file.rows for file in log.snapshot().files) == [4, 40]
    assert log.compact().rows == 0
    noted = [note for batch in log.scan() for note in batch.column("note").to_pylist()]
    assert noted == ["none yet"] * 20 + ["x", None, "x", None] + ["none yet"] * 20


def test_files_whose_names_do_not_say_their_columns_keep_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trickled(tmp_path, 2)
    note = Column(name="note", dtype=DType.STRING, fill='"none yet"')
    more = EventLog(tmp_path, SOURCE.model_copy(update={"columns": (*SOURCE.columns, note)}), NEVER)
    more.append(rows(0, range(20, 22), note=pa.array(["x", None])), {0: 21})
    monkeypatch.setattr(compacting, "columns_mark", lambda _: "")
    more.compact()
    assert sorted(file.rows for file in more.snapshot().files) == [2, 20]
    noted = [note for batch in more.scan(partitions=[0]) for note in batch.column("note").to_pylist()]
    assert noted == ["none yet"] * 10 + ["x", None]


@pytest.mark.slow
def test_row_groups_of_a_large_file_are_read_as_far_as_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(tmp_path, SOURCE, NEVER)
    half = GROUP_ROWS + 1000
    for partition in (0, 1):
        for first in (0, half):
            log.append(rows(partition, range(first, first + half), step_us=10), {partition: first + half - 1})
    log.compact()
    (file,) = log.snapshot().files
    assert pq.read_metadata(file.path).num_row_groups == 5
    read: list[int] = []
    whole = pq.ParquetFile.read_row_group

    def noted(self: Any, number: int) -> Any:
        read.append(number)
        return whole(self, number)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    assert scanned(log, after={1: half}, partitions=[1]) == [(1, offset) for offset in range(half + 1, 2 * half)]
    assert read == [2, 3, 4]  # the third begins with the end of the other partition
    assert scanned(log) == [(partition, offset) for partition in (0, 1) for offset in range(2 * half)]


def test_damaged_file_ends_it_and_is_named(tmp_path: Path) -> None:
    log = trickled(tmp_path, 4)
    path = Path(log.snapshot().files[0].path)
    path.write_bytes(b"PAR1")
    with pytest.raises(LogError, match=f"{path.name} does not read"):
        log.compact()
    assert log.version() == 4
