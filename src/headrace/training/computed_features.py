"""The on-demand views of a training set: computed from joined features and from columns of the spine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from headrace.aggregates import Problem
from headrace.history import Joined
from headrace.ondemand import Computation, Inputs, field_of_spine
from headrace.plan import FeatureRef, Plan

__all__ = ["with_computed"]


def with_computed(
    plan: Plan, refs: Sequence[FeatureRef], joined: Joined, spine: pa.Table, repo: Path | None, *, fails: bool = True
) -> Joined:
    """What was asked for, of joined features: on-demand views are computed, and what only they read is left out.

    Args:
        plan: The plan.
        refs: The features asked for.
        joined: The features of `Plan.stored(refs)` at the spine's rows.
        spine: The spine, with the fields of the request as columns.
        repo: The feature repo's folder, where functions are found; None finds them on `sys.path`.
        fails: Whether a function that fails may fail the call, where its view says so; else its rows are null.

    Returns:
        One column ``view__feature`` per reference, in order; and the cells among them that cannot be given.

    Raises:
        SpineError: The spine lacks a field of the request, or has it as another type.
        PlanError: A function cannot be loaded, or has changed since it was applied.
        OnDemandError: A function fails on a row.
    """
    views = plan.computed(refs)
    if not views:
        return joined
    asked = {ref.column for ref in refs}
    columns = dict(zip(joined.table.column_names, joined.table.columns, strict=True))
    problems = [problem for problem in joined.problems if problem.feature in asked]
    for view in views:
        computation = Computation.of(view, repo) if fails else Computation.of(view, repo).without_errors()
        read = {one.ref.column: joined.table.column(one.ref.column) for one in view.inputs}
        read |= {field.name: field_of_spine(view, field, spine) for field in view.request}
        computed = computation.run(Inputs(computation.dtypes, spine.num_rows, arrays=read))
        for ref in refs:
            if ref.view == view.name:
                columns[ref.column] = computed.arrays[ref.feature]
                problems += [Problem(row, ref.column, reason) for row, reason in computed.problems.items()]
    place = {ref.column: number for number, ref in enumerate(refs)}
    problems.sort(key=lambda problem: (problem.row, place[problem.feature]))
    return Joined(pa.table({ref.column: columns[ref.column] for ref in refs}), problems)
