"""Appending to the source of a batch view: whole, in its types, and never to what cannot be appended to."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from headrace.batch.append import append_rows, source_schema
from headrace.errors import BatchSourceError, RowsError
from headrace.plan import BatchSource

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SCHEMA = pa.schema([("driver", pa.int32()), ("rate", pa.float32()), ("at", pa.timestamp("ms", "UTC"))])


def rows(*drivers: int, **more: Any) -> pa.Table:
    columns = {"rate": [0.5] * len(drivers), "driver": list(drivers), "at": [NOON] * len(drivers)}
    return pa.table({name: values for name, values in {**columns, **more}.items() if values is not None})


def source(path: str, kind: Any = "parquet", **more: Any) -> BatchSource:
    return BatchSource(name="drivers_file", kind=kind, path=path, timestamp_field="at", **more)


def held(path: Path) -> list[int]:
    return sorted(pq.read_table(path)["driver"].to_pylist())


@pytest.fixture(params=["file", "folder", "delta"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[BatchSource, Path]:
    first = rows(1).select(SCHEMA.names).cast(SCHEMA)
    if request.param == "delta":
        write_deltalake(tmp_path / "drivers", first)
        return source("drivers", "delta"), tmp_path
    path = tmp_path / "drivers.parquet" if request.param == "file" else tmp_path / "drivers" / "first.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(first, path)
    return source("drivers.parquet" if request.param == "file" else "drivers"), tmp_path


def drivers_of(made: tuple[BatchSource, Path]) -> list[int]:
    found, repo = made
    path = repo / str(found.path)
    return sorted(DeltaTable(path).to_pyarrow_table()["driver"].to_pylist()) if found.kind == "delta" else held(path)


def test_rows_are_appended_in_the_types_of_the_source(made: tuple[BatchSource, Path]) -> None:
    before = source_schema(*made)
    append_rows(*made, rows(2, 3))
    append_rows(*made, rows())
    assert drivers_of(made) == [1, 2, 3]
    assert source_schema(*made) == before
    assert [field.name for field in before] == SCHEMA.names


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (rows(2, rate=None), "lack rate"),
        (rows(2, extra=["x"]), "also have extra"),
        (rows(2**40), "its type cannot hold"),
        (rows(2, at=["noon"]), "its type cannot hold"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_nothing_is_appended(
    made: tuple[BatchSource, Path], table: pa.Table, said: str
) -> None:
    with pytest.raises(RowsError, match=said):
        append_rows(*made, table)
    assert drivers_of(made) == [1]


def test_appends_at_the_same_time_lose_nothing(made: tuple[BatchSource, Path]) -> None:
    def append(first: int) -> None:
        for number in range(5):
            append_rows(*made, rows(first + number))

    threads = [threading.Thread(target=append, args=(first,)) for first in (10, 20, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drivers_of(made) == [1, *range(10, 15), *range(20, 25), *range(30, 35)]


def test_a_file_keeps_its_permissions_and_leaves_no_drafts(tmp_path: Path) -> None:
    path = tmp_path / "drivers.parquet"
    pq.write_table(rows(1), path)
    path.chmod(0o640)
    append_rows(source("drivers.parquet"), tmp_path, rows(2))
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir() if one.name.endswith(".draft")] == []


def test_a_column_of_categories_takes_their_values(tmp_path: Path) -> None:
    table = pa.table({"kind": pa.array(["a"]).dictionary_encode(), "at": [NOON]})
    pq.write_table(table, tmp_path / "kinds.parquet")
    append_rows(source("kinds.parquet"), tmp_path, pa.table({"kind": ["b"], "at": [NOON]}))
    assert pq.read_table(tmp_path / "kinds.parquet")["kind"].to_pylist() == ["a", "b"]


def test_what_cannot_be_appended_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "by_year" / "year=2024").mkdir(parents=True)
    pq.write_table(rows(1), tmp_path / "by_year" / "year=2024" / "a.parquet")
    pq.write_table(rows(1), tmp_path / "a.parquet")
    query = BatchSource(name="drivers_file", kind="query", sql="SELECT 1", timestamp_field="at")
    for wrong, said in [
        (query, "is a query"),
        (source("*.parquet"), "a pattern of files"),
        (source("by_year"), "a folder per value of a column, such as year=2024"),
        (source("s3://bucket/drivers"), "cannot be appended to"),
        (source("nothing"), "has no file"),
        (source("nothing", "delta"), "has no Delta table"),
    ]:
        with pytest.raises(BatchSourceError, match=said):
            append_rows(wrong, tmp_path, rows(2))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "drivers"
    folder.mkdir()
    pq.write_table(rows(1), folder / "a.parquet")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(BatchSourceError, match="drivers_file.*cannot be written: .*No space left"):
        append_rows(source("drivers"), tmp_path, rows(2))
    assert held(folder) == [1]
    assert [one.name for one in folder.iterdir()] == ["a.parquet"]


def test_a_link_stays_a_link_and_folders_add_no_columns(tmp_path: Path) -> None:
    there = tmp_path / "year=2024" / "drivers.parquet"
    there.parent.mkdir()
    pq.write_table(rows(1).select(SCHEMA.names).cast(SCHEMA), there)
    (tmp_path / "drivers.parquet").symlink_to(there)
    append_rows(source("drivers.parquet"), tmp_path, rows(2))
    assert (tmp_path / "drivers.parquet").is_symlink()
    assert pq.ParquetFile(there).read()["driver"].to_pylist() == [1, 2]
    assert pq.read_schema(there).names == SCHEMA.names
