"""Running a view's transforms on a table of events.

A transform is row by row: what it makes of an event may depend on nothing but that event, for a fetch of the stream and a training set's
scan of the log cut the events differently. Each column fails for itself, event by event (`steps.py`): it is null there, on both sides, and no
other column and no other event is touched by it.
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
_UNSTEADY_WORDS = {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}


class Transformer:
    """Applies the transforms of a view.

    Args:
        view: The view.
        repo: The feature repo's folder, where functions are found; None finds them on `sys.path`.
        load: What gives a transform's function, where it is not found there.
        warns: Whether failures are warned of in the log.

    Attributes:
        failures: What failed on events so far.

    Raises:
        PlanError: A function is missing, or is no longer the one that was applied.
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
            The same rows, with each transform's columns typed as the plan has them.
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
        columns: The columns it may name.

    Raises:
        HeadraceError: It does not compile, or makes a type that no column has.
    """
    columns = list(columns)
    _refuse_bare_keywords(expression, columns)
    nodes = _parsed(expression)
    _refuse_unsteady(expression, nodes)
    _refuse_other_rows(nodes)
    empty = pa.table({column.name: pa.array([], ARROW_TYPES[column.dtype]) for column in columns})
    try:
        made = select({"made": expression}, empty)
    except duckdb.Error as error:
        msg = str(error).strip().splitlines()[0]
        raise HeadraceError(msg, hint="Expressions are DuckDB's SQL over the fields of the model.") from error
    if made.num_rows:
        msg = "the expression is an aggregate, and an expression is computed row by row"
        raise HeadraceError(msg, hint="Aggregate with aggregations=[…].")
    found = made.schema.field("made").type
    for dtype, test in _ARROW_KINDS:
        if test(found):
            return dtype
    msg = f"the expression makes {found}, which no column has"
    raise HeadraceError(msg, hint="CAST it to BIGINT, DOUBLE, BOOLEAN, VARCHAR, DATE or TIMESTAMPTZ.")


def _refuse_bare_keywords(expression: str, columns: Iterable[Column]) -> None:
    """Say that a field is called like a word of SQL's own, where DuckDB says no more than "syntax error"."""
    quoted = with_names_quoted(f"SELECT {expression}", [column.name for column in columns])
    if quoted is not None:
        msg = f"syntax error in {expression}: it names a field that is called like a word of SQL's own"
        raise HeadraceError(msg, hint=f"Put the name in double quotes: {quoted.removeprefix('SELECT ')}")


def _refuse_unsteady(expression: str, nodes: list[dict[str, Any]]) -> None:
    """Refuse functions that give another value each time: the stream and the log would not agree."""
    called = {word.lower() for word in _CALLED.findall(expression)}
    called |= {str(node["function_name"]).lower() for node in nodes if "function_name" in node}
    bare = {word.lower() for word in _WORD.findall(expression)}
    unsteady = sorted((called & _unsteady_functions()) | (bare & _UNSTEADY_WORDS))
    if unsteady:
        msg = f"the expression uses {unsteady[0]}, whose value depends on when it is computed"
        raise HeadraceError(msg, hint="Take times from the event's own fields.")


@cache
def _unsteady_functions() -> frozenset[str]:
    """Listing DuckDB's functions takes 50 ms, and a view may have dozens of filters."""
    listed = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
    return frozenset(name for (name,) in cursor().sql(listed).fetchall())


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
            raise HeadraceError(msg, hint="Take the event's own fields, and aggregate with aggregations=[…].")


def _parsed(expression: str) -> list[dict[str, Any]]:
    """The nodes of an expression's syntax tree; where it is no expression, what DuckDB says comes later."""
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
        msg = f"The transform {transform.function!r} of the view {view.name!r} is no longer the one that was applied."
        raise PlanError(msg, hint="Run `headrace apply`: a changed transform makes another version of the view.")
    return function
