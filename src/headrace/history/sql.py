"""SQL for a point-in-time join: tables that DuckDB fills first, then one query per view.

keys          the entities that the spine names, numbered
moments       the distinct (entity, time) of the spine's rows
spine_rows    which moment each row asks for
events        the log's events of those entities
"""
# ruff: noqa: S608  (values are numbers, names are quoted; the user's data enters as tables)

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from headrace.history.exact import DoubleShape, limb_sql
from headrace.history.matching import AsOf, State, StateKind, TimeBounds, ViewMatch
from headrace.history.spine import key_name
from headrace.plan import DType, Source

__all__ = [
    "TILE_START",
    "StateColumn",
    "columns_of",
    "delays_sql",
    "doubles_sql",
    "events_sql",
    "keys_sql",
    "log_sql",
    "moments_sql",
    "quoted",
    "shapes_needed",
    "value_name",
]

TILE_START = "CREATE OR REPLACE TEMP MACRO tile_start(us, slide) AS us - ((us % slide + slide) % slide)"
"""Where the tile of a time starts; it floors, also before 1970."""


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


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def value_name(column: str) -> str:
    """What an event column is called inside the join, where it cannot be taken for another."""
    return f"value({column})"


def state_columns(state: State, dtype: DType | None, shape: DoubleShape | None) -> list[StateColumn]:
    """The columns that hold a state.

    Args:
        state: The state.
        dtype: The type of its column.
        shape: How its doubles are cut into integers, where it is a sum of doubles.
    """
    if state.column is None:
        return [StateColumn("rows", "1", "sum")]
    name = f"{state.kind}({state.column})"
    value = quoted(value_name(state.column))
    if state.kind is StateKind.COUNT:
        return [StateColumn(name, f"CAST({value} IS NOT NULL AS BIGINT)", "sum")]
    if state.kind is StateKind.LAST:
        return [StateColumn(name, f"CASE WHEN {value} IS NOT NULL THEN event_seq END", "max")]
    if state.kind is not StateKind.SUM:
        return [StateColumn(name, f"CAST({value} AS TINYINT)" if dtype is DType.BOOL else value, str(state.kind))]
    if shape is None:
        return [StateColumn(name, f"CAST({value} AS HUGEINT)", "sum")]
    return _double_columns(name, value, shape)


def _double_columns(name: str, value: str, shape: DoubleShape) -> list[StateColumn]:
    columns = []
    for limb in range(shape.limbs):
        part = limb_sql(value, shape, limb)
        part = part if shape.finite else f"CASE WHEN isfinite({value}) THEN {part} END"
        columns.append(StateColumn(f"{name} limb {limb}" if shape.limbs > 1 else name, part, "sum"))
    if not shape.finite:
        columns.append(StateColumn(f"{name} nan", f"CAST(isnan({value}) AS BIGINT)", "sum"))
        for sign, infinity in (("+inf", "inf"), ("-inf", "-inf")):
            columns.append(
                StateColumn(f"{name} {sign}", f"CAST({value} = CAST('{infinity}' AS DOUBLE) AS BIGINT)", "sum")
            )
    return columns


def keys_sql(join_keys: Iterable[str]) -> str:
    """The table ``keys``."""
    names = ", ".join(quoted(key_name(key)) for key in join_keys)
    return f"""\
CREATE OR REPLACE TEMP TABLE keys AS
SELECT row_number() OVER () AS key_id, *
FROM (SELECT DISTINCT {names} FROM spine)"""


def moments_sql(join_keys: Iterable[str], as_of: AsOf) -> list[str]:
    """The tables ``moments`` and ``spine_rows``."""
    on = " AND ".join(f"k.{name} = s.{name}" for name in (quoted(key_name(key)) for key in join_keys))
    if as_of is AsOf.EVIDENCE:  # two lookups at one moment may have known different things
        moments = f"""\
CREATE OR REPLACE TEMP TABLE moments AS
SELECT s.spine_row AS moment_id, k.key_id, s.t_us
FROM spine AS s
JOIN keys AS k ON {on}"""
        rows = """\
CREATE OR REPLACE TEMP TABLE spine_rows AS
SELECT moment_id AS spine_row, moment_id
FROM moments"""
        return [moments, rows]
    moments = f"""\
CREATE OR REPLACE TEMP TABLE moments AS
SELECT row_number() OVER () AS moment_id, *
FROM (SELECT DISTINCT k.key_id, s.t_us FROM spine AS s JOIN keys AS k ON {on})"""
    rows = f"""\
CREATE OR REPLACE TEMP TABLE spine_rows AS
SELECT s.spine_row, m.moment_id
FROM spine AS s
JOIN keys AS k ON {on}
JOIN moments AS m ON m.key_id = k.key_id AND m.t_us = s.t_us"""
    return [moments, rows]


def events_sql(match: ViewMatch, as_of: AsOf, bounds: TimeBounds) -> str:
    """The table ``events``.

    Args:
        match: What is asked of the view.
        as_of: By what events are known.
        bounds: The event times that can matter.
    """
    known_at = "e._ts_us" if as_of is AsOf.EVENT else "e._known_at_us"
    selected = ["k.key_id", "e._ts_us AS ts_us", f"{known_at} AS known_at_us"]
    if as_of is AsOf.EVIDENCE:
        selected += ["e._partition AS source_partition", "e._offset AS source_offset"]
    if match.needs_order:
        selected.append("row_number() OVER (ORDER BY e._ts_us, e._partition, e._offset) AS event_seq")
    for column in match.columns:
        value = f"e.{quoted(column)}"
        value = f"epoch_us({value})" if match.source.column(column).dtype is DType.TIMESTAMP else value
        selected.append(f"{value} AS {quoted(value_name(column))}")
    on = " AND ".join(f"k.{quoted(key_name(key))} = e.{quoted(key)}" for key in match.view.join_keys)
    where = [f"e._ts_us >= {bounds.from_us}"] if bounds.from_us is not None else []
    where += [f"e._ts_us <= {bounds.until_us}"] if bounds.until_us is not None else []
    listed = ",\n    ".join(selected)
    only = f"\nWHERE {' AND '.join(where)}" if where else ""
    return f"""\
CREATE OR REPLACE TEMP TABLE events AS
SELECT
    {listed}
FROM log AS e
JOIN keys AS k ON {on}{only}"""


def delays_sql() -> str:
    """How late and how early events became known: counts, and the delay that 99% stay within."""
    return """\
SELECT
    count(*) AS events,
    count(*) FILTER (known_at_us > ts_us) AS late,
    count(*) FILTER (known_at_us < ts_us) AS early,
    quantile_disc(known_at_us - ts_us, 0.99) AS most_us
FROM events"""


def doubles_sql(columns: Iterable[str]) -> str:
    """Per column of doubles: its least and greatest absolute value, and whether all are finite."""
    selected = ["count(*) AS events"]
    for column in columns:
        value = quoted(value_name(column))
        selected += [
            f"min(abs({value})) FILTER (isfinite({value}) AND {value} <> 0)",
            f"max(abs({value})) FILTER (isfinite({value}))",
            f"coalesce(bool_and(isfinite({value})), true)",
        ]
    listed = ",\n    ".join(selected)
    return f"SELECT\n    {listed}\nFROM events"


def shapes_needed(match: ViewMatch) -> list[str]:
    """The columns of doubles that are summed."""
    sums = [state.column for state in match.states if state.kind is StateKind.SUM and state.column is not None]
    return [column for column in sums if match.source.column(column).dtype is DType.FLOAT64]


def columns_of(match: ViewMatch, states: Iterable[State], shapes: Mapping[str, DoubleShape]) -> list[StateColumn]:
    """The columns of several states, in order."""
    found: list[StateColumn] = []
    for state in states:
        dtype = None if state.column is None else match.source.column(state.column).dtype
        found += state_columns(state, dtype, shapes.get(state.column or ""))
    return found


_SQL_TYPES: dict[DType, str] = {
    DType.INT64: "BIGINT",
    DType.FLOAT64: "DOUBLE",
    DType.BOOL: "BOOLEAN",
    DType.STRING: "VARCHAR",
    DType.TIMESTAMP: "TIMESTAMPTZ",
}


def log_sql(files: Sequence[str], source: Source, held: Collection[str]) -> str:
    """The view ``log``: the events of some files.

    Args:
        files: The files.
        source: The source, for columns that the files lack.
        held: The columns that the table has at this version.
    """
    if not files:
        own = [("_ts_us", "BIGINT"), ("_known_at_us", "BIGINT"), ("_partition", "INTEGER"), ("_offset", "BIGINT")]
        typed = own + [(column.name, _SQL_TYPES[column.dtype]) for column in source.columns]
        nulls = ", ".join(f"CAST(NULL AS {kind}) AS {quoted(name)}" for name, kind in typed)
        return f"CREATE OR REPLACE TEMP VIEW log AS\nSELECT {nulls} WHERE false"
    # By name, as a file that was written before a column was declared lacks it; a column that no file has is null.
    added = [column for column in source.columns if column.name not in held]
    nulls = "".join(f", CAST(NULL AS {_SQL_TYPES[column.dtype]}) AS {quoted(column.name)}" for column in added)
    listed = ",\n    ".join(_literal(_unglobbed(file)) for file in files)
    return f"""\
CREATE OR REPLACE TEMP VIEW log AS
SELECT *{nulls}
FROM read_parquet([
    {listed}
], union_by_name = true, hive_partitioning = false)"""


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _unglobbed(path: str) -> str:
    """A path that DuckDB takes as it stands, though a folder's name may look like a pattern."""
    return re.sub(r"([*?\[])", r"[\1]", path)
