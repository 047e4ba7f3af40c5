"""Why a view's answer and the log may differ although nothing is wrong, per recorded lookup and view.

A *block* means that the log cannot tell what the answer should have been, so it is not compared. An *excuse* means that
the answer is compared, but a difference is not a fault. Both cover as little as possible, so that a real difference in
another key, another view or at another time is still found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from headrace.audit.not_comparable import NotComparable
from headrace.config import Project
from headrace.erasure import Erasure, Ledger
from headrace.errors import LogError, PlanError
from headrace.log import EventLog, Gap, Made, made_log, topic_history
from headrace.log.import_registry import undone_imports
from headrace.ondemand import Computation
from headrace.plan import Plan, Source, View
from headrace.stores.catalogue import Origin
from headrace.times import as_stored, us_of
from headrace.training.lookup_proof import same_value
from headrace.training.row_proof import judge_rows
from headrace.transforms import Transformer

__all__ = ["Causes", "Verdict"]


class Verdict(NamedTuple):
    """What is known of a view's answer before it is compared.

    Attributes:
        block: Why it cannot be compared; None where it can.
        excuse: Why a difference would not be a fault; None where it would.
    """

    block: NotComparable | None = None
    excuse: NotComparable | None = None


@dataclass
class _Log:
    """A topic's log, as far as verdicts need it.

    Attributes:
        made: Which table it is; None where there is no table.
        ends: By source partition, the last offset that the log covers.
        gaps: The gaps that were accepted.
        sealed: The source partitions that get no more events.
        undone: The source partitions of imports that were undone.
    """

    made: Made | None
    ends: dict[int, int]
    gaps: tuple[Gap, ...]
    sealed: range
    undone: frozenset[int]


class Causes:
    """The causes that apply to lookups of one plan.

    Args:
        project: The project.
        plan: The plan that they were served under.
        now: The project's plan as it is now.
        ledger: What was erased.
    """

    def __init__(self, project: Project, plan: Plan, now: Plan, ledger: Ledger) -> None:
        self._project = project
        self._plan = plan
        self._now = now
        self._ledger = ledger
        self._fit: dict[str, NotComparable | None] = {}

    def verdicts(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Verdict]]:
        """What is known about the views of each record.

        Args:
            records: Lookups of the plan, as they were recorded.

        Returns:
            By view, for each record.

        Raises:
            LogError: The log is damaged.
        """
        logs, rows = self._logs(records), self._row_verdicts(records)
        stored = [
            {
                view: rows[view][number] if view in rows else self._verdict(record, view, logs)
                for view in record["evidence"]
            }
            for number, record in enumerate(records)
        ]
        return [known | self._computed(record, known) for record, known in zip(records, stored, strict=True)]

    def _computed(self, record: Mapping[str, Any], stored: Mapping[str, Verdict]) -> dict[str, Verdict]:
        """What is known about the on-demand views of a record: what is known about the views that they read."""
        found: dict[str, Verdict] = {}
        for view in self._plan.on_demand_views.values():
            if any(f"{view.name}__{feature.name}" in record["features"] for feature in view.features):
                read = [stored[name] for name in view.source_views]
                blocks = {one.block for one in read if one.block is not None}
                if view.name in self._changed_functions:
                    blocks.add(NotComparable.CODE_CHANGED)
                excuses = {one.excuse for one in read if one.excuse is not None}
                found[view.name] = Verdict(_first(blocks), _first(excuses))
        return found

    @cached_property
    def _changed_functions(self) -> frozenset[str]:
        """The on-demand views whose function was changed or removed."""
        changed = set()
        for view in self._plan.on_demand_views.values():
            try:
                Computation.of(view, self._project.repo)
            except PlanError:
                changed.add(view.name)
        return frozenset(changed)

    def _row_verdicts(self, records: Sequence[Mapping[str, Any]]) -> dict[str, list[Verdict]]:
        """By batch view, what is known about each record: whether the source still has the row that was served."""
        asked = {name for record in records for name in record["evidence"]}
        found = {}
        for name, view in self._plan.batch_views.items():
            if name in asked:
                judged = judge_rows(view, records, self._project.repo, same_value)
                blocks = [NotComparable.SOURCE_CHANGED if one.values is None else None for one in judged]
                found[name] = [Verdict(block=block) for block in blocks]
        return found

    def _verdict(self, record: Mapping[str, Any], name: str, logs: Mapping[str, _Log]) -> Verdict:
        view = self._plan.views[name]
        source = self._plan.source_of(view)
        unfit = self._unfit(view, source)
        if unfit is not None:
            return Verdict(block=unfit)
        log = logs[source.topic]
        evidence = {int(partition): offset for partition, offset in record["evidence"][name].items()}
        found = [
            _of_log(record, source.topic, log, evidence),
            _of_erasures(record, view, source.topic, self._ledger),
            _of_lost_events(record, log, evidence),
            Verdict(excuse=None if log.undone.isdisjoint(evidence) else NotComparable.IMPORT_UNDONE),
        ]
        blocks = {one.block for one in found if one.block is not None}
        excuses = {one.excuse for one in found if one.excuse is not None}
        return Verdict(_first(blocks), _first(excuses))

    def _logs(self, records: Sequence[Mapping[str, Any]]) -> dict[str, _Log]:
        asked: dict[str, set[int]] = {}
        for record in records:
            for view, applied in record["evidence"].items():
                if view in self._plan.batch_views:
                    continue
                topic = self._plan.source_of(self._plan.views[view]).topic
                asked.setdefault(topic, set()).update(map(int, applied))
        root = self._project.log_root
        found = {}
        for topic, partitions in asked.items():
            source = self._plan.source_for_topic(topic)
            history = topic_history(self._project.log_notes, topic)
            found[topic] = _Log(
                made_log(root, source),
                EventLog(root, source).last_offsets(sorted(partitions)),
                history.gaps if history else (),
                history.sealed if history else range(0),
                frozenset(undone_imports(self._project.log_notes, topic)),
            )
        return found

    def _unfit(self, view: View, source: Source) -> NotComparable | None:
        """Why a view cannot be computed with the plan that was kept."""
        if view.name not in self._fit:
            self._fit[view.name] = self._why_unfit(view, source)
        return self._fit[view.name]

    def _why_unfit(self, view: View, source: Source) -> NotComparable | None:
        try:
            Transformer(view, self._project.repo)
        except PlanError:
            return NotComparable.CODE_CHANGED
        root = self._project.log_root
        try:
            EventLog(root, source).snapshot()
        except LogError:
            now = next((one for one in self._now.sources.values() if one.topic == source.topic), None)
            if now is not None:
                EventLog(root, now).snapshot()  # if this fails too, the log is the problem, not the plan
            return NotComparable.OTHER_PLAN
        return None


def _of_log(record: Mapping[str, Any], topic: str, log: _Log, evidence: Mapping[int, int]) -> Verdict:
    """Whether the answer came from the present log, and whether this log has all events that it knew."""
    if not evidence:
        return Verdict()  # it knew no event of any log
    is_ahead = any(offset > log.ends.get(partition, -1) for partition, offset in evidence.items())
    ids = Origin.of(record["origin"]).logs.get(topic, ())
    if ids:
        if log.made is None or log.made.id not in ids:
            return Verdict(block=NotComparable.NEW_LOG)
        mixed = len(ids) > 1
    else:  # the record does not say, so only the time can tell
        mixed = log.made is not None and log.made.at_us is not None and record["served_at_us"] < log.made.at_us
    if is_ahead:
        return Verdict(block=NotComparable.NEW_LOG if mixed else NotComparable.PENDING)
    return Verdict(excuse=NotComparable.NEW_LOG if mixed else None)


def _of_erasures(record: Mapping[str, Any], view: View, topic: str, ledger: Ledger) -> Verdict:
    """Whether events that the answer may have counted were erased afterwards."""
    excuse = None
    filled_us = Origin.of(record["origin"]).filled_us
    made_us = record["served_at_us"] if filled_us is None else filled_us
    for erasure in ledger.erasures.values():
        if set(erasure.names) <= set(view.join_keys):
            if record["served_at_us"] <= erasure.until_us and _is_of(record, erasure, ledger):
                return Verdict(block=NotComparable.ERASED)
        elif erasure.rows.get(topic) and made_us <= erasure.until_us:
            # Its records were made before the erasure, and some of their events are gone.
            excuse = NotComparable.ERASED
    return Verdict(excuse=excuse)


def _is_of(record: Mapping[str, Any], erasure: Erasure, ledger: Ledger) -> bool:
    values = [record["keys"][name] for name in erasure.names]
    return ledger.digest_of(erasure.names, list(map(as_stored, values))) == erasure.digest


def _of_lost_events(record: Mapping[str, Any], log: _Log, evidence: Mapping[int, int]) -> Verdict:
    """Whether the answer knew events that were lost before the log had them."""
    for partition, offset in evidence.items():
        if partition in log.sealed and offset > log.ends.get(partition, -1):
            return Verdict(block=NotComparable.GAP)  # the topic was created again before the log had them
        for gap in log.gaps:
            if gap.source_partition != partition or offset < gap.first:
                continue
            is_before = record["served_at_us"] <= us_of(datetime.fromisoformat(gap.accepted_at))
            if offset <= gap.last or is_before:
                return Verdict(
                    block=NotComparable.GAP if offset > log.ends.get(partition, -1) else None, excuse=NotComparable.GAP
                )
    return Verdict()


def _first(reasons: Iterable[NotComparable]) -> NotComparable | None:
    """The reason that is reported, of several."""
    found = set(reasons)
    return next((reason for reason in NotComparable if reason in found), None)
