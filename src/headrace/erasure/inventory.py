"""What is stored of an entity, and where: what forgetting it would remove. Looking changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from headrace.config import Project
from headrace.erasure.dataset_search import Holder, datasets_holding
from headrace.erasure.ledger import Entity, Erasure, Ledger
from headrace.errors import LookupRequestError
from headrace.events.event_batch import ARROW_TYPES
from headrace.log import EventLog, LookupTable
from headrace.plan import BatchView, DType, Plan, Source, View
from headrace.records.entity_keys import entity_values
from headrace.rows import RowStore, open_rows
from headrace.stores import Catalogue, OnlineStore
from headrace.times import date_of, iso_time

__all__ = ["Inventory", "Places", "places_of", "stale_views", "views_counting_erased", "inventory_of"]

_KINDS: dict[DType, tuple[type, str]] = {
    DType.INT64: (int, "an integer"),
    DType.TIMESTAMP: (int, "a time (in µs)"),
    DType.DATE: (int, "a date (in days since 1970)"),
    DType.STRING: (str, "text"),
    DType.BOOL: (bool, "true or false"),
}

_WRITTEN: dict[DType, Callable[[int], Any]] = {
    DType.TIMESTAMP: iso_time,
    DType.DATE: lambda days: date_of(days).isoformat(),
}


@dataclass(frozen=True)
class Places:
    """Where an entity can be stored.

    Attributes:
        entity: Its join keys and values.
        sources: The sources whose events can be its.
        views: The views whose records can be its: the plan's, and other versions of them that the store holds.
        batch_views: The batch views whose rows can be its.
    """

    entity: Entity
    sources: list[Source]
    views: list[View]
    batch_views: tuple[BatchView, ...] = ()

    @property
    def scalars(self) -> dict[str, pa.Scalar]:
        """Its values as the log holds them, by join key."""
        types = {name: ARROW_TYPES[self.sources[0].column(name).dtype] for name in self.entity}
        return {name: pa.scalar(value, types[name]) for name, value in self.entity.items()}

    @property
    def as_json(self) -> dict[str, Any]:
        """Its values as recorded lookups hold them, by join key."""
        types = {name: self.sources[0].column(name).dtype for name in self.entity}
        return {
            name: _WRITTEN[types[name]](value) if types[name] in _WRITTEN else value
            for name, value in self.entity.items()
        }

    def entities(self, store: OnlineStore, view: View) -> list[bytes]:
        """The keys of a view's entities that have these join key values."""
        return self._matching(view, store.entities(view.hash))

    def row_entities(self, rows: RowStore, view: BatchView) -> list[bytes]:
        """The keys of a batch view's entities that have these join key values."""
        return self._matching(view, rows.entities(view.rows_hash))

    def _matching(self, view: View | BatchView, keys: Iterable[bytes]) -> list[bytes]:
        places = [(view.join_keys.index(name), value) for name, value in self.entity.items()]
        return [key for key in keys if all(_same(entity_values(key)[place], value) for place, value in places)]


@dataclass(frozen=True)
class Inventory:
    """What is stored of an entity.

    Attributes:
        names: Its join keys' names.
        online: By view, how many online records or rows.
        log: By topic, how many events in the log.
        old_files: By topic, how many files of older versions of the log hold events of it.
        lookups: How many recorded lookups.
        datasets: The exported datasets that hold it.
        made_anew: The views that counted its events for other entities, or are stored under another definition than the
            plan's: their records would be created again from the log.
        erasure: How it was erased before; None where it was not.
    """

    names: tuple[str, ...]
    online: dict[str, int]
    log: dict[str, int]
    old_files: dict[str, int]
    lookups: int
    datasets: list[Holder]
    made_anew: list[str]
    erasure: Erasure | None

    @property
    def is_known(self) -> bool:
        """Whether anything is stored of it, or was stored and has been erased."""
        counts = (*self.online.values(), *self.log.values(), *self.old_files.values(), self.lookups)
        return any(counts) or bool(self.datasets) or self.erasure is not None

    @property
    def is_cut_short(self) -> bool:
        """Whether an erasure of it was begun and not finished."""
        return self.erasure is not None and not self.erasure.is_finished


def places_of(plan: Plan, store: OnlineStore | None, entity: Entity) -> Places:
    """Where an entity can be stored.

    Args:
        plan: The project's plan.
        store: The online store; None where there is none yet.
        entity: Join keys and values (times in µs).

    Raises:
        LookupRequestError: A join key is unknown, is made by a transform and so not in the log, or is of another type.
    """
    names = set(entity)
    keyed = [view for view in plan.views.values() if names <= set(view.join_keys)]
    if not keyed:
        known = sorted({key for view in plan.views.values() for key in view.join_keys})
        msg = f"No view is keyed by {' and '.join(sorted(names))}."
        raise LookupRequestError(msg, hint=f"Join keys are: {', '.join(known) or 'none'}.")
    for view in keyed:
        derived = names - {column.name for column in plan.source_of(view).columns}
        if derived:
            key = sorted(derived)[0]
            msg = f"{key!r}, a key of the view {view.name!r}, is made by a transform and is not in the log."
            raise LookupRequestError(msg, hint="Forget by the field of the event that it is made from.")
    views = [view for view in keyed if _fits(view, entity)]
    if not views:
        raise _other_type(keyed, entity)
    sources = [
        source
        for source in plan.sources.values()
        if names <= {column.name for column in source.columns}
        and all(_is_of(value, source.column(name).dtype) for name, value in entity.items())
    ]
    known_views = {view.hash for view in views}
    others = [] if store is None else list(store.catalogue().definitions().values())
    views += [
        view for view in others if view.hash not in known_views and names <= set(view.join_keys) and _fits(view, entity)
    ]
    batch_views = [view for view in plan.batch_views.values() if names <= set(view.join_keys) and _fits(view, entity)]
    return Places(entity, sources, views, tuple(batch_views))


def inventory_of(
    project: Project, plan: Plan, store: OnlineStore | None, places: Places, folders: Iterable[Path] | None = None
) -> Inventory:
    """Look for an entity everywhere that headrace keeps something.

    Args:
        project: The project.
        plan: Its plan.
        store: The online store; None where there is none yet.
        places: Where the entity can be stored.
        folders: Where to look for exported datasets; None is the project and its state folder.

    Raises:
        LogError: The log or the table of recorded lookups is damaged.
        ConfigError: The ledger cannot be read.
        StoreUnavailableError: The online store is away.
    """
    values = places.scalars
    found = {source.topic: EventLog(project.log_root, source).holds(values) for source in places.sources}
    online: dict[str, int] = {}
    if store is not None:
        for view in places.views:
            of_view = store.lookup({view.hash: places.entities(store, view)}).records[view.hash]
            online[view.name] = online.get(view.name, 0) + len(of_view.records)
    if places.batch_views:
        with open_rows(project.store_url, writable=False) as held:
            online |= {view.name: len(places.row_entities(held, view)) for view in places.batch_views}
    ledger = Ledger.load(project.erasures)
    erasure = ledger.erasures.get(ledger.digest(places.entity)) if ledger.erasures else None
    log = {topic: matches.rows for topic, matches in found.items()}
    rows = _more(log, erasure.rows if erasure is not None and not erasure.is_finished else {})
    lost = {topic for topic, count in rows.items() if count}
    return Inventory(
        names=tuple(sorted(places.entity)),
        online=online,
        log=log,
        old_files={topic: matches.old_files for topic, matches in found.items()},
        lookups=LookupTable(project.audit_root).holds(places.as_json).rows,
        datasets=datasets_holding(folders or [project.root, project.state], values),
        made_anew=[] if store is None else stale_views(plan, store.catalogue(), ledger, lost, set(places.entity)),
        erasure=erasure,
    )


def stale_views(
    plan: Plan, catalogue: Catalogue, ledger: Ledger, lost: Iterable[str] = (), names: Iterable[str] = ()
) -> list[str]:
    """The views that still count erased events for other entities, or that the store has under another definition.

    Args:
        plan: The project's plan.
        catalogue: What the store says of itself.
        ledger: The erasures so far.
        lost: The topics of events that are being erased.
        names: The join keys by which they are.
    """
    current = {view.name: view.hash for view in plan.views.values()}
    outdated = {name for name, live in catalogue.live.items() if current.get(name) != live}
    return sorted(outdated | views_counting_erased(plan, catalogue, ledger, lost, names))


def views_counting_erased(
    plan: Plan, catalogue: Catalogue, ledger: Ledger, lost: Iterable[str] = (), names: Iterable[str] = ()
) -> set[str]:
    """The views that count erased events for other entities still; see `stale_views`."""
    versions = {view.hash: view for view in plan.views.values()} | catalogue.definitions()
    gone = [(set(names), set(lost))]
    filled = catalogue.origin.filled_us
    if filled is not None:  # otherwise it is not known whether the records are older than an erasure
        before = (one for one in ledger.erasures.values() if filled <= one.until_us)
        gone += [(set(one.names), {topic for topic, rows in one.rows.items() if rows}) for one in before]
    return {
        view.name
        for view in versions.values()
        for keys, topics in gone
        if view.source in plan.sources and plan.sources[view.source].topic in topics and not keys <= set(view.join_keys)
    }


def _more(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {topic: max(one.get(topic, 0), other.get(topic, 0)) for topic in {**one, **other}}


def _fits(view: View | BatchView, entity: Entity) -> bool:
    types = {column.name: column.dtype for column in view.entities}
    return all(_is_of(value, types[name]) for name, value in entity.items())


def _is_of(value: Any, dtype: DType) -> bool:
    kind = _KINDS.get(dtype)
    return kind is None or type(value) is kind[0]  # bool is an int to Python, and another key


def _other_type(views: list[View], entity: Entity) -> LookupRequestError:
    types = {column.name: column.dtype for view in views for column in view.entities}
    name, value = next(
        ((name, value) for name, value in entity.items() if not _is_of(value, types[name])), next(iter(entity.items()))
    )
    kind = _KINDS.get(types[name])
    msg = f"The key {name!r} is {kind[1] if kind else types[name]}, and {value!r} is a {type(value).__name__}."
    return LookupRequestError(msg, hint="Nothing was erased. Give the value in the type that events have.")


def _same(one: Any, other: Any) -> bool:
    return bool(one == other and isinstance(one, bool) == isinstance(other, bool))
