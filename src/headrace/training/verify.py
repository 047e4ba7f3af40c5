"""Verifying a dataset: it is built again from its manifest, and the bytes are compared."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet
from pydantic import ValidationError

from headrace.batch.fingerprint import fingerprint
from headrace.errors import BatchSourceError, DatasetError, HeadraceError, LookupRequestError, PlanError
from headrace.log import topic_history
from headrace.plan import Plan
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
from headrace.training.historical_features import FeatureJoins
from headrace.training.pinned_logs import lost_versions
from headrace.training.verify_reasons import Problem, Reason

__all__ = ["VerifyReport", "read_manifest", "verify_dataset"]

_KEYS = {
    *("as_of", "compiled", "dataset", "definitions", "features", "files", "label", "logs", "made_with", "plan"),
    *("rows_per_file", "spine", "splits", "statistics", "tables", "time_column"),
}


@dataclass(frozen=True)
class VerifyReport:
    """What a verification found.

    Attributes:
        files: How many files the manifest names.
        problems: What differs, or why the dataset cannot be built again; empty if the bytes are the same.
        notes: What changed since, but did not change the bytes.
    """

    files: int
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the bytes are the same."""
        return not self.problems

    @property
    def reasons(self) -> list[Reason]:
        """The reasons of the problems, each once."""
        found = {problem.reason for problem in self.problems}
        return [reason for reason in Reason if reason in found]


def read_manifest(path: Path) -> tuple[Path, dict[str, Any]]:
    """Read a manifest.

    Args:
        path: The manifest, or the folder that holds it.

    Returns:
        The folder, and what the manifest says.

    Raises:
        DatasetError: There is no manifest, or it has another version.
    """
    file = path / MANIFEST if path.is_dir() else path
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"There is no manifest to read at {file}: {error}."
        raise DatasetError(msg, hint="Give the folder that `headrace dataset build` wrote.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        msg = f"{file} is not a manifest of this version of headrace."
        raise DatasetError(msg, hint="Build the dataset again.")
    missing = sorted(_KEYS - manifest.keys())
    if missing:
        msg = f"The manifest {file} was edited: it has no {missing[0]!r}."
        raise DatasetError(msg, hint="Build the dataset again.")
    return file.parent, manifest


def verify_dataset(joins: FeatureJoins, dataset: Dataset, path: Path) -> VerifyReport:
    """Build a dataset again and compare the bytes.

    Everything but the spine comes from the manifest: the definitions of features, the logs' versions, the splits. So
    the plan, the definition and the logs may have changed. The spine is made again, and a different spine is refused.

    Args:
        joins: The project's joins; a `TrainingClient` is one.
        dataset: The dataset's definition.
        path: The manifest, or the folder that holds it.

    Returns:
        What differs, or why exactly it cannot be built again.

    Raises:
        DatasetError: There is no manifest.
    """
    folder, manifest = read_manifest(path)
    plan, pinned = _archived(folder, dataset, manifest)
    problems, notes = _changed_files(folder, manifest), _changes_since(joins, dataset, manifest)
    why_not = lost_versions(joins.project, plan, manifest)
    then = FeatureJoins(joins.project, plan=plan)
    try:
        why_not += _changed_spine(then, pinned, manifest)
        if not why_not:
            problems += _built_again(then, pinned, folder, manifest)
    except PlanError as error:  # the plan comes from the manifest, so the code must have changed
        why_not.append(Problem(Reason.CODE_CHANGED, f"it cannot be built again: {error.what}"))
    except HeadraceError as error:
        why_not.append(Problem(Reason.NOT_BUILDABLE, f"it cannot be built again: {error.what}"))
    problems += why_not
    made, here = manifest["made_with"], library_versions()
    if made != here:
        said = Problem(Reason.LIBRARIES_CHANGED, f"it was made with {_shown(made)}, and here are {_shown(here)}")
        (problems if problems else notes).append(said)
    return VerifyReport(len(manifest["files"]), tuple(problems), tuple(notes))


def _archived(folder: Path, dataset: Dataset, manifest: dict[str, Any]) -> tuple[Plan, Dataset]:
    """The plan and the definition from the manifest, with the definition's own spine."""
    try:
        plan = Plan.model_validate(manifest["compiled"])
        splits = {name: end and datetime.fromisoformat(end) for name, end in manifest["splits"].items()}
        names = ("features", "as_of", "label", "time_column", "rows_per_file")
        pinned = replace(dataset, splits=splits, **{name: manifest[name] for name in names})
        refs = plan.resolve(list(manifest["features"]))
        topics = {source.topic for source in plan.sources.values()}
        if definitions_of(plan, refs) != manifest["definitions"] or topics != set(manifest["logs"]):
            msg = f"The manifest in {folder} was edited: its plan does not fit its hashes and logs."
            raise DatasetError(msg, hint="Build the dataset again.")
    except (ValidationError, LookupRequestError, AttributeError, TypeError, ValueError) as error:
        msg = f"The manifest in {folder} was edited: {str(error).splitlines()[0]}"
        raise DatasetError(msg, hint="Build the dataset again.") from error
    return plan, pinned


def _changed_files(folder: Path, manifest: dict[str, Any]) -> list[Problem]:
    problems: list[Problem] = []
    for file in manifest["files"]:
        path = folder / file["path"]
        if not path.is_file():
            problems.append(Problem(Reason.FILES_CHANGED, f"{file['path']} is missing"))
        elif (found := file_checksum(path)) != file["sha256"]:
            what = f"{file['path']} was changed since it was built: its SHA-256 was {file['sha256']} and is now {found}"
            problems.append(Problem(Reason.FILES_CHANGED, what))
    return problems


def _changes_since(joins: FeatureJoins, dataset: Dataset, manifest: dict[str, Any]) -> list[str]:
    """What the plan and the definition say now, where it differs from the manifest."""
    try:
        plan = joins.plan_for(dataset.features)
        refs = plan.resolve(dataset.features)
    except (LookupRequestError, PlanError) as error:
        return [f"the plan has changed: {error.what}"]
    definitions = definitions_of(plan, refs)
    found = [
        f"the {name} was {manifest['definitions'].get(name, 'not used')} and is now {definitions.get(name, 'not used')}"
        for name in {**manifest["definitions"], **definitions}
        if manifest["definitions"].get(name) != definitions.get(name)
    ]
    now = {
        "features": [f"{ref.view}:{ref.feature}" for ref in refs],
        "as_of": dataset.as_of,
        "label": dataset.label,
        "time_column": dataset.time_column,
        "splits": {name: None if end is None else end.isoformat() for name, end in dataset.splits.items()},
        "rows_per_file": dataset.rows_per_file,
    }
    found += _missing_since(joins, manifest)
    found += _changed_sources(joins, manifest)
    return found + [
        f"the definition's {name} was {manifest[name]!r} and is now {value!r}"
        for name, value in now.items()
        if manifest[name] != value
    ]


def _pinned_versions(manifest: Mapping[str, Any]) -> dict[str, int | None]:
    """By batch view, the version of its Delta table that a dataset was made from."""
    return {name: facts.get("version") for name, facts in manifest.get("batch_sources", {}).items()}


def _changed_sources(joins: FeatureJoins, manifest: Mapping[str, Any]) -> list[str]:
    """Sources of batch views whose content has changed since the dataset was built."""
    found = []
    for name, facts in manifest.get("batch_sources", {}).items():
        view = joins.plan.batch_views.get(name)
        try:
            now = None if view is None else fingerprint(view, joins.project.repo)
        except BatchSourceError as error:
            found.append(error.what)
            continue
        if now is not None and now != facts:
            found.append(f"the source {facts['source']!r} of the batch view {name!r} has changed")
    return found


def _missing_since(joins: FeatureJoins, manifest: dict[str, Any]) -> list[str]:
    """Events that were accepted as missing since the dataset was built: a dataset built now would lack them too."""
    found = []
    for topic, noted in manifest.get("topics", {}).items():
        history = topic_history(joins.project.log_notes, topic)
        gaps = () if history is None else history.gaps[len(noted["gaps"]) :]
        found += [
            f"{topic}[{gap.partition}] has lost offsets {gap.first} to {gap.last} since; "
            f"that was accepted on {gap.accepted_at[:10]}"
            for gap in gaps
        ]
    return found


def _changed_spine(joins: FeatureJoins, pinned: Dataset, manifest: dict[str, Any]) -> list[Problem]:
    spine = spine_of(joins, pinned)
    if table_checksum(spine) == manifest["spine"]["sha256"]:
        return []
    rows = manifest["spine"]["rows"]
    what = f"the spine is different: it had {rows:,} rows and has {spine.num_rows:,}, or their values differ"
    return [Problem(Reason.SPINE_CHANGED, what)]


def _built_again(joins: FeatureJoins, pinned: Dataset, folder: Path, manifest: dict[str, Any]) -> list[Problem]:
    with tempfile.TemporaryDirectory(prefix="headrace-verify-") as again:
        built = export_dataset(
            joins,
            pinned,
            Path(again) / "dataset",
            versions=manifest["logs"],
            source_versions=_pinned_versions(manifest),
        )
        return _compare(folder, manifest, built.folder, built.manifest)


def _compare(folder: Path, before: dict[str, Any], built: Path, now: dict[str, Any]) -> list[Problem]:
    old = {file["path"]: file for file in before["files"]}
    new = {file["path"]: file for file in now["files"]}
    found = [f"{path} is not written any more" for path in old.keys() - new.keys()]
    found += [f"{path} is written in addition" for path in new.keys() - old.keys()]
    problems = [Problem(Reason.DIFFERS, what) for what in found]
    for path in sorted(old.keys() & new.keys()):
        if old[path]["sha256"] != new[path]["sha256"]:
            rows = f"{old[path]['rows']:,} rows before, {new[path]['rows']:,} now"
            same = _same_values(folder / path, built / path)
            reason = Reason.LIBRARIES_CHANGED if same else Reason.DIFFERS
            problems.append(Problem(reason, f"{path} comes out with different bytes ({rows}){same}"))
    if problems:
        problems += [
            Problem(Reason.DIFFERS, f"the statistics of {name} were {facts} and are now {now['statistics'].get(name)}")
            for name, facts in before["statistics"].items()
            if now["statistics"].get(name) != facts
        ]
    return problems


def _same_values(old: Path, new: Path) -> str:
    """If only the bytes differ: that they do, and who wrote them. Else nothing."""
    try:
        if table_checksum(parquet.read_table(old)) != table_checksum(parquet.read_table(new)):
            return ""
        wrote = [parquet.read_metadata(path).created_by for path in (old, new)]
    except (OSError, pa.ArrowException):
        return ""  # the file was changed; another problem says so already
    return f" but the same values: {wrote[0]} wrote it, and {wrote[1]} writes it now"


def _shown(versions: dict[str, str] | None) -> str:
    return ", ".join(f"{name} {version}" for name, version in (versions or {}).items())
