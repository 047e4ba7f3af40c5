"""Forgetting entities: first the ledger, so that nothing comes back; then what is stored; then the receipts.

The ledger notes an erasure as begun, with how many of its events the log had, before anything is removed, and as
finished once the receipt is written. So one that is cut short anywhere is known to be, and forgetting the entity again
finishes it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headrace.config import Clock, Project
from headrace.erasure.dataset_search import Holder, datasets_holding
from headrace.erasure.inventory import Inventory, Places, inventory_of, places_of, stale_views
from headrace.erasure.ledger import Entity, Erasure, Ledger
from headrace.errors import ConfigError, LookupRequestError
from headrace.log import EventLog, LookupTable, topic_history
from headrace.plan import Plan
from headrace.rows import open_rows
from headrace.state import StateFile
from headrace.stores import OnlineStore
from headrace.times import iso_time

__all__ = ["Forgotten", "forget", "forget_all", "never_held"]


@dataclass
class Forgotten:
    """What forgetting an entity did.

    Attributes:
        names: Its join keys' names.
        digest: Its HMAC in the ledger.
        erased_us: When, by the wall clock.
        before_us: Events dated before it stay out, by the project's clock.
        through: By topic and partition, the offset through which events stay out.
        online: By view, how many records were removed.
        log: By topic, how many events were removed from the log, with those that an erasure cut short had removed
            before.
        log_versions: By topic, the log's version since.
        lookups: How many recorded lookups were removed.
        lookups_version: The version of their table since.
        datasets: The exported datasets that still have it.
        stale_views: Views whose records must be created again from the log: they counted its events for other entities,
            or are stored under another definition than the plan's.
        receipt: The receipt's path.
    """

    names: tuple[str, ...]
    digest: str
    erased_us: int
    before_us: int
    through: dict[str, dict[int, int]] = field(default_factory=dict)
    online: dict[str, int] = field(default_factory=dict)
    log: dict[str, int] = field(default_factory=dict)
    log_versions: dict[str, int | None] = field(default_factory=dict)
    lookups: int = 0
    lookups_version: int | None = None
    datasets: list[Holder] = field(default_factory=list)
    stale_views: list[str] = field(default_factory=list)
    receipt: str = ""


def forget(
    project: Project,
    plan: Plan,
    store: OnlineStore,
    entity: Entity,
    *,
    alone: bool,
    folders: Iterable[Path] | None = None,
    grace_s: float = 3.0,
) -> Forgotten:
    """Erase one entity; see `forget_all`."""
    return forget_all(project, plan, store, [entity], alone=alone, folders=folders, grace_s=grace_s)[0]


def forget_all(
    project: Project,
    plan: Plan,
    store: OnlineStore,
    entities: Sequence[Entity],
    *,
    alone: bool,
    folders: Iterable[Path] | None = None,
    grace_s: float = 3.0,
    make_anew: Callable[[], None] | None = None,
) -> list[Forgotten]:
    """Erase entities, so that no replay and no late event brings them back.

    Forgetting again is safe, and finishes what was cut short.

    Args:
        project: The project.
        plan: Its plan.
        store: The online store, open to write.
        entities: Each is join keys and values (times in µs). With several keys, what is erased is what has all of them.
        alone: Whether no worker runs: so it is where the store is one that a single worker locks.
        folders: Where to look for exported datasets; None is the project and its state folder.
        grace_s: Where workers run, how long they are given to read the ledger before anything is removed, in seconds.
        make_anew: Makes every online record again from the log, where no worker runs; called once if any view needs it.
            None leaves that to a worker.

    Returns:
        What was removed of each, and what still holds it.

    Raises:
        LookupRequestError: A join key is unknown, is made by a transform and so not in the log, or is of another type;
            or nothing was ever stored of an entity. Nothing was erased.
        ConfigError: The ledger cannot be read.
        LogError, LogUnavailableError, StoreUnavailableError: Not everything was removed; forget again.
    """
    where = None if folders is None else list(folders)
    all_places = [places_of(plan, store, entity) for entity in entities]
    inventories = [inventory_of(project, plan, store, places, where) for places in all_places]
    unknown = [places for places, found in zip(all_places, inventories, strict=True) if not found.is_known]
    if unknown:
        raise never_held(plan, unknown[0].entity)
    ledger = Ledger.load(project.erasures)
    begun = [_begin(project, ledger, store, *one) for one in zip(all_places, inventories, strict=True)]
    if not alone:
        time.sleep(grace_s)
    for places, done in zip(all_places, begun, strict=True):
        _erase(project, store, places, done, alone=alone)
        if not alone:
            _erase_what_came_meanwhile(project, ledger, store, places, done)
    store.sync()
    for places, done in zip(all_places, begun, strict=True):
        lost = {topic for topic, count in done.log.items() if count}
        done.stale_views = stale_views(plan, store.catalogue(), ledger, lost, set(places.entity))
        done.datasets = datasets_holding(where or [project.root, project.state], places.scalars)
    erased_us = time.time_ns() // 1000  # what is made from now on is made of what is left
    if make_anew is not None and any(done.stale_views for done in begun):
        make_anew()
    for done in begun:
        done.erased_us = erased_us
        done.receipt = str(_write_receipt(project, plan, done))
        ledger.finish(_entry(project, done, store))
    return begun


def never_held(plan: Plan, entity: Entity) -> LookupRequestError:
    """The error of an entity of which nothing was ever stored."""
    types = {column.name: column.dtype for view in plan.views.values() for column in view.entities}
    named = " and ".join(f"{name} = {value!r} ({types[name]})" for name, value in sorted(entity.items()))
    msg = (
        f"Nothing was ever stored of {named}: no online record, no event in the log, no recorded lookup, no dataset. "
        "Nothing was erased."
    )
    return LookupRequestError(msg, hint="Check the spelling: keys are compared letter by letter.")


def _begin(project: Project, ledger: Ledger, store: OnlineStore, places: Places, inventory: Inventory) -> Forgotten:
    """Write the ledger, from when on workers drop what is old of the entity."""
    now = time.time_ns() // 1000
    positions = store.positions()
    newest = max((position.record_ts_us for position in positions.values()), default=0)
    before = now if project.clock is Clock.SYSTEM else newest
    done = Forgotten(tuple(sorted(places.entity)), ledger.digest(places.entity), now, before, log=dict(inventory.log))
    done.through = _through(project, store, places)
    ledger.begin(_entry(project, done, store))
    # With what an erasure that was cut short has removed already: a receipt is about all of it.
    done.log = dict(ledger.erasures[done.digest].rows) if inventory.is_cut_short else dict(inventory.log)
    return done


def _entry(project: Project, done: Forgotten, store: OnlineStore) -> Erasure:
    lineages, identities = store.catalogue().lineages, {}
    for topic in done.through:
        # The store may have been emptied; what is noted with the log is still there.
        history = topic_history(project.log_notes, topic)
        identity = lineages.get(topic) if history is None else history.lineage
        if identity is not None:
            identities[topic] = identity
    return Erasure(
        done.names, done.digest, done.before_us, done.erased_us, dict(done.through), identities, dict(done.log)
    )


def _erase(project: Project, store: OnlineStore, places: Places, done: Forgotten, *, alone: bool) -> None:
    _erase_online(project, store, places, done)
    for source in places.sources:
        rows, done.log_versions[source.topic] = EventLog(project.log_root, source).erase(places.scalars, alone=alone)
        done.log[source.topic] = max(done.log.get(source.topic, 0), rows)
    done.lookups, done.lookups_version = LookupTable(project.audit_root).erase(places.as_json, alone=alone)


def _erase_what_came_meanwhile(
    project: Project, ledger: Ledger, store: OnlineStore, places: Places, done: Forgotten
) -> None:
    """Erase what workers have applied in the meantime, from the online store and from the log."""
    _erase_online(project, store, places, done)
    done.through = _through(project, store, places)
    ledger.begin(_entry(project, done, store))
    for source in places.sources:
        rows, done.log_versions[source.topic] = EventLog(project.log_root, source).erase(places.scalars, alone=False)
        done.log[source.topic] += rows


def _through(project: Project, store: OnlineStore, places: Places) -> dict[str, dict[int, int]]:
    """By topic and source partition, the last offset that store or log hold."""
    positions, found = store.positions(), {}
    for source in places.sources:
        applied = {at.partition: one.offset for at, one in positions.items() if at.topic == source.topic}
        logged = EventLog(project.log_root, source).last_offsets(sorted(applied) or None)
        found[source.topic] = {
            partition: max(applied.get(partition, -1), logged.get(partition, -1))
            for partition in sorted({*applied, *logged})
        }
    return found


def _erase_online(project: Project, store: OnlineStore, places: Places, done: Forgotten) -> None:
    for view in places.views:
        removed = store.delete(view.hash, places.entities(store, view))
        done.online[view.name] = done.online.get(view.name, 0) + removed
    if places.batch_views:
        with open_rows(project.store_url, writable=True) as rows:
            for row_view in places.batch_views:
                removed = rows.delete(row_view.rows_hash, places.row_entities(rows, row_view))
                done.online[row_view.name] = done.online.get(row_view.name, 0) + removed


def _write_receipt(project: Project, plan: Plan, done: Forgotten) -> StateFile:
    erased_at = iso_time(done.erased_us) or ""
    file = project.erasures.file(f"receipts/{erased_at.replace(':', '').replace('-', '')}-{done.digest[:12]}.json")
    try:
        file.write((json.dumps(receipt(plan, done), indent=2) + "\n").encode())
    except OSError as error:
        msg = f"Everything was erased, but the receipt {file} cannot be written: {error}."
        raise ConfigError(msg, hint="Make the folder writable and forget the entity again.") from error
    return file


def receipt(plan: Plan, done: Forgotten) -> Mapping[str, Any]:
    """What an auditor may read: what was removed, when and where, and not of whom."""
    return {
        "erased_at": iso_time(done.erased_us),
        "entity": list(done.names),
        "hmac_sha256": done.digest,
        "plan": plan.hash,
        "removed": {"online_records": done.online, "log_events": done.log, "recorded_lookups": done.lookups},
        "versions": {"log": done.log_versions, "recorded_lookups": done.lookups_version},
        "stays_out": {"through_offset": done.through, "dated_before": iso_time(done.before_us)},
        "views_to_make_anew": done.stale_views,
        "datasets_that_still_hold_it": [asdict(one) for one in done.datasets],
    }
