"""The parts of what is imported, each read in blocks: CSV files strictly, and what DuckDB reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Protocol
from urllib.parse import unquote

import duckdb
import numpy as np
import pyarrow as pa

from headrace.events.columns import IntArray
from headrace.tabular.csv_file import BadRecord, CsvError, CsvFile, Dialect
from headrace.tabular.sql_text import quoted

__all__ = ["Block", "CsvPart", "Part", "SqlPart"]

_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Block:
    """Some rows of one part.

    Attributes:
        part: The file's path, or "the query".
        table: The rows, with the columns chosen under the names that they were wanted by.
        rows: The number of each row in that part, from 1.
        lines: The line of the file that each begins on; None where a part has no lines.
        bad: Rows that could not be read.
    """

    part: str
    table: pa.Table
    rows: IntArray
    lines: IntArray | None = None
    bad: list[BadRecord] = field(default_factory=list)


class Part(Protocol):
    """A file or a query."""

    columns: list[str]

    def blocks(self, wanted: Mapping[str, str], most: int) -> Iterator[Block]:
        """The rows, in order.

        Args:
            wanted: The columns to read, by the names that the blocks' tables give them.
            most: How many rows a block has at most.
        """


class CsvPart:
    """A CSV file; its values are texts, and the model says what they are.

    Args:
        path: The file.
        dialect: How it is written.

    Raises:
        CsvError: It cannot be read.
    """

    def __init__(self, path: str, dialect: Dialect) -> None:
        self._file = CsvFile(path, dialect)
        self._hive = _hive_columns(path, self._file.columns)
        self.columns = [*self._file.columns, *self._hive]

    def blocks(self, wanted: Mapping[str, str], most: int) -> Iterator[Block]:
        """See `Part`."""
        for name in wanted.values():
            if self._file.columns.count(name) > 1:
                msg = f"{self._file.path} has more than one column called {name!r}."
                raise CsvError(msg, "Rename all but one.")
        own = {key: name for key, name in wanted.items() if name not in self._hive}
        places = sorted({self._file.columns.index(name) for name in own.values()})
        for found in self._file.rows(places):
            texts = dict(zip(places, found.table.columns, strict=True))
            table = pa.table({key: texts[self._file.columns.index(name)] for key, name in own.items()})
            table = _with_hive(table, len(found.rows), wanted, self._hive)
            bad = found.bad
            for start in range(0, max(1, len(found.rows)), most):
                rows = slice(start, start + most)
                yield Block(self._file.path, table.slice(start, most), found.rows[rows], found.lines[rows], bad)
                bad = []


class SqlPart:
    """What DuckDB reads.

    Args:
        path: The file's path, or what stands for it.
        con: The connection to read by.
        relation: The relation, in SQL.
        is_sorted: Whether its rows have to be sorted, as they have no order of their own.
    """

    def __init__(self, path: str, con: duckdb.DuckDBPyConnection, relation: str, *, is_sorted: bool) -> None:
        self._path = path
        self._con = con
        self._relation = relation
        self._is_sorted = is_sorted
        own = list(con.sql(f"SELECT * FROM {relation} LIMIT 0").columns)  # noqa: S608 the user's own
        self._hive = {} if is_sorted else _hive_columns(path, own)
        self.columns = [*own, *self._hive]

    def blocks(self, wanted: Mapping[str, str], most: int) -> Iterator[Block]:
        """See `Part`."""
        own = {key: name for key, name in wanted.items() if name not in self._hive}
        listed = ", ".join(f"{quoted(name)} AS {quoted(key)}" for key, name in own.items()) or "1 AS one"
        order = " ORDER BY ALL" if self._is_sorted else ""
        row = 1
        for batch in self._con.sql(f"SELECT {listed} FROM {self._relation}{order}").to_arrow_reader(most):  # noqa: S608
            if batch.num_rows:
                table = pa.Table.from_batches([batch])
                rows = np.arange(row, row + batch.num_rows)
                yield Block(self._path, _with_hive(table.select(list(own)), batch.num_rows, wanted, self._hive), rows)
                row += batch.num_rows


def _hive_columns(path: str, own: list[str]) -> dict[str, str | None]:
    """The columns that the folders of a path name (`region=eu/part-0.parquet`), if the file lacks them."""
    pairs = [part.partition("=") for part in PurePath(path).parent.parts]
    found = {unquote(name): unquote(value) for name, equals, value in pairs if equals and name}
    return {name: None if value == _HIVE_NULL else value for name, value in found.items() if name not in own}


def _with_hive(table: pa.Table, rows: int, wanted: Mapping[str, str], hive: Mapping[str, str | None]) -> pa.Table:
    for key, name in wanted.items():
        if name in hive:
            table = table.append_column(key, pa.array([hive[name]] * rows, pa.string()))
    return table
