"""Spines in files: Parquet, CSV and JSON lines."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.json as pjson
from pyarrow import parquet

from headrace.errors import SpineError
from headrace.plan import Column, DType
from headrace.tabular.csv_file import CSV_ENDINGS, BadRecord, CsvError, CsvFile, Dialect
from headrace.tabular.time_columns import TimeReader

__all__ = ["JSON_ENDINGS", "PARQUET_ENDINGS", "read_spine_file"]

PARQUET_ENDINGS = (".parquet", ".pq")
JSON_ENDINGS = (".jsonl", ".ndjson")
_SHOWN = 5


def read_spine_file(path: Path, wanted: Mapping[str, Column]) -> pa.Table:
    """The table in a file.

    Args:
        path: The file; the ending of its name says the format.
        wanted: The columns that are needed, by name: texts are read unchanged, times from any unambiguous form.

    Raises:
        SpineError: There is no such file, its ending is unknown, it cannot be read, or one of its rows is broken.
    """
    if not path.is_file():
        msg = f"There is no spine at {path}."
        raise SpineError(msg, hint="Give the path of a Parquet, CSV or JSON lines file.")
    name = path.name.lower()
    try:
        if name.endswith(CSV_ENDINGS):
            return _csv(path, wanted)
        if name.endswith(JSON_ENDINGS):
            return _json(path, wanted)
        if name.endswith(PARQUET_ENDINGS) or _is_parquet(path):
            return parquet.read_table(path)
    except CsvError as error:
        raise SpineError(error.what, hint=error.hint) from error
    except (pa.ArrowException, OSError) as error:
        msg = f"The spine {path} cannot be read: {str(error).splitlines()[0]}"
        raise SpineError(msg, hint="Give a file in the format that its name says.") from error
    msg = f"The spine {path} must end in .parquet, .csv, .tsv (also with .gz, .zst, .bz2 or .xz) or .jsonl."
    raise SpineError(msg, hint="The ending says the format.")


def _json(path: Path, wanted: Mapping[str, Column]) -> pa.Table:
    if not path.stat().st_size:
        return pa.table({})
    # Without a schema Arrow reads texts that look like times as times, and loses their zone.
    texts = [name for name, column in wanted.items() if column.dtype in (DType.STRING, DType.TIMESTAMP, DType.DATE)]
    schema = pa.schema([(name, pa.string()) for name in texts])
    table = pjson.read_json(path, parse_options=pjson.ParseOptions(explicit_schema=schema, newlines_in_values=True))
    names = [name for name in table.column_names if name not in texts or table.column(name).null_count < len(table)]
    columns = {name: table.column(name) for name in names}
    return pa.table(columns | {name: _typed(columns[name], wanted.get(name), name) for name in names if name in texts})


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _csv(path: Path, wanted: Mapping[str, Column]) -> pa.Table:
    file = CsvFile(path, Dialect())
    twice = {name for name in file.columns if file.columns.count(name) > 1}
    if twice:
        msg = f"The spine {path} has more than one column called {min(twice)!r}."
        raise SpineError(msg, hint="Rename or drop all but one.")
    tables: list[pa.Table] = []
    bad: list[BadRecord] = []
    for part in file.rows(range(len(file.columns))):
        bad += part.bad
        tables.append(part.table)
    if bad:
        shown = "\n".join(f"  {one}" for one in bad[:_SHOWN])
        more = f"\n  … and {len(bad) - _SHOWN:,} more" if len(bad) > _SHOWN else ""
        msg = f"The spine {path} has rows that cannot be read:\n{shown}{more}"
        raise SpineError(msg, hint="Fix them: CSV is read by its standard, RFC 4180.")
    table = pa.concat_tables(tables).rename_columns(file.columns)
    return pa.table({name: _typed(table.column(name), wanted.get(name), name) for name in file.columns})


def _typed(texts: pa.ChunkedArray, wanted: Column | None, name: str) -> pa.ChunkedArray:
    """A column of texts with its real type: a text key stays a text, whatever it looks like."""
    if wanted is not None and wanted.dtype is DType.STRING:
        return texts
    if wanted is not None and wanted.dtype is DType.DATE:
        try:
            return texts.cast(pa.date32())
        except pa.ArrowInvalid:  # reading the keys says what is wrong
            return texts
    if wanted is not None and wanted.dtype is DType.TIMESTAMP:
        values, why = TimeReader().read(texts)
        if not why and all(value is None or not isinstance(value, str) for value in values):
            return pa.chunked_array([pa.array(values)])
    written = io.BytesIO()
    pcsv.write_csv(pa.table({"value": texts}), written)
    options = pcsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
    found = pcsv.read_csv(io.BytesIO(written.getvalue()), parse_options=options).column(0)
    if wanted is not None and wanted.dtype is DType.TIMESTAMP and pa.types.is_string(found.type):
        raise _no_time(texts, name)
    return found


def _no_time(texts: pa.ChunkedArray, name: str) -> SpineError:
    """The error of a column of times, naming the first row that is none."""
    values, why = TimeReader().read(texts)
    for row, value in enumerate(values):
        if isinstance(value, str) and row not in why:
            try:
                at = datetime.fromisoformat(value)
            except ValueError as error:
                why[row] = f"{value!r} is no time: {error}"
            else:
                if at.tzinfo is None:
                    why[row] = f"{value!r} has no time zone"
    hint = "Write times as 2013-01-31T10:00:00Z."
    if not why:
        return SpineError(f"The spine's {name!r} is no column of times in one form.", hint=hint)
    row = min(why)
    return SpineError(f"Row {row + 1} of the spine: {name!r} is wrong: {why[row]}.", hint=hint)
