"""A query while it is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headrace.history.evidence_states import StateColumn, columns_of
from headrace.history.exact_sums import DoubleShape
from headrace.history.join_plan import Group, State, ViewMatch
from headrace.history.sql_text import indented, quoted

__all__ = ["QueryBuilder"]


@dataclass
class QueryBuilder:
    """The common table expressions of a view's query, and where each state is found in them.

    Attributes:
        match: What is asked of the view.
        shapes: How the columns of doubles that are summed are cut into integers.
    """

    match: ViewMatch
    shapes: Mapping[str, DoubleShape]
    _ctes: list[str] = field(default_factory=list)
    _joins: list[str] = field(default_factory=list)
    _places: dict[tuple[int, str], str] = field(default_factory=dict)

    def add(self, name: str, body: str) -> str:
        """Add a common table expression, and give back its name."""
        self._ctes.append(f"{name} AS (\n{indented(body)}\n)")
        return name

    def columns(self, states: Iterable[State]) -> list[StateColumn]:
        """The columns that hold some states."""
        return columns_of(self.match, states, self.shapes)

    def join_by_moment(self, group: Group, columns: Sequence[StateColumn], table: str) -> None:
        """Note that a table holds a group's columns by moment."""
        self._joins.append(f"LEFT JOIN {table} ON {table}.moment_id = m.moment_id")
        for column in columns:
            self._places[group.number, column.name] = f"{table}.{quoted(column.name)}"

    def place(self, group: Group, name: str) -> str:
        """SQL of a state's column."""
        return self._places[group.number, name]

    def with_features(self, features: Iterable[str]) -> str:
        """The common table expressions, with one more: ``features``, which has the given values by moment.

        Args:
            features: SQL of each value and its name.
        """
        listed = ",\n    ".join(["m.moment_id", *features])
        joins = "".join(f"\n{join}" for join in self._joins)
        self.add("features", f"SELECT\n    {listed}\nFROM moments AS m{joins}")
        return "WITH\n" + ",\n".join(self._ctes)
