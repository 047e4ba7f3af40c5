"""Makes imported events readable online, unless a worker must do it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from headrace.config import Project
from headrace.erasure import ErasureFilter
from headrace.errors import HeadraceError, StoreLockedError
from headrace.log import EventLog
from headrace.log.log_columns import FIRST_IMPORT
from headrace.plan import Plan, Source
from headrace.records.applier import Applier
from headrace.stores import Catalogue, CatalogueChange, OnlineStore, Readiness, open_store
from headrace.worker.record_origin import note_origin
from headrace.worker.replay import replay

__all__ = ["Applied", "Known", "apply_imports", "known_of"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Applied:
    """What became of imported events online.

    Attributes:
        events: How many were applied now; None if the next worker does it.
        note: What was done, for people.
    """

    events: int | None
    note: str


@dataclass(frozen=True)
class Known:
    """What the online store knows that an import must.

    Attributes:
        partitions: The topic's partitions that it holds.
        identities: By topic, which topic of that name it was built from.
    """

    partitions: list[int]
    identities: dict[str, str]


def known_of(project: Project, plan: Plan, topic: str) -> Known:
    """What the online store knows of a topic; nothing if there is no store or it cannot be read.

    Args:
        project: The project.
        plan: Its plan.
        topic: The topic.
    """
    try:
        with open_store(project.store_url, writable=False) as store:
            lineages, positions = store.catalogue().lineages, store.positions()
    except HeadraceError:
        return Known([], {})
    topics = {source.topic for source in plan.sources.values()}
    identities = {one: lineage for one, lineage in lineages.items() if one in topics}
    return Known([at.partition for at in positions if at.topic == topic], identities)


def apply_imports(project: Project, plan: Plan, source: Source) -> Applied:
    """Apply what the log holds of a source's imports and the online store does not.

    Args:
        project: The project.
        plan: Its plan.
        source: The source.

    Returns:
        What was done; if the next worker does it, why.

    Raises:
        LogError: The log cannot be read.
        StoreUnavailableError, StaleWriteError: Not all of it was applied; importing again applies the rest.
    """
    try:
        store = open_store(project.store_url, writable=True)
    except StoreLockedError:
        return Applied(None, "A worker runs: it makes them readable online when it is started again.")
    with store:
        catalogue, is_new = store.catalogue(), not store.positions()
        why_not = _unfit(store, catalogue, project, plan, source)
        if why_not is not None:
            return Applied(None, why_not)
        log = EventLog(project.log_root, source)
        identities = {topic: lineage for topic, lineage in catalogue.lineages.items() if topic == source.topic}
        applier = Applier(plan, store, project.repo)
        erased = ErasureFilter(project.erasures, identities)
        events = replay(store, applier, [log], EventLog.imports, erased, say=logger.debug)
        if is_new:  # if not, a worker may have begun to fill it meanwhile (on Redis)
            store.end_filling()
        store.sync()
    return Applied(events, "They are readable online.")


def _unfit(store: OnlineStore, catalogue: Catalogue, project: Project, plan: Plan, source: Source) -> str | None:
    """Why events cannot be applied under this plan; None if they can. An empty store takes over the plan."""
    if catalogue.readiness is Readiness.FILLING or (not store.positions() and _holds_more(project, plan, source)):
        # Alone in the store, these events would look like all there are.
        return (
            "The online store is not filled from the log yet: the next worker that starts does that, "
            "and makes them readable online."
        )
    if not store.positions():
        store.change(CatalogueChange().clock(project.clock).serve(plan.views.values(), is_filling=True))
        note_origin(store, project.log_root, plan.sources.values())
        return None
    declared = {view.name: view.hash for view in plan.views.values()}
    if catalogue.clock is project.clock and catalogue.live == declared and not catalogue.building:
        return None
    return (
        "The online store serves other versions of the views than the plan has: "
        "a worker makes them readable online when it is started."
    )


def _holds_more(project: Project, plan: Plan, source: Source) -> bool:
    """Whether the log holds anything but imports of a source."""
    logs = [EventLog(project.log_root, one) for one in plan.sources.values()]
    return any(
        log.source.topic != source.topic or partition < FIRST_IMPORT for log in logs for partition in log.last_offsets()
    )
