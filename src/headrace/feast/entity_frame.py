"""The entity frame of a historical request: rows of join keys and times, from a frame or from SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.offline_stores.offline_utils import DEFAULT_ENTITY_DF_EVENT_TIMESTAMP_COL as EVENT_TIME

from headrace.batch.source_relation import batch_connection
from headrace.errors import SpineError
from headrace.tabular.sql_text import quoted
from headrace.times import datetime_of
from headrace.training.spine_input import spine_table

__all__ = ["EVENT_TIME", "EntityFrame", "entity_frame", "framed"]

_UTC_US = pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class EntityFrame:
    """An entity frame.

    Attributes:
        table: Its columns, rows in its order.
        time_column: The column of times, timestamps in UTC.
        index: The index of the data frame that it was; None where it was none.
    """

    table: pa.Table
    time_column: str
    index: Any = None

    @property
    def other_columns(self) -> list[str]:
        """All columns but the time."""
        return [name for name in self.table.column_names if name != self.time_column]

    def time_range(self) -> tuple[datetime | None, datetime | None]:
        """The first and the last time; None where there is no row."""
        ends = pc.min_max(self.table.column(self.time_column).cast(_UTC_US).cast(pa.int64())).as_py()
        return tuple(None if ends[end] is None else datetime_of(ends[end]) for end in ("min", "max"))  # type: ignore[return-value]


def entity_frame(entity_df: Any, folder: Path, sources: Mapping[str, str]) -> EntityFrame:
    """The entity frame that a request gives.

    Args:
        entity_df: A data frame (pandas, polars), an Arrow table, or a SELECT that DuckDB runs.
        folder: The repo's folder: paths in the SELECT are relative to it.
        sources: By name, the SQL of relations that the SELECT may read.

    Returns:
        The frame. Times without a zone are UTC, as in Feast.

    Raises:
        SpineError: It has no column of times, a time is null, or a column cannot be read.
    """
    if isinstance(entity_df, str):
        return framed(_selected(entity_df, folder, sources))
    index = entity_df.index if isinstance(entity_df, pd.DataFrame) else None
    if isinstance(entity_df, pd.DataFrame):
        entity_df = _with_moments(entity_df)
    return framed(spine_table(entity_df), index)


def framed(table: pa.Table, index: Any = None) -> EntityFrame:
    """A table as an entity frame.

    Args:
        table: The table.
        index: The index of the data frame that it was.

    Raises:
        SpineError: It has no column of times, or a time is null.
    """
    name = _time_column(table)
    times = table.column(name)
    if times.null_count:
        row = pc.index(times.is_null(), True).as_py()
        msg = f"The entity frame's {name!r} is null in row {row} ({times.null_count} in all)."
        raise SpineError(msg, hint="Give every row a time, or leave it out.")
    if times.type.tz is None:
        times = times.cast(pa.timestamp(times.type.unit, "UTC"))
    place = table.column_names.index(name)
    return EntityFrame(table.set_column(place, name, times), name, index)


def _with_moments(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose times are timestamps: a column of Python's own datetimes becomes one."""
    if EVENT_TIME not in frame.columns or not pd.api.types.is_object_dtype(frame[EVENT_TIME]):
        return frame
    try:
        return frame.assign(**{EVENT_TIME: pd.to_datetime(frame[EVENT_TIME], utc=True)})
    except (TypeError, ValueError) as error:
        msg = f"The entity frame's {EVENT_TIME!r} holds values that are no times: {error}"
        raise SpineError(
            msg, hint="Make it a column of timestamps: pd.to_datetime(df['event_timestamp'], utc=True)."
        ) from error


def _time_column(table: pa.Table) -> str:
    """`event_timestamp`, or else the only column of timestamps, as in Feast."""
    moments = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    if EVENT_TIME in table.column_names:
        if EVENT_TIME not in moments and table.num_rows:
            found = table.schema.field(EVENT_TIME).type
            msg = f"The entity frame's {EVENT_TIME!r} is {found}, not a timestamp."
            raise SpineError(msg, hint="Make it one: pd.to_datetime(df['event_timestamp'], utc=True).")
        return EVENT_TIME
    if len(moments) == 1:
        return str(moments[0])
    has = ", ".join(table.column_names) or "no columns"
    msg = f"The entity frame has no column {EVENT_TIME!r}, the time of each row. It has: {has}."
    raise SpineError(msg, hint=f"Name the column of times {EVENT_TIME}.")


def _selected(sql: str, folder: Path, sources: Mapping[str, str]) -> pa.Table:
    con = batch_connection(folder)
    try:
        statements = con.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            msg = "The entity frame's SQL is not one SELECT."
            raise SpineError(msg, hint="Write one SELECT of join keys and event_timestamp; it may begin with WITH.")
        for name, read in sources.items():
            con.execute(f"CREATE TEMP VIEW {quoted(name)} AS {read}").fetchall()
        return con.sql(sql).to_arrow_table()
    except duckdb.Error as error:
        said = str(error).strip().splitlines()[0]
        has = f" Sources by name: {', '.join(sources)}." if sources else ""
        hint = f"DuckDB runs it; paths are relative to the feature repo.{has}"
        msg = f"The entity frame's SQL cannot be run: {said}"
        raise SpineError(msg, hint=hint) from error
    finally:
        con.close()
