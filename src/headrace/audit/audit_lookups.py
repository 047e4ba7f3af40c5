"""Auditing: recorded lookups are recomputed from the log, each by its own evidence."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from headrace.audit.causes import Causes, Verdict
from headrace.audit.not_comparable import NotComparable
from headrace.audit.report import AuditReport, Skew, skew_of
from headrace.config import Project
from headrace.erasure import Ledger
from headrace.errors import LogError, LookupRequestError, PlanError
from headrace.log import EventLog, LookupTable
from headrace.plan import DType, Plan, read_plan
from headrace.times import iso_time
from headrace.training import Mismatch, TrainingClient
from headrace.training.lookup_proof import feature_refs

__all__ = ["audit_lookups", "since_us"]

logger = logging.getLogger(__name__)

_ATTEMPTS = 3
_READ: dict[DType, Callable[[str], Any]] = {DType.TIMESTAMP: datetime.fromisoformat, DType.DATE: date.fromisoformat}
"""Reads a recorded key of a type that JSON does not have."""

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def since_us(text: str, now_us: int | None = None) -> int:
    """The time that lies `1h`, `30m` or `7d` before now.

    Args:
        text: A number and one of s, m, h, d, w.
        now_us: Now in µs; None is the wall clock.

    Returns:
        The time in µs.

    Raises:
        LookupRequestError: The text is not a length of time.
    """
    found = re.fullmatch(r"(\d+)\s*([smhdw])", text.strip())
    if found is None:
        msg = f"--since must be a length of time, not {text!r}."
        raise LookupRequestError(msg, hint="Write a number and one of s, m, h, d, w: --since 1h.")
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
    for rows in LookupTable(project.audit_root).read(since):
        report.lookups += len(rows)
        report.unrecorded += sum(row["unrecorded"] for row in rows)
        for plan_hash in sorted({row["plan"] for row in rows}):
            of_plan = [row for row in rows if row["plan"] == plan_hash]
            found = clients.of(plan_hash)
            if found is None:
                report.apart[NotComparable.OTHER_PLAN] += len(of_plan)
            else:
                client, causes = found
                _audit(client, causes, [_record(client.plan, row) for row in of_plan], report)
    return report


class _Clients:
    """By plan that lookups were served under, a training client and the causes of differences."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._now = TrainingClient(project)
        self._ledger = Ledger.load(project.erasures)
        self._known: dict[str, tuple[TrainingClient, Causes] | None] = {self._now.plan.hash: self._made(self._now)}

    def of(self, plan_hash: str) -> tuple[TrainingClient, Causes] | None:
        """The client of a plan; None where the plan was not kept or cannot be read."""
        if plan_hash not in self._known:
            file = self._project.served_plans.file(f"{plan_hash}.json")
            try:
                self._known[plan_hash] = self._made(TrainingClient(self._project, plan=read_plan(file)))
            except PlanError as error:
                logger.info("Lookups of the plan %s are not compared: %s", plan_hash, error.what)
                self._known[plan_hash] = None
        return self._known[plan_hash]

    def _made(self, client: TrainingClient) -> tuple[TrainingClient, Causes]:
        return client, Causes(self._project, client.plan, self._now.plan, self._ledger)


def _record(plan: Plan, row: Mapping[str, Any]) -> dict[str, Any]:
    parsed = {name: json.loads(row[name]) for name in ("keys", "features", "views", "evidence")}
    views = [view for view in plan.every_view if view.name in parsed["evidence"]]
    types = {one.name: one.dtype for view in views for one in view.entities}
    for name, dtype in types.items():
        if dtype in _READ:
            parsed["keys"][name] = _READ[dtype](parsed["keys"][name])
    return {
        "served_at_us": row["served_at_us"],
        "at_us": row["at_us"],
        "plan": row["plan"],
        "origin": json.loads(row["origin"] or "{}"),
        "problems": None if row["problems"] is None else json.loads(row["problems"]),
        **parsed,
    }


def _audit(client: TrainingClient, causes: Causes, records: Sequence[dict[str, Any]], report: AuditReport) -> None:
    views = {column: ref.view for column, ref in feature_refs(client.plan).items()}
    for attempt in range(_ATTEMPTS):
        versions = _versions(client)
        verdicts = causes.verdicts(records)
        try:
            found = client.compare_lookups([_comparable(*one, views) for one in zip(records, verdicts, strict=True)])
            break
        except LogError:
            # An erasure or a vacuum may have removed files before they were read.
            if attempt + 1 == _ATTEMPTS or versions == _versions(client):
                raise
    report.values += found.values
    differing: dict[int, list[Mismatch]] = {}
    for mismatch in found.mismatches:
        differing.setdefault(mismatch.number, []).append(mismatch)
    for number, (record, verdict) in enumerate(zip(records, verdicts, strict=True)):
        differences = [(one, verdict[views[one.feature or ""]].excuse) for one in differing.get(number, [])]
        faults = [mismatch for mismatch, excuse in differences if excuse is None]
        reasons = {excuse for _, excuse in differences} | {one.block for one in verdict.values()}
        reason = next((one for one in NotComparable if one in reasons), None)
        if faults:
            report.mismatched += 1
            report.skews += [_skew(record, mismatch) for mismatch in faults]
        elif reason is not None:
            report.apart[reason] += 1
            excused = {views[mismatch.feature or ""] for mismatch, _ in differences}
            report.partly += any(one.block is None and view not in excused for view, one in verdict.items())
        else:
            report.matches += 1


def _comparable(record: dict[str, Any], verdicts: Mapping[str, Verdict], views: Mapping[str, str]) -> dict[str, Any]:
    """The part of a lookup that the log can judge; `views` gives each feature's view."""
    evidence = {view: applied for view, applied in record["evidence"].items() if verdicts[view].block is None}
    features = {name: value for name, value in record["features"].items() if verdicts[views[name]].block is None}
    return {**record, "evidence": evidence, "features": features}


def _versions(client: TrainingClient) -> dict[str, int | None]:
    sources = client.plan.sources.values()
    return {source.topic: EventLog(client.project.log_root, source).version() for source in sources}


def _skew(record: Mapping[str, Any], mismatch: Mismatch) -> Skew:
    absolute, relative = skew_of(mismatch.served, mismatch.recomputed)
    return Skew(
        served_at=iso_time(record["served_at_us"]),
        at=mismatch.at,
        keys=mismatch.keys,
        feature=mismatch.feature or "",
        served=mismatch.served,
        recomputed=mismatch.recomputed,
        absolute=absolute,
        relative=relative,
    )
