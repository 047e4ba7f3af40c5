"""What `headrace status` knows: the broker's ends, the group's commits, the store's positions, the log's ends."""

from __future__ import annotations

import time
from typing import Any

from headrace.config import Clock, Project
from headrace.errors import HeadraceError
from headrace.online import Position, open_store
from headrace.online.meta import building_fact, previous_fact, view_fact
from headrace.online.versions import built_share
from headrace.plan import Plan, View, read_plan
from headrace.stream.requests import read_requests
from headrace.times import iso_time

__all__ = ["project_status"]

Offsets = dict[tuple[str, int], int]


def project_status(project: Project) -> dict[str, Any]:
    """How far each source partition has come.

    Args:
        project: The project.

    Returns:
        JSON-ready: project, plan, clock, notes on what could not be asked, and one entry per source partition. What is not known is None.

    Raises:
        PlanError: There is no plan.
    """
    plan = read_plan(project.plan_path)
    notes: list[str] = []
    topics = [source.topic for source in plan.sources.values()]
    ends, committed = _broker_side(project, topics, notes)
    positions = _store_side(project, notes)
    logged = _log_side(project, plan, notes, {*ends, *positions})
    views = _views(project, plan, logged)
    rows = [
        _row(source, ends, committed, positions.get(source), logged, project.clock)
        for source in sorted({*ends, *positions, *logged})
        if source[0] in topics
    ]
    return {
        "project": plan.project,
        "plan": plan.hash,
        "clock": str(project.clock),
        "notes": notes,
        "views": views,
        "partitions": rows,
    }


def _views(project: Project, plan: Plan, logged: Offsets) -> list[dict[str, Any]]:
    try:
        with open_store(project.store_url, writable=False) as store:
            facts = store.meta()
    except HeadraceError:
        return []  # said already
    asked = read_requests(project.requests_path)
    rows = []
    for name, view in plan.views.items():
        building = facts.get(building_fact(name))
        waiting = asked[name].view.hash if name in asked and building is None else None
        rows.append(
            {
                "view": name,
                "declared": view.hash,
                "live": facts.get(view_fact(name)),
                "building": building,
                "built": None
                if building is None
                else round(built_share(facts, building, _ends(plan, view, logged)), 4),
                "asked_for": waiting if waiting != facts.get(view_fact(name)) else None,
                "before": facts.get(previous_fact(name)),
            }
        )
    return rows


def _ends(plan: Plan, view: View, logged: Offsets) -> dict[int, int]:
    topic = plan.source_of(view).topic
    return {partition: offset for (of, partition), offset in logged.items() if of == topic}


def _row(
    source: tuple[str, int], ends: Offsets, committed: Offsets, position: Position | None, logged: Offsets, clock: Clock
) -> dict[str, Any]:
    end = ends.get(source)
    next_offset = position.offset + 1 if position else 0
    age = None
    if position is not None and position.record_ts_us and clock is Clock.SYSTEM:
        age = round(time.time() - position.record_ts_us / 1e6, 3)
    return {
        "topic": source[0],
        "partition": source[1],
        "end": end,
        "applied": next_offset,
        "lag": None if end is None else max(end - next_offset, 0),
        "committed": committed.get(source),
        "logged": logged.get(source, -1) + 1,
        "newest_record": iso_time(position.record_ts_us) if position and position.record_ts_us else None,
        "newest_event": iso_time(position.event_ts_us) if position else None,
        "seconds_since_newest_record": age,
    }


def _broker_side(project: Project, topics: list[str], notes: list[str]) -> tuple[Offsets, Offsets]:
    try:
        from headrace.broker import broker_address, committed_offsets, end_offsets

        bootstrap = broker_address(project)
        return end_offsets(bootstrap, topics), committed_offsets(bootstrap, project.group)
    except (HeadraceError, ImportError) as error:
        notes.append(f"Ends and lag are not known. {error}")
        return {}, {}


def _store_side(project: Project, notes: list[str]) -> dict[tuple[str, int], Position]:
    try:
        with open_store(project.store_url, writable=False) as store:
            return {(source.topic, source.partition): position for source, position in store.positions().items()}
    except HeadraceError as error:
        notes.append(f"Positions are not known. {error}")
        return {}


def _log_side(project: Project, plan: Plan, notes: list[str], known: set[tuple[str, int]]) -> Offsets:
    try:
        from headrace.log import EventLog

        logged: Offsets = {}
        for source in plan.sources.values():
            partitions = sorted(partition for topic, partition in known if topic == source.topic) or None
            found = EventLog(project.log_path, source).last_offsets(partitions)
            logged.update({(source.topic, partition): offset for partition, offset in found.items()})
        return logged
    except (HeadraceError, ImportError) as error:
        notes.append(f"The log's ends are not known. {error}")
        return {}
