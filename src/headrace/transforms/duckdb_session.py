"""The DuckDB connection that runs expressions: one thread, in UTC."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache

import duckdb
import pyarrow as pa

__all__ = ["cursor", "select"]


def cursor() -> duckdb.DuckDBPyConnection:
    """A cursor of the process's only connection: opening another would take as long as a hundred expressions."""
    return _connection(os.getpid()).cursor()


@cache
def _connection(process: int) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(":memory:", config={"threads": 1})
    con.execute("SET GLOBAL TimeZone = 'UTC'").complete()  # global, because cursors have their own settings
    return con


def select(expressions: Mapping[str, str], table: pa.Table) -> pa.Table:
    """Compute expressions, given by name, for each row of a table.

    Raises:
        duckdb.Error: An expression fails.
        KeyboardInterrupt: The user interrupted it; that is no failure of an expression.
    """
    con = cursor()
    con.register("events", table)
    listed = ", ".join(f'({expression}) AS "{name}"' for name, expression in expressions.items())
    try:
        return con.sql(f"SELECT {listed} FROM events").to_arrow_table()  # noqa: S608 the plan's own expressions
    except duckdb.InterruptException as error:
        raise KeyboardInterrupt from error
