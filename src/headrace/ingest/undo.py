"""Undoing an import: its events leave the newest version of the log, and the online store.

An undo may be cut short after any step, and can be run again. First the list of imports says that it is being undone,
so that nothing counts it any more. Then its events leave log and store. Last the list says that it is undone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from headrace.config import Project
from headrace.errors import HeadraceError, IngestError, LogError, StoreLockedError
from headrace.events.source_partition import SourcePartition
from headrace.ingest.only_import import only_import
from headrace.log import EventLog
from headrace.log.dataset_pins import pinned_versions
from headrace.log.import_registry import Entry, Registry
from headrace.log.row_erasure import leave_out_partition
from headrace.plan import Plan, Source, View, read_plan
from headrace.stores import OnlineStore, open_store
from headrace.times import iso_time

__all__ = ["Undone", "find_import", "undo_import"]


@dataclass
class Undone:
    """What undoing an import does.

    Attributes:
        id: The import.
        topic: Its topic.
        partition: The source partition of its events.
        begun_at: When it was imported.
        events: How many events it has.
        datasets: The datasets that were built with it; they stay, and so do the versions of the log that they pin.
        removed: How many events were removed from the log now.
        version: The log's version since.
        records: How many online records were removed.
    """

    id: str
    topic: str
    partition: int
    begun_at: str
    events: int
    datasets: list[str] = field(default_factory=list)
    removed: int = 0
    version: int | None = None
    records: int = 0


def find_import(project: Project, name: str, source: str | None = None) -> tuple[Entry, Undone]:
    """The import of a name, and what undoing it would change.

    Args:
        project: The project.
        name: The import's id.
        source: The source or topic that it is of, where several have imports of that name.

    Raises:
        IngestError: There is none, there are several, or it was taken back already.
    """
    plan = read_plan(project.plan_file)
    topics = {one.name: one.topic for one in plan.sources.values()}
    wanted = None if source is None else topics.get(source, source)
    all_of_it = [entry for entry in Registry(project.log_notes).all() if wanted in (None, entry.topic)]
    named = [entry for entry in all_of_it if entry.id == name]
    found = [entry for entry in named if entry.undone_at is None]
    if not found:
        if named:
            msg = f"The import {name!r} of {named[-1].topic!r} was taken back on {named[-1].undone_at}."
            raise IngestError(msg, hint="There is nothing to do.")
        there = ", ".join(entry.id for entry in all_of_it if entry.undone_at is None) or "none"
        msg = f"There is no import {name!r}."
        raise IngestError(msg, hint=f"Imports: {there}.")
    if len(found) > 1:
        msg = f"Several topics have an import {name!r}: {', '.join(entry.topic for entry in found)}."
        raise IngestError(msg, hint="Say which: headrace import SOURCE --undo NAME.")
    entry = found[0]
    undone = Undone(entry.id, entry.topic, entry.partition, entry.begun_at, entry.events)
    undone.datasets = _datasets(project, EventLog(project.log_root, _source(plan, entry)), entry)
    return entry, undone


def undo_import(project: Project, name: str, source: str | None = None, *, now_us: int | None = None) -> Undone:
    """Undo an import. If this is cut short, doing it again continues where it ended.

    Args:
        project: The project.
        name: The import's id.
        source: The source or topic that it is of, where several have imports of that name.
        now_us: Now by the wall clock, in µs; None asks it.

    Returns:
        What was done.

    Raises:
        IngestError: There is no such import; a worker or another import is at work.
        LogError, LogUnavailableError, StoreUnavailableError: Not all of it was done; do it again.
    """
    plan = read_plan(project.plan_file)
    registry = Registry(project.log_notes)
    now = iso_time(time.time_ns() // 1000 if now_us is None else now_us)
    with only_import(project):
        entry, done = find_import(project, name, source)
        declared = _source(plan, entry)
        log = EventLog(project.log_root, declared)
        with _store(project) as store:
            _refuse_while_building(store)
            if entry.undoing_at is None:
                entry = replace(entry, undoing_at=now)
                registry.add(entry)
            done.removed, done.version = leave_out_partition(log.location, entry.partition)
            for view in _known_views(plan, store, declared):
                done.records += store.delete(
                    view.hash, store.entities(view.hash), SourcePartition(entry.topic, entry.partition)
                )
            store.sync()
        registry.add(replace(entry, undone_at=now))
    return done


def _source(plan: Plan, entry: Entry) -> Source:
    try:
        return plan.source_for_topic(entry.topic)
    except KeyError:
        msg = f"The import {entry.id!r} is of the topic {entry.topic!r}, which no source of the plan reads."
        raise IngestError(msg, hint="Declare the source again and run `headrace apply`.") from None


def _store(project: Project) -> OnlineStore:
    try:
        return open_store(project.store_url, writable=True)
    except StoreLockedError as error:
        msg = f"A worker is at work on the online store {project.store_url}. Nothing was changed."
        raise IngestError(msg, hint="Stop it, take the import back, and start it again.") from error


def _refuse_while_building(store: OnlineStore) -> None:
    if store.catalogue().building:
        msg = (
            "Another version of a view is being built from the log, and would still count the import. "
            "Nothing was changed."
        )
        raise IngestError(msg, hint="Let the worker finish it, then take the import back.")


def _known_views(plan: Plan, store: OnlineStore, source: Source) -> list[View]:
    """The versions of views over a source that the plan or the store has."""
    known = {view.hash: view for view in plan.views.values()} | store.catalogue().definitions()
    return [view for view in known.values() if view.source == source.name]


def _datasets(project: Project, log: EventLog, entry: Entry) -> list[str]:
    """The manifests of datasets whose version of the log has the import."""
    found: list[str] = []
    pinned = pinned_versions(project.pins, [project.root, project.state], log.source.topic, log.table_id())
    for version, manifests in pinned.items():
        try:
            has_it = entry.partition in log.snapshot(version).partitions()
        except (LogError, HeadraceError):
            has_it = True  # a version that cannot be read may have it
        found += manifests if has_it else []
    return sorted(found)
