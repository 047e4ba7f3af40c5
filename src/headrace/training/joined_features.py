"""One join of features of all kinds: stream views from the log, batch views from their sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from headrace.batch.join import BatchJoin
from headrace.history import AsOf, Joined, PointInTimeJoin
from headrace.log import LogSnapshot
from headrace.plan import FeatureRef, Plan
from headrace.training.computed_features import with_computed

__all__ = ["join_features"]


def join_features(
    plan: Plan,
    logs: Mapping[str, LogSnapshot],
    repo: Path,
    spine: pa.Table,
    refs: Sequence[FeatureRef],
    *,
    as_of: AsOf | str,
    time_column: str,
    known_until_us: int | None = None,
    memory_limit: str | None = None,
    threads: int | None = None,
    source_versions: Mapping[str, int | None] | None = None,
) -> Joined:
    """Each feature at each row of a spine.

    Args:
        plan: The plan.
        logs: By topic, the version of its log to read.
        repo: The feature repo's folder.
        spine: One row per row wanted: the join keys of the views asked for, and a time.
        refs: The features.
        as_of: `known` or `event`.
        time_column: The column of times.
        known_until_us: Only what had become known by this time is seen, in µs.
        memory_limit: About how much memory to use; None is half of the machine's.
        threads: How many threads to use; None is all cores.
        source_versions: By batch view, the version of its Delta table to read.

    Returns:
        One column `view__feature` per reference, in order, rows in the spine's order; and the cells among them that
        cannot be given.

    Raises:
        SpineError, LogError, BatchSourceError: As the joins raise.
        OnDemandError: The function of an on-demand view fails on a row.
    """
    joined = _join_stored(
        plan,
        logs,
        repo,
        spine,
        refs,
        as_of=as_of,
        time_column=time_column,
        known_until_us=known_until_us,
        memory_limit=memory_limit,
        threads=threads,
        source_versions=source_versions,
    )
    return with_computed(plan, refs, joined, spine, repo)


def _join_stored(
    plan: Plan,
    logs: Mapping[str, LogSnapshot],
    repo: Path,
    spine: pa.Table,
    refs: Sequence[FeatureRef],
    *,
    as_of: AsOf | str,
    time_column: str,
    known_until_us: int | None,
    memory_limit: str | None,
    threads: int | None,
    source_versions: Mapping[str, int | None] | None,
) -> Joined:
    """The features of stream views and of batch views."""
    streams, rows = plan.stream_refs(refs), plan.batch_refs(refs)
    stream = PointInTimeJoin(plan, logs, memory_limit=memory_limit, threads=threads, repo=repo)
    # Without any batch feature, also without any feature at all, this join checks the spine.
    found = None
    if streams or not rows:
        found = stream.join(spine, streams, as_of=as_of, time_column=time_column, known_until_us=known_until_us)
    if not rows:
        return found or Joined(pa.table({}), [])
    batch = BatchJoin(plan, repo, memory_limit=memory_limit, threads=threads, versions=source_versions)
    columns = batch.join(spine, rows, as_of=as_of, time_column=time_column, known_until_us=known_until_us)
    if found is None:
        return Joined(columns, [])
    stored = plan.stored(refs)
    of_both = {ref.column: (columns if ref in rows else found.table).column(ref.column) for ref in stored}
    return Joined(pa.table(of_both), found.problems)
