"""Forgetting an entity: ledger first, so that nothing comes back; then online records, log and recorded lookups; then the receipt."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from headrace.config import Clock, Project
from headrace.erasure.datasets import Holder, datasets_holding
from headrace.erasure.ledger import Entity, Erasure, Ledger
from headrace.errors import LookupRequestError
from headrace.events.batch import ARROW_TYPES
from headrace.log import EventLog, LookupTable
from headrace.online import OnlineStore
from headrace.online.meta import definitions, topic_fact, view_facts
from headrace.online.versions import definition_of
from headrace.plan import DType, Plan, Source, View
from headrace.times import iso_time

__all__ = ["Forgotten", "forget"]


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
        log: By topic, how many events were removed from the log.
        log_versions: By topic, the log's version since.
        lookups: How many recorded lookups were removed.
        lookups_version: The version of their table since.
        datasets: The exported datasets that still hold it.
        stale_views: Views whose records must be made anew from the log: they counted its events for other entities, or
            are held under another definition than the plan's.
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
    """Erase an entity, and see to it that neither a replay nor a late event brings it back.

    Forgetting again is safe, and finishes what was cut short.

    Args:
        project: The project.
        plan: Its plan.
        store: The online store, open to write.
        entity: Join keys and values (times in µs). With several, what is erased is what has all of them.
        alone: Whether no worker runs: so it is where the store is one that a single worker locks.
        folders: Where to look for exported datasets; None is the project and its state folder.
        grace_s: Where workers run, how long they are given to read the ledger before anything is removed, in seconds.

    Returns:
        What was removed, and what still holds it.

    Raises:
        LookupRequestError: A join key is unknown, or is made by a transform and so not in the log.
        ConfigError: The ledger cannot be read.
        LogError, LogUnavailableError, StoreUnavailableError: Not everything was removed; forget again.
    """
    sources, views = _holders(plan, entity)
    ledger = Ledger.load(project.erasure_path)
    done = _noted(project, ledger, store, sources, entity)
    if not alone:
        time.sleep(grace_s)
    views += _other_versions(store, views, entity)
    _erase_online(store, views, entity, done)
    values = _scalars(sources, entity)
    for source in sources:
        erased = EventLog(project.log_path, source).erase(values, alone=alone)
        done.log[source.topic], done.log_versions[source.topic] = erased
    lookups = LookupTable(project.audit_path).erase(_as_json(sources, entity), alone=alone)
    done.lookups, done.lookups_version = lookups
    if not alone:
        _erase_online(store, views, entity, done)  # a round that was under way may have written once more
    store.sync()
    done.datasets = datasets_holding(folders or [project.root, project.state], values)
    done.stale_views = _stale(plan, store, sources, entity, done)
    done.erased_us = time.time_ns() // 1000
    ledger.add(replace(_entry(done, store), rows=dict(done.log)))
    done.receipt = str(_write_receipt(project, plan, done))
    return done


def _stale(plan: Plan, store: OnlineStore, sources: list[Source], entity: Entity, done: Forgotten) -> list[str]:
    """The views that counted the entity's events for others, and those that the store holds under another definition."""
    lost = {source.name for source in sources if done.log[source.topic]}
    facts = store.meta()
    versions = {view.hash: view for view in plan.views.values()} | _held_versions(facts)
    counted = {
        view.name for view in versions.values() if view.source in lost and not set(entity) <= set(view.join_keys)
    }
    current = {view.name: view.hash for view in plan.views.values()}
    outdated = {name for name, held in view_facts(facts).items() if current.get(name) != held}
    return sorted(counted | outdated)


def _holders(plan: Plan, entity: Entity) -> tuple[list[Source], list[View]]:
    """The sources whose events, and the views whose records, can be the entity's."""
    names = set(entity)
    views = [view for view in plan.views.values() if names <= set(view.join_keys)]
    if not views:
        known = sorted({key for view in plan.views.values() for key in view.join_keys})
        msg = f"No view is keyed by {' and '.join(sorted(names))}."
        raise LookupRequestError(msg, cure=f"Join keys are: {', '.join(known) or 'none'}.")
    for view in views:
        derived = names - {column.name for column in plan.source_of(view).columns}
        if derived:
            msg = f"{sorted(derived)[0]!r}, a key of the view {view.name!r}, is made by a transform and is not in the log."
            raise LookupRequestError(msg, cure="Forget by the field of the event that it is made from.")
    return [source for source in plan.sources.values() if names <= {column.name for column in source.columns}], views


def _other_versions(store: OnlineStore, views: list[View], entity: Entity) -> list[View]:
    """The versions of views that the store holds beside the plan's: those before, and those being built."""
    known = {view.hash for view in views}
    held = _held_versions(store.meta()).values()
    return [view for view in held if view.hash not in known and set(entity) <= set(view.join_keys)]


def _held_versions(facts: Mapping[str, str]) -> dict[str, View]:
    found = {view_hash: definition_of(facts, view_hash) for view_hash in definitions(facts)}
    return {view_hash: view for view_hash, view in found.items() if view is not None}


def _noted(project: Project, ledger: Ledger, store: OnlineStore, sources: list[Source], entity: Entity) -> Forgotten:
    """Write the ledger, from when on workers drop what is old of the entity."""
    now = time.time_ns() // 1000
    positions = store.positions()
    newest = max((position.record_ts_us for position in positions.values()), default=0)
    before = now if project.clock is Clock.SYSTEM else newest
    done = Forgotten(tuple(sorted(entity)), ledger.digest(entity), now, before)
    for source in sources:
        applied = {at.partition: one.offset for at, one in positions.items() if at.topic == source.topic}
        logged = EventLog(project.log_path, source).last_offsets(sorted(applied) or None)
        done.through[source.topic] = {
            partition: max(applied.get(partition, -1), logged.get(partition, -1))
            for partition in sorted({*applied, *logged})
        }
    ledger.add(_entry(done, store))
    return done


def _entry(done: Forgotten, store: OnlineStore) -> Erasure:
    facts = store.meta()
    identities = {topic: facts[topic_fact(topic)] for topic in done.through if topic_fact(topic) in facts}
    return Erasure(done.names, done.digest, done.before_us, done.erased_us, dict(done.through), identities)


def _erase_online(store: OnlineStore, views: list[View], entity: Entity, done: Forgotten) -> None:
    for view in views:
        places = [(view.join_keys.index(name), value) for name, value in entity.items()]
        held = [
            key
            for key in store.entities(view.hash)
            if all(_same(json.loads(key)[place], value) for place, value in places)
        ]
        done.online[view.name] = done.online.get(view.name, 0) + store.delete(view.hash, held)


def _same(one: Any, other: Any) -> bool:
    return bool(one == other and isinstance(one, bool) == isinstance(other, bool))


def _scalars(sources: list[Source], entity: Entity) -> dict[str, pa.Scalar]:
    types = {name: ARROW_TYPES[sources[0].column(name).dtype] for name in entity}
    return {name: pa.scalar(value, types[name]) for name, value in entity.items()}


def _as_json(sources: list[Source], entity: Entity) -> dict[str, Any]:
    """The entity as recorded lookups hold it."""
    return {
        name: iso_time(value) if sources[0].column(name).dtype is DType.TIMESTAMP else value
        for name, value in entity.items()
    }


def _write_receipt(project: Project, plan: Plan, done: Forgotten) -> Path:
    folder = project.erasure_path / "receipts"
    folder.mkdir(parents=True, exist_ok=True)
    erased_at = iso_time(done.erased_us) or ""
    path = folder / f"{erased_at.replace(':', '').replace('-', '')}-{done.digest[:12]}.json"
    path.write_text(json.dumps(receipt(plan, done), indent=2) + "\n", encoding="utf-8")
    return path


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
