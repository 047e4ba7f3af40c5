"""The steps of a view's transforms: each computes columns from a table of events, and each column fails alone.

A step first computes all rows and all of its expressions at once. Only if that fails does it find out which expression
fails on which rows, so that every other value is the same as if it had been computed alone.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from headrace.events.row_salvage import salvaged
from headrace.plan import Column, Transform
from headrace.transforms.duckdb_session import select
from headrace.transforms.row_isolation import Made, array_of, each, fitted, joined, nothing

__all__ = ["FunctionStep", "SqlStep", "Step", "sql_steps"]

_WORD = re.compile(r"\w+")


class Step(ABC):
    """Some columns that are computed together.

    Attributes:
        columns: The columns.
    """

    columns: Sequence[Column]

    @abstractmethod
    def run(self, table: pa.Table) -> dict[str, Made]:
        """Compute each column from a table of events, which has the columns of the steps before."""

    @abstractmethod
    def what(self, column: str) -> str:
        """What computes a column, for messages."""


class SqlStep(Step):
    """SQL expressions that do not use one another.

    Args:
        columns: The columns.
        expressions: The expression of each.
    """

    def __init__(self, columns: Sequence[Column], expressions: Mapping[str, str]) -> None:
        self.columns = columns
        self._expressions = {column.name: expressions[column.name] for column in columns}

    def what(self, column: str) -> str:
        """As `Step.what`."""
        return f"the expression {self._expressions[column]!r}"

    def run(self, table: pa.Table) -> dict[str, Made]:
        """As `Step.run`."""
        try:
            made = select(self._expressions, table)
        except duckdb.Error:
            return {column.name: self._tried(column, table) for column in self.columns}
        return {column.name: fitted(made.column(column.name), column) for column in self.columns}

    def _tried(self, column: Column, table: pa.Table) -> Made:
        """Compute one expression alone; it may fail on some rows."""
        name, expression = column.name, self._expressions[column.name]

        def attempt(start: int, stop: int) -> Made:
            made = select({name: expression}, table.slice(start, stop - start))
            return fitted(made.column(name), column)

        try:
            return attempt(0, table.num_rows)
        except duckdb.Error as error:
            return self._salvaged(column, table, attempt, error)

    def _salvaged(self, column: Column, table: pa.Table, attempt: Callable[[int, int], Made], error: Exception) -> Made:
        # TRY makes the whole struct null if the expression fails, and only its field null if the expression is null.
        name = column.name
        try:
            made = select({name: f"TRY({{'v': ({self._expressions[name]})}})"}, table).column(name)
        except duckdb.Error:
            # TRY does not catch everything: an unknown time zone (`t AT TIME ZONE zone`), an ESCAPE of two characters.
            return each(attempt, table.num_rows, column)
        struct = made.combine_chunks()
        failed = struct.is_null().to_numpy(zero_copy_only=False)
        if failed.any():
            # The error of the first row that fails, whatever other rows are in the batch.
            first = int(np.argmax(failed))
            alone = [part for _, _, part in salvaged(attempt, first, first + 1) if isinstance(part, Exception)]
            error = alone[0] if alone else error
        return fitted(struct.flatten()[0], column).after(Made(struct, failed, error))


def sql_steps(transform: Transform) -> list[Step]:
    """The expressions of an SQL transform as steps: an expression comes one step after the columns that it uses."""
    steps: list[list[Column]] = []
    step_of: dict[str, int] = {}
    for column in transform.columns:
        words = {word.lower() for word in _WORD.findall(transform.expressions[column.name])}
        used = [step for name, step in step_of.items() if name in words or not _WORD.fullmatch(name)]
        number = max(used, default=-1) + 1
        step_of[column.name.lower()] = number
        if number == len(steps):
            steps.append([])
        steps[number].append(column)
    return [SqlStep(columns, transform.expressions) for columns in steps]


class FunctionStep(Step):
    """A user's function.

    Args:
        transform: The transform.
        function: The function: of a dict of lists, or of a data frame.
    """

    def __init__(self, transform: Transform, function: Callable[[Any], Any]) -> None:
        self.columns = transform.columns
        self._ref = transform.function
        self._function = function
        self._is_pandas = transform.kind == "pandas"

    def what(self, column: str) -> str:
        """As `Step.what`."""
        return f"the udf {self._ref}"

    def run(self, table: pa.Table) -> dict[str, Made]:
        """As `Step.run`."""
        lists: dict[str, list[Any]] = {} if self._is_pandas else table.to_pydict()

        def attempt(start: int, stop: int) -> dict[str, Made]:
            # pandas' own types have no null besides NaN; Arrow's keep integers and nulls apart.
            given = (
                table.slice(start, stop - start).to_pandas(types_mapper=_arrow_backed)
                if self._is_pandas
                else {name: values[start:stop] for name, values in lists.items()}
            )
            made = self._function(given)
            return {
                column.name: _column_of(made, column, stop - start, is_pandas=self._is_pandas)
                for column in self.columns
            }

        parts = list(salvaged(attempt, 0, table.num_rows))
        return {column.name: joined(_of_each(parts, column), column) for column in self.columns}


def _of_each(parts: Iterable[tuple[int, int, dict[str, Made] | Exception]], column: Column) -> Iterator[Made]:
    for failed, run in groupby(parts, key=lambda part: isinstance(part[2], Exception)):
        if not failed:
            yield from (part[column.name] for _, _, part in run if not isinstance(part, Exception))
            continue
        rows = list(run)
        error = next(part for _, _, part in rows if isinstance(part, Exception))
        yield nothing(column, rows[-1][1] - rows[0][0], error)


def _column_of(made: Any, column: Column, rows: int, *, is_pandas: bool) -> Made:
    """A column of the result of a function."""
    try:
        values = made[column.name]
        if len(values) != rows:
            msg = f"it made {len(values)} values of {column.name!r} for {rows} events"
            raise ValueError(msg)
    except Exception as error:
        if rows > 1:  # the caller then tries each row alone
            raise
        return nothing(column, rows, error)
    return array_of(values, column, is_pandas=is_pandas)


def _arrow_backed(kind: pa.DataType) -> Any:
    import pandas as pd

    return pd.ArrowDtype(kind)
