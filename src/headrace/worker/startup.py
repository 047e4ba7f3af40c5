"""Before a worker starts: both stores are opened, compared with each other, and repaired.

The plan, the clock and the broker's topics must be those under which the online store was filled. What a crash left
incomplete, or a damaged store has lost, is filled from the log.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from headrace.config import Clock, Project
from headrace.erasure import ErasureFilter
from headrace.errors import LogUnavailableError, PlanMismatchError
from headrace.events.decode import EventDecoder
from headrace.events.model_schema import load_model
from headrace.events.source_partition import SourcePartition
from headrace.kafka import KafkaConnection
from headrace.kafka.topics import TopicWatch, ensure_topics
from headrace.log import EventLog, TopicNotes, Upkeep, missing_pins, pinned_versions
from headrace.log.import_registry import warn_of_half_undone
from headrace.log.log_columns import FIRST_IMPORT
from headrace.plan import Plan
from headrace.records.applier import Applier
from headrace.stores import Catalogue, CatalogueChange, OnlineStore, Readiness, open_store
from headrace.stores.served_plan import live_plan, live_view, unasked_views, unreadable
from headrace.transforms import Transformer
from headrace.worker.dead_letter_sender import KafkaDeadLetters
from headrace.worker.handoff import Handoff
from headrace.worker.pipeline import Pipeline
from headrace.worker.record_origin import check_refillable_from, note_origin
from headrace.worker.replay import keep_now, replay, replay_beside_others
from headrace.worker.source_topics import settle_topics
from headrace.worker.topic_identity import NOTHING_ACCEPTED, Accept
from headrace.worker.worker import Worker

__all__ = ["hand_off_alone", "prepare", "refill"]

logger = logging.getLogger(__name__)

_OBJECTION_S = 5.0
_REBUILD = "Run `headrace stream --rebuild`: it fills the store again from the log, under the plan as it is now."


def prepare(
    project: Project,
    plan: Plan,
    connection: KafkaConnection,
    *,
    rebuild: bool = False,
    accept: Accept = NOTHING_ACCEPTED,
    on_step: Callable[[], None] = lambda: None,
) -> Worker:
    """Open and check everything a worker runs on.

    Args:
        project: The project.
        plan: The plan.
        connection: The broker.
        rebuild: Whether to fill the online store again from the log.
        accept: What a person has accepted.
        on_step: Called for each batch of the log that is read or applied.

    Returns:
        The worker; close it.

    Raises:
        PlanMismatchError: The store was filled under another plan or clock.
        TopicError: A topic is not the one the log was made from, or the broker no longer has what comes next.
        LogError: The store would have to be filled again, from a log that is not here.
        StoreLockedError: Another worker writes the store.
        RetryableError: The broker, the store or the log is away.
    """
    decoders = {
        source.topic: EventDecoder(source, load_model(project.repo, source.model)) for source in plan.sources.values()
    }
    rule = Upkeep(project.log_small_files, project.log_target_bytes)
    logs = {source.topic: EventLog(project.log_root, source, rule) for source in plan.sources.values()}
    infos = ensure_topics(
        connection, plan.sources.values(), project.partitions, keeps_history=project.clock is Clock.RECORD
    )
    _check_writable(project)
    watch = TopicWatch(connection, [*logs])
    store = open_store(project.store_url, writable=True, replace_damaged=True, any_format=rebuild)
    try:
        topics, is_behind = settle_topics(
            TopicNotes(project.log_notes),
            store,
            logs,
            watch,
            {topic: infos[topic] for topic in logs},
            accept,
            is_embedded=project.broker is None,
        )
        before = store.positions() if is_behind else {}
        if is_behind and not rebuild:
            check_refillable_from(store, project.log_root, plan.sources.values())
            logger.warning("The online store has applied events that are gone and were not logged; it is filled again.")
        if rebuild or is_behind:
            _check_refillable(plan, logs, project, on_step)
            store.clear()
        _check_facts(store, plan, project, logs)
        warn_of_half_undone(project.log_notes, logs)
        note_origin(store, project.log_root, plan.sources.values())
        _keep_pinned(project, logs)
        store.change(topics.mirror())
        erased = ErasureFilter(project.erasures, topics.lineages)
        applier = Applier(_served(plan, store), store, project.repo)
        handoff = Handoff(
            plan,
            store,
            applier,
            logs,
            project.requests,
            erased,
            project.repo,
            topics.sizes,
            chunk_rows=project.handoff_chunk,
            objection_s=max(_OBJECTION_S, project.session_timeout) if store.is_shared else 0.0,
        )
        partitions = partial(_source_partitions, topics.sizes)
        replay_beside_others(partial(replay, store, applier, logs.values(), partitions, erased, on_step))
        keep_now(store, before)
        store.end_filling()
        dead_letters = KafkaDeadLetters(connection, project.undelivered_path)
        pipeline = Pipeline(
            plan,
            decoders,
            store,
            logs,
            project.clock,
            dead_letters,
            erased=erased,
            applier=applier,
            topics=topics,
            # A new topic's log is created by its first append, and gets its id then.
            first_logged=lambda source: note_origin(store, project.log_root, [source]),
        )
    except BaseException:
        watch.close()
        store.close()
        raise

    def close() -> None:
        dead_letters.close()
        topics.close()
        store.close()

    return Worker(plan, store, partial(EventLog, project.log_root), topics, pipeline, handoff, close)


def hand_off_alone(project: Project, plan: Plan, store: OnlineStore) -> bool:
    """Build the versions that are requested and serve them, while no worker runs.

    Args:
        project: The project.
        plan: Its plan.
        store: The store, open to write.

    Returns:
        Whether that could be done. It cannot if the store has events that the log does not have yet: a worker must
        write them first.

    Raises:
        LogError: The log cannot be read.
        StoreUnavailableError: The store is away.
    """
    logs = {source.topic: EventLog(project.log_root, source) for source in plan.sources.values()}
    for at, position in store.positions().items():
        if at.topic in logs and logs[at.topic].last_offsets([at.partition]).get(at.partition, -1) < position.offset:
            return False
    catalogue = store.catalogue()
    if catalogue.readiness is not Readiness.READY:
        return False
    erased = ErasureFilter(project.erasures, _lineages(catalogue, logs))
    applier = Applier(_served(plan, store), store, project.repo)
    handoff = Handoff(plan, store, applier, logs, project.requests, erased, project.repo)
    while handoff.build():
        pass
    handoff.join()
    handoff.settle()
    handoff.build()  # withdraws the requests that are met
    store.sync()
    return True


def _keep_pinned(project: Project, logs: Mapping[str, EventLog]) -> None:
    """See that the versions that datasets pin stay readable when this worker removes old commits."""
    for topic, log in logs.items():
        table_id = log.table_id()
        pinned = pinned_versions(project.pins, [project.root, project.state], topic, table_id)
        log.keep_readable(sorted({*pinned, *missing_pins(project.pins, topic, table_id)}))


def _served(plan: Plan, store: OnlineStore) -> Plan:
    """The plan of what the store serves."""
    catalogue = store.catalogue()
    live = live_plan(plan, catalogue)
    views = {name: view for name, view in live.views.items() if catalogue.live.get(name) == view.hash}
    for view in views.values():
        why = unreadable(view, plan.source_of(view), is_served=True)
        if why is not None:
            msg = (
                f"The online store serves {view.versioned_name}, which cannot go on under the plan as it is now: {why}."
            )
            raise PlanMismatchError(msg, hint=_REBUILD)
    served = Plan(project=plan.project, sources=plan.sources, views=views)
    for remark in unasked_views(plan, served, catalogue):
        logger.warning(remark)
    return served


def refill(store: OnlineStore, project: Project, plan: Plan) -> None:
    """Fill the store again from the log, as `--rebuild` does, while no worker runs.

    Args:
        store: The store, open to write.
        project: The project.
        plan: The plan to fill it under.

    Raises:
        LogError: The log cannot be read.
    """
    catalogue, before = store.catalogue(), store.positions()
    logs = {source.topic: EventLog(project.log_root, source) for source in plan.sources.values()}
    sizes = {topic: _size(topic, log, before) for topic, log in logs.items()}
    lineages = _lineages(catalogue, logs)
    _check_refillable(plan, logs, project)
    store.clear()
    kept = CatalogueChange()
    if catalogue.clock is not None:
        kept.clock(catalogue.clock)
    for topic, lineage in lineages.items():
        kept.topic(topic, lineage, catalogue.histories.get(topic))
    store.change(kept.serve(plan.views.values(), is_filling=True))
    note_origin(store, project.log_root, plan.sources.values())
    applier = Applier(plan, store, project.repo)
    erased = ErasureFilter(project.erasures, lineages)
    replay(store, applier, logs.values(), partial(_source_partitions, sizes), erased)
    keep_now(store, before)
    store.sync()
    store.end_filling()


def _size(topic: str, log: EventLog, positions: Iterable[SourcePartition]) -> int:
    """One more than the greatest source partition of Kafka's in log or store: the store may be filled in part only."""
    known = {*log.last_offsets(), *(at.partition for at in positions if at.topic == topic)}
    return max((number for number in known if number < FIRST_IMPORT), default=-1) + 1


def _source_partitions(sizes: Mapping[str, int], log: EventLog) -> list[int]:
    """All source partitions of a log: those of Kafka's partitions, and those of imports."""
    return [*range(sizes[log.source.topic]), *log.imports()]


def _check_refillable(
    plan: Plan, logs: Mapping[str, EventLog], project: Project, on_step: Callable[[], None] = lambda: None
) -> None:
    """Read all that the store will be filled from. If that fails, the store is left as it is."""
    for view in plan.views.values():
        Transformer(view, project.repo)
    for log in logs.values():
        for _ in log.scan():
            on_step()


def _check_writable(project: Project) -> None:
    """Raise before the first event, and not at the first append, if the log's folder cannot be written."""
    if project.log_root.uri != str(project.log_path):
        return  # creating a table there reports the reason
    try:
        project.log_path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=project.log_path):
            pass
    except OSError as error:
        msg = f"The log's folder {project.log_path} cannot be written: {error}."
        hint = "Make it writable, or set `state` in headrace.toml to another folder."
        raise LogUnavailableError(msg, hint=hint) from error


def _check_facts(store: OnlineStore, plan: Plan, project: Project, logs: dict[str, EventLog]) -> None:
    """An empty store takes over plan and clock; a filled one must have been filled under them.

    If the log has anything, an empty store answers nothing until it has that too.
    """
    catalogue = store.catalogue()
    change = CatalogueChange().clock(project.clock)
    if not store.positions():
        is_logged = any(log.last_offsets() for log in logs.values())
        change.serve(plan.views.values(), is_filling=is_logged)
    else:
        _check_plan(catalogue, plan, project)
        for view in plan.views.values():
            if catalogue.live.get(view.name) == view.hash:
                change.define(view)
    store.change(change)


def _check_plan(catalogue: Catalogue, plan: Plan, project: Project) -> None:
    if catalogue.clock != project.clock:
        msg = f"The online store was filled under the {catalogue.clock} clock; the project now says {project.clock}."
        raise PlanMismatchError(msg, hint=f"Set `clock` back, or start from nothing. {_REBUILD}")
    for view in plan.views.values():
        if view.name in catalogue.live:
            live_view(view, catalogue)


def _lineages(catalogue: Catalogue, topics: Iterable[str]) -> dict[str, str]:
    """By topic, which topic of that name the store's offsets are of, where the store knows it."""
    return {topic: catalogue.lineages[topic] for topic in topics if topic in catalogue.lineages}
