"""Rows of Feast's file sources, read by DuckDB in the source's own types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feast.data_format import DeltaFormat
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.offline_stores.file_source import FileSource

from headrace.batch.column_casts import time_sql
from headrace.batch.source_relation import batch_connection, feature_name, key_name, open_raw, source_errors
from headrace.declare.batch_columns import batch_source_of as plan_source_of
from headrace.errors import BatchSourceError, FeastStoreError
from headrace.plan import BatchSource
from headrace.tabular.sql_text import quoted
from headrace.times import us_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SourceRows", "batch_source_of", "moment_us", "pulled"]

_RAW = "raw"


def batch_source_of(source: Any) -> BatchSource:
    """A source of Feast's, as the batch engine reads it.

    Raises:
        FeastStoreError: It is a source of another kind.
    """
    found = plan_source_of(source)
    if found is None:
        msg = f"The source {getattr(source, 'name', source)!r} is a {type(source).__name__}."
        raise FeastStoreError(
            msg, hint="HeadraceOfflineStore reads FileSource (Parquet, Delta) and headrace.query_source."
        )
    return found


def moment_us(moment: datetime) -> int:
    """A time in µs; one without a zone is UTC."""
    return int(us_of(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)))


class SourceRows:
    """A source, open in a DuckDB connection of its own.

    Args:
        source: The source.
        folder: The repo's folder, which its path is relative to.

    Attributes:
        connection: The connection.
        types: By column, its type in DuckDB.

    Raises:
        BatchSourceError: The source cannot be read.
    """

    def __init__(self, source: BatchSource, folder: Path) -> None:
        self.source = source
        self.connection = batch_connection(folder)
        try:
            with self.errors():
                open_raw(self.connection, source, folder, _RAW, None)
                relation = self.connection.sql(f"SELECT * FROM {_RAW}")  # noqa: S608
                self.types: dict[str, Any] = dict(zip(relation.columns, relation.types, strict=True))
        except BaseException:
            self.connection.close()
            raise

    def joinable(self, name: str, keys: Sequence[str], features: Sequence[str]) -> None:
        """Make the relation that the point-in-time join reads: `k0, …, ts, created, tie, f0, …`.

        Rows without a key or a time belong to nobody and are left out. Of rows that agree in key, time and created
        time, the last of the source wins.

        Args:
            name: The relation's name.
            keys: The join keys, as the view calls them; none gives one constant key.
            features: The features, as the view calls them.
        """
        source = self.source
        parts = [f"{self._column(key)} AS {key_name(place)}" for place, key in enumerate(keys)] or ["0 AS k0"]
        parts.append(f"{self._time(source.timestamp_field)} AS ts")
        created = "CAST(NULL AS BIGINT)" if source.created_field is None else self._time(source.created_field)
        parts += [f"{created} AS created", "row_number() OVER () AS tie"]
        parts += [f"{self._column(feature)} AS {feature_name(place)}" for place, feature in enumerate(features)]
        there = [key_name(place) for place in range(max(len(keys), 1))] + ["ts"]
        rows = f"SELECT {', '.join(parts)} FROM {_RAW}"  # noqa: S608
        kept = " AND ".join(f"{column} IS NOT NULL" for column in there)
        with self.errors():
            self.connection.execute(f"CREATE TEMP VIEW {name} AS SELECT * FROM ({rows}) WHERE {kept}").fetchall()  # noqa: S608

    def key_kind(self, key: str) -> str:
        """The type of a join key in DuckDB."""
        return str(self.types[self._named(key)].id)

    def run(self, sql: str) -> pa.Table:
        """The result of a query over `raw` and what `joinable` made."""
        with self.errors():
            return self.connection.sql(sql).to_arrow_table()

    def pull_sql(
        self,
        keys: Sequence[str],
        features: Sequence[str],
        times: tuple[str, str | None],
        between: tuple[datetime | None, datetime | None],
        *,
        latest: bool,
    ) -> str:
        """The SQL of rows in a range of time, with the source's own column names; see `pulled`."""
        timestamp, created = times
        names = [*keys, *features, timestamp, *([created] if created else [])] if features else list(self.types)
        missing = [name for name in dict.fromkeys([*keys, *names]) if name not in self.types]
        if missing:
            raise self._lacks(missing[0])
        moment = self._time_of(timestamp)
        written = "0" if created is None else self._time_of(created)
        bounds = [
            f"{moment} {sign} {moment_us(end)}"
            for sign, end in zip((">=", "<="), between, strict=True)
            if end is not None
        ]
        where = f"WHERE {' AND '.join([f'{moment} IS NOT NULL', *bounds])}" if bounds or latest else ""
        numbered = f"SELECT *, row_number() OVER () AS __row FROM {_RAW}"  # noqa: S608
        picked = ", ".join(quoted(name) for name in dict.fromkeys(names))
        if not keys:
            picked += f", '{DUMMY_ENTITY_VAL}' AS {quoted(DUMMY_ENTITY_ID)}"
        order = f"{moment} DESC, {written} DESC NULLS LAST, __row DESC"
        if latest:
            partition = f"PARTITION BY {', '.join(map(quoted, keys))} " if keys else ""
            there = "".join(f" AND {quoted(key)} IS NOT NULL" for key in keys)
            rank = f"QUALIFY row_number() OVER ({partition}ORDER BY {order}) = 1"
            return f"SELECT {picked} FROM ({numbered}) {where}{there} {rank} ORDER BY __row"  # noqa: S608
        ascending = f"{moment}, {written} NULLS FIRST, __row" if created else "__row"
        return f"SELECT {picked} FROM ({numbered}) {where} ORDER BY {ascending}"  # noqa: S608

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def __enter__(self) -> SourceRows:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def errors(self) -> AbstractContextManager[None]:
        """Around reading: DuckDB's errors become headrace's."""
        return source_errors(f"The source {self.source.name!r}")

    def _named(self, name: str) -> str:
        """The source's own name of a column."""
        found = self.source.column_of(name)
        if found not in self.types:
            raise self._lacks(found)
        return found

    def _column(self, name: str) -> str:
        return quoted(self._named(name))

    def _time(self, name: str) -> str:
        return self._time_of(self._named(name))

    def _time_of(self, column: str) -> str:
        if column not in self.types:
            raise self._lacks(column)
        sql = time_sql(quoted(column), self.types[column])
        if sql is None:
            msg = f"The source {self.source.name!r} has {column!r} as {self.types[column]}, which is no timestamp."
            raise BatchSourceError(msg, hint="Make it a timestamp; one without a time zone is read as UTC.")
        return sql

    def _lacks(self, column: str) -> BatchSourceError:
        msg = f"The source {self.source.name!r} has no column {column!r}."
        return BatchSourceError(msg, hint=f"It has: {', '.join(self.types) or 'no columns'}.")


def pulled(
    source: Any,
    folder: Path,
    keys: Sequence[str],
    features: Sequence[str],
    times: tuple[str, str | None],
    between: tuple[datetime | None, datetime | None],
    *,
    latest: bool,
) -> pa.Table:
    """Rows of a source in a range of time, both ends included.

    Args:
        source: Feast's source.
        folder: The repo's folder.
        keys: The join keys, as the source calls them.
        features: The features, as the source calls them; none gives all columns.
        times: The columns of the event time and of the created time.
        between: The first and the last time; None is no bound.
        latest: Whether to give only each key's newest row: by event time, then by created time, then the last of the
            source.

    Raises:
        BatchSourceError: The source cannot be read, or lacks a column.
        FeastStoreError: It is a source of another kind.
    """
    with SourceRows(batch_source_of(source), folder) as rows:
        return rows.run(rows.pull_sql(keys, features, times, between, latest=latest))


def source_sql(sources: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """By name, the SQL that reads the sources of files which lie in local Parquet."""
    found: dict[str, str] = {}
    for name, source in sources.items():
        if isinstance(source, FileSource) and not isinstance(source.file_format, DeltaFormat):
            path = FileSource.get_uri_for_file_path(folder, source.path)
            where = Path(path) / "**" / "*.parquet" if Path(path).is_dir() else Path(path)
            text = str(where).replace("'", "''")
            found[name] = f"SELECT * FROM read_parquet('{text}', union_by_name = true)"  # noqa: S608
    return found
