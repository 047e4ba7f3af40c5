"""Appending rows to the source of a batch view, so that training sees what was pushed.

    a folder of Parquet files   one more file
    one Parquet file            written again with the rows at its end, which costs as much as the file is long
    a Delta table               one more commit

A reader sees all rows of an append or none of them. Appends of several processes of this machine to one file wait for
one another. Queries, patterns of files, folders by partition (`year=2024/`) and Parquet in an object store cannot be
appended to.
"""

from __future__ import annotations

import fcntl
import glob
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import write_deltalake
from deltalake.exceptions import DeltaError

from headrace.batch.source_files import delta_table, parquet_files
from headrace.errors import BatchSourceError, RowsError
from headrace.plan import BatchSource

__all__ = ["append_rows", "source_schema"]

_OTHERWISE = "Keep the rows in a folder of Parquet files or in a Delta table, or write to the source yourself."


def source_schema(source: BatchSource, repo: Path) -> pa.Schema:
    """The columns that appended rows must have.

    Args:
        source: The source.
        repo: The feature repo's folder, which its path is relative to.

    Raises:
        BatchSourceError: The source cannot be appended to, or cannot be read.
    """
    if source.kind == "delta":
        return _plain(pa.schema(delta_table(source, repo).schema()))
    files = _files(source, repo)
    newest = max(files, key=lambda file: file.stat().st_mtime_ns)
    try:
        return _plain(pq.read_schema(newest))
    except (pa.ArrowException, OSError) as error:
        raise _failed(source, "read", error) from error


def append_rows(source: BatchSource, repo: Path, table: pa.Table) -> None:
    """Append rows to a source.

    Args:
        source: The source.
        repo: The feature repo's folder, which its path is relative to.
        table: The rows, with the columns of `source_schema`, in any order; they are cast to its types.

    Raises:
        RowsError: The rows have other columns than the source, or a value that its type cannot hold.
        BatchSourceError: The source cannot be appended to, or the write failed. Nothing was appended then.
    """
    table = _fitted(source, source_schema(source, repo), table)
    if not table.num_rows:
        return
    try:
        if source.kind == "delta":
            options = None if source.endpoint is None else {"AWS_ENDPOINT_URL": source.endpoint}
            write_deltalake(delta_table(source, repo), table, mode="append", storage_options=options)
            return
        path = repo / str(source.path)
        if path.is_dir():
            _write(path / f"pushed-{uuid.uuid4().hex}.parquet", table)
            return
        path = path.resolve()  # a link stays one: what is replaced is the file that it names
        with _alone(path):
            # The schema of the file may have changed while this append waited.
            before = pq.read_table(path, partitioning=None)  # folders named key=value add no column
            table = _fitted(source, _plain(before.schema), table).cast(before.schema)
            _write(path, pa.concat_tables([before, table]))
    except (pa.ArrowException, DeltaError, OSError) as error:
        raise _failed(source, "written", error) from error


def _files(source: BatchSource, repo: Path) -> list[Path]:
    """The files of a source that can be appended to."""
    path, why = str(source.path), None
    folder = repo / path
    if source.kind != "parquet":
        why = "is a query, which nothing can be appended to"
    elif "://" in path:
        why = f"is Parquet at {path}, which cannot be appended to"
    elif not folder.exists() and glob.has_magic(path):
        why = f"is a pattern of files, {path}: no single one is meant"
    files = parquet_files(source, repo) if why is None else []
    by_value = [file for file in files if folder.is_dir() and "=" in str(file.parent.relative_to(folder))]
    if by_value:
        why = f"has a folder per value of a column, such as {by_value[0].parent.name}"
    if why is not None:
        msg = f"The source {source.name!r} {why}."
        raise BatchSourceError(msg, hint=_OTHERWISE)
    return files


def _plain(schema: pa.Schema) -> pa.Schema:
    """A schema without what only concerns how values are stored."""
    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in schema
    ]
    return pa.schema([field.remove_metadata() for field in fields])


def _fitted(source: BatchSource, schema: pa.Schema, table: pa.Table) -> pa.Table:
    if sorted(table.column_names) != sorted(schema.names):
        found, wanted = set(table.column_names), set(schema.names)
        missing, extra = sorted(wanted - found), sorted(found - wanted)
        parts = [f"lack {', '.join(missing)}"] * bool(missing) + [f"also have {', '.join(extra)}"] * bool(extra)
        msg = f"The rows for the source {source.name!r} {' and '.join(parts) or 'have a column twice'}."
        raise RowsError(msg, hint=f"Its columns are: {', '.join(schema.names)}. Give these and no others.")
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        msg = f"The rows for the source {source.name!r} have a value that its type cannot hold: {error}."
        raise RowsError(msg, hint=f"Its types are: {', '.join(f'{one.name} {one.type}' for one in schema)}.") from error


def _write(path: Path, table: pa.Table) -> None:
    """Write a file beside its place, sync it, and put it there. Files whose names begin with a dot are not read."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.draft")
    try:
        with draft.open("wb") as file:
            pq.write_table(table, file)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            draft.chmod(path.stat().st_mode)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)  # it exists only if it was not put there
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name, too
    finally:
        os.close(folder)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.with_name(f".{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _failed(source: BatchSource, what: str, error: Any) -> BatchSourceError:
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    msg = f"The source {source.name!r} at {source.path} cannot be {what}: {said}"
    return BatchSourceError(msg, hint="Check its path, its permissions and the room on the disk.")
