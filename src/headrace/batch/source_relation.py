"""Opening the source of a batch view: Parquet files, a Delta table or a query, as one DuckDB relation of fixed columns.

    k0, k1, …   the join keys, in the view's order
    ts          the event time in µs
    created     when the row was written, in µs; null where the source does not say
    f0, f1, …   the features, in the view's order
    tie         decides between rows that agree in all three; the same rows give the same choice

Rows without a join key or an event time belong to nobody and to no time: they are left out. Online rows and training
rows are read here, so that they cannot differ.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from headrace.batch.column_casts import cast_sql, time_sql
from headrace.batch.source_files import delta_dataset, parquet_files, remote_dataset
from headrace.errors import BatchSourceError
from headrace.plan import BatchSource, BatchView, Column
from headrace.tabular.sql_text import literal, quoted, unglobbed

__all__ = [
    "SourceRelation",
    "batch_connection",
    "feature_name",
    "key_name",
    "open_raw",
    "raw_schema",
    "source_errors",
    "subject_of",
]


def key_name(place: int) -> str:
    """The name of a join key's column."""
    return f"k{place}"


def feature_name(place: int) -> str:
    """The name of a feature's column."""
    return f"f{place}"


def batch_connection(
    repo: Path, *, memory_limit: str | None = None, threads: int | None = None
) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection for sources: in UTC, and paths in queries are relative to the feature repo.

    Args:
        repo: The feature repo's folder.
        memory_limit: How much memory it may use, such as ``"4GB"``; None is DuckDB's own limit. What does not fit is
            kept in a temporary folder.
        threads: How many threads it may use; None is all cores.
    """
    config: dict[str, Any] = {"threads": threads or os.cpu_count() or 1}
    if memory_limit is not None:
        config["memory_limit"] = memory_limit
    con = duckdb.connect(":memory:", config=config)
    con.execute("SET TimeZone = 'UTC'").fetchall()
    con.execute(f"SET file_search_path = {literal(str(repo))}").fetchall()
    return con


class SourceRelation:
    """A batch view's source in a connection, as the relation `name`.

    Args:
        con: The connection (`batch_connection`).
        view: The view.
        repo: The feature repo's folder, which paths are relative to.
        name: The relation's name in the connection.
        version: For a Delta table, the version to read; None is the newest.

    Attributes:
        name: The relation's name.
        version: For a Delta table, the version that is read.

    Raises:
        BatchSourceError: The source is away, lacks a column, or has one of another type than declared.
    """

    def __init__(
        self, con: duckdb.DuckDBPyConnection, view: BatchView, repo: Path, name: str, version: int | None = None
    ) -> None:
        self._con, self._view, self.name = con, view, name
        self._raw = f"{name}_raw"
        self.version = open_raw(con, view.source, repo, self._raw, version)
        with source_errors(subject_of(view)):
            found = _schema(con, self._raw)
        keys = [_column(view, key, found, "join key") for key in view.entities]
        features = [_column(view, feature, found, "feature") for feature in view.columns]
        created = view.source.created_field
        parts = [f"{sql} AS {key_name(place)}" for place, sql in enumerate(keys)]
        parts.append(f"{_time(view, view.source.timestamp_field, found)} AS ts")
        parts.append(f"{'CAST(NULL AS BIGINT)' if created is None else _time(view, created, found)} AS created")
        parts += [f"{sql} AS {feature_name(place)}" for place, sql in enumerate(features)]
        names = [feature_name(place) for place in range(len(features))]
        tie = f"hash({', '.join(names)})" if names else "CAST(0 AS UBIGINT)"
        there = " AND ".join(f"{one} IS NOT NULL" for one in [*map(key_name, range(len(keys))), "ts"])
        with source_errors(subject_of(view)):
            con.execute(
                f"CREATE TEMP VIEW {name} AS SELECT *, {tie} AS tie FROM "  # noqa: S608 quoted names
                f"(SELECT {', '.join(parts)} FROM {self._raw}) WHERE {there}"
            ).fetchall()

    def left_out(self) -> int:
        """How many rows lack a join key or an event time.

        Raises:
            BatchSourceError: The source cannot be read.
        """
        source = self._view.source
        needed = [source.timestamp_field, *self._view.join_keys]
        missing = " OR ".join(f"{quoted(source.column_of(name))} IS NULL" for name in needed)
        with source_errors(subject_of(self._view)):
            rows = self._con.execute(f"SELECT count(*) FROM {self._raw} WHERE {missing}").fetchall()  # noqa: S608
        return int(rows[0][0])


@contextmanager
def source_errors(subject: str) -> Iterator[None]:
    """Around DuckDB's reading of a source: its errors become headrace's.

    Args:
        subject: What is read, as the beginning of a sentence (`subject_of`).

    Yields:
        Nothing.

    Raises:
        BatchSourceError: The source cannot be read.
        KeyboardInterrupt: The user interrupted it.
    """
    try:
        yield
    except duckdb.InterruptException as error:
        raise KeyboardInterrupt from error
    except (duckdb.Error, OSError) as error:
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        msg = f"{subject} cannot be read: {said}"
        raise BatchSourceError(msg, hint="Correct the source, or what the view declares of it.") from error


def raw_schema(con: duckdb.DuckDBPyConnection, source: BatchSource, repo: Path) -> dict[str, Any]:
    """The types of a source's own columns in DuckDB, by name.

    Raises:
        BatchSourceError: The source cannot be read.
    """
    open_raw(con, source, repo, "schema_raw", None)
    return _schema(con, "schema_raw")


def _schema(con: duckdb.DuckDBPyConnection, raw: str) -> dict[str, Any]:
    relation = con.sql(f"SELECT * FROM {raw}")  # noqa: S608
    return dict(zip(relation.columns, relation.types, strict=True))


def open_raw(
    con: duckdb.DuckDBPyConnection, source: BatchSource, repo: Path, raw: str, version: int | None
) -> int | None:
    """Make the source's own columns the relation `raw`; the version that is read, if it is a Delta table."""
    if source.kind == "query":
        read = f"SELECT * FROM ({_query(con, source)}\n)"  # noqa: S608 the project's own query
    elif source.kind == "delta":
        dataset, version = delta_dataset(source, repo, version)
        con.register(f"{raw}_data", dataset)
        read = f"SELECT * FROM {raw}_data"  # noqa: S608
    elif "://" in (source.path or ""):
        con.register(f"{raw}_data", remote_dataset(source))
        read = f"SELECT * FROM {raw}_data"  # noqa: S608
    else:
        files = ", ".join(literal(unglobbed(str(file))) for file in parquet_files(source, repo))
        read = f"SELECT * FROM read_parquet([{files}], union_by_name = true)"  # noqa: S608
    try:
        con.execute(f"CREATE TEMP VIEW {raw} AS {read}").fetchall()
    except duckdb.Error as error:
        said = str(error).strip().splitlines()[0]
        msg = f"The source {source.name!r} cannot be read: {said}"
        raise BatchSourceError(msg, hint="Correct the source.") from error
    return version


def _query(con: duckdb.DuckDBPyConnection, source: BatchSource) -> str:
    sql = (source.sql or "").strip()
    try:
        statements = con.extract_statements(sql)
    except duckdb.Error as error:
        said = str(error).strip().splitlines()[0]
        msg = f"The query of the source {source.name!r} is no SQL: {said}"
        raise BatchSourceError(msg, hint="Write one SELECT.") from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        msg = f"The query of the source {source.name!r} is not one SELECT."
        raise BatchSourceError(msg, hint="Write one SELECT; it may begin with WITH.")
    return str(statements[0].query).strip().rstrip(";")


def _column(view: BatchView, column: Column, found: dict[str, Any], role: str) -> str:
    name = view.source.column_of(column.name)
    if name not in found:
        raise _lacks(view, name, role, found)
    sql = cast_sql(quoted(name), found[name], column.dtype)
    if sql is None:
        msg = (
            f"{subject_of(view)} has the column {name!r} as {found[name]}, and the view declares {column.dtype.value}."
        )
        raise BatchSourceError(msg, hint=f"Declare the {role} with the source's type, or convert it in a query.")
    return sql


def _time(view: BatchView, name: str, found: dict[str, Any]) -> str:
    name = view.source.column_of(name)
    if name not in found:
        raise _lacks(view, name, "time", found)
    sql = time_sql(quoted(name), found[name])
    if sql is None:
        msg = f"{subject_of(view)} has the time {name!r} as {found[name]}, which is no timestamp."
        raise BatchSourceError(msg, hint="Make it a timestamp, best with a time zone; one without is read as UTC.")
    return sql


def _lacks(view: BatchView, name: str, role: str, found: dict[str, Any]) -> BatchSourceError:
    msg = f"{subject_of(view)} has no column {name!r}, a {role} of the view."
    return BatchSourceError(msg, hint=f"It has: {', '.join(found) or 'no columns'}.")


def subject_of(view: BatchView) -> str:
    """A view's source, as the beginning of a sentence."""
    return f"The source {view.source.name!r} of the view {view.name!r}"
