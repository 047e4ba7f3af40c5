"""What the source of a batch view contained, in a few words: for the manifest of a dataset that was made from it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import duckdb

from headrace.batch.source_files import delta_table, parquet_files
from headrace.batch.source_relation import (
    SourceRelation,
    batch_connection,
    feature_name,
    key_name,
    source_errors,
    subject_of,
)
from headrace.plan import BatchView

__all__ = ["fingerprint"]


def fingerprint(view: BatchView, repo: Path, version: int | None = None) -> dict[str, Any]:
    """What a view's source contains now.

    A Delta table is named by its version, which can be read again. Local files are named by a SHA-256 of their bytes,
    and what a query or an object store gives by a checksum of its rows, which depends on DuckDB's version.

    Args:
        view: The view.
        repo: The feature repo's folder, which the source's path is relative to.
        version: For a Delta table, the version that is meant; None is the newest.

    Returns:
        For JSON. Two that are equal are of the same content.

    Raises:
        BatchSourceError: The source is away, or lacks what the view declares.
    """
    source = view.source
    facts: dict[str, Any] = {"source": source.name, "kind": source.kind}
    if source.kind == "delta":
        table = delta_table(source, repo, version)
        return {**facts, "path": source.path, "table": str(table.metadata().id), "version": table.version()}
    if source.kind == "parquet" and "://" not in str(source.path):
        return {**facts, "path": source.path, **_of_files(parquet_files(source, repo))}
    named = {"path": source.path} if source.sql is None else {"sql": hashlib.sha256(source.sql.encode()).hexdigest()}
    return {**facts, **named, **_of_rows(view, repo)}


def _of_files(files: list[Path]) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    folder = os.path.commonpath([path.parent for path in files]) if files else ""
    for path in files:
        with path.open("rb") as file:
            of_file = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder)} {of_file}\n".encode())
        size += path.stat().st_size
    return {"files": len(files), "bytes": size, "sha256": digest.hexdigest()}


def _of_rows(view: BatchView, repo: Path) -> dict[str, Any]:
    con = batch_connection(repo)
    try:
        source = SourceRelation(con, view, repo, "source")
        keys = [key_name(place) for place in range(len(view.entities))]
        names = [*keys, "ts", "created", *(feature_name(place) for place in range(len(view.columns)))]
        with source_errors(subject_of(view)):
            ((rows, total),) = con.execute(
                f"SELECT count(*), coalesce(sum(CAST(hash({', '.join(names)}) AS HUGEINT)), 0) FROM {source.name}"  # noqa: S608
            ).fetchall()
    finally:
        con.close()
    return {"rows": int(rows), "checksum": f"{int(total):x}", "duckdb": duckdb.__version__}
