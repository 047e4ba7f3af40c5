"""Auditing: recorded lookups are recomputed from the log, each by its own evidence."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from headrace.audit.report import AuditReport, Skew, skew_of
from headrace.config import Project
from headrace.erasure import Erasure, Ledger
from headrace.errors import LookupRequestError
from headrace.log import EventLog, LookupTable
from headrace.plan import DType, Plan, read_plan
from headrace.times import iso_time
from headrace.training import TrainingClient

__all__ = ["audit_lookups", "since_us"]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def since_us(text: str, now_us: int | None = None) -> int:
    """A stretch of time back from now, as `1h`, `30m`, `7d`, as the time it began.

    Args:
        text: A number and one of s, m, h, d, w.
        now_us: Now in µs; None is the wall clock's.

    Returns:
        The time in µs.

    Raises:
        LookupRequestError: The text is no such stretch.
    """
    found = re.fullmatch(r"(\d+)\s*([smhdw])", text.strip())
    if found is None:
        msg = f"--since {text} is no stretch of time."
        raise LookupRequestError(msg, cure="Write a number and one of s, m, h, d, w: --since 1h.")
    now = time.time_ns() // 1000 if now_us is None else now_us
    try:
        return now - timedelta(**{_UNITS[found[2]]: int(found[1])}) // timedelta(microseconds=1)
    except OverflowError:
        return 0


def audit_lookups(project: Project, since: int | None = None) -> AuditReport:
    """Recompute the recorded lookups and compare.

    Args:
        project: The project.
        since: The first wall-clock time in µs; None is the beginning.

    Returns:
        The report.

    Raises:
        PlanError: There is no plan.
        LogError: The log or the table of recorded lookups cannot be read.
    """
    clients = _Clients(project)
    report = AuditReport()
    erasures = list(Ledger.load(project.erasure_path).erasures.values())
    for rows in LookupTable(project.audit_path).read(since):
        report.lookups += len(rows)
        report.unrecorded += sum(row["unrecorded"] for row in rows)
        for plan_hash in sorted({row["plan"] for row in rows}):
            client = clients.of(plan_hash)
            of_plan = [row for row in rows if row["plan"] == plan_hash]
            if client is None:
                report.other_plan += len(of_plan)
            else:
                _audit(project, client, erasures, of_plan, report)
    return report


class _Clients:
    """A training client per plan that lookups were served under."""

    def __init__(self, project: Project) -> None:
        self._project = project
        now = TrainingClient(project)
        self._known: dict[str, TrainingClient | None] = {now.plan.hash: now}

    def of(self, plan_hash: str) -> TrainingClient | None:
        """The client of a plan; None where the plan was not kept, or cannot be computed by any more."""
        if plan_hash not in self._known:
            path = self._project.plans_path / f"{plan_hash}.json"
            self._known[plan_hash] = TrainingClient(self._project, plan=read_plan(path)) if path.exists() else None
        return self._known[plan_hash]


def _audit(
    project: Project,
    client: TrainingClient,
    erasures: Sequence[Erasure],
    rows: Sequence[Mapping[str, Any]],
    report: AuditReport,
) -> None:
    read = [_record(client.plan, row) for row in rows]
    records = [record for record in read if not _counted_erased(client.plan, erasures, record)]
    report.erased += len(read) - len(records)
    ends = _ends(project, client.plan, records)
    known = [record for record in records if not _is_ahead(ends, record)]
    report.pending += len(records) - len(known)
    _compare(client, known, report)


def _record(plan: Plan, row: Mapping[str, Any]) -> dict[str, Any]:
    parsed = {name: json.loads(row[name]) for name in ("keys", "features", "evidence")}
    times = {
        one.name for view in parsed["evidence"] for one in plan.views[view].entities if one.dtype is DType.TIMESTAMP
    }
    for name in times:
        parsed["keys"][name] = datetime.fromisoformat(parsed["keys"][name])
    return {"served_at_us": row["served_at_us"], "at_us": row["at_us"], "plan": row["plan"], **parsed}


def _ends(project: Project, plan: Plan, records: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, int]]:
    """By view and partition, the last offset that the log stands for."""
    asked: dict[str, set[int]] = {}
    for record in records:
        for view, applied in record["evidence"].items():
            asked.setdefault(view, set()).update(map(int, applied))
    ends: dict[str, dict[int, int]] = {}
    for view, partitions in asked.items():
        source = plan.source_of(plan.views[view])
        ends[view] = EventLog(project.log_path, source).last_offsets(sorted(partitions))
    return ends


def _is_ahead(ends: Mapping[str, Mapping[int, int]], record: Mapping[str, Any]) -> bool:
    """Whether a lookup knew events that the log does not hold yet."""
    return any(
        offset > ends[view].get(int(partition), -1)
        for view, applied in record["evidence"].items()
        for partition, offset in applied.items()
    )


def _counted_erased(plan: Plan, erasures: Sequence[Erasure], record: Mapping[str, Any]) -> bool:
    """Whether a lookup may have counted events that were erased afterwards: the log cannot tell any more."""
    topics = {plan.source_of(plan.views[view]).topic for view in record["evidence"]}
    return any(
        record["served_at_us"] <= erasure.erased_us and any(erasure.rows.get(topic) for topic in topics)
        for erasure in erasures
    )


def _compare(client: TrainingClient, records: Sequence[dict[str, Any]], report: AuditReport) -> None:
    if not records:
        return
    found = client.verify_lookups(records)
    report.matches += found.matches
    report.mismatched += len(records) - found.matches
    report.values += found.values
    for mismatch in found.mismatches:
        absolute, relative = skew_of(mismatch.served, mismatch.recomputed)
        report.skews.append(
            Skew(
                served_at=iso_time(records[mismatch.number]["served_at_us"]),
                at=mismatch.at,
                keys=mismatch.keys,
                feature=mismatch.feature or "",
                served=mismatch.served,
                recomputed=mismatch.recomputed,
                absolute=absolute,
                relative=relative,
            )
        )
