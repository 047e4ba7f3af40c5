"""Verifying a dataset: building it again from its manifest, and comparing the bytes."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import DatasetError, HeadraceError
from headrace.training.dataset import Dataset
from headrace.training.export import (
    FORMAT,
    MANIFEST,
    definitions_of,
    export_dataset,
    file_checksum,
    library_versions,
    spine_of,
    table_checksum,
)
from headrace.training.joins import FeatureJoins

__all__ = ["VerifyReport", "read_manifest", "verify_dataset"]

_KEYS = {
    *("as_of", "dataset", "definitions", "features", "files", "label", "logs", "made_with", "plan"),
    *("rows_per_file", "spine", "splits", "statistics", "time_column"),
}


@dataclass(frozen=True)
class VerifyReport:
    """What a verification found.

    Attributes:
        files: How many files the manifest names.
        problems: What differs, or why the dataset cannot be built again; empty where the bytes are the same.
    """

    files: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the same bytes came out."""
        return not self.problems


def read_manifest(path: Path) -> tuple[Path, dict[str, Any]]:
    """Read a manifest.

    Args:
        path: The manifest, or the folder that holds it.

    Returns:
        The folder, and what the manifest says.

    Raises:
        DatasetError: There is none, or it is of another version.
    """
    file = path / MANIFEST if path.is_dir() else path
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"There is no manifest to read at {file}: {error}."
        raise DatasetError(msg, cure="Give the folder that `headrace dataset build` wrote.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        msg = f"{file} is no manifest of this version of headrace."
        raise DatasetError(msg, cure="Build the dataset again.")
    missing = sorted(_KEYS - manifest.keys())
    if missing:
        msg = f"The manifest {file} was edited: it has no {missing[0]!r}."
        raise DatasetError(msg, cure="Build the dataset again.")
    return file.parent, manifest


def verify_dataset(joins: FeatureJoins, dataset: Dataset, path: Path) -> VerifyReport:
    """Build a dataset again at the log versions that its manifest pins, and compare.

    Args:
        joins: The project's joins; a `TrainingClient` is one.
        dataset: The dataset's definition.
        path: The manifest, or the folder that holds it.

    Returns:
        What differs.

    Raises:
        DatasetError: There is no manifest.
    """
    folder, manifest = read_manifest(path)
    problems = _changed_files(folder, manifest)
    try:
        why_not = _changed_inputs(joins, dataset, manifest)
    except HeadraceError as error:
        why_not = [f"it cannot be built again: {error.what}"]
    if not why_not:
        with tempfile.TemporaryDirectory(prefix="headrace-verify-") as again:
            try:
                built = export_dataset(joins, dataset, Path(again) / "dataset", versions=manifest["logs"])
            except HeadraceError as error:
                why_not.append(f"it cannot be built again: {error.what}")
            else:
                problems += _compare(manifest, built.manifest)
    if problems or why_not:
        made = manifest.get("made_with")
        if made != library_versions():
            why_not.append(f"it was made with {_shown(made)}, and this is {_shown(library_versions())}")
    return VerifyReport(len(manifest["files"]), tuple(problems + why_not))


def _changed_files(folder: Path, manifest: dict[str, Any]) -> list[str]:
    problems: list[str] = []
    for file in manifest["files"]:
        path = folder / file["path"]
        if not path.is_file():
            problems.append(f"{file['path']} is missing")
        elif file_checksum(path) != file["sha256"]:
            problems.append(f"{file['path']} was changed since it was built")
    return problems


def _changed_inputs(joins: FeatureJoins, dataset: Dataset, manifest: dict[str, Any]) -> list[str]:
    found: list[str] = []
    refs = joins.plan.resolve(dataset.features if isinstance(dataset.features, str) else list(dataset.features))
    definitions = definitions_of(joins.plan, refs)
    found += [
        f"the {name} was {manifest['definitions'].get(name, 'not used')} and is now {definitions.get(name, 'not used')}"
        for name in {**manifest["definitions"], **definitions}
        if manifest["definitions"].get(name) != definitions.get(name)
    ]
    features = [f"{ref.view}:{ref.feature}" for ref in refs]
    if not found and features != manifest["features"]:
        found.append(f"the features were {', '.join(manifest['features'])} and are now {', '.join(features)}")
    splits = {name: None if end is None else end.isoformat() for name, end in dataset.splits.items()}
    now = {
        "as_of": dataset.as_of,
        "label": dataset.label,
        "time_column": dataset.time_column,
        "splits": splits,
        "rows_per_file": dataset.rows_per_file,
    }
    found += [
        f"the definition's {name} was {manifest[name]!r} and is now {value!r}"
        for name, value in now.items()
        if manifest[name] != value
    ]
    spine = spine_of(joins, dataset)
    if table_checksum(spine) != manifest["spine"]["sha256"]:
        rows = manifest["spine"]["rows"]
        found.append(f"the spine is another: it had {rows:,} rows and has {spine.num_rows:,}, or their values differ")
    return found


def _compare(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    old = {file["path"]: file for file in before["files"]}
    new = {file["path"]: file for file in now["files"]}
    problems = [f"{path} comes out no more" for path in old.keys() - new.keys()]
    problems += [f"{path} comes out in addition" for path in new.keys() - old.keys()]
    for path in sorted(old.keys() & new.keys()):
        if old[path]["sha256"] != new[path]["sha256"]:
            problems.append(
                f"{path} comes out with other bytes ({old[path]['rows']:,} rows before, {new[path]['rows']:,} now)"
            )
    if problems:
        problems += [
            f"the statistics of {name} were {facts} and are now {now['statistics'].get(name)}"
            for name, facts in before["statistics"].items()
            if now["statistics"].get(name) != facts
        ]
    return problems


def _shown(versions: dict[str, str] | None) -> str:
    return ", ".join(f"{name} {version}" for name, version in (versions or {}).items())
