"""States as columns: what one event puts into each, and how two of them merge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headrace.history.exact_sums import DoubleShape, limb_sql
from headrace.history.join_plan import State, StateKind, ViewMatch
from headrace.history.sql_text import quoted, value_name
from headrace.plan import DType

__all__ = ["StateColumn", "columns_of", "doubles_summed", "limb_name"]


@dataclass(frozen=True)
class StateColumn:
    """A state, or a part of one, as a column.

    Attributes:
        name: The column's name.
        value: SQL of what one event puts into it.
        merge: The aggregate that merges two of them: sum, min or max.
    """

    name: str
    value: str
    merge: str

    @property
    def merged(self) -> str:
        """SQL that merges the column over rows that have it."""
        return f"{self.merge}({quoted(self.name)}) AS {quoted(self.name)}"


def columns_of(match: ViewMatch, states: Iterable[State], shapes: Mapping[str, DoubleShape]) -> list[StateColumn]:
    """The columns of several states, in order.

    Args:
        match: The view they are of.
        states: The states.
        shapes: How the columns of doubles that are summed are cut into integers.
    """
    found: list[StateColumn] = []
    for state in states:
        if state.column is None:
            found.append(StateColumn("rows", "1", "sum"))
        else:
            dtype = match.source.column(state.column).dtype
            found += _columns(state.kind, state.column, dtype, shapes.get(state.column))
    return found


def doubles_summed(match: ViewMatch) -> list[str]:
    """The columns of doubles that are summed."""
    sums = [state.column for state in match.states if state.kind is StateKind.SUM and state.column is not None]
    return [column for column in sums if match.source.column(column).dtype is DType.FLOAT64]


def limb_name(column: str, shape: DoubleShape, limb: int) -> str:
    """What the column of a limb is called."""
    return f"sum({column})" if shape.limbs == 1 else f"sum({column}) limb {limb}"


def _columns(kind: StateKind, column: str, dtype: DType, shape: DoubleShape | None) -> list[StateColumn]:
    name, value = f"{kind}({column})", quoted(value_name(column))
    if kind is StateKind.COUNT:
        return [StateColumn(name, f"CAST({value} IS NOT NULL AS BIGINT)", "sum")]
    if kind is StateKind.LAST:  # the event's place in the order; its value is fetched at the end
        return [StateColumn(name, f"CASE WHEN {value} IS NOT NULL THEN event_seq END", "max")]
    if kind is not StateKind.SUM:
        return [StateColumn(name, f"CAST({value} AS TINYINT)" if dtype is DType.BOOL else value, str(kind))]
    if shape is None:
        return [StateColumn(name, f"CAST({value} AS HUGEINT)", "sum")]
    return _double_columns(column, value, shape)


def _double_columns(column: str, value: str, shape: DoubleShape) -> list[StateColumn]:
    limbs = [(limb_name(column, shape, limb), limb_sql(value, shape, limb)) for limb in range(shape.limbs)]
    if shape.finite:
        return [StateColumn(name, part, "sum") for name, part in limbs]
    columns = [StateColumn(name, f"CASE WHEN isfinite({value}) THEN {part} END", "sum") for name, part in limbs]
    columns.append(StateColumn(f"nan({column})", f"CAST(isnan({value}) AS BIGINT)", "sum"))
    for infinity in ("inf", "-inf"):
        is_it = f"CAST({value} = CAST('{infinity}' AS DOUBLE) AS BIGINT)"
        columns.append(StateColumn(f"{infinity}({column})", is_it, "sum"))
    return columns
