"""Building and verifying datasets, for the commands and the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headrace.config import Project
from headrace.training import TrainingClient, export_dataset, load_dataset, read_manifest
from headrace.training import verify_dataset as verify_built

__all__ = ["build_dataset", "verify_dataset"]


def build_dataset(project: Project, name: str, out: Path) -> dict[str, Any]:
    """Build a dataset of the project and write it to `out`.

    Returns:
        For JSON: dataset, plan, the manifest's path, log versions, and rows and files by split.
    """
    built = export_dataset(TrainingClient(project), load_dataset(project, name), out)
    splits: dict[str, dict[str, int]] = {}
    for file in built.manifest["files"]:
        facts = splits.setdefault(file["split"], {"rows": 0, "files": 0})
        facts["rows"] += file["rows"]
        facts["files"] += 1
    return {
        "dataset": name,
        "plan": built.manifest["plan"],
        "manifest": str(built.folder / "manifest.json"),
        "logs": built.manifest["logs"],
        "splits": splits,
        "problems": built.manifest["problems"],
    }


def verify_dataset(project: Project, path: Path) -> dict[str, Any]:
    """Build a dataset again from its manifest and compare.

    Returns:
        For JSON: dataset, whether the bytes are the same, how many files, what differs, and notes.
    """
    _, manifest = read_manifest(path)
    name = manifest["dataset"]
    report = verify_built(TrainingClient(project), load_dataset(project, name), path)
    return {
        "dataset": name,
        "ok": report.ok,
        "files": report.files,
        "problems": list(report.problems),
        "reasons": [
            {
                "reason": str(reason),
                "problems": [one for one in report.problems if one.reason is reason],
                "do": reason.hint,
            }
            for reason in report.reasons
        ],
        "notes": list(report.notes),
    }
