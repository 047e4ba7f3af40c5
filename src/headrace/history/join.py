"""Running the point-in-time join."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from headrace.aggregates import AGGREGATES, Problem
from headrace.errors import HeadraceError, LogError, PlanError, SpineError
from headrace.events.event_batch import ARROW_TYPES
from headrace.history.cell_values import FeatureCells, joined_cells
from headrace.history.column_files import LogFiles
from headrace.history.entity_index import KeyIndex
from headrace.history.evidence import AppliedOffsets, Evidence
from headrace.history.gathered_features import gather_features
from headrace.history.join_plan import AsOf, JoinPlan, plan_joins
from headrace.history.limits import Limits
from headrace.history.log_events import Events, LogEvents, derived
from headrace.history.shards import Asked
from headrace.history.spill import bytes_of, parts_needed, spill
from headrace.history.spine_rows import T_US, read_spine
from headrace.history.view_features import compute_features
from headrace.log import LogSnapshot
from headrace.plan import Column, DType, FeatureRef, Plan, Source
from headrace.transforms import Transformer

__all__ = ["Evidence", "Joined", "PointInTimeJoin", "as_of_named"]


class Joined(NamedTuple):
    """Features at the rows of a spine.

    Attributes:
        table: One column per feature, rows in the spine's order.
        problems: The cells that are null because their value cannot be given. Other nulls mean that no event counts.
    """

    table: pa.Table
    problems: list[Problem]


class PointInTimeJoin:
    """Recomputes features from the log as they were at each row of a spine.

    Args:
        plan: The plan.
        logs: By topic, the version of its log to read.
        memory_limit: About how much memory to use, such as ``"4GB"``; None is half of the machine's. What does not fit
            is computed in parts, from a temporary folder (`$TMPDIR`).
        threads: How many threads to use; None is all cores.
        repo: The feature repo's folder, where the functions of transforms are found; None finds them on `sys.path`.
    """

    def __init__(
        self,
        plan: Plan,
        logs: Mapping[str, LogSnapshot],
        *,
        memory_limit: str | None = None,
        threads: int | None = None,
        repo: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._repo = repo
        self._plan = plan
        self._logs = logs
        self._memory_limit_bytes = bytes_of(memory_limit)
        self._threads = threads or os.cpu_count() or 1

    def join(
        self,
        spine: pa.Table,
        refs: Sequence[FeatureRef],
        *,
        as_of: AsOf | str = AsOf.KNOWN,
        time_column: str = "event_timestamp",
        evidence: Sequence[Evidence] | None = None,
        known_until_us: int | None = None,
    ) -> Joined:
        """Each feature at each row of a spine.

        Args:
            spine: One row per row wanted: the join keys of the views asked for, and a time.
            refs: The features, as ``Plan.resolve`` gives them.
            as_of: ``known`` (what a lookup at that time would have been served), ``event`` (by event time alone) or
                ``evidence``.
            time_column: The column of times: timestamps of any unit with a time zone.
            evidence: With ``as_of="evidence"``, what each row's lookup knew, in the spine's order.
            known_until_us: Events that became known later are not seen, in µs; None sees all.

        Returns:
            One column ``view__feature`` per reference, in order, rows in the spine's order; and the cells among them
            that cannot be given.

        Raises:
            SpineError: The spine lacks a column, has one of a wrong type or a null in it, or times without a time
                zone; ``as_of`` is something else.
            LogError: The log is damaged, or a version's files are gone.
            HeadraceError: Memory and disk do not suffice.
        """
        plans = plan_joins(self._plan, refs, as_of_named(as_of))
        _refuse_unknown_functions(plans)
        prepared = read_spine(spine, _join_keys(plans), time_column)
        if prepared.num_rows == 0:
            empty = [pa.array([], ARROW_TYPES[self._dtype(ref)]) for ref in refs]
            return Joined(pa.table(empty, [ref.column for ref in refs]), [])
        indices: dict[tuple[str, ...], KeyIndex] = {}
        found: dict[str, dict[str, FeatureCells]] = {}
        for plan in plans:
            name, join_keys = plan.view.name, plan.view.join_keys
            if join_keys not in indices:
                indices[join_keys] = KeyIndex(prepared, join_keys)
            keys, applied = indices[join_keys], None
            if plan.as_of is AsOf.EVIDENCE:
                applied = AppliedOffsets.of(evidence or (), name, prepared.num_rows)
            asked = Asked(keys.key_id, prepared.column(T_US).to_numpy(), keys.size, applied)
            try:
                found[name] = self._view(plan, keys, asked, known_until_us)
            except (MemoryError, pa.ArrowMemoryError) as error:
                hint = "Give a lower memory_limit, so that more is kept on disk meanwhile, or join the spine in parts."
                msg = f"The point-in-time join ran out of memory: {error}"
                raise HeadraceError(msg, hint=hint) from error
        cells = {ref.column: found[ref.view][ref.feature] for ref in refs}
        return Joined(pa.table({name: one.array for name, one in cells.items()}), _problems(cells))

    def _view(
        self, plan: JoinPlan, keys: KeyIndex, asked: Asked, known_until_us: int | None
    ) -> dict[str, FeatureCells]:
        bounds = plan.bounds(int(asked.t_us.min()), int(asked.t_us.max()))._replace(known_until_us=known_until_us)
        files = LogFiles(self._log_of(plan), self._source_of(plan), bounds, self._threads)
        derive = Transformer(plan.view, self._repo).apply if plan.view.transforms else None
        parts = self._limits.parts or parts_needed(files, plan, self._memory_limit_bytes)
        if parts > 1:
            return self._in_parts(plan, asked, parts, partial(spill, files, plan, keys, derive, parts))
        logged = LogEvents(files, plan.view.join_keys, keys, known=plan.as_of is AsOf.KNOWN)
        return self._features(plan, derived(logged, derive, plan) if derive else logged, asked)

    def _in_parts(
        self, plan: JoinPlan, asked: Asked, parts: int, spilled: Callable[[Path], list[Callable[[], Events]]]
    ) -> dict[str, FeatureCells]:
        """The features, computed part by part from disk."""
        rows_of = [np.flatnonzero(asked.key_id % parts == part) for part in range(parts)]
        found: list[dict[str, FeatureCells]] = []
        with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
            for events_of, rows in zip(spilled(Path(folder)), rows_of, strict=True):
                if len(rows):
                    found.append(self._features(plan, events_of(), asked.some(rows)))
        order = np.argsort(np.concatenate(rows_of))
        rows_of = [rows for rows in rows_of if len(rows)]
        return {name: joined_cells([part[name] for part in found], rows_of, order) for name in found[0]}

    def _features(self, plan: JoinPlan, events: Events, asked: Asked) -> dict[str, FeatureCells]:
        found = compute_features(plan, events, asked, self._threads, self._limits)
        return found | gather_features(plan, events, asked, self._limits)

    def _source_of(self, plan: JoinPlan) -> Source:
        """The source of a view, as the view reads what is logged."""
        return plan.view.as_read(self._plan.source_of(plan.view))

    def _log_of(self, plan: JoinPlan) -> LogSnapshot:
        snapshot = self._logs.get(plan.source.topic)
        if snapshot is None:
            msg = f"The view {plan.view.name!r} is made from the topic {plan.source.topic!r}, whose log was not given."
            raise LogError(msg)
        return snapshot

    def _dtype(self, ref: FeatureRef) -> DType:
        return self._plan.views[ref.view].feature(ref.feature).dtype


def _problems(cells: Mapping[str, FeatureCells]) -> list[Problem]:
    """The cells that cannot be given, by row and then in the order asked for."""
    found = [Problem(row, name, reason) for name, one in cells.items() for row, reason in one.problems.items()]
    return sorted(found, key=lambda problem: problem.row)


def as_of_named(as_of: AsOf | str) -> AsOf:
    """What makes an event count, by its name.

    Raises:
        SpineError: It is something else.
    """
    try:
        return AsOf(as_of)
    except ValueError:
        msg = f"as_of must be 'known' or 'event', not {as_of!r}."
        hint = "'known' is what a lookup would have been served, 'event' what had happened by then."
        raise SpineError(msg, hint=hint) from None


def _refuse_unknown_functions(plans: Sequence[JoinPlan]) -> None:
    for feature in (feature for plan in plans for feature in plan.features):
        if feature.function not in AGGREGATES:
            msg = f"The feature {feature.name!r} has a function that this version does not know: {feature.function}."
            raise PlanError(msg, hint="Run `headrace apply` with this version.")


def _join_keys(plans: Sequence[JoinPlan]) -> list[Column]:
    # A key that views type differently is checked against each; one of them will say what is wrong.
    keys = {(entity.name, entity.dtype): entity for plan in plans for entity in plan.view.entities}
    return list(keys.values())
