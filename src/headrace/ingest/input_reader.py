"""Reading what is to be imported: files one after the other, or a query, in an order that is the same each time."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa

from headrace.errors import IngestError
from headrace.ingest.input_parts import Block, CsvPart, Part, SqlPart
from headrace.tabular.csv_file import CSV_ENDINGS, CsvError, Dialect
from headrace.tabular.sql_text import literal, unglobbed
from headrace.transforms.sql_keywords import with_names_quoted

__all__ = ["Block", "Origin", "Reader", "opening"]

_QUERY = "the query"
_PARQUET = (".parquet", ".pq")

Choose = Callable[[str, Sequence[str]], Mapping[str, str]]
"""Given a part's name and its columns: by what is wanted, the column to read."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where history comes from: files or a query, one of them.

    Attributes:
        files: The path of a Parquet or CSV file, or a glob of them.
        query: A query in DuckDB's SQL.
        database: For a query, a DuckDB file to run it in; it is opened to read only.
        dialect: How CSV files are written, where it is not as the standard says.
        block_rows: How many rows are read at a time.
    """

    files: str | None = None
    query: str | None = None
    database: Path | None = None
    dialect: Dialect = field(default_factory=Dialect)
    block_rows: int = 10_000


class Reader:
    """Reads an origin in blocks.

    Files are read in the order of their paths and their rows. A query has no order of its own, so its rows are sorted
    by all that is read of them: then each run gives every event the same place.

    Args:
        origin: Where history comes from.
        names: The fields of the model, which a query may name without the double quotes that they need.

    Raises:
        IngestError: There is no such file, or the database cannot be opened.
    """

    def __init__(self, origin: Origin, names: Sequence[str] = ()) -> None:
        if (origin.files is None) == (origin.query is None):
            msg = "History comes either from files or from a query."
            raise IngestError(msg, hint="Give --from FILE_OR_GLOB, or --query SQL.")
        if origin.database is not None and origin.query is None:
            msg = "A database is read by a query."
            raise IngestError(msg, hint="Give --query 'FROM a_table' too.")
        self._con = _connect(origin.database)
        self._dialect = origin.dialect
        self._block_rows = origin.block_rows
        self.quoted_query: str | None = None
        """The query as it was run, where names had to be put in double quotes."""
        self._relations: dict[str, str] = {}
        self._is_query = origin.query is not None
        if origin.query is not None:
            query = origin.query.strip().rstrip(";")
            self.quoted_query = with_names_quoted(query, names)
            self.parts = [_QUERY]
            self._relations[_QUERY] = f"({self.quoted_query or query}\n)"
        else:
            self.parts = _paths(origin.files or "")

    def checksums(self) -> dict[str, str]:
        """By file, its SHA-256; nothing for a query.

        Raises:
            IngestError: A file cannot be read.
        """
        found: dict[str, str] = {}
        for part in () if self._is_query else self.parts:
            try:
                with Path(part).open("rb") as file:
                    found[str(Path(part).resolve())] = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise _unreadable(part, error) from error
        return found

    def blocks(self, choose: Choose) -> Iterator[Block]:
        """The rows, in order.

        Args:
            choose: Says for each part which columns to read.

        Raises:
            IngestError: A part does not read.
        """
        for name in self.parts:
            try:
                part = self._part(name)
                yield from part.blocks(choose(name, part.columns), self._block_rows)
            except CsvError as error:
                raise IngestError(error.what, hint=error.hint) from error
            except (duckdb.Error, pa.ArrowException, OSError) as error:
                raise _unreadable(name, error) from error

    def close(self) -> None:
        """Close files and database."""
        self._con.close()

    def _part(self, name: str) -> Part:
        if self._is_query:
            return SqlPart(name, self._con, self._relations[name], is_sorted=True)
        if name.lower().endswith(CSV_ENDINGS):
            return CsvPart(name, self._dialect)
        if name.lower().endswith(_PARQUET):
            relation = f"read_parquet({literal(unglobbed(name))}, hive_partitioning = false)"
            return SqlPart(name, self._con, relation, is_sorted=False)
        after = "(.gz, .zst, .bz2 or .xz may follow)"
        msg = f"{name} ends neither in {', '.join(_PARQUET)} nor in .csv or .tsv {after}."
        raise IngestError(msg, hint="Read anything else by a query: --query \"FROM read_json('events.json')\".")


def opening(part: str) -> str:
    """A part's name as the beginning of a sentence: a file's path is written as it is."""
    return "The query" if part == _QUERY else part


def _unreadable(part: str, error: Exception) -> IngestError:
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    hint = (
        "Nothing was imported. Fix the query, and import again."
        if part == _QUERY
        else "Nothing was imported. Give a file that reads."
    )
    return IngestError(f"{opening(part)} cannot be read: {said}", hint=hint)


def _connect(database: Path | None) -> duckdb.DuckDBPyConnection:
    try:
        con = duckdb.connect(":memory:" if database is None else str(database), read_only=database is not None)
    except duckdb.Error as error:
        said = str(error).strip().splitlines()[0]
        msg = f"The database {database} cannot be opened: {said}"
        raise IngestError(msg, hint="Give a DuckDB file that no other process writes now.") from error
    con.execute("SET TimeZone = 'UTC'")
    return con


def _paths(files: str) -> list[str]:
    # The pattern is the user's own.
    found = [files] if Path(files).is_file() else sorted(glob.glob(files, recursive=True))  # noqa: PTH207
    found = [path for path in found if Path(path).is_file()]
    if not found:
        msg = f"There is no file {files}."
        raise IngestError(msg, hint="Give the path of a Parquet or CSV file, or a glob in quotes: 'history/*.parquet'.")
    return found
