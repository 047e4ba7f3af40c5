"""The offline store that feature_store.yaml names: history of stream views from the log, of others from their files."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
from feast.infra.offline_stores.file_source import FileLoggingDestination, FileSource
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalMetadata
from feast.repo_config import FeastConfigBaseModel

from headrace.errors import FeastStoreError
from headrace.extras import needing
from headrace.feast.repo_project import computed_by_headrace, project_of
from headrace.feast.retrieval_job import HeadraceRetrievalJob

if TYPE_CHECKING:
    from collections.abc import Iterable

    from feast import RepoConfig
    from feast.data_source import DataSource
    from feast.feature_logging import LoggingConfig, LoggingSource
    from feast.infra.registry.base_registry import BaseRegistry

    from headrace.feast.entity_frame import EntityFrame
    from headrace.feast.historical import HistoricalRequest

__all__ = ["HeadraceOfflineStore", "HeadraceOfflineStoreConfig"]


class HeadraceOfflineStoreConfig(FeastConfigBaseModel):
    """What feature_store.yaml says about the offline store.

    Attributes:
        type: The store's class.
        project: The folder with headrace.toml, relative to the repo; None looks for it in the repo and above.
        as_of: For stream views: `known`, what a lookup at that time would have been served; `event`, what an ideal,
            instant pipeline would have known.
    """

    type: Literal["headrace.feast.HeadraceOfflineStore"] = "headrace.feast.HeadraceOfflineStore"
    project: str | None = None
    as_of: Literal["known", "event"] = "known"


class HeadraceOfflineStore(OfflineStore):
    """History of any view."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[Any],
        feature_refs: list[str],
        entity_df: Any,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **kwargs: Any,
    ) -> HeadraceRetrievalJob:
        """Features as they were, joined to an entity frame: every row once, in the frame's order and with its index.

        Args:
            config: What feature_store.yaml says.
            feature_views: Views with their projections.
            feature_refs: The features, `view:feature` each.
            entity_df: A data frame, a SELECT that DuckDB runs, or None for every key: at the times of its rows from
                `start_date` to `end_date`, or at `end_date` where there is no `start_date`.
            registry: Feast's registry.
            project: Feast's project.
            full_feature_names: Whether names in the answer begin with the view's.
            kwargs: `start_date`, `end_date`, and `filter_by_created_timestamp`: whether a row counts only from its
                created time on.

        Returns:
            A job that joins when its result is asked for. A row without a key has no features.

        Raises:
            SpineError: The entity frame has no times.
            LookupRequestError: A reference names none of the views.
        """
        with needing("offline"):
            from headrace.feast.entity_frame import entity_frame
            from headrace.feast.frame_of_keys import frame_of_keys
            from headrace.feast.historical import historical_request, join_features
        folder, headrace = _folder(config), project_of(config)
        request = historical_request(feature_views, feature_refs, registry, project, full_names=full_feature_names)
        if entity_df is None:
            frame = frame_of_keys(
                request, headrace, folder, kwargs.get("start_date"), kwargs.get("end_date"), config.offline_store.as_of
            )
        else:
            frame = entity_frame(entity_df, folder, _sources(request, folder))
        join = partial(
            join_features,
            request,
            frame,
            headrace,
            folder,
            as_of=config.offline_store.as_of,
            by_created=bool(kwargs.get("filter_by_created_timestamp")),
        )
        return HeadraceRetrievalJob(
            join,
            folder,
            full_feature_names=full_feature_names,
            metadata=_metadata(feature_refs, frame),
            index=frame.index,
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> HeadraceRetrievalJob:
        """The newest row of each key in a range of time: by event time, then by created time.

        Args:
            config: What feature_store.yaml says.
            data_source: The source.
            join_key_columns: The join keys, as the source calls them.
            feature_name_columns: The features; none gives all columns.
            timestamp_field: The column of event times.
            created_timestamp_column: The column of created times.
            start_date: The first time that counts.
            end_date: The last.
        """
        return _pull(
            config,
            data_source,
            join_key_columns,
            feature_name_columns,
            (timestamp_field, created_timestamp_column),
            (start_date, end_date),
            latest=True,
        )

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> HeadraceRetrievalJob:
        """All rows in a range of time; the arguments are those of `pull_latest_from_table_or_query`.

        Args:
            config: What feature_store.yaml says.
            data_source: The source.
            join_key_columns: The join keys.
            feature_name_columns: The features; none gives all columns.
            timestamp_field: The column of event times.
            created_timestamp_column: The column of created times; with it, rows are in the order of their times.
            start_date: The first time that counts.
            end_date: The last.
        """
        return _pull(
            config,
            data_source,
            join_key_columns,
            feature_name_columns,
            (timestamp_field, created_timestamp_column),
            (start_date, end_date),
            latest=False,
        )

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: Any, table: pa.Table, progress: Callable[[int], Any] | None
    ) -> None:
        """Append rows to the source of a view.

        A folder of Parquet files gets a file more, and a Delta table a commit. A single Parquet file cannot be appended
        to: it is read, and written again with the rows at its end.

        Args:
            config: What feature_store.yaml says.
            feature_view: The view.
            table: The rows, with the columns of the source.
            progress: Called with the number of rows once they are written.

        Raises:
            FeastStoreError: The view is computed from events, or its source cannot be written.
            RowsError: The columns are not those of the source, or a value does not fit.
            BatchSourceError: The source cannot be written.
        """
        if computed_by_headrace(feature_view):
            msg = f"{feature_view.name!r} is a stream view: its history is the log, which workers write."
            raise FeastStoreError(msg, hint="Send events, or import them with `headrace import`.")
        with needing("offline"):
            from headrace.batch.append import append_rows
            from headrace.feast.source_rows import batch_source_of
        append_rows(batch_source_of(feature_view.batch_source), _folder(config), table)
        if progress is not None:
            progress(table.num_rows)

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,
        logging_config: LoggingConfig,
        registry: BaseRegistry,
    ) -> None:
        """Write what a feature server logged, as new Parquet files in the folder of the logging destination.

        Args:
            config: What feature_store.yaml says.
            data: The rows, or a folder of Parquet files with them.
            source: Not used.
            logging_config: Where to.
            registry: Not used.

        Raises:
            FeastStoreError: The destination is of another kind.
        """
        import pyarrow.dataset as ds
        import pyarrow.parquet as pq

        destination = logging_config.destination
        if not isinstance(destination, FileLoggingDestination):
            msg = f"Logged features cannot be written to a {type(destination).__name__}."
            raise FeastStoreError(msg, hint="Use FileLoggingDestination(path=...).")
        table = pq.read_table(data) if isinstance(data, Path) else data
        uri = FileSource.get_uri_for_file_path(_folder(config), destination.path)
        filesystem, path = FileSource.create_filesystem_and_path(uri, destination.s3_endpoint_override)
        ds.write_dataset(
            table,
            base_dir=path,
            basename_template=f"{uuid.uuid4().hex}-{{i}}.parquet",
            partitioning=destination.partition_by,
            filesystem=filesystem,
            format=ds.ParquetFileFormat(),
            existing_data_behavior="overwrite_or_ignore",
        )

    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: DataSource
    ) -> Iterable[tuple[str, str]]:
        """The columns of a source and their Arrow types.

        Feast itself looks for Delta tables in the current folder.

        Args:
            config: What feature_store.yaml says.
            data_source: The source.
        """
        with needing("offline"):
            from headrace.feast.source_rows import SourceRows, batch_source_of
        with SourceRows(batch_source_of(data_source), _folder(config)) as rows:
            schema = rows.run("SELECT * FROM raw LIMIT 0").schema
        return [(field.name, str(field.type)) for field in schema]


def _pull(
    config: RepoConfig,
    source: DataSource,
    keys: list[str],
    features: list[str],
    times: tuple[str, str | None],
    between: tuple[datetime | None, datetime | None],
    *,
    latest: bool,
) -> HeadraceRetrievalJob:
    with needing("offline"):
        from headrace.feast.source_rows import pulled
    folder = _folder(config)
    return HeadraceRetrievalJob(partial(pulled, source, folder, keys, features, times, between, latest=latest), folder)


def _folder(config: RepoConfig) -> Path:
    return Path(config.repo_path or ".").resolve()


def _sources(request: HistoricalRequest, folder: Path) -> dict[str, str]:
    """The sources that an entity frame's SQL may read by name."""
    from headrace.feast.source_rows import source_sql

    sources = [asked.view.batch_source for asked in request.views.values() if not computed_by_headrace(asked.view)]
    return source_sql({source.name: source for source in sources if source is not None}, folder)


def _metadata(feature_refs: list[str], frame: EntityFrame) -> RetrievalMetadata:
    first, last = frame.time_range()
    return RetrievalMetadata(list(feature_refs), frame.other_columns, first, last)
