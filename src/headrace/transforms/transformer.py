"""Running a view's transforms on a table of events.

A transform is row by row: what it makes of an event may depend on nothing but that event, for a fetch of the stream and a training set's
scan of the log cut the events differently. Where a whole table fails, its rows are tried one by one, and a row that fails alone gets nulls
on both sides; so one event that a transform cannot digest neither stops the stream nor takes others with it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from headrace.errors import HeadraceError, PlanError
from headrace.events.batch import ARROW_TYPES
from headrace.plan import Column, DType, Transform, View
from headrace.transforms.function import function_code, load_function

__all__ = ["Transformer", "sql_dtype"]

logger = logging.getLogger(__name__)

_CALLED = re.compile(r"([A-Za-z_]\w*)\s*\(")
_WORD = re.compile(r"[A-Za-z_]\w*")
_UNSTEADY_WORDS = {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}

_Columns = dict[str, pa.Array]
_Run = Callable[[pa.Table], _Columns]


class Transformer:
    """Applies the transforms of a view.

    Args:
        view: The view.
        repo: The feature repo's folder, where functions are found; None finds them on `sys.path`.

    Raises:
        PlanError: A function is missing, or is no longer the one that was applied.
    """

    def __init__(self, view: View, repo: Path | None = None) -> None:
        self._view = view
        self._steps = [(transform, _run_of(view, transform, repo)) for transform in view.transforms]

    def apply(self, table: pa.Table) -> pa.Table:
        """A table of events with the derived columns appended.

        Args:
            table: The events' columns, shape (n,).

        Returns:
            The same rows, with each transform's columns typed as the plan has them.
        """
        for transform, run in self._steps:
            made = self._made(transform, run, table)
            for column in transform.columns:
                table = table.append_column(column.name, made[column.name])
        return table

    def _made(self, transform: Transform, run: _Run, table: pa.Table) -> dict[str, pa.Array | pa.ChunkedArray]:
        try:
            return dict(_checked(transform, run(table), table.num_rows))
        except Exception as error:  # noqa: BLE001 a user's code and SQL raise what they like
            if table.num_rows > 1:
                logger.debug("The transform of %s failed on %d events: %s", self._view.name, table.num_rows, error)
                rows = [self._made(transform, run, table.slice(row, 1)) for row in range(table.num_rows)]
                return {
                    column.name: pa.chunked_array([row[column.name] for row in rows]) for column in transform.columns
                }
            logger.warning("The transform of %s failed on an event, which gets nulls: %s", self._view.name, error)
            return {column.name: pa.nulls(table.num_rows, ARROW_TYPES[column.dtype]) for column in transform.columns}


def sql_dtype(expression: str, columns: Iterable[Column]) -> DType:
    """The type of an SQL expression over some columns.

    Args:
        expression: In DuckDB's SQL.
        columns: The columns it may name.

    Raises:
        HeadraceError: It does not compile, or makes a type that no column has.
    """
    nodes = _parsed(expression)
    _refuse_unsteady(expression, nodes)
    _refuse_other_rows(nodes)
    empty = pa.table({column.name: pa.array([], ARROW_TYPES[column.dtype]) for column in columns})
    try:
        made = _select(_connection(), {"made": expression}, empty)
    except duckdb.Error as error:
        msg = str(error).strip().splitlines()[0]
        raise HeadraceError(msg, cure="Expressions are DuckDB's SQL over the fields of the model.") from error
    if made.num_rows:
        msg = "the expression is an aggregate, and an expression is computed row by row"
        raise HeadraceError(msg, cure="Aggregate with aggregations=[…].")
    found = made.schema.field("made").type
    for dtype, test in _ARROW_KINDS:
        if test(found):
            return dtype
    msg = f"the expression makes {found}, which no column has"
    raise HeadraceError(msg, cure="CAST it to BIGINT, DOUBLE, BOOLEAN, VARCHAR or TIMESTAMPTZ.")


def _refuse_unsteady(expression: str, nodes: list[dict[str, Any]]) -> None:
    """Refuse functions that give another value each time: the stream and the log would not agree."""
    called = {word.lower() for word in _CALLED.findall(expression)}
    called |= {str(node["function_name"]).lower() for node in nodes if "function_name" in node}
    found = (
        _connection()
        .sql("SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'")
        .fetchall()
    )
    bare = {word.lower() for word in _WORD.findall(expression)}
    unsteady = sorted((called & {name for (name,) in found}) | (bare & _UNSTEADY_WORDS))
    if unsteady:
        msg = f"the expression uses {unsteady[0]}, whose value depends on when it is computed"
        raise HeadraceError(msg, cure="Take times from the event's own fields.")


def _refuse_other_rows(nodes: list[dict[str, Any]]) -> None:
    """Refuse what sees more than its own event: the stream's fetches and the log's scan hold different ones beside it."""
    for node in nodes:
        found = _OTHER_ROWS.get(node.get("class", ""))
        function = node.get("function_name")
        if function == "unnest":
            found = "unnest, which makes rows"
        if function == "age" and len(node.get("arguments", node.get("children", []))) == 1:
            found = "age of one time, which counts to today"
        if found:
            msg = f"the expression uses {found}, and an expression is computed row by row"
            raise HeadraceError(msg, cure="Take the event's own fields, and aggregate with aggregations=[…].")


def _parsed(expression: str) -> list[dict[str, Any]]:
    """The nodes of an expression's syntax tree; where it is no expression, what DuckDB says comes later."""
    [(parsed,)] = _connection().execute("SELECT json_serialize_sql(?)", [f"SELECT ({expression})"]).fetchall()
    return list(_nodes(json.loads(parsed)))


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    if isinstance(tree, dict | list):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from _nodes(part)


_OTHER_ROWS = {"WINDOW": "a window function (OVER)", "SUBQUERY": "a subquery"}

_ARROW_KINDS: list[tuple[DType, Callable[[pa.DataType], bool]]] = [
    (DType.BOOL, pa.types.is_boolean),
    (DType.INT64, pa.types.is_integer),
    (DType.FLOAT64, pa.types.is_floating),
    (DType.FLOAT64, pa.types.is_decimal),
    (DType.STRING, pa.types.is_string),
    (DType.TIMESTAMP, lambda found: bool(pa.types.is_timestamp(found) and found.tz is not None)),
]


def _run_of(view: View, transform: Transform, repo: Path | None) -> _Run:
    if transform.kind == "sql":
        con = _connection()
        return lambda table: _columns_of(_select(con.cursor(), transform.expressions, table))
    if transform.function is None:
        msg = f"The plan's view {view.name!r} has a {transform.kind} transform without a function."
        raise PlanError(msg, cure="Run `headrace apply`.")
    function = load_function(transform.function, repo)
    if transform.code is not None and function_code(function) != transform.code:
        msg = f"The transform {transform.function!r} of the view {view.name!r} is no longer the one that was applied."
        raise PlanError(msg, cure="Run `headrace apply`: a changed transform makes another version of the view.")
    return _pandas_run(function) if transform.kind == "pandas" else _python_run(function)


def _python_run(function: Callable[[Any], Any]) -> _Run:
    return lambda table: {name: pa.array(values) for name, values in function(table.to_pydict()).items()}


def _pandas_run(function: Callable[[Any], Any]) -> _Run:
    def run(table: pa.Table) -> _Columns:
        # pandas' own types have no null beside NaN; Arrow's keep integers and nulls apart.
        frame = table.to_pandas(types_mapper=_arrow_backed)
        return _columns_of(pa.Table.from_pandas(function(frame), preserve_index=False))

    return run


def _arrow_backed(kind: pa.DataType) -> Any:
    import pandas as pd

    return pd.ArrowDtype(kind)


def _columns_of(table: pa.Table) -> _Columns:
    return {name: table.column(name).combine_chunks() for name in table.column_names}


def _checked(transform: Transform, made: _Columns, rows: int) -> _Columns:
    for column in transform.columns:
        if column.name not in made or len(made[column.name]) != rows:
            held = f"{len(made[column.name])} values" if column.name in made else "nothing"
            msg = f"it made {held} of {column.name!r} for {rows} events"
            raise ValueError(msg)
    return {column.name: made[column.name].cast(ARROW_TYPES[column.dtype]) for column in transform.columns}


def _connection() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(":memory:", config={"threads": 1})
    con.execute("SET GLOBAL TimeZone = 'UTC'").complete()  # global, for each fetch has a cursor of its own
    return con


def _select(con: duckdb.DuckDBPyConnection, expressions: dict[str, str], table: pa.Table) -> pa.Table:
    con.register("events", table)
    listed = ", ".join(f'({expression}) AS "{name}"' for name, expression in expressions.items())
    return con.sql(f"SELECT {listed} FROM events").to_arrow_table()  # noqa: S608 the plan's own expressions
