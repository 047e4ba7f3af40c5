"""Opening and making Delta tables, and what their errors mean."""

from __future__ import annotations

import re

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from headrace.errors import HeadraceError, LogError, LogUnavailableError
from headrace.log.commits import LOG_FOLDER, restore_archive
from headrace.log.location import Location
from headrace.log.log_columns import DATE, KNOWN_AT, OFFSET, PARTITION, TS

__all__ = ["add_columns", "arrow_schema", "create_table", "open_table", "set_append_only", "translated"]

_APPEND_ONLY = "delta.appendOnly"
_ATTEMPTS = 20
_DRAWN = re.compile(r"\x1b\[\d+m|↳")
"""Colours and arrows, by which Delta Lake draws the causes of an error as a tree."""

_CONFIGURATION: dict[str, str | None] = {
    _APPEND_ONLY: "true",
    # Datasets pin old versions, and Delta's own clean-up would remove their checkpoints: see headrace.log.commits.
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
    # How long checkpoints name files that were replaced. Every checkpoint pays for them.
    "delta.deletedFileRetentionDuration": "interval 1 days",
    "delta.checkpointInterval": "100",
    "delta.dataSkippingStatsColumns": f"{TS},{KNOWN_AT},{PARTITION},{OFFSET}",
}


def open_table(location: Location, version: int | None = None) -> DeltaTable | None:
    """The table at a place; None where there is none yet.

    Raises:
        LogError: What is there does not read as a Delta table, or the version is not there.
        LogUnavailableError: The place cannot be read.
    """
    for left in (2, 1, 0):
        try:
            # A folder without commits is a table that another worker is just making, or one whose making was cut short.
            if location.is_local and not (location.path / LOG_FOLDER).is_dir():
                return None
            restore_archive(location)
            return DeltaTable(location.uri, version=version, storage_options=dict(location.options))
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            # A vacuum may have removed a commit between listing and reading it.
            if not left or isinstance(error, OSError):
                raise translated(error, location, "read") from error
    return None


def create_table(
    location: Location, schema: pa.Schema, configuration: dict[str, str | None] = _CONFIGURATION
) -> DeltaTable:
    """Make a table, or open the one that another worker made meanwhile.

    Args:
        location: Its place.
        schema: Its columns, with `_date`, by which its files are kept apart.
        configuration: Delta's settings; a log's unless others are given.

    Raises:
        LogError: Something else is at the place.
        LogUnavailableError: The place cannot be written.
    """
    problem: Exception | None = None
    try:
        if location.is_local:
            _check_folder(location)
        DeltaTable.create(
            location.uri,
            schema,
            mode="ignore",
            partition_by=[DATE],
            configuration=configuration,
            storage_options=dict(location.options),
            # Without retries, two workers that create at once cannot both commit: the second opens what the first made.
            commit_properties=CommitProperties(max_commit_retries=0),
        )
    except (DeltaError, OSError) as error:
        problem = error
    table = open_table(location)
    if table is None:
        raise translated(problem or OSError("it cannot be found after it was made"), location, "written") from problem
    return table


def _check_folder(location: Location) -> None:
    path = location.path
    unfit = sorted(set("[]%") & set(str(path.absolute())))
    if unfit:  # Delta Lake's Rust library panics at brackets, and mistakes a percent sign
        msg = f"Delta Lake cannot keep a table at {path.absolute()}, as the path has {' and '.join(unfit)} in it."
        raise LogError(msg, hint="Set `state` in headrace.toml to a folder without.")
    path.mkdir(parents=True, exist_ok=True)
    if any(entry.name != LOG_FOLDER for entry in path.iterdir()) and open_table(location) is None:
        hint = "Move it away, or set `state` in headrace.toml to another folder."
        msg = f"{path} is not empty and holds no Delta table, so no log is started there."
        raise LogError(msg, hint=hint)


def add_columns(table: DeltaTable, schema: pa.Schema) -> None:
    """Add the columns that a table made by an earlier version lacks; they are null in what it holds.

    Args:
        table: The table.
        schema: The columns it should have; new ones are nullable.

    Raises:
        DeltaError: It cannot be written.
    """
    existing = arrow_schema(table).names
    lacking = [field for field in schema if field.name not in existing]
    if not lacking:
        return
    try:
        table.alter.add_columns(list(Schema.from_arrow(pa.schema(lacking)).fields))
    except DeltaError:  # another may have added them at the same moment
        table.update_incremental()
        if set(schema.names) - set(arrow_schema(table).names):
            raise


def set_append_only(delta: DeltaTable, *, is_on: bool) -> None:
    """Let a table refuse deletions, or allow them. Commits of others at the same time do not matter.

    Raises:
        DeltaError: It cannot be written.
    """
    for left in range(_ATTEMPTS, -1, -1):
        delta.update_incremental()
        if (delta.metadata().configuration.get(_APPEND_ONLY) == "true") == is_on:
            return
        try:
            delta.alter.set_table_properties({_APPEND_ONLY: str(is_on).lower()})
        except CommitFailedError:
            if not left:
                raise


def arrow_schema(table: DeltaTable) -> pa.Schema:
    """The columns of a Delta table."""
    return pa.schema(table.schema().to_arrow())


def translated(error: Exception, location: Location, attempt: str) -> HeadraceError:
    """What a failure of Delta Lake or of the disk means to us.

    Args:
        error: The failure.
        location: The table's place.
        attempt: ``read`` or ``written``.

    Returns:
        LogUnavailableError where the disk is at fault, else LogError.
    """
    lines = [line for raw in str(error).splitlines() if (line := _DRAWN.sub("", raw).strip())] or [type(error).__name__]
    said = lines[0] if len(lines) == 1 else f"{lines[0]}: {lines[-1]}"  # what failed, and the first cause
    if isinstance(error, OSError) or any(
        sign in str(error) for sign in ("(os error", "LocalFileSystem", "Os {", "Generic S3", "Error performing")
    ):
        hint = (
            "See that the folder is writable and the disk has space, or set `state` in headrace.toml elsewhere."
            if location.is_local
            else "See that the object store answers. Check `uri` in [log] of headrace.toml, [log.options], and the "
            "credentials in the environment."
        )
        return LogUnavailableError(f"The log at {location} cannot be {attempt}: {said}", hint=hint)
    hint = "Restore the folder from a copy, or move it away and replay the topic."
    return LogError(f"The log at {location} cannot be {attempt}; it is damaged, or not a log: {said}", hint=hint)
