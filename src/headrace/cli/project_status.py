"""The data of `headrace status`: the broker's ends, the group's commits, the store's positions, the log's ends."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from headrace.cli.broker_ends import BrokerSide, broker_side
from headrace.cli.status_remarks import remarks_on_the_past
from headrace.config import Clock, Project
from headrace.errors import HeadraceError, StoreMissingError
from headrace.plan import Plan, View, read_plan
from headrace.stores import Position, Readiness, open_store
from headrace.stores.catalogue import not_ready
from headrace.times import iso_time
from headrace.worker.handoff_requests import read_requests
from headrace.worker.heartbeat import read_heartbeats

if TYPE_CHECKING:
    from headrace.log import TopicHistory

__all__ = ["count_undelivered", "project_status"]

Offsets = dict[tuple[str, int], int]


def project_status(project: Project) -> dict[str, Any]:
    """How far each source partition is.

    Args:
        project: The project.

    Returns:
        For JSON: project, plan, clock, notes, what did not answer, the workers that run, and one entry per source
        partition. What is not known is None.

    Raises:
        PlanError: There is no plan.
    """
    plan = read_plan(project.plan_file)
    notes: list[str] = []
    if (undelivered := count_undelivered(project)) is not None:
        notes.append(undelivered)
    topics = [source.topic for source in plan.sources.values()]
    histories, taken_back = _past(project, topics, notes)
    store = _store_side(project, notes)
    # The broker is asked after the store: a worker that runs meanwhile cannot be past the end.
    broker = broker_side(project, histories, topics, notes)
    if store.state is not None and store.positions:
        notes += remarks_on_the_past(project, plan)
    positions = store.positions
    known = _log_side(project, plan, notes, {*broker.ends, *positions})
    logged = known or {}
    now, beats = time.time(), read_heartbeats(project.workers_path)
    views = _views(project, plan, logged)
    there = {*broker.ends, *positions, *logged} - taken_back
    sources = [source for source in sorted(there) if source[0] in topics]
    live = [source for source in sources if not _is_sealed(histories, source)]
    rows = [_row(source, histories, broker, store, known, project.clock) for source in live]
    notes += [
        f"{row['topic']}[{row['partition']}]: the broker no longer has offsets {row['gone'][0]} to {row['gone'][1]}, "
        "which come next. `headrace stream` says what can be done."
        for row in rows
        if row["gone"]
    ]
    notes += [
        f"{row['view']}.{column}: {failing['what']} failed on {failing['failed']:,} of {failing['events']:,} events, "
        f"which get nulls: {failing['reason']}"
        for row in views
        for column, failing in row["failing"].items()
    ]
    return {
        "project": plan.project,
        "plan": plan.hash,
        "clock": str(project.clock),
        "notes": notes,
        "unknown": [
            name
            for name, is_known in (
                ("broker", broker.is_known),
                ("store", store.state is not None),
                ("log", known is not None),
            )
            if not is_known
        ],
        "store": store.state,
        "workers": [beat.to_json(now) for beat in beats if not beat.is_gone],
        "worker_runs": any(not beat.is_gone and not beat.is_stale(now) for beat in beats),
        "views": views,
        "partitions": rows,
        "sealed": [_sealed_row(source, histories, logged) for source in sources if source not in live],
        "gaps": [
            {"topic": topic, **asdict(gap), "count": gap.count} for topic, one in histories.items() for gap in one.gaps
        ],
    }


def _is_sealed(histories: Mapping[str, TopicHistory], source: tuple[str, int]) -> bool:
    history = histories.get(source[0])
    return history is not None and source[1] in history.sealed


def _sealed_row(source: tuple[str, int], histories: Mapping[str, TopicHistory], logged: Offsets) -> dict[str, Any]:
    """A source partition of a topic that was deleted and made again since. It does not change any more."""
    incarnation, partition = histories[source[0]].place(source[1]) or (None, None)
    return {
        "topic": source[0],
        "partition": partition,
        "source_partition": source[1],
        "incarnation": incarnation,
        "logged": logged.get(source, -1) + 1,
    }


def _views(project: Project, plan: Plan, logged: Offsets) -> list[dict[str, Any]]:
    try:
        with open_store(project.store_url, writable=False) as store:
            catalogue = store.catalogue()
    except HeadraceError:
        return []  # the notes say so already
    requests = read_requests(project.requests)
    failing = catalogue.failures
    rows = []
    for name, view in plan.views.items():
        building, live = catalogue.building.get(name), catalogue.live.get(name)
        waiting = requests[name].view.hash if name in requests and building is None else None
        rows.append(
            {
                "view": name,
                "declared": view.hash,
                "live": live,
                "building": building,
                "built": None
                if building is None
                else round(catalogue.built_share(building, _ends(plan, view, logged)), 4),
                "asked_for": waiting if waiting != live else None,
                "before": catalogue.previous.get(name),
                "failing": {
                    key.removeprefix(f"{name}."): one for key, one in failing.items() if key.startswith(f"{name}.")
                },
            }
        )
    return rows


def _ends(plan: Plan, view: View, logged: Offsets) -> dict[int, int]:
    topic = plan.source_of(view).topic
    return {partition: offset for (of, partition), offset in logged.items() if of == topic}


def _row(
    source: tuple[str, int],
    histories: Mapping[str, TopicHistory],
    broker: BrokerSide,
    store: _StoreSide,
    logged: Offsets | None,
    clock: Clock,
) -> dict[str, Any]:
    topic, number = source
    position = store.positions.get(source)
    history = histories.get(topic)
    partition = number if history is None else history.kafka(number)
    end = broker.ends.get(source)
    next_offset = position.offset + 1 if position else 0
    needed = next_offset
    if history is not None and partition is not None:
        needed = history.next_offset(partition, position.offset if position else None)
    begin = broker.begins.get(source, 0)
    age = None
    if position is not None and position.record_ts_us and clock is Clock.SYSTEM:
        age = round(time.time() - position.record_ts_us / 1e6, 3)
    return {
        "topic": topic,
        "partition": number if partition is None else partition,
        "source_partition": number,
        "end": end,
        "applied": None if store.state is None else next_offset,
        # An end before the next offset is of another topic, or of a broker that has lost records: the lag is not known.
        "lag": None if end is None or store.state is None or end < needed else end - needed,
        "gone": [needed, begin - 1] if history is not None and store.state is not None and begin > needed else None,
        "committed": broker.committed.get(source),
        "logged": None if logged is None else logged.get(source, -1) + 1,
        "newest_record": iso_time(position.record_ts_us) if position and position.record_ts_us else None,
        "newest_event": iso_time(position.event_ts_us) if position else None,
        "seconds_since_newest_record": age,
    }


def _past(
    project: Project, topics: Sequence[str], notes: list[str]
) -> tuple[dict[str, TopicHistory], set[tuple[str, int]]]:
    """The topics that the log was made from, and the partitions of imports that were taken back."""
    try:
        from headrace.log import TopicNotes
        from headrace.log.import_registry import Registry

        found = TopicNotes(project.log_notes).read()
        taken_back = {(one.topic, one.partition) for one in Registry(project.log_notes).all() if one.undone_at}
    except (HeadraceError, ImportError) as error:
        notes.append(f"Which topics and imports the log was made from is not known. {error}")
        return {}, set()
    return {topic: history for topic, history in found.items() if topic in topics}, taken_back


def count_undelivered(project: Project) -> str | None:
    """A remark on dead letters that workers here could not deliver in any form; None where there are none."""
    path = project.undelivered_path
    if not path.exists():
        return None
    count = path.read_bytes().count(b"\n")
    return f"{count:,} dead letters could not be delivered, and their events were skipped; {path} says which, and why."


@dataclass(frozen=True)
class _StoreSide:
    """What the online store has.

    Attributes:
        positions: How far each source partition is applied.
        state: Whether it can answer; None where it could not be opened.
    """

    positions: dict[tuple[str, int], Position]
    state: Readiness | None


def _store_side(project: Project, notes: list[str]) -> _StoreSide:
    try:
        with open_store(project.store_url, writable=False) as store:
            positions, state = store.positions(), store.catalogue().readiness
    except StoreMissingError:
        return _StoreSide({}, Readiness.EMPTY)  # no worker has made it yet
    except HeadraceError as error:
        notes.append(f"Positions are not known. {error}")
        return _StoreSide({}, None)
    if state is not Readiness.READY:
        notes.append(f"Lookups are refused: {not_ready(state).what}")
    return _StoreSide({(source.topic, source.partition): position for source, position in positions.items()}, state)


def _log_side(project: Project, plan: Plan, notes: list[str], known: set[tuple[str, int]]) -> Offsets | None:
    try:
        from headrace.log import EventLog

        logged: Offsets = {}
        for source in plan.sources.values():
            partitions = sorted(partition for topic, partition in known if topic == source.topic) or None
            found = EventLog(project.log_root, source).last_offsets(partitions)
            logged.update({(source.topic, partition): offset for partition, offset in found.items()})
        return logged
    except (HeadraceError, ImportError) as error:
        notes.append(f"The log's ends are not known. {error}")
        return None
