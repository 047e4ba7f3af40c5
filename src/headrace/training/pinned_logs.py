"""Whether the log versions that a manifest pins can still be read, and if not, why exactly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headrace.config import Project
from headrace.erasure import Ledger
from headrace.errors import LogError
from headrace.log import EventLog, LogSnapshot
from headrace.plan import Plan
from headrace.training.verify_reasons import Problem, Reason

__all__ = ["lost_versions"]


def lost_versions(project: Project, plan: Plan, manifest: Mapping[str, Any]) -> list[Problem]:
    """Why the log versions that a dataset was built from cannot be read.

    Args:
        project: The project.
        plan: The plan that the manifest holds.
        manifest: The manifest.

    Returns:
        A problem for each such log; empty if all versions are there.
    """
    reasons = (
        _why_lost(
            project, EventLog(project.log_root, plan.source_for_topic(topic)), version, manifest["tables"].get(topic)
        )
        for topic, version in manifest["logs"].items()
        if version is not None
    )
    return [reason for reason in reasons if reason is not None]


def _why_lost(project: Project, log: EventLog, version: int, table_id: str | None) -> Problem | None:
    topic = log.source.topic
    newest = log.version()
    if newest is None:
        what = f"the log of {topic!r} is gone: there is none at {log.location}, and version {version} of it is pinned"
        return Problem(Reason.NEW_LOG, what)
    found = log.table_id()
    if found != table_id:
        what = (
            f"the log of {topic!r} was created again: the table at {log.location} is {found}, "
            f"and version {version} of {table_id} is pinned"
        )
        return Problem(Reason.NEW_LOG, what)
    if version > newest:
        what = f"the log of {topic!r} was set back: it has versions up to {newest}, and version {version} is pinned"
        return Problem(Reason.LOG_SET_BACK, what)
    receipt = _receipt(project, topic, version)
    try:
        snapshot = log.snapshot(version)
    except LogError as error:
        if receipt is not None:
            return Problem(receipt.reason, f"version {version} of the log of {topic!r} is gone: {receipt}")
        what = (
            f"version {version} of the log of {topic!r} is gone, although there is version {newest}: the commits that "
            f"led to it were removed, as by a clean-up of Delta's log ({error.what})"
        )
        return Problem(Reason.VERSIONS_REMOVED, what)
    return _why_unreadable(snapshot, log.snapshot(), receipt)


def _why_unreadable(snapshot: LogSnapshot, newest: LogSnapshot, receipt: Problem | None) -> Problem | None:
    infos = snapshot.filesystem.get_file_info([file.path for file in snapshot.files])
    missing = [file for file, info in zip(snapshot.files, infos, strict=True) if not info.is_file]
    if not missing:
        return None
    rows = sum(file.rows for file in missing)
    pinned = f"version {snapshot.version} of the log of {snapshot.topic!r} pins {len(snapshot.files):,} files"
    what = f"{pinned}, and {len(missing):,} of them"
    events = f"{rows:,} events"
    if receipt is not None:
        return Problem(receipt.reason, f"{what} ({events}) are gone: {receipt}")
    first = missing[0].path.removeprefix(f"{snapshot.path}/")
    if {file.path for file in missing} & {file.path for file in newest.files}:
        reason, why = Reason.LOG_DAMAGED, "the newest version names them too, so the log is damaged"
    else:
        reason = Reason.VERSIONS_REMOVED
        why = (
            "later versions do not name them, and they were removed, as by an optimise and a vacuum of the Delta table"
        )
    return Problem(
        reason, f"{what} ({events}) are gone, such as {first}; the log is at version {newest.version} now: {why}"
    )


def _receipt(project: Project, topic: str, version: int) -> Problem | None:
    """The problem that events were erased from a log after a version; None if none were."""
    receipts = project.erasures.below("receipts")
    for name in receipts.names():
        try:
            stored = receipts.read(name)
            receipt = json.loads(b"" if stored is None else stored.data)
            removed, since = receipt["removed"]["log_events"].get(topic), receipt["versions"]["log"].get(topic)
            erased_at = receipt["erased_at"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # not a receipt of ours: it explains nothing
        if removed and since is not None and since > version:
            what = f"events of an erased entity were in them, removed at {erased_at} (receipt {name})"
            return Problem(Reason.ERASED, what)
    begun = [one for one in Ledger.load(project.erasures).erasures.values() if not one.is_finished]
    if any(one.rows.get(topic) for one in begun):
        what = "an erasure began to remove events and was interrupted; forget the entity again to get a receipt"
        return Problem(Reason.ERASED, what)
    return None
