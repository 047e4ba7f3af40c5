"""Writing a table to a file; the ending of its name says the format."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pcsv
from pyarrow import parquet

from headrace.errors import DatasetError
from headrace.training.spine_files import JSON_ENDINGS, PARQUET_ENDINGS

__all__ = ["check_ending", "write_result"]


def check_ending(out: Path) -> None:
    """Refuse a file with an unknown ending, before anything is computed.

    Args:
        out: The file.

    Raises:
        DatasetError: Its name has another ending.
    """
    if _writer(out) is None:
        msg = f"The name {out} must end in .parquet, .csv or .jsonl."
        raise DatasetError(msg, hint="The ending says the format.")


def write_result(table: pa.Table, out: Path) -> None:
    """Write a table, whole or not at all.

    Args:
        table: The table.
        out: The file; the ending of its name says the format.

    Raises:
        DatasetError: Its name has another ending, it cannot be written, or the format does not support a column.
    """
    check_ending(out)
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        writer = _writer(out)
        if writer is not None:
            writer(table, draft)
        draft.replace(out)
    except (OSError, pa.ArrowException, TypeError, ValueError) as error:
        msg = f"The result cannot be written to {out}: {str(error).splitlines()[0]}"
        raise DatasetError(
            msg, hint="Give a file in an existing, writable folder; Parquet supports most types."
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _writer(out: Path) -> Callable[[pa.Table, Path], None] | None:
    name = out.name.lower()
    for endings, writer in ((PARQUET_ENDINGS, _parquet), ((".csv",), _csv), (JSON_ENDINGS, _json)):
        if name.endswith(endings):
            return writer
    return None


def _parquet(table: pa.Table, out: Path) -> None:
    parquet.write_table(table, out)


def _csv(table: pa.Table, out: Path) -> None:
    """As the standard says: empty for null, quotes around texts; lists and structs as JSON."""
    columns = [_flat(column) for column in table.columns]
    pcsv.write_csv(pa.table(columns, names=table.column_names), out)


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _flat(column.cast(kind.value_type))
    if isinstance(kind, pa.BaseExtensionType):
        return _flat(column.cast(kind.storage_type))
    is_written = (
        pa.types.is_primitive(kind) and not pa.types.is_duration(kind) and not pa.types.is_interval(kind)
    ) or any(
        is_kind(kind)
        for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_null, pa.types.is_decimal)
    )
    if is_written:
        return column.cast(pa.float32()) if pa.types.is_float16(kind) else column
    return pa.chunked_array(
        [pa.array([None if value is None else _text(value) for value in column.to_pylist()], pa.string())]
    )


def _text(value: Any) -> str:
    plain = _plain(value)
    return plain if isinstance(plain, str) else json.dumps(plain)


def _json(table: pa.Table, out: Path) -> None:
    """One row per line; types that JSON does not have are text."""
    with out.open("w", encoding="utf-8") as file:
        for batch in table.to_batches(max_chunksize=10_000):
            file.writelines(json.dumps(_plain(row)) + "\n" for row in batch.to_pylist())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and value - value != 0:
        return str(value)  # JSON has no infinity and no NaN
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
