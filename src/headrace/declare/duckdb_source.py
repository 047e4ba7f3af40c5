"""A Feast data source that is a DuckDB query, for batch feature views."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from feast import RepoConfig, ValueType
from feast.data_source import DataSource
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto

__all__ = ["QuerySource"]

_CLASS = "headrace.declare.duckdb_source.QuerySource"


class QuerySource(DataSource):
    """A query that DuckDB runs; make it with `headrace.query_source`.

    Args:
        name: The source's name.
        sql: One SELECT. Paths in it are relative to the feature repo.
        timestamp_field: The column with the event time.
        created_timestamp_column: The column with the time at which a row was written; empty where there is none.
        field_mapping: By a column's name in the query, the name that views give it.
        description: What the rows are.
        tags: Tags.
        owner: The contact.
    """

    def __init__(
        self,
        *,
        name: str,
        sql: str,
        timestamp_field: str,
        created_timestamp_column: str = "",
        field_mapping: Mapping[str, str] | None = None,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        owner: str = "",
    ) -> None:
        super().__init__(
            name=name,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            field_mapping=dict(field_mapping or {}),
            description=description,
            tags=dict(tags or {}),
            owner=owner,
        )
        self.sql = sql

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, QuerySource) and super().__eq__(other)  # type: ignore[no-untyped-call]
        return bool(same) and isinstance(other, QuerySource) and self.sql == other.sql

    def __hash__(self) -> int:
        return hash(self.name)

    def source_type(self) -> Any:
        """Feast's word for a source that is not its own."""
        return DataSourceProto.CUSTOM_SOURCE

    @staticmethod
    def from_proto(data_source: DataSourceProto) -> QuerySource:
        """The source that Feast's registry has."""
        return QuerySource(
            name=data_source.name,
            sql=data_source.custom_options.configuration.decode(),
            timestamp_field=data_source.timestamp_field,
            created_timestamp_column=data_source.created_timestamp_column,
            field_mapping=dict(data_source.field_mapping),
            description=data_source.description,
            tags=dict(data_source.tags),
            owner=data_source.owner,
        )

    def _to_proto_impl(self) -> DataSourceProto:
        return DataSourceProto(
            name=self.name,
            type=DataSourceProto.CUSTOM_SOURCE,
            data_source_class_type=_CLASS,
            custom_options=DataSourceProto.CustomSourceOptions(configuration=self.sql.encode()),
            timestamp_field=self.timestamp_field,
            created_timestamp_column=self.created_timestamp_column,
            field_mapping=self.field_mapping,
            description=self.description,
            tags=self.tags,
            owner=self.owner,
        )

    def validate(self, config: RepoConfig) -> None:
        """Nothing: headrace has compiled the source before Feast sees it."""

    @staticmethod
    def source_datatype_to_feast_value_type() -> Callable[[str], ValueType]:
        """What makes a Feast type of a type that `get_table_column_names_and_types` gives: its own name."""
        return lambda name: ValueType[name]

    def get_table_column_names_and_types(self, config: RepoConfig) -> Iterable[tuple[str, str]]:
        """The query's columns with Feast's types, for schemas that Feast infers."""
        from headrace.declare.batch_columns import raw_dtypes
        from headrace.declare.feast_types import FEAST_NAMES

        found = raw_dtypes(self, config.repo_path)
        return [(name, FEAST_NAMES[dtype].value_type) for name, dtype in found.items() if dtype is not None]

    def get_table_query_string(self) -> str:
        """The query, as a table."""
        return f"({self.sql})"
