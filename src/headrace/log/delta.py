"""Opening and making Delta tables, and what their errors mean."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import DeltaError, TableNotFoundError

from headrace.errors import HeadraceError, LogError, LogUnavailableError
from headrace.log.commit_archive import LOG_FOLDER, older_folder
from headrace.log.log_columns import DATE, KNOWN_AT, OFFSET, PARTITION, TS

__all__ = ["add_columns", "arrow_schema", "create_table", "open_table", "translated"]

_CONFIGURATION: dict[str, str | None] = {
    "delta.appendOnly": "true",
    # Dataset manifests pin old versions, so commits are kept until a vacuum of ours; Delta's default is to forget them after 30 days.
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
    # For so long checkpoints name files that were replaced; a vacuum of ours needs no such names, and every checkpoint pays for them.
    "delta.deletedFileRetentionDuration": "interval 1 days",
    "delta.checkpointInterval": "50",
    "delta.dataSkippingStatsColumns": f"{TS},{KNOWN_AT},{PARTITION},{OFFSET}",
}


def open_table(path: Path, version: int | None = None) -> DeltaTable | None:
    """The table at a path; None where there is none yet.

    Raises:
        LogError: What is there does not read as a Delta table, or the version is not there.
        LogUnavailableError: The path cannot be read.
    """
    try:
        # A folder without commits is a table that another worker is just making, or one whose making was cut short.
        return DeltaTable(path, version=version) if (path / LOG_FOLDER).is_dir() else None
    except TableNotFoundError:
        return None if version is None else _older(path, version)
    except (DeltaError, OSError) as error:
        found = None if version is None else _older(path, version)
        if found is None:
            raise translated(error, path, "read") from error
        return found


def _older(path: Path, version: int) -> DeltaTable | None:
    """A version whose commits have been put by; its files lie where they did."""
    folder = older_folder(path)
    try:
        return DeltaTable(folder, version=version) if (folder / LOG_FOLDER).is_dir() else None
    except (DeltaError, OSError):
        return None


def create_table(path: Path, schema: pa.Schema, configuration: dict[str, str | None] = _CONFIGURATION) -> DeltaTable:
    """Make a table, or open the one that another worker made meanwhile.

    Args:
        path: Its folder.
        schema: Its columns, with `_date`, by which its files are kept apart.
        configuration: Delta's settings; a log's unless others are given.

    Raises:
        LogError: Something else is at the path.
        LogUnavailableError: The path cannot be written.
    """
    unfit = sorted(set("[]%") & set(str(path.absolute())))
    if unfit:  # Delta Lake's Rust library panics at brackets, and mistakes a percent sign
        msg = f"Delta Lake cannot keep a table at {path.absolute()}, as the path has {' and '.join(unfit)} in it."
        raise LogError(msg, hint="Set `state` in headrace.toml to a folder without.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(entry.name != LOG_FOLDER for entry in path.iterdir()) and open_table(path) is None:
            hint = "Move it away, or set `state` in headrace.toml to another folder."
            msg = f"{path} is not empty and holds no Delta table, so no log is started there."
            raise LogError(msg, hint=hint)
        DeltaTable.create(
            path,
            schema,
            mode="ignore",
            partition_by=[DATE],
            configuration=configuration,
            # Without retries, two workers that create at once cannot both commit: the second opens what the first made.
            commit_properties=CommitProperties(max_commit_retries=0),
        )
        problem: Exception | None = None
    except (DeltaError, OSError) as error:
        problem = error
    table = open_table(path)
    if table is None:
        raise translated(problem or OSError("it cannot be found after it was made"), path, "written") from problem
    return table


def add_columns(table: DeltaTable, schema: pa.Schema) -> None:
    """Add the columns that a table made by an earlier version lacks; they are null in what it holds.

    Args:
        table: The table.
        schema: The columns it should have; new ones are nullable.

    Raises:
        DeltaError: It cannot be written.
    """
    held = arrow_schema(table).names
    lacking = [field for field in schema if field.name not in held]
    if not lacking:
        return
    try:
        table.alter.add_columns(list(Schema.from_arrow(pa.schema(lacking)).fields))
    except DeltaError:  # another may have added them at the same moment
        table.update_incremental()
        if set(schema.names) - set(arrow_schema(table).names):
            raise


def arrow_schema(table: DeltaTable) -> pa.Schema:
    """The columns of a Delta table."""
    return pa.schema(table.schema().to_arrow())


def translated(error: Exception, path: Path, attempt: str) -> HeadraceError:
    """What a failure of Delta Lake or of the disk means to us.

    Args:
        error: The failure.
        path: The table's path.
        attempt: ``read`` or ``written``.

    Returns:
        LogUnavailableError where the disk is at fault, else LogError.
    """
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, OSError) or any(sign in str(error) for sign in ("(os error", "LocalFileSystem", "Os {")):
        hint = "See that the folder is writable and the disk has space, or set `state` in headrace.toml elsewhere."
        return LogUnavailableError(f"The log at {path} cannot be {attempt}: {said}", hint=hint)
    hint = "Restore the folder from a copy, or move it away and replay the topic."
    return LogError(f"The log at {path} cannot be {attempt}; it is damaged, or not a log: {said}", hint=hint)
