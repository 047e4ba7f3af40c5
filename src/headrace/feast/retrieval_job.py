"""Feast's retrieval job: a table that is computed when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast.data_format import DeltaFormat
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import FileSource, SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata

from headrace.errors import FeastStoreError

if TYPE_CHECKING:
    from feast.on_demand_feature_view import OnDemandFeatureView
    from feast.saved_dataset import SavedDatasetStorage, ValidationReference

__all__ = ["HeadraceRetrievalJob"]


class HeadraceRetrievalJob(RetrievalJob):
    """A table of features, computed once, when it is first asked for.

    Args:
        compute: Computes the table, on-demand features included.
        folder: The repo's folder, which paths are relative to.
        full_feature_names: Whether the names of features begin with their view's.
        metadata: What was asked for.
        index: The index of the entity frame, which the data frame gets.
    """

    def __init__(
        self,
        compute: Callable[[], pa.Table],
        folder: Path,
        *,
        full_feature_names: bool = False,
        metadata: RetrievalMetadata | None = None,
        index: Any = None,
    ) -> None:
        self._compute = compute
        self._folder = folder
        self._full_feature_names = full_feature_names
        self._kept_metadata = metadata
        self._index = index
        self._table: pa.Table | None = None

    @property
    def full_feature_names(self) -> bool:
        """Whether the names of features begin with their view's."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """None: on-demand features are in the table already, computed as an online answer computes them."""
        return []

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked for."""
        return self._kept_metadata

    def to_df(
        self, validation_reference: ValidationReference | None = None, timeout: int | None = None
    ) -> pd.DataFrame:
        """A data frame, rows and index as in the entity frame.

        Args:
            validation_reference: What the values are checked against.
            timeout: Not used.
        """
        frame: pd.DataFrame = super().to_df(validation_reference=validation_reference, timeout=timeout)
        if self._index is not None:
            frame.index = self._index
        return frame

    # The two hooks that Feast asks every offline store to implement.
    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        if self._table is None:
            self._table = self._compute()
        return self._table

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._to_arrow_internal(timeout).to_pandas()
        return frame

    def persist(
        self, storage: SavedDatasetStorage, allow_overwrite: bool | None = False, timeout: int | None = None
    ) -> None:
        """Write the table as a saved dataset: a Parquet file, or a folder with one.

        Args:
            storage: Where to. A path is relative to the feature repo.
            allow_overwrite: Whether to replace what is there.
            timeout: Not used.

        Raises:
            SavedDatasetLocationAlreadyExists: Something is there.
            FeastStoreError: The storage is of another kind.
        """
        if not isinstance(storage, SavedDatasetFileStorage) or isinstance(
            storage.file_options.file_format, DeltaFormat
        ):
            msg = f"A saved dataset cannot be written to {type(storage).__name__} in this format."
            raise FeastStoreError(msg, hint="Write it as Parquet: SavedDatasetFileStorage(path='data/NAME.parquet').")
        uri = FileSource.get_uri_for_file_path(self._folder, storage.file_options.uri)
        filesystem, path = FileSource.create_filesystem_and_path(uri, storage.file_options.s3_endpoint_override)
        if not allow_overwrite and filesystem is None and Path(path).exists():
            raise SavedDatasetLocationAlreadyExists(location=uri)
        table = self.to_arrow()
        if filesystem is not None:
            pq.write_table(table, path, filesystem=filesystem)
            return
        target = Path(path)
        if target.suffix == ".parquet":
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(table, target)
            return
        target.mkdir(parents=True, exist_ok=True)
        for old in target.glob("*.parquet"):
            old.unlink()
        _write(table, target / "part-0.parquet")


def _write(table: pa.Table, path: Path) -> None:
    """Write a file whole, or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(table, beside)
    beside.replace(path)
