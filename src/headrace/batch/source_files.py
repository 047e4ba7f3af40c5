"""Where the files of a source are: local Parquet, Parquet in an object store, and Delta tables."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

from headrace.errors import BatchSourceAwayError
from headrace.plan import BatchSource

if TYPE_CHECKING:
    from deltalake import DeltaTable

__all__ = ["delta_dataset", "delta_table", "parquet_files", "remote_dataset"]

_HIDDEN = (".", "_")


def parquet_files(source: BatchSource, repo: Path) -> list[Path]:
    """The local Parquet files of a source, sorted.

    Args:
        source: A source of the kind `parquet`, whose path is a file, a folder or a pattern.
        repo: The feature repo's folder, which its path is relative to.

    Raises:
        BatchSourceAwayError: There is none.
    """
    path = repo / str(source.path)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [
            file
            for file in sorted(path.rglob("*.parquet"))
            if not any(part.startswith(_HIDDEN) for part in file.relative_to(path).parts)
        ]
    else:
        found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 a user's pattern
    if not found:
        msg = f"The source {source.name!r} has no file at {path}."
        raise BatchSourceAwayError(msg, hint="Write `path` relative to the feature repo, or make the file first.")
    return found


def remote_dataset(source: BatchSource) -> Any:
    """The Parquet files of a source in an object store.

    Args:
        source: A source of the kind `parquet`, whose path is a URI.

    Raises:
        BatchSourceAwayError: They cannot be read.
    """
    uri = str(source.path)
    try:
        if source.endpoint is not None and uri.startswith("s3://"):
            scheme, _, host = source.endpoint.rpartition("://")
            system: Any = fs.S3FileSystem(endpoint_override=host, scheme=scheme or "https")
            path = uri.removeprefix("s3://")
        else:
            system, path = fs.FileSystem.from_uri(uri)
        return ds.dataset(path, format="parquet", filesystem=system)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _away(source, error) from error


def delta_table(source: BatchSource, repo: Path, version: int | None = None) -> DeltaTable:
    """The Delta table of a source.

    Args:
        source: A source of the kind `delta`.
        repo: The feature repo's folder, which its path is relative to.
        version: The version to open; None is the newest.

    Raises:
        BatchSourceAwayError: There is no table, no such version, or it cannot be read.
    """
    from deltalake import DeltaTable  # only those who have Delta tables need it
    from deltalake.exceptions import DeltaError, TableNotFoundError

    path = str(source.path)
    uri = path if "://" in path else str(repo / path)
    options = None
    if source.endpoint is not None:
        is_plain = str(source.endpoint.startswith("http://")).lower()
        options = {"AWS_ENDPOINT_URL": source.endpoint, "AWS_ALLOW_HTTP": is_plain}
    try:
        return DeltaTable(uri, version=version, storage_options=options)
    except TableNotFoundError as error:
        msg = f"The source {source.name!r} has no Delta table at {uri}."
        raise BatchSourceAwayError(msg, hint="Write `path` relative to the feature repo, or make the table.") from error
    except (DeltaError, OSError) as error:
        raise _away(source, error) from error


def delta_dataset(source: BatchSource, repo: Path, version: int | None = None) -> tuple[Any, int]:
    """The rows of a Delta table, and the version that they are of; see `delta_table`."""
    from deltalake.exceptions import DeltaError

    table = delta_table(source, repo, version)
    try:
        return table.to_pyarrow_dataset(), table.version()
    except (DeltaError, pa.ArrowException, OSError, ValueError) as error:
        raise _away(source, error) from error


def _away(source: BatchSource, error: Exception) -> BatchSourceAwayError:
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    msg = f"The source {source.name!r} at {source.path} cannot be read: {said}"
    return BatchSourceAwayError(msg, hint="Check its path, and the credentials in the environment.")
