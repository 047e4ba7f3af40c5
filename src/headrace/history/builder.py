"""A query while it is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headrace.history.exact import DoubleShape
from headrace.history.matching import AsOf, Group, State, ViewMatch
from headrace.history.states import StateColumn, columns_of
from headrace.history.text import indented, quoted

__all__ = ["Delays", "QueryBuilder"]


@dataclass(frozen=True)
class Delays:
    """How late events became known, and what the join makes of it.

    Attributes:
        settle_us: The delay within which events are found by the frame; later ones are looked up one by one.
        gaps: Whether any event counts where the frame does not find it.
    """

    settle_us: int = 0
    gaps: bool = False


@dataclass
class QueryBuilder:
    """The common table expressions of a view's query, and where each state is found in them.

    Attributes:
        match: What is asked of the view.
        as_of: By what events are known.
        delays: How late events became known.
        shapes: How the columns of doubles that are summed are cut into integers.
    """

    match: ViewMatch
    as_of: AsOf
    delays: Delays
    shapes: Mapping[str, DoubleShape]
    _ctes: list[str] = field(default_factory=list)
    _joins: list[str] = field(default_factory=list)
    _places: dict[tuple[int, str], str] = field(default_factory=dict)

    def add(self, name: str, body: str, *, materialized: bool = False) -> str:
        """Add a common table expression, and give back its name."""
        self._ctes.append(f"{name} AS {'MATERIALIZED ' if materialized else ''}(\n{indented(body)}\n)")
        return name

    def columns(self, states: Iterable[State]) -> list[StateColumn]:
        """The columns that hold some states."""
        return columns_of(self.match, states, self.shapes)

    def join_at_moment(self, group: Group, columns: Sequence[StateColumn], table: str) -> None:
        """Note that a table holds a group's columns by entity and time, from each row's time to the next."""
        self._joins.append(f"ASOF LEFT JOIN {table} ON {table}.key_id = m.key_id AND {table}.at_us <= m.t_us")
        self._note(group, columns, table)

    def join_by_moment(self, group: Group, columns: Sequence[StateColumn], table: str) -> None:
        """Note that a table holds a group's columns by moment."""
        self._joins.append(f"LEFT JOIN {table} ON {table}.moment_id = m.moment_id")
        self._note(group, columns, table)

    def place(self, group: Group, name: str) -> str:
        """SQL of a state's column; where two tables hold it, of their values merged."""
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

    def _note(self, group: Group, columns: Sequence[StateColumn], table: str) -> None:
        for column in columns:
            here = f"{table}.{quoted(column.name)}"
            before = self._places.get((group.number, column.name))
            chosen = "least" if column.merge == "min" else "greatest"
            self._places[group.number, column.name] = here if before is None else f"{chosen}({before}, {here})"
