"""SQL of the tables that a view's query reads.

- `log`: a view of the log's files
- `keys`: the entities that the spine names, numbered
- `moments`: the entity and time of each of the spine's rows
- `events`: the log's events of those entities
"""
# ruff: noqa: S608  (values are numbers, names are quoted, and the user's data enters as tables)

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from headrace.events.logged_columns import EXACT, fill_scalar
from headrace.history.join_plan import TimeBounds, ViewMatch
from headrace.history.spine_rows import key_name
from headrace.history.sql_text import literal, quoted, selected, unglobbed, value_name
from headrace.plan import Column, DType, Source

__all__ = [
    "TILE_START",
    "doubles_sql",
    "events_sql",
    "keys_sql",
    "log_sql",
    "moments_sql",
    "raw_events_sql",
]

TILE_START = "CREATE OR REPLACE TEMP MACRO tile_start(us, slide) AS us - ((us % slide + slide) % slide)"
"""Where the tile of a time starts; it floors, also before 1970."""

_SQL_TYPES: dict[DType, str] = {
    DType.INT64: "BIGINT",
    DType.FLOAT64: "DOUBLE",
    DType.BOOL: "BOOLEAN",
    DType.STRING: "VARCHAR",
    DType.TIMESTAMP: "TIMESTAMPTZ",
    DType.DATE: "DATE",
    DType.JSON: "VARCHAR",
}
_SQL_TYPES |= {dtype: f"DECIMAL(38, {dtype.scale})" for dtype in DType if dtype.scale is not None}
_NUMBERS = {DType.TIMESTAMP: "epoch_us({})", DType.DATE: "{} - DATE '1970-01-01'"}
"""What makes of a value the number that it is inside, where that is another."""

_OWN_COLUMNS = {"_ts_us": "BIGINT", "_known_at_us": "BIGINT", "_partition": "INTEGER", "_offset": "BIGINT"}


def log_sql(files: Sequence[str], source: Source, held: Mapping[str, Mapping[str, pa.DataType]]) -> str:
    """The view ``log``: the events of some files, with their columns as the source declares them now.

    Args:
        files: The files' paths.
        source: The source.
        held: By path, the columns that each file has.
    """
    if not files:
        typed = {**_OWN_COLUMNS, **{column.name: _SQL_TYPES[column.dtype] for column in source.columns}}
        nulls = selected(f"CAST(NULL AS {kind}) AS {quoted(name)}" for name, kind in typed.items())
        return f"CREATE OR REPLACE TEMP VIEW log AS\nSELECT\n{nulls}\nWHERE false"
    groups: dict[tuple[str, ...], list[str]] = {}
    for file in files:
        values = tuple(_value_sql(column, held[file].get(column.name)) for column in source.columns)
        groups.setdefault(values, []).append(file)
    parts = (_part_sql(values, source, paths) for values, paths in groups.items())
    return "CREATE OR REPLACE TEMP VIEW log AS\n" + "\nUNION ALL BY NAME\n".join(parts)


def _part_sql(values: Sequence[str], source: Source, files: Sequence[str]) -> str:
    """The events of files of the same columns."""
    named = (f"{value} AS {quoted(column.name)}" for value, column in zip(values, source.columns, strict=True))
    listed = selected(literal(unglobbed(file)) for file in files)
    return f"""\
SELECT
{selected(_OWN_COLUMNS, named)}
FROM read_parquet([
{listed}
], union_by_name = true, hive_partitioning = false)"""


def _value_sql(column: Column, held: pa.DataType | None) -> str:
    """A column of a file that holds it as this type, as it is declared now; the same as `events.declared` says."""
    kind, name = _SQL_TYPES[column.dtype], quoted(column.name)
    scalar = fill_scalar(column)
    fill = "NULL" if scalar is None else literal(_text_of(column, scalar))
    if held is None:
        return f"CAST({fill} AS {kind})"
    value = name
    if held == pa.int64() and column.dtype is DType.FLOAT64:
        said = literal(f"integers in {column.name} that no float is")
        value = f"CASE WHEN abs({name}) > {EXACT} THEN error({said}) ELSE CAST({name} AS DOUBLE) END"
    if held == pa.float64() and column.dtype is DType.INT64:
        value = f"CASE WHEN {name} = trunc({name}) AND abs({name}) <= {EXACT} THEN CAST({name} AS BIGINT) END"
    return value if column.nullable or scalar is None else f"coalesce({value}, CAST({fill} AS {kind}))"


def _text_of(column: Column, scalar: pa.Scalar) -> str:
    value = scalar.as_py()
    return value if isinstance(value, str) else str(json.loads(column.fill or "null"))


def keys_sql(join_keys: Iterable[str]) -> str:
    """The table ``keys``."""
    names = ", ".join(quoted(key_name(key)) for key in join_keys)
    return f"""\
CREATE OR REPLACE TEMP TABLE keys AS
SELECT row_number() OVER () AS key_id, *
FROM (SELECT DISTINCT {names} FROM spine)"""


def moments_sql(join_keys: Iterable[str]) -> str:
    """The table ``moments``: each row's own, as two lookups at one moment may have known different things."""
    on = " AND ".join(f"k.{name} = s.{name}" for name in (quoted(key_name(key)) for key in join_keys))
    return f"""\
CREATE OR REPLACE TEMP TABLE moments AS
SELECT s.spine_row AS moment_id, k.key_id, s.t_us
FROM spine AS s
JOIN keys AS k ON {on}"""


def raw_events_sql(source: Source, join_keys: Iterable[str], bounds: TimeBounds) -> str:
    """The log's events of the entities, as they were logged: what transforms are applied to.

    Args:
        source: The source, as logged.
        join_keys: The view's join keys.
        bounds: The event times that can matter.
    """
    columns = selected(f"e.{quoted(name)}" for name in (*_OWN_COLUMNS, *(column.name for column in source.columns)))
    return f"SELECT\n{columns}\nFROM log AS e\nSEMI JOIN keys AS k ON {_on_keys(join_keys)}{_within(bounds)}"


def _on_keys(join_keys: Iterable[str]) -> str:
    return " AND ".join(f"k.{quoted(key_name(key))} = e.{quoted(key)}" for key in join_keys)


def _within(bounds: TimeBounds) -> str:
    where = [f"e._ts_us >= {bounds.from_us}"] if bounds.from_us is not None else []
    where += [f"e._ts_us <= {bounds.until_us}"] if bounds.until_us is not None else []
    return f"\nWHERE {' AND '.join(where)}" if where else ""


def events_sql(match: ViewMatch, bounds: TimeBounds, *, logged: str = "log") -> str:
    """The table ``events``.

    Args:
        match: What is asked of the view.
        bounds: The event times that can matter.
        logged: The table to take them from.
    """
    columns = ["k.key_id", "e._ts_us AS ts_us", "e._partition AS source_partition", "e._offset AS source_offset"]
    if match.gathered:
        columns += [
            "row_number() OVER () - 1 AS event_row",
            "(CAST(e._partition AS BIGINT) << 48) | e._offset AS position",
        ]
    if match.needs_order:
        columns.append("row_number() OVER (ORDER BY e._ts_us, e._partition, e._offset) AS event_seq")
    for column in match.columns:
        value = _NUMBERS.get(match.source.column(column).dtype, "{}").format(f"e.{quoted(column)}")
        columns.append(f"{value} AS {quoted(value_name(column))}")
    return f"""\
CREATE OR REPLACE TEMP TABLE events AS
SELECT
{selected(columns)}
FROM {logged} AS e
JOIN keys AS k ON {_on_keys(match.view.join_keys)}{_within(bounds)}"""


def doubles_sql(columns: Iterable[str]) -> str:
    """How many events there are, and per column of doubles its least and greatest size and whether all are finite."""
    found: list[str] = []
    for column in columns:
        value = quoted(value_name(column))
        found += [
            f"min(abs({value})) FILTER (isfinite({value}) AND {value} <> 0)",
            f"max(abs({value})) FILTER (isfinite({value}))",
            f"coalesce(bool_and(isfinite({value})), true)",
        ]
    return f"SELECT\n{selected('count(*)', found)}\nFROM events"
