"""SQL for one view: from its tables to the value of each feature at each lookup."""
# ruff: noqa: S608  (values are numbers, names are quoted, and the user's data enters as tables)

from __future__ import annotations

from collections.abc import Mapping

from headrace.history.evidence import add_lifetime_by_evidence, add_window_by_evidence
from headrace.history.evidence_query_builder import QueryBuilder
from headrace.history.evidence_states import limb_name
from headrace.history.exact_sums import DoubleShape, scaled_sql
from headrace.history.join_plan import Group, ViewMatch
from headrace.history.sql_text import quoted, selected, value_name
from headrace.plan import DType, Feature

__all__ = ["features_sql"]


def features_sql(match: ViewMatch, shapes: Mapping[str, DoubleShape]) -> str:
    """The query of one view: its features as lookups knew them, by evidence.

    Args:
        match: What is asked of the view.
        shapes: How the columns of doubles that are summed are cut into integers.

    Returns:
        SQL whose result has ``spine_row`` and one column per queried feature, in the order asked for, by ``spine_row``. Sums
        of integers come as HUGEINT, timestamps as microseconds, dates as days.
    """
    query = QueryBuilder(match, shapes)
    for group in match.groups:
        (add_lifetime_by_evidence if group.window_us is None else add_window_by_evidence)(query, group)
    groups = {feature.name: group for group in match.groups for feature in group.features}
    read = [f"{_read_off(query, groups[feature.name], feature)} AS {_column(n)}" for n, feature in _numbered(match)]
    lasts = [(n, feature) for n, feature in _numbered(match) if feature.function == "last"]
    fetches = "".join(f"\nLEFT JOIN events AS last_{n} ON last_{n}.event_seq = f.{_column(n)}" for n, _ in lasts)
    values = {n: f"last_{n}.{quoted(value_name(feature.column))}" for n, feature in lasts}
    columns = (f"{values.get(n, f'f.{_column(n)}')} AS {quoted(feature.name)}" for n, feature in _numbered(match))
    return f"""\
{query.with_features(read)}
SELECT
{selected("f.moment_id AS spine_row", columns)}
FROM features AS f{fetches}
ORDER BY f.moment_id"""


def _numbered(match: ViewMatch) -> list[tuple[int, Feature]]:
    return list(enumerate(match.queried, 1))


def _column(number: int) -> str:
    return f"feature_{number}"


def _read_off(query: QueryBuilder, group: Group, feature: Feature) -> str:
    """SQL of a feature from its group's states; for ``last``, of the event's place in the order."""
    column = feature.column
    if feature.function == "count":
        return f"CAST(coalesce({query.place(group, 'rows' if column == '*' else f'count({column})')}, 0) AS BIGINT)"
    if feature.function in ("sum", "mean"):
        total = _total(query, group, column)
        if feature.function == "sum":
            return total
        count = query.place(group, f"count({column})")
        return f"CASE WHEN {count} > 0 THEN CAST({total} AS DOUBLE) / {count} END"
    value = query.place(group, f"{feature.function}({column})")
    is_bool = query.match.source.column(column).dtype is DType.BOOL
    return f"CAST({value} AS BOOLEAN)" if is_bool and feature.function != "last" else value


def _total(query: QueryBuilder, group: Group, column: str) -> str:
    shape = query.shapes.get(column)
    if shape is None:
        return f"coalesce({query.place(group, f'sum({column})')}, 0)"
    parts = []
    for limb in reversed(range(shape.limbs)):
        held = f"CAST(coalesce({query.place(group, limb_name(column, shape, limb))}, 0) AS DOUBLE)"
        parts.append(scaled_sql(held, shape.exponent_of(limb)))
    total = " + ".join(parts) if len(parts) == 1 else f"({' + '.join(parts)})"
    if shape.finite:
        return total
    nan, up, down = (f"{query.place(group, f'{what}({column})')} > 0" for what in ("nan", "inf", "-inf"))
    return (
        f"CASE WHEN {nan} OR ({up} AND {down}) THEN CAST('nan' AS DOUBLE) "
        f"WHEN {up} THEN CAST('inf' AS DOUBLE) WHEN {down} THEN CAST('-inf' AS DOUBLE) ELSE {total} END"
    )
