from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from headrace.errors import LogError, LogUnavailableError
from headrace.log import Appended, EventLog, LogSnapshot, Upkeep
from headrace.plan import Column, DType, Source
from tests.log.conftest import DAY, SOURCE, rows


def offsets_in(snapshot: LogSnapshot, partition: int = 0) -> list[int]:
    read = [pq.ParquetFile(file.path).read(["_partition", "_offset"]).to_pylist() for file in snapshot.files]
    return sorted(row["_offset"] for table in read for row in table if row["_partition"] == partition)


def test_append_makes_the_table_and_one_commit(tmp_path: Path) -> None:
    log = EventLog(tmp_path, SOURCE)
    assert log.version() is None
    assert log.append(rows(0, range(5)), {0: 4}) == Appended(5, 1)
    assert log.append(rows(0, range(5, 7)), {0: 6}) == Appended(2, 2)
    assert log.version() == 2
    assert log.last_offsets() == {0: 6}
    assert offsets_in(log.snapshot()) == list(range(7))


def test_rows_keep_their_values_and_types(tmp_path: Path) -> None:
    log = EventLog(tmp_path, SOURCE)
    given = rows(3, range(4))
    log.append(given.select(reversed(given.column_names)), {3: 3})
    (file,) = log.snapshot().files
    found = pq.ParquetFile(file.path).read()
    assert found.to_pylist() == given.to_pylist()
    assert found.schema.types == given.schema.types


def test_files_are_kept_apart_by_event_date(tmp_path: Path) -> None:
    log = EventLog(tmp_path, SOURCE)
    log.append(rows(0, range(6), step_us=DAY // 2), {0: 5})
    snapshot = log.snapshot()
    assert [(str(file.date), file.rows, file.offsets) for file in snapshot.files] == [
        ("2013-01-01", 2, (0, 1)),
        ("2013-01-02", 2, (2, 3)),
        ("2013-01-03", 2, (4, 5)),
    ]
    start = rows(0, [0]).column("_ts_us")[0].as_py()
    assert snapshot.between(start + DAY, start + DAY) == [snapshot.files[1].path]
    assert snapshot.between(None, start + 1) == [snapshot.files[0].path]
    assert snapshot.between(start + 2 * DAY, None) == [snapshot.files[2].path]
    assert len(snapshot.between(-(2**63), 2**63 - 1)) == 3


def test_events_before_1970_have_the_date_they_have(tmp_path: Path) -> None:
    log = EventLog(tmp_path, SOURCE)
    log.append(rows(0, [0], _ts_us=pa.array([-1])), {0: 0})
    assert [str(file.date) for file in log.snapshot().files] == ["1969-12-31"]


def test_replayed_append_is_refused(tmp_path: Path) -> None:
    log = EventLog(tmp_path, SOURCE)
    log.append(rows(0, range(5)), {0: 4})
    assert log.append(rows(0, range(5)), {0: 4}) == Appended(0, None)
    assert EventLog(tmp_path, SOURCE).append(rows(0, range(2, 4)), {0: 3}) == Appended(0, None)
    assert log.version() == 1


def test_replay_that_reaches_further_appends_what_is_new(tmp_path: Path) -> None:
    EventLog(tmp_path, SOURCE).append(rows(0, range(5)), {0: 4})
    log = EventLog(tmp_path, SOURCE)
    both = pa.concat_tables([rows(0, range(3, 8)), rows(1, range(2))])
    assert log.append(both, {0: 7, 1: 1}).rows == 5
    assert offsets_in(log.snapshot()) == list(range(8))
    assert log.last_offsets() == {0: 7, 1: 1}


def test_position_may_lie_past_the_rows_where_dead_letters_follow(tmp_path: Path) -> None:
    log = EventLog(tmp_path, SOURCE)
    log.append(rows(0, range(5)), {0: 9})
    assert log.last_offsets() == {0: 9}
    assert log.append(rows(0, []), {0: 12}) == Appended(0, 2)
    assert log.last_offsets() == {0: 12}
    assert len(log.snapshot().files) == 1


def test_rows_past_the_position_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="readings-0 reach offset 4, and the append says it stands for 3"):
        EventLog(tmp_path, SOURCE).append(rows(0, range(5)), {0: 3})
    with pytest.raises(LogError, match="readings-1 reach offset 4, and the append says it stands for None"):
        EventLog(tmp_path, SOURCE).append(rows(1, range(5)), {0: 3})


def test_offset_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="an offset twice"):
        EventLog(tmp_path, SOURCE).append(rows(0, [1, 2, 2]), {0: 2})


def test_second_writer_of_a_partition_appends_nothing_twice(tmp_path: Path) -> None:
    one, two = EventLog(tmp_path, SOURCE), EventLog(tmp_path, SOURCE)
    one.append(rows(0, range(3)), {0: 2})
    two.append(rows(1, range(3)), {1: 2})  # both have read the table
    assert one.append(rows(0, range(3, 6)), {0: 5}).rows == 3
    assert two.append(rows(0, range(3, 6)), {0: 5}).rows == 0
    assert two.append(rows(0, range(4, 9)), {0: 8}).rows == 3
    assert one.append(rows(0, range(6, 12)), {0: 11}).rows == 3
    assert offsets_in(one.snapshot()) == list(range(12))


def test_answers_kept_from_before_another_writer_are_not_trusted(tmp_path: Path) -> None:
    one, two = EventLog(tmp_path, SOURCE), EventLog(tmp_path, SOURCE)
    one.append(pa.concat_tables([rows(0, range(3)), rows(1, range(3))]), {0: 2, 1: 2})
    two.append(rows(1, range(3, 6)), {1: 5})
    one.append(rows(0, range(3, 6)), {0: 5})  # lands on top of two's commit, which one has not read
    one.append(rows(1, range(3, 6)), {1: 5})
    assert offsets_in(one.snapshot(), 1) == list(range(6))


@pytest.mark.slow
def test_workers_that_append_at_once_all_land(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")  # Delta's runtime does not survive a fork
    workers = [context.Process(target=append_some, args=(tmp_path, partition, 8)) for partition in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    log = EventLog(tmp_path, SOURCE)
    assert log.last_offsets() == {0: 79, 1: 79, 2: 79}
    snapshot = log.snapshot()
    for partition in range(3):
        assert offsets_in(snapshot, partition) == list(range(80))


def append_some(root: Path, partition: int, appends: int) -> None:
    log = EventLog(root, SOURCE)
    for number in range(appends):
        log.append(rows(partition, range(number * 10, number * 10 + 10)), {partition: number * 10 + 9})


def test_old_version_stays_readable(tmp_path: Path) -> None:
    log = EventLog(tmp_path, SOURCE)
    for number in range(3):
        log.append(rows(0, [number]), {0: number})
    assert offsets_in(log.snapshot(2)) == [0, 1]
    assert log.snapshot(2).version == 2
    with pytest.raises(LogError, match="99"):
        log.snapshot(99)


def test_topic_without_a_log_has_a_snapshot_without_files(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "nowhere", SOURCE)
    snapshot = log.snapshot()
    assert (snapshot.version, snapshot.files, snapshot.rows) == (None, (), 0)
    assert "_known_at_us" in snapshot.schema.names
    assert log.last_offsets() == {}
    assert list(log.scan()) == []
    with pytest.raises(LogError, match="no version 3"):
        log.snapshot(3)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.slow
def test_commits_are_checkpointed_and_none_is_forgotten(tmp_path: Path) -> None:
    log = EventLog(tmp_path, SOURCE, Upkeep(small_files=0))
    for number in range(105):
        log.append(rows(0, [number]), {0: number})
    delta_log = tmp_path / "readings" / "_delta_log"
    assert list(delta_log.glob("*.checkpoint.parquet"))
    assert len(list(delta_log.glob("*.json"))) == 106
    assert EventLog(tmp_path, SOURCE).last_offsets() == {0: 104}
    configuration = DeltaTable(tmp_path / "readings").metadata().configuration
    assert configuration["delta.appendOnly"] == "true"
    assert configuration["delta.enableExpiredLogCleanup"] == "false"


def test_model_may_gain_a_field(tmp_path: Path) -> None:
    EventLog(tmp_path, SOURCE).append(rows(0, range(2)), {0: 1})
    more = SOURCE.model_copy(update={"columns": (*SOURCE.columns, Column(name="unit", dtype=DType.STRING))})
    log = EventLog(tmp_path, more)
    log.append(rows(0, range(2, 4), unit=pa.array(["C", None])), {0: 3})
    log.append(rows(0, range(4, 5), unit=pa.array(["F"])), {0: 4})
    (batch,) = log.scan()
    assert batch.column("unit").to_pylist() == [None, None, "C", None, "F"]
    assert "unit" in log.snapshot().schema.names


def test_model_may_lose_a_field(tmp_path: Path) -> None:
    EventLog(tmp_path, SOURCE).append(rows(0, range(2)), {0: 1})
    fewer = SOURCE.model_copy(update={"columns": tuple(c for c in SOURCE.columns if c.name != "value")})
    log = EventLog(tmp_path, fewer)
    log.append(rows(0, range(2, 3)).drop_columns(["value"]), {0: 2})
    (batch,) = log.scan()
    assert "value" not in batch.schema.names
    (batch,) = EventLog(tmp_path, SOURCE).scan()
    assert batch.column("value").to_pylist() == [0.0, 1.0, None]


@pytest.mark.parametrize("nullable", [True, False])
def test_field_that_was_added_with_a_default_has_it_in_what_was_logged_before(
    tmp_path: Path, *, nullable: bool
) -> None:
    EventLog(tmp_path, SOURCE).append(rows(0, range(2)), {0: 1})
    unit = Column(name="unit", dtype=DType.STRING, nullable=nullable, fill='"C"')
    log = EventLog(tmp_path, SOURCE.model_copy(update={"columns": (*SOURCE.columns, unit)}))
    assert [batch.column("unit").to_pylist() for batch in log.scan()] == [["C", "C"]]
    log.append(rows(0, range(2, 4), unit=pa.array(["F", None])), {0: 3})
    # A worker of before, which knows nothing of the field, goes on beside it.
    EventLog(tmp_path, SOURCE).append(rows(0, range(4, 5)), {0: 4})
    (batch,) = log.scan()
    assert batch.column("unit").to_pylist() == ["C", "C", "F", None if nullable else "C", "C"]


def with_value(dtype: DType) -> Source:
    value = Column(name="value", dtype=dtype)
    return SOURCE.model_copy(update={"columns": tuple(value if c.name == "value" else c for c in SOURCE.columns)})


def test_integers_read_as_floats_once_the_field_is_one_and_floats_as_integers_to_a_view_of_before(
    tmp_path: Path,
) -> None:
    whole = EventLog(tmp_path, with_value(DType.INT64))
    whole.append(rows(0, range(2), value=pa.array([2**53, None])), {0: 1})
    wide = EventLog(tmp_path, with_value(DType.FLOAT64))
    assert [batch.column("value").to_pylist() for batch in wide.scan()] == [[2.0**53, None]]
    wide.append(rows(0, range(2, 5), value=pa.array([0.5, 3.0, None])), {0: 4})
    whole.append(rows(0, range(5, 6), value=pa.array([7])), {0: 5})
    wide.compact()
    assert [batch.column("value").to_pylist() for batch in wide.scan()] == [[2.0**53, None, 0.5, 3.0, None, 7.0]]
    assert [batch.column("value").to_pylist() for batch in whole.scan()] == [[2**53, None, None, 3, None, 7]]
    assert wide.snapshot().schema.field("value").type == pa.float64()
    assert whole.last_offsets() == {0: 5}


def test_integer_that_no_float_is_is_told_with_its_file(tmp_path: Path) -> None:
    EventLog(tmp_path, with_value(DType.INT64)).append(rows(0, range(1), value=pa.array([2**53 + 1])), {0: 0})
    with pytest.raises(LogError, match=r"\.parquet has integers in 'value' that a float cannot store exactly"):
        list(EventLog(tmp_path, with_value(DType.FLOAT64)).scan())


def test_changed_type_is_refused_with_the_columns_name(tmp_path: Path) -> None:
    EventLog(tmp_path, SOURCE).append(rows(0, range(2)), {0: 1})
    columns = tuple(Column(name="value", dtype=DType.STRING) if c.name == "value" else c for c in SOURCE.columns)
    changed = EventLog(tmp_path, SOURCE.model_copy(update={"columns": columns}))
    with pytest.raises(LogError, match=r"holds value as double, and the source 'readings' declares string"):
        changed.append(rows(0, range(2, 3), value=pa.array(["2"])), {0: 2})
    with pytest.raises(LogError, match="holds value as double"):
        changed.snapshot()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"value": pa.array(["1", "2"])}, "have value as string, and the log holds double"),
        ({"at": pa.array([1, 2], pa.timestamp("us"))}, r"have at as timestamp\[us\]"),
        ({"surprise": pa.array([1, 2])}, "a column 'surprise' that its source does not declare"),
        ({"_offset": pa.array([1, None], pa.int64())}, "have no _offset in row 1"),
    ],
)
def test_rows_of_another_shape_are_refused(tmp_path: Path, given: dict[str, pa.Array], message: str) -> None:
    with pytest.raises(LogError, match=message):
        EventLog(tmp_path, SOURCE).append(rows(0, range(2), **given), {0: 1})


def test_rows_without_a_position_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no column _partition"):
        EventLog(tmp_path, SOURCE).append(rows(0, range(2)).drop_columns(["_partition"]), {0: 1})


def test_path_under_a_file_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file where a folder should be")
    with pytest.raises(LogUnavailableError, match=r"(?s)log/readings cannot be written.*→ See that the folder"):
        EventLog(tmp_path / "log", SOURCE).append(rows(0, range(2)), {0: 1})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_that_may_not_be_written_is_unavailable(tmp_path: Path) -> None:
    log = EventLog(tmp_path, SOURCE)
    log.append(rows(0, range(2)), {0: 1})
    (tmp_path / "readings").chmod(0o555)
    try:
        with pytest.raises(LogUnavailableError, match="readings cannot be written"):
            log.append(rows(0, [10**6]), {0: 10**6})
    finally:
        (tmp_path / "readings").chmod(0o755)


def test_disk_error_while_appending_is_unavailable_and_the_next_append_works(tmp_path: Path) -> None:
    log = EventLog(tmp_path, SOURCE)
    log.append(rows(0, range(2)), {0: 1})
    blocked = tmp_path / "readings" / "_date=2013-01-02"
    blocked.write_text("a file where a folder should be")
    tomorrow = rows(0, range(2, 4), step_us=DAY // 2)
    with pytest.raises(LogUnavailableError, match="readings cannot be written"):
        log.append(tomorrow, {0: 3})
    blocked.unlink()
    assert log.append(tomorrow, {0: 3}).rows == 2


def test_damaged_table_is_refused(tmp_path: Path) -> None:
    EventLog(tmp_path, SOURCE).append(rows(0, range(2)), {0: 1})
    for commit in (tmp_path / "readings" / "_delta_log").glob("*.json"):
        commit.write_text("{not json")
    for attempt in (EventLog.version, EventLog.snapshot, EventLog.last_offsets):
        with pytest.raises(LogError, match=r"readings cannot be read; it is damaged"):
            attempt(EventLog(tmp_path, SOURCE))
    with pytest.raises(LogError, match="damaged"):
        EventLog(tmp_path, SOURCE).append(rows(0, range(2)), {0: 1})


def test_delta_table_that_is_no_log_is_refused(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "readings", pa.table({"sensor": ["a"], "other": [1]}))
    with pytest.raises(LogError, match=r"readings is not a headrace log: it has no column _ts_us"):
        EventLog(tmp_path, SOURCE).append(rows(0, range(2)), {0: 1})
    with pytest.raises(LogError, match="not a headrace log"):
        EventLog(tmp_path, SOURCE).snapshot()


def test_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readings").mkdir()
    (tmp_path / "readings" / "thesis.tex").write_text("do not lose")
    with pytest.raises(LogError, match="is not empty and holds no Delta table"):
        EventLog(tmp_path, SOURCE).append(rows(0, range(2)), {0: 1})


def test_table_whose_making_was_cut_short_is_made(tmp_path: Path) -> None:
    (tmp_path / "readings" / "_delta_log").mkdir(parents=True)
    log = EventLog(tmp_path, SOURCE)
    assert log.snapshot().version is None
    assert log.append(rows(0, range(2)), {0: 1}).rows == 2


def test_paths_with_odd_characters_work(tmp_path: Path, source: Source) -> None:
    odd = source.model_copy(update={"topic": "a.b-c_d"})
    log = EventLog(tmp_path / "été #1? it's {a} *", odd)
    log.append(rows(0, range(2)), {0: 1})
    assert offsets_in(log.snapshot()) == [0, 1]


@pytest.mark.parametrize("name", ["[a", "b]", "100%"])
def test_paths_that_delta_lake_cannot_use_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LogError, match="Delta Lake cannot keep a table"):
        EventLog(tmp_path / name, SOURCE).append(rows(0, range(2)), {0: 1})
