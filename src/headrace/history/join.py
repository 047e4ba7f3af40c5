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

from headrace.aggregates import IntArray, Problem
from headrace.errors import HeadraceError, LogError, SpineError
from headrace.events.event_batch import ARROW_TYPES
from headrace.history.cell_values import FeatureCells, joined_cells
from headrace.history.column_files import LogFiles
from headrace.history.entity_index import KeyIndex
from headrace.history.evidence_join import Evidence, LookupsJoin
from headrace.history.gathered_features import gather_features
from headrace.history.join_plan import AsOf, ViewMatch, match_views
from headrace.history.log_events import Events, LogEvents, derived
from headrace.history.spill import bytes_of, parts_needed, spill
from headrace.history.spine_rows import T_US, read_spine
from headrace.history.view_features import compute_features
from headrace.log import LogSnapshot
from headrace.plan import Column, DType, FeatureRef, Plan, Source
from headrace.transforms import Transformer

__all__ = ["Evidence", "Joined", "PointInTimeJoin"]


class Joined(NamedTuple):
    """Features at the rows of a spine.

    Attributes:
        table: One column per feature, rows in the spine's order.
        problems: The cells that are null because their value cannot be given; other nulls say that no event counts.
    """

    table: pa.Table
    problems: list[Problem]


class PointInTimeJoin:
    """Recomputes features from the log as they were at each row of a spine.

    Args:
        plan: The plan.
        logs: By topic, the version of its log to read.
        memory_limit: About how much memory to use, such as ``"4GB"``; None is half of the machine's. What would not fit is
            computed in parts, from a temporary folder (`$TMPDIR`).
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
    ) -> None:
        self._repo = repo
        self._plan = plan
        self._logs = logs
        self._memory_limit = memory_limit
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
    ) -> Joined:
        """Each feature at each row of a spine.

        Args:
            spine: One row per row wanted: the join keys of the views asked for, and a moment.
            refs: The features, as ``Plan.resolve`` gives them.
            as_of: ``known`` (what a lookup at that moment would have been served), ``event`` (by event time alone) or
                ``evidence``.
            time_column: The column of moments: timestamps of any unit with a time zone.
            evidence: With ``as_of="evidence"``, what each row's lookup knew, in the spine's order.

        Returns:
            One column ``view__feature`` per reference, in order, rows in the spine's order; and the cells among them that cannot be given.

        Raises:
            SpineError: The spine lacks a column, has one of a wrong type or a null in it, or times without a time
                zone; ``as_of`` is something else.
            LogError: The log is damaged, or a version's files are gone.
            HeadraceError: Memory and disk do not suffice.
        """
        mode = _as_of(as_of)
        matches = match_views(self._plan, refs, by_evidence=mode is AsOf.EVIDENCE)
        prepared = read_spine(spine, _join_keys(matches), time_column)
        if prepared.num_rows == 0:
            empty = [pa.array([], ARROW_TYPES[self._dtype(ref)]) for ref in refs]
            return Joined(pa.table(empty, [ref.column for ref in refs]), [])
        by_evidence = mode is AsOf.EVIDENCE
        found = (
            self._served(matches, prepared, evidence or ())
            if by_evidence
            else self._recomputed(matches, prepared, mode)
        )
        cells = {ref.column: found[ref.view][ref.feature] for ref in refs}
        return Joined(pa.table({name: one.array for name, one in cells.items()}), _problems(cells))

    def _recomputed(
        self, matches: Sequence[ViewMatch], spine: pa.Table, as_of: AsOf
    ) -> dict[str, dict[str, FeatureCells]]:
        indices: dict[tuple[str, ...], KeyIndex] = {}
        found: dict[str, dict[str, FeatureCells]] = {}
        for match in matches:
            join_keys = tuple(match.view.join_keys)
            if join_keys not in indices:
                indices[join_keys] = KeyIndex(spine, join_keys)
            try:
                found[match.view.name] = self._view(match, indices[join_keys], spine.column(T_US).to_numpy(), as_of)
            except (MemoryError, pa.ArrowMemoryError) as error:
                hint = "Give a lower memory_limit, so that more is kept on disk meanwhile, or join the spine in parts."
                msg = f"The point-in-time join ran out of memory: {error}"
                raise HeadraceError(msg, hint=hint) from error
        return found

    def _view(self, match: ViewMatch, keys: KeyIndex, t_us: IntArray, as_of: AsOf) -> dict[str, FeatureCells]:
        bounds = match.bounds(int(t_us.min()), int(t_us.max()), as_of)
        files = LogFiles(self._log_of(match), self._source_of(match), bounds, self._threads)
        derive = Transformer(match.view, self._repo).apply if match.view.transforms else None
        known = as_of is AsOf.KNOWN
        parts = parts_needed(files, match, self._memory_limit_bytes)
        if parts > 1:
            return self._in_parts(
                match, keys, t_us, parts, partial(spill, files, match, keys, derive, parts, known=known)
            )
        logged = LogEvents(files, match.view.join_keys, keys, known=known)
        return self._of(match, derived(logged, derive, match) if derive else logged, keys.key_id, t_us, keys.size)

    def _in_parts(
        self,
        match: ViewMatch,
        keys: KeyIndex,
        t_us: IntArray,
        parts: int,
        spilled: Callable[[Path], list[Callable[[], Events]]],
    ) -> dict[str, FeatureCells]:
        """The features, computed part by part from disk."""
        rows_of = [np.flatnonzero(keys.key_id % parts == part) for part in range(parts)]
        found: list[dict[str, FeatureCells]] = []
        with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
            for events_of, rows in zip(spilled(Path(folder)), rows_of, strict=True):
                if len(rows):
                    found.append(self._of(match, events_of(), keys.key_id[rows], t_us[rows], keys.size))
        order = np.argsort(np.concatenate(rows_of))
        rows_of = [rows for rows in rows_of if len(rows)]
        return {name: joined_cells([part[name] for part in found], rows_of, order) for name in found[0]}

    def _of(
        self, match: ViewMatch, events: Events, key_id: IntArray, t_us: IntArray, entities: int
    ) -> dict[str, FeatureCells]:
        found = compute_features(match, events, key_id, t_us, entities, self._threads)
        return found | gather_features(match, events, key_id, t_us, entities)

    def _served(
        self, matches: Sequence[ViewMatch], spine: pa.Table, evidence: Sequence[Evidence]
    ) -> dict[str, dict[str, FeatureCells]]:
        config: dict[str, str | int] = {"threads": self._threads}
        if self._memory_limit is not None:
            config["memory_limit"] = self._memory_limit
        with LookupsJoin.connection(config) as con:
            join = LookupsJoin(con, spine, evidence, self._repo)
            return {
                match.view.name: join.features(match, self._source_of(match), self._log_of(match)) for match in matches
            }

    def _source_of(self, match: ViewMatch) -> Source:
        """The source of a view, as the view reads what is logged."""
        return match.view.as_read(self._plan.source_of(match.view))

    def _log_of(self, match: ViewMatch) -> LogSnapshot:
        snapshot = self._logs.get(match.source.topic)
        if snapshot is None:
            msg = (
                f"The view {match.view.name!r} is made from the topic {match.source.topic!r}, whose log was not given."
            )
            raise LogError(msg)
        return snapshot

    def _dtype(self, ref: FeatureRef) -> DType:
        return self._plan.views[ref.view].feature(ref.feature).dtype


def _problems(cells: Mapping[str, FeatureCells]) -> list[Problem]:
    """The cells that cannot be given, by row and then in the order asked for."""
    found = [Problem(row, name, reason) for name, one in cells.items() for row, reason in one.problems.items()]
    return sorted(found, key=lambda problem: problem.row)


def _as_of(as_of: AsOf | str) -> AsOf:
    try:
        return AsOf(as_of)
    except ValueError:
        msg = f"as_of is {as_of!r}, which means nothing."
        hint = "Use 'known' (what a lookup would have been served) or 'event' (by event time alone)."
        raise SpineError(msg, hint=hint) from None


def _join_keys(matches: Sequence[ViewMatch]) -> list[Column]:
    # A key that views type differently is checked against each; one of them will say what is wrong.
    keys = {(entity.name, entity.dtype): entity for match in matches for entity in match.view.entities}
    return list(keys.values())
