"""Running a view's transforms on a table of events.

A transform works row by row: its value for an event may depend only on that event, because a fetch of the stream and a
training set's scan of the log cut the events differently. Each column fails alone, event by event (`steps.py`): it is
null there, online and in training, and no other column and no other event changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from headrace.errors import HeadraceError, PlanError
from headrace.events.event_batch import ARROW_TYPES
from headrace.plan import Column, DType, Transform, View
from headrace.transforms.duckdb_session import cursor, select
from headrace.transforms.failure_counts import Failures
from headrace.transforms.sql_keywords import with_names_quoted
from headrace.transforms.steps import FunctionStep, Step, sql_steps
from headrace.transforms.udf import function_code, load_function

__all__ = ["Transformer", "sql_dtype"]

_CALLED = re.compile(r"([A-Za-z_]\w*)\s*\(")
_WORD = re.compile(r"[A-Za-z_]\w*")
_CHANGING_KEYWORDS = {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}


class Transformer:
    """Applies the transforms of a view.

    Args:
        view: The view.
        repo: The feature repo's folder, where functions are found; None finds them on `sys.path`.
        load: Returns a transform's function, instead of finding it there.
        warns: Whether to log warnings about failures.

    Attributes:
        failures: The failures so far.

    Raises:
        PlanError: A function is missing, or has changed since it was applied.
    """

    def __init__(
        self,
        view: View,
        repo: Path | None = None,
        *,
        load: Callable[[Transform], Callable[[Any], Any]] | None = None,
        warns: bool = True,
    ) -> None:
        found = load or partial(_function_of, view, repo)
        self._steps = [step for transform in view.transforms for step in _steps_of(transform, found)]
        self.failures = Failures(view.name, warns=warns)

    def apply(self, table: pa.Table) -> pa.Table:
        """A table of events with the derived columns appended.

        Args:
            table: The events' columns, shape (n,).

        Returns:
            The same rows, with each transform's columns, of the types in the plan.
        """
        for step in self._steps:
            made = step.run(table)
            for column in step.columns:
                table = table.append_column(column.name, made[column.name].array)
                self.failures.note(
                    column.name,
                    step.what(column.name),
                    made[column.name],
                    is_function=isinstance(step, FunctionStep),
                )
        return table


def sql_dtype(expression: str, columns: Iterable[Column]) -> DType:
    """The type of an SQL expression over some columns.

    Args:
        expression: In DuckDB's SQL.
        columns: The columns that it may use.

    Raises:
        HeadraceError: It does not compile, or its type is not that of any column.
    """
    columns = list(columns)
    _refuse_bare_keywords(expression, columns)
    nodes = _parsed(expression)
    _refuse_changing(expression, nodes)
    _refuse_other_rows(nodes)
    empty = pa.table({column.name: pa.array([], ARROW_TYPES[column.dtype]) for column in columns})
    try:
        made = select({"made": expression}, empty)
    except duckdb.Error as error:
        msg = str(error).strip().splitlines()[0]
        raise HeadraceError(msg, hint="Expressions are DuckDB's SQL over the fields of the model.") from error
    if made.num_rows:
        msg = "the expression is an aggregate, but expressions are computed row by row"
        raise HeadraceError(msg, hint="Aggregate with aggregations=[…].")
    found = made.schema.field("made").type
    for dtype, test in _ARROW_KINDS:
        if test(found):
            return dtype
    msg = f"the expression has the type {found}, which no column can have"
    raise HeadraceError(msg, hint="CAST it to BIGINT, DOUBLE, BOOLEAN, VARCHAR, DATE or TIMESTAMPTZ.")


def _refuse_bare_keywords(expression: str, columns: Iterable[Column]) -> None:
    """Name a field whose name is an SQL keyword; DuckDB says only "syntax error"."""
    quoted = with_names_quoted(f"SELECT {expression}", [column.name for column in columns])
    if quoted is not None:
        msg = f"syntax error in {expression}: it uses a field whose name is an SQL keyword"
        raise HeadraceError(msg, hint=f"Put the name in double quotes: {quoted.removeprefix('SELECT ')}")


def _refuse_changing(expression: str, nodes: list[dict[str, Any]]) -> None:
    """Refuse functions whose value changes from call to call: the stream and the log would not agree."""
    called = {word.lower() for word in _CALLED.findall(expression)}
    called |= {str(node["function_name"]).lower() for node in nodes if "function_name" in node}
    bare = {word.lower() for word in _WORD.findall(expression)}
    changing = sorted((called & _changing_functions()) | (bare & _CHANGING_KEYWORDS))
    if changing:
        msg = f"the expression uses {changing[0]}, whose value depends on when it is computed"
        raise HeadraceError(msg, hint="Take times from the event's own fields.")


@cache
def _changing_functions() -> frozenset[str]:
    """Functions whose value changes from call to call.

    Listing them takes 50 ms, and a view may have dozens of filters.
    """
    listed = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
    return frozenset(name for (name,) in cursor().sql(listed).fetchall())


def _refuse_other_rows(nodes: list[dict[str, Any]]) -> None:
    """Refuse expressions that read other events: a fetch and a scan of the log do not have the same ones."""
    for node in nodes:
        found = _OTHER_ROWS.get(node.get("class", ""))
        function = node.get("function_name")
        if function == "unnest":
            found = "unnest, which makes rows"
        if function == "age" and len(node.get("arguments", node.get("children", []))) == 1:
            found = "age of one time, which counts to today"
        if found:
            msg = f"the expression uses {found}, but expressions are computed row by row"
            raise HeadraceError(msg, hint="Take the event's own fields, and aggregate with aggregations=[…].")


def _parsed(expression: str) -> list[dict[str, Any]]:
    """The nodes of an expression's syntax tree; if it does not parse, compiling it later says why."""
    [(parsed,)] = cursor().execute("SELECT json_serialize_sql(?)", [f"SELECT ({expression})"]).fetchall()
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
    (DType.DATE, pa.types.is_date32),
    (DType.TIMESTAMP, lambda found: bool(pa.types.is_timestamp(found) and found.tz is not None)),
]


def _steps_of(transform: Transform, load: Callable[[Transform], Callable[[Any], Any]]) -> list[Step]:
    return sql_steps(transform) if transform.kind == "sql" else [FunctionStep(transform, load(transform))]


def _function_of(view: View, repo: Path | None, transform: Transform) -> Callable[[Any], Any]:
    if transform.function is None:
        msg = f"The plan's view {view.name!r} has a {transform.kind} transform without a function."
        raise PlanError(msg, hint="Run `headrace apply`.")
    function = load_function(transform.function, repo)
    if transform.code is not None and function_code(function) != transform.code:
        msg = f"The transform {transform.function!r} of the view {view.name!r} has changed since it was applied."
        raise PlanError(msg, hint="Run `headrace apply`: a changed transform makes another version of the view.")
    return function
