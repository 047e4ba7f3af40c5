"""Batch feature views: features that somebody else computes, as rows of files, tables and queries, or pushed rows."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from headrace.plan.content_hash import Hashed
from headrace.plan.types import Column

__all__ = ["BatchSource", "BatchView"]


class BatchSource(Hashed):
    """Rows that a batch view reads.

    Attributes:
        name: The Feast source's name.
        kind: `parquet`: a file, a folder or a pattern of files; `delta`: a Delta table; `query`: a query that DuckDB
            runs.
        timestamp_field: The column with the time from which a row's values hold. A time without a zone is UTC.
        path: For `parquet` and `delta`, where it is: relative to the feature repo, absolute, or a URI.
        sql: For `query`, the query.
        created_field: The column with the time at which a row was written; None where there is none. Of rows with the
            same timestamp the one that was created last counts.
        field_mapping: By a column's name in the source, the name that the view gives it.
        endpoint: The address of the object store, for `s3://` paths that are not on AWS.
    """

    name: str
    kind: Literal["parquet", "delta", "query"]
    timestamp_field: str
    path: str | None = None
    sql: str | None = None
    created_field: str | None = None
    field_mapping: dict[str, str] = {}
    endpoint: str | None = None

    def column_of(self, name: str) -> str:
        """The source's own name for what the view calls ``name``."""
        return next((column for column, mapped in self.field_mapping.items() if mapped == name), name)


class BatchView(Hashed):
    """A feature view over rows: the newest row of an entity, unless it is older than the view's TTL.

    Attributes:
        name: The view's name.
        entities: The join keys, in the view's order.
        columns: The features, as columns of the source's rows.
        source: The rows.
        ttl_us: How old a row may be, in microseconds: it counts at ``t`` if its time is in ``[t − ttl, t]``. None is
            any age.
        push: The name of the Feast push source whose rows are written to the store directly; None where there is none.
        online: Whether its rows are written to the online store.
    """

    name: str
    entities: tuple[Column, ...]
    columns: tuple[Column, ...]
    source: BatchSource
    ttl_us: Annotated[int, Field(gt=0)] | None = None
    push: str | None = None
    online: bool = True

    added_later: ClassVar[frozenset[str]] = frozenset()

    @cached_property
    def hash(self) -> str:
        """The content hash of the definition."""
        return self.content_hash()

    @property
    def rows_hash(self) -> str:
        """What the view's rows are stored under (`headrace.rows`).

        It covers what a row consists of and where it comes from. So a view with another TTL reads the same rows, and a
        view with another column or source needs its own.
        """
        source = self.source.model_dump(mode="json")
        kept: dict[str, object] = {"name": self.name, "source": source, "push": self.push}
        kept |= {part: [[one.name, one.dtype.value] for one in getattr(self, part)] for part in ("entities", "columns")}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def versioned_name(self) -> str:
        """``name@hash``."""
        return f"{self.name}@{self.hash}"

    @property
    def join_keys(self) -> tuple[str, ...]:
        """The names of the join keys."""
        return tuple(entity.name for entity in self.entities)

    @property
    def features(self) -> tuple[Column, ...]:
        """The features: its columns."""
        return self.columns

    def feature(self, name: str) -> Column:
        """The feature called ``name``; KeyError where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)
