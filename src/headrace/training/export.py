"""Exporting a dataset: Parquet files by split, and a manifest that pins how to build the same bytes again."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from headrace.aggregates import Problem
from headrace.batch.fingerprint import fingerprint
from headrace.errors import DatasetError
from headrace.history import spine_times_us
from headrace.log import EventLog, topic_history
from headrace.log.dataset_pins import drop_pin, note_pin
from headrace.plan import BatchView, FeatureRef, Plan, View
from headrace.times import us_of
from headrace.training.column_statistics import column_statistics
from headrace.training.dataset import Dataset
from headrace.training.historical_features import FeatureJoins
from headrace.training.spine_input import needed_columns, spine_table

__all__ = [
    "MANIFEST",
    "Built",
    "definitions_of",
    "export_dataset",
    "file_checksum",
    "library_versions",
    "spine_of",
    "table_checksum",
]

MANIFEST = "manifest.json"
FORMAT = 2


@dataclass(frozen=True)
class Built:
    """An exported dataset.

    Attributes:
        folder: Where it is.
        manifest: What its manifest says.
    """

    folder: Path
    manifest: dict[str, Any]


def export_dataset(
    joins: FeatureJoins,
    dataset: Dataset,
    out: Path,
    *,
    versions: Mapping[str, int | None] | None = None,
    source_versions: Mapping[str, int | None] | None = None,
) -> Built:
    """Build a dataset and write it, whole or not at all.

    The same definition, plan, log versions and library versions give the same bytes.

    Args:
        joins: The project's joins; a `TrainingClient` is one.
        dataset: The dataset.
        out: The folder to write; an earlier export of the same dataset there is replaced.
        versions: By topic, the version of its log to read; the newest where left out.
        source_versions: By batch view, the version of its Delta table to read; the newest where left out.

    Returns:
        Where it is, and its manifest.

    Raises:
        DatasetError: The definition does not fit its spine, or `out` contains something else or cannot be written.
        SpineError, LookupRequestError, LogError: As `FeatureJoins.get_historical_features` raises.
    """
    _refuse_foreign_files(out, dataset.name)
    spine = spine_of(joins, dataset)
    refs = joins.plan_for(dataset.features).resolve(dataset.features)
    # The versions are chosen before anything is read, so that everything is read at the same versions.
    settled = {topic: snapshot.version for topic, snapshot in joins.snapshots(refs, versions).items()}
    tables = {topic: _table_id(joins, topic) for topic in settled}
    sources = {
        name: fingerprint(view, joins.project.repo, (source_versions or {}).get(name))
        for name, view in _views_of(joins.plan_for(dataset.features), refs)[1].items()
    }
    if versions is None:
        with _noted(joins, out, settled, tables):
            return _export(joins, dataset, out, spine, refs, settled, tables, sources)
    return _export(joins, dataset, out, spine, refs, settled, tables, sources)


@contextmanager
def _noted(
    joins: FeatureJoins, out: Path, settled: Mapping[str, int | None], tables: Mapping[str, str | None]
) -> Iterator[None]:
    """A vacuum keeps the versions that a dataset reads, while it is built and afterwards."""
    pins = joins.project.pins
    try:
        note_pin(pins, out / MANIFEST, settled, tables)
    except OSError as error:
        msg = f"The log versions that the dataset pins cannot be noted in {joins.project.state}: {error}."
        raise DatasetError(msg, hint="Make the state folder writable.") from error
    for topic, version in settled.items():
        if version is not None:
            EventLog(joins.project.log_root, joins.plan.source_for_topic(topic)).keep_readable([version])
    try:
        yield
        note_pin(pins, out / MANIFEST, settled, tables, is_built=True)
    except BaseException:
        drop_pin(pins, out / MANIFEST)
        raise


def _refuse_changed_sources(plan: Plan, repo: Path, sources: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a dataset whose sources changed while they were read; a Delta table is read at one version."""
    for name, facts in sources.items():
        if "version" not in facts and fingerprint(plan.batch_views[name], repo) != facts:
            msg = f"The source of the batch view {name!r} changed while the dataset was built."
            raise DatasetError(msg, hint="Build it again while nothing writes the source.")


def _export(
    joins: FeatureJoins,
    dataset: Dataset,
    out: Path,
    spine: pa.Table,
    refs: Sequence[FeatureRef],
    settled: Mapping[str, int | None],
    tables: Mapping[str, str | None],
    sources: Mapping[str, Mapping[str, Any]],
) -> Built:
    plan = joins.plan_for(dataset.features)
    joined = joins.get_historical_features(
        spine,
        [f"{ref.view}:{ref.feature}" for ref in refs],
        dataset.as_of,
        dataset.time_column,
        log_version=settled,
        source_versions={name: facts.get("version") for name, facts in sources.items()},
    )
    table = joined.to_arrow()
    _refuse_changed_sources(plan, joins.project.repo, sources)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as made:
            folder = Path(made) / out.name
            files = [file for split in _splits(dataset, table) for file in _write_split(dataset, folder, *split)]
            manifest = {
                "format": FORMAT,
                "dataset": dataset.name,
                "plan": joins.plan.hash,
                "definitions": definitions_of(plan, refs),
                "compiled": archived_plan(plan, refs),
                "features": [f"{ref.view}:{ref.feature}" for ref in refs],
                "as_of": dataset.as_of,
                "time_column": dataset.time_column,
                "label": dataset.label,
                "splits": {name: None if end is None else end.isoformat() for name, end in dataset.splits.items()},
                "rows_per_file": dataset.rows_per_file,
                "logs": settled,
                "batch_sources": sources,
                "tables": tables,
                "topics": {topic: _topic_notes(joins, topic) for topic in settled},
                "spine": {"rows": spine.num_rows, "sha256": table_checksum(spine)},
                "files": files,
                "statistics": column_statistics(table),
                "problems": _problem_counts(joined.problems),
                "made_with": library_versions(),
            }
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, allow_nan=False) + "\n", encoding="utf-8")
            _put_in_place(folder, out, Path(made))
    except OSError as error:
        msg = f"The dataset cannot be written to {out}: {error}."
        raise DatasetError(msg, hint="Give a folder that can be written, with room, by --out.") from error
    return Built(out, manifest)


def spine_of(joins: FeatureJoins, dataset: Dataset) -> pa.Table:
    """A dataset's spine, with its label."""
    spine = dataset.spine
    plan = joins.plan_for(dataset.features)
    if isinstance(spine, str | os.PathLike):
        spine = joins.project.root / spine
    table = spine_table(
        spine(joins.project) if callable(spine) else spine,
        needed_columns(plan, plan.resolve(dataset.features)),
        dataset.time_column,
    )
    for column in (dataset.label, dataset.time_column):
        if column not in table.column_names:
            msg = f"The spine of {dataset.name!r} has no column {column!r}; it has {', '.join(table.column_names)}."
            raise DatasetError(msg, hint="Name its label and its time_column in the definition.")
    _refuse_unwritable(dataset, table)
    return table


def _refuse_unwritable(dataset: Dataset, table: pa.Table) -> None:
    for name in table.column_names:
        try:
            parquet.write_table(table.select([name]).slice(0, 0), pa.BufferOutputStream())
        except pa.ArrowException as error:
            kind = table.column(name).type
            msg = f"The spine of {dataset.name!r} has {name!r} as {kind}, which Parquet does not support."
            raise DatasetError(msg, hint="Give it another type, or leave it out.") from error


def definitions_of(plan: Plan, refs: Sequence[FeatureRef]) -> dict[str, str]:
    """The hashes of the features' views and sources, by name. The rest of the plan may change."""
    views, batch_views = _views_of(plan, refs)
    sources = {view.source: plan.source_of(view) for view in views.values()}
    named = {f"view {name}": view.hash for name, view in views.items()}
    named |= {f"view {name}": view.hash for name, view in batch_views.items()}
    named |= {f"on-demand view {view.name}": view.hash for view in plan.computed(refs)}
    return named | {f"source {name}": source.content_hash() for name, source in sources.items()}


def archived_plan(plan: Plan, refs: Sequence[FeatureRef]) -> dict[str, Any]:
    """The part of the plan that features need: a dataset is built again with it, even if the plan has changed."""
    views, batch_views = _views_of(plan, refs)
    sources = {view.source: plan.source_of(view) for view in views.values()}
    computed = {view.name: view for view in plan.computed(refs)}
    kept = Plan(project=plan.project, sources=sources, views=views, batch_views=batch_views, on_demand_views=computed)
    return kept.model_dump(mode="json")


def _views_of(plan: Plan, refs: Sequence[FeatureRef]) -> tuple[dict[str, View], dict[str, BatchView]]:
    """The views of features by name, and those that on-demand views read: stream views, and batch views."""
    batch_views = {ref.view: plan.batch_views[ref.view] for ref in plan.batch_refs(refs)}
    return {ref.view: plan.views[ref.view] for ref in plan.stream_refs(refs)}, batch_views


def table_checksum(table: pa.Table) -> str:
    """The SHA-256 of a table's columns and values. Chunks, and the values under nulls, do not matter."""
    plain = table.replace_schema_metadata(None).combine_chunks()
    digest = hashlib.sha256(str(plain.schema).encode())
    # Parquet has only the values. Arrow's buffers also have what their writer left under nulls.
    parquet.write_table(plain, _Hashing(digest), compression="none", use_dictionary=False, write_statistics=False)
    return digest.hexdigest()


def file_checksum(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def library_versions() -> dict[str, str]:
    """The versions of the libraries that the bytes may depend on."""
    own: str = import_module("headrace").__version__  # an import statement would point up, against the layers
    return {"headrace": own, "pyarrow": pa.__version__, "duckdb": duckdb.__version__}


class _Hashing(io.RawIOBase):
    """A file whose bytes are hashed and not kept."""

    def __init__(self, digest: Any) -> None:
        self._digest = digest
        self._size = 0

    def write(self, data: Any) -> int:
        size = len(memoryview(data))
        self._digest.update(data)
        self._size += size
        return size

    def tell(self) -> int:
        return self._size

    def writable(self) -> bool:
        return True


def _problem_counts(problems: Sequence[Problem]) -> dict[str, dict[str, int]]:
    """How many cells of each feature could not be given, by reason."""
    found: dict[str, dict[str, int]] = {}
    for _, feature, reason in problems:
        by_reason = found.setdefault(feature, {})
        by_reason[reason] = by_reason.get(reason, 0) + 1
    return found


def _table_id(joins: FeatureJoins, topic: str) -> str | None:
    return EventLog(joins.project.log_root, joins.plan.source_for_topic(topic)).table_id()


def _topic_notes(joins: FeatureJoins, topic: str) -> dict[str, Any]:
    """What the log's notes say of a topic: how often it was created, and which events were accepted as missing."""
    history = topic_history(joins.project.log_notes, topic)
    if history is None:
        return {"incarnations": 0, "gaps": []}
    return {"incarnations": len(history.incarnations), "gaps": history.to_json()["gaps"]}


def _splits(dataset: Dataset, table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    times = spine_times_us(table.column(dataset.time_column), dataset.time_column)
    since: int | None = None
    for name, end in dataset.splits.items():
        until = None if end is None else us_of(end)
        chosen = pa.repeat(True, table.num_rows)
        if since is not None:
            chosen = pc.and_(chosen, pc.greater_equal(times, since))
        if until is not None:
            chosen = pc.and_(chosen, pc.less(times, until))
        yield name, table.filter(chosen)
        since = until


def _write_split(dataset: Dataset, folder: Path, split: str, rows: pa.Table) -> Iterator[dict[str, Any]]:
    (folder / split).mkdir(parents=True)
    rows = rows.replace_schema_metadata(None)
    for number in range(max(1, -(-rows.num_rows // dataset.rows_per_file))):
        part = rows.slice(number * dataset.rows_per_file, dataset.rows_per_file).combine_chunks()
        path = folder / split / f"part-{number:05d}.parquet"
        parquet.write_table(part, path, compression="zstd")
        yield {
            "split": split,
            "path": f"{split}/{path.name}",
            "rows": part.num_rows,
            "bytes": path.stat().st_size,
            "sha256": file_checksum(path),
        }


def _refuse_foreign_files(out: Path, name: str) -> None:
    """Refuse to replace a folder that contains anything but an earlier export of the same dataset."""
    hint = "Give another folder by --out; nothing there was changed."
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        files = {file["path"] for file in manifest["files"]} | {MANIFEST}
        other = manifest["dataset"]
    except (OSError, ValueError, KeyError, TypeError):
        msg = f"{out} exists and is not a dataset."
        raise DatasetError(msg, hint=hint) from None
    if other != name:
        msg = f"{out} contains the dataset {other!r}, not {name!r}."
        raise DatasetError(msg, hint=hint)
    foreign = sorted(str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir())
    foreign = [path for path in foreign if path not in files]
    if foreign:
        msg = f"{out} contains files that are not part of the dataset, such as {foreign[0]}."
        raise DatasetError(msg, hint=f"Move them away. {hint}")


def _put_in_place(folder: Path, out: Path, scratch: Path) -> None:
    if out.exists():
        out.rename(scratch / "replaced")
    try:
        folder.rename(out)
    except OSError:
        if (scratch / "replaced").exists():
            (scratch / "replaced").rename(out)
        raise
    shutil.rmtree(scratch / "replaced", ignore_errors=True)
