from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from headrace.errors import LogError
from headrace.log import EventLog
from tests.log.conftest import DAY, SOURCE, rows


def positions(log: EventLog, after: dict[int, int] | None = None, batch_rows: int = 65_536) -> list[tuple[int, int]]:
    return [
        (row["_partition"], row["_offset"])
        for batch in log.scan(after, batch_rows=batch_rows)
        for row in batch.select(["_partition", "_offset"]).to_pylist()
    ]


def shuffled_days(partition: int, first: int, count: int) -> pa.Table:
    """Consecutive offsets that jump between seven dates, so that every file overlaps every other."""
    table = rows(partition, range(first, first + count))
    ts = [table.column("_ts_us")[row].as_py() + (row * 5 % 7) * DAY for row in range(count)]
    return table.set_column(table.column_names.index("_ts_us"), "_ts_us", pa.array(ts))


@pytest.mark.parametrize("batch_rows", [1, 7, 1000])
def test_events_come_by_partition_and_offset(tmp_path: Path, batch_rows: int) -> None:
    log = EventLog(tmp_path, SOURCE)
    for first in range(0, 90, 30):
        both = pa.concat_tables([shuffled_days(0, first, 30), shuffled_days(2, first + 500, 30)])
        log.append(both, {0: first + 29, 2: first + 529})
    wanted = [(0, offset) for offset in range(90)] + [(2, offset) for offset in range(500, 590)]
    assert positions(log, batch_rows=batch_rows) == wanted


def test_scan_starts_after_the_offsets_given(tmp_path: Path) -> None:
    log = EventLog(tmp_path, SOURCE)
    log.append(pa.concat_tables([shuffled_days(0, 0, 20), shuffled_days(1, 0, 20)]), {0: 19, 1: 19})
    assert positions(log, {0: 16}) == [(0, 17), (0, 18), (0, 19)] + [(1, offset) for offset in range(20)]
    assert positions(log, {0: 19, 1: 30}) == []


def test_batches_have_what_was_appended(tmp_path: Path) -> None:
    log = EventLog(tmp_path, SOURCE)
    given = rows(0, range(4))
    log.append(given, {0: 3})
    assert pa.Table.from_batches(log.scan()).to_pylist() == given.to_pylist()


def test_batches_come_near_to_the_size_asked_for(tmp_path: Path) -> None:
    log = EventLog(tmp_path, SOURCE)
    for first in range(0, 100, 20):
        log.append(rows(0, range(first, first + 20), step_us=DAY // 20), {0: first + 19})
    sizes = [batch.num_rows for batch in log.scan(batch_rows=30)]
    assert max(sizes) <= 30
    assert sum(sizes) == 100


def test_missing_file_is_named(tmp_path: Path) -> None:
    log = EventLog(tmp_path, SOURCE)
    log.append(rows(0, range(4)), {0: 3})
    (file,) = log.snapshot().files
    Path(file.path).unlink()
    with pytest.raises(LogError, match=r"_date=2013-01-01.*does not read"):
        list(log.scan())


def test_damaged_file_is_named(tmp_path: Path) -> None:
    log = EventLog(tmp_path, SOURCE)
    log.append(rows(0, range(4)), {0: 3})
    (file,) = log.snapshot().files
    Path(file.path).write_bytes(b"PAR1 and nothing else")
    with pytest.raises(LogError, match=r"_date=2013-01-01.*does not read"):
        list(log.scan())
