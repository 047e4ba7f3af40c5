"""The columns of batch views: from Feast's fields, or from what the source has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.batch.source_relation import SourceRelation, batch_connection, raw_schema
from headrace.plan import BatchSource, BatchView, DType

if TYPE_CHECKING:
    from feast.data_source import DataSource

__all__ = ["batch_source_of", "check_source", "dtype_of_value_type", "raw_dtypes", "source_dtypes"]

_OF_VALUE_TYPE = {
    "INT32": DType.INT64,
    "INT64": DType.INT64,
    "FLOAT": DType.FLOAT64,
    "DOUBLE": DType.FLOAT64,
    "BOOL": DType.BOOL,
    "STRING": DType.STRING,
    "UUID": DType.STRING,
    "TIME_UUID": DType.STRING,
    "UNIX_TIMESTAMP": DType.TIMESTAMP,
    "JSON": DType.JSON,
    "MAP": DType.JSON,
    "STRUCT": DType.JSON,
}
_OF_VALUE_TYPE |= {
    f"{name}_LIST": _OF_VALUE_TYPE[name].list_of
    for name in ("INT32", "INT64", "FLOAT", "DOUBLE", "BOOL", "STRING", "UNIX_TIMESTAMP")
}

_OF_SOURCE_TYPE = {
    **dict.fromkeys(("tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger"), DType.INT64),
    **dict.fromkeys(("float", "double"), DType.FLOAT64),
    "boolean": DType.BOOL,
    **dict.fromkeys(("varchar", "enum", "uuid"), DType.STRING),
    **dict.fromkeys(
        ("timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamptz_ns", "timestamp with time zone"),
        DType.TIMESTAMP,
    ),
    **dict.fromkeys(("struct", "map"), DType.JSON),
}


def dtype_of_value_type(name: str) -> DType | None:
    """The plan's type for a Feast type; None where rows cannot hold it."""
    return _OF_VALUE_TYPE.get(name)


def batch_source_of(source: DataSource) -> BatchSource | None:
    """The plan's form of a Feast source; None for a source of another system, which Feast alone reads."""
    from feast import FileSource
    from feast.data_format import DeltaFormat

    from headrace.declare.duckdb_source import QuerySource

    common: dict[str, Any] = {
        "name": source.name,
        "timestamp_field": source.timestamp_field or "",
        "created_field": source.created_timestamp_column or None,
        "field_mapping": dict(source.field_mapping or {}),
    }
    if isinstance(source, QuerySource):
        return BatchSource(kind="query", sql=source.sql, **common)
    if isinstance(source, FileSource):
        kind = "delta" if isinstance(source.file_format, DeltaFormat) else "parquet"
        endpoint = source.s3_endpoint_override or None
        return BatchSource(kind=kind, path=source.path, endpoint=endpoint, **common)
    return None


def source_dtypes(source: BatchSource, repo: Path) -> dict[str, DType | None]:
    """The types of a source's columns, by the names that views give them; None for one that rows cannot hold.

    Raises:
        BatchSourceError: The source cannot be read.
    """
    con = batch_connection(repo, threads=1)
    try:
        found = raw_schema(con, source, repo)
    finally:
        con.close()
    return {source.field_mapping.get(name, name): _dtype(kind) for name, kind in found.items()}


def raw_dtypes(source: DataSource, repo: Path | None) -> dict[str, DType | None]:
    """The types of a Feast source's own columns."""
    compiled = batch_source_of(source)
    if compiled is None:
        return {}
    unmapped = compiled.model_copy(update={"field_mapping": {}})
    return source_dtypes(unmapped, repo or Path.cwd())


def check_source(view: BatchView, repo: Path) -> None:
    """Raise where a view's source is there and lacks what the view declares.

    Raises:
        BatchSourceError: It lacks a column, or has one of another type. `BatchSourceAwayError`: it cannot be read.
    """
    con = batch_connection(repo, threads=1)
    try:
        SourceRelation(con, view, repo, "source")
    finally:
        con.close()


def _dtype(kind: Any) -> DType | None:
    name = str(kind.id)
    if name in ("list", "array"):
        inner = _dtype(dict(kind.children)["child"])
        return inner.list_of if inner is not None and inner is not DType.JSON and inner.element is None else None
    return _OF_SOURCE_TYPE.get(name)
