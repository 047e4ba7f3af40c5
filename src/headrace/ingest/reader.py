"""Reading what is to be imported: files one after the other, or a query, in an order that is the same each time."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from headrace.errors import IngestError
from headrace.history.text import literal, quoted, unglobbed

__all__ = ["Block", "Origin", "Reader", "opening"]

_BLOCK_ROWS = 10_000
_QUERY = "the query"
_CSV = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
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
    """

    files: str | None = None
    query: str | None = None
    database: Path | None = None


@dataclass(frozen=True)
class Block:
    """Some rows of one part.

    Attributes:
        part: The file's path, or "the query".
        first_row: The number of its first row in that part, from 1.
        table: The rows, with the columns chosen under the names that they were wanted by.
    """

    part: str
    first_row: int
    table: pa.Table


class Reader:
    """Reads an origin in blocks.

    Files are read in the order of their paths and their rows. A query has no order of its own, so its rows are sorted by all that is read of
    them: then each run gives every event the same place.

    Args:
        origin: Where history comes from.

    Raises:
        IngestError: There is no such file, or the database does not open.
    """

    def __init__(self, origin: Origin) -> None:
        if (origin.files is None) == (origin.query is None):
            msg = "History comes either from files or from a query."
            raise IngestError(msg, cure="Give --from FILE_OR_GLOB, or --query SQL.")
        if origin.database is not None and origin.query is None:
            msg = "A database is read by a query."
            raise IngestError(msg, cure="Give --query 'FROM a_table' too.")
        self._con = _connect(origin.database)
        if origin.query is not None:
            self._parts = {_QUERY: f"({origin.query.strip().rstrip(';')}\n)"}
        else:
            self._parts = {path: _scan(path) for path in _paths(origin.files or "")}
        self._sorted = origin.query is not None

    @property
    def parts(self) -> list[str]:
        """The files' paths, or "the query"."""
        return list(self._parts)

    def checksums(self) -> dict[str, str | None]:
        """By part, the SHA-256 of its file; None for a query."""
        found: dict[str, str | None] = {}
        for part in self._parts:
            if self._sorted:
                found[part] = None
                continue
            with Path(part).open("rb") as file:
                found[str(Path(part).resolve())] = hashlib.file_digest(file, "sha256").hexdigest()
        return found

    def blocks(self, choose: Choose) -> Iterator[Block]:
        """The rows, in order.

        Args:
            choose: Says for each part which columns to read.

        Raises:
            IngestError: A part does not read.
        """
        for part, relation in self._parts.items():
            try:
                wanted = choose(part, self._con.sql(f"SELECT * FROM {relation} LIMIT 0").columns)  # noqa: S608 the user's own
                yield from self._blocks_of(part, relation, wanted)
            except (duckdb.Error, pa.ArrowException) as error:
                said = str(error).strip().splitlines()[0]
                msg = f"{opening(part)} cannot be read: {said}"
                raise IngestError(msg, cure="Nothing was imported. Mend it, and import again.") from error

    def close(self) -> None:
        """Let go of files and database."""
        self._con.close()

    def _blocks_of(self, part: str, relation: str, wanted: Mapping[str, str]) -> Iterator[Block]:
        listed = ", ".join(f"{quoted(column)} AS {quoted(name)}" for name, column in wanted.items())
        order = " ORDER BY ALL" if self._sorted else ""
        reader = self._con.sql(f"SELECT {listed} FROM {relation}{order}").to_arrow_reader(_BLOCK_ROWS)  # noqa: S608
        row = 1
        for batch in reader:
            if batch.num_rows:
                yield Block(part, row, pa.Table.from_batches([batch]))
                row += batch.num_rows


def opening(part: str) -> str:
    """A part's name as the beginning of a sentence: a file's path is written as it is."""
    return "The query" if part == _QUERY else part


def _connect(database: Path | None) -> duckdb.DuckDBPyConnection:
    try:
        con = duckdb.connect(":memory:" if database is None else str(database), read_only=database is not None)
    except duckdb.Error as error:
        said = str(error).strip().splitlines()[0]
        msg = f"The database {database} cannot be opened: {said}"
        raise IngestError(msg, cure="Give a DuckDB file that nobody else writes just now.") from error
    con.execute("SET TimeZone = 'UTC'")
    return con


def _paths(files: str) -> list[str]:
    found = [files] if Path(files).is_file() else sorted(glob.glob(files, recursive=True))  # noqa: PTH207 the user's own pattern
    found = [path for path in found if Path(path).is_file()]
    if not found:
        msg = f"There is no file {files}."
        raise IngestError(msg, cure="Give the path of a Parquet or CSV file, or a glob in quotes: 'history/*.parquet'.")
    return found


def _scan(path: str) -> str:
    name = path.lower()
    if name.endswith(_CSV):
        # As text: the model says what a field is, and 007 stays 007.
        return f"read_csv({literal(unglobbed(path))}, header = true, all_varchar = true)"
    if name.endswith(_PARQUET):
        return f"read_parquet({literal(unglobbed(path))}, hive_partitioning = false)"
    msg = f"{path} ends neither in {', '.join(_PARQUET)} nor in {', '.join(_CSV)}."
    raise IngestError(msg, cure="Read anything else by a query: --query \"FROM read_json('events.json')\".")
