"""The answer of a store that is not ready: every feature null, every status `not_ready`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headrace.events.columns import Values
from headrace.lookup.request import AskedRows, EntityRows, entity_columns
from headrace.lookup.response import OnlineFeatures, Status, ViewAnswer
from headrace.plan import DType, FeatureRef, Plan, View
from headrace.windows import NEVER

__all__ = ["answer_without_values", "not_ready_answer"]


class _NotReady(ViewAnswer):
    """A view that knows nothing about any row."""

    def __init__(self, rows: int) -> None:
        super().__init__([NEVER] * rows, (), np.zeros(0, np.int64), (), ())
        self.status = [Status.NOT_READY] * rows


def not_ready_answer(plan: Plan, refs: Sequence[FeatureRef], entity_rows: AskedRows, at_us: int) -> OnlineFeatures:
    """An answer without any value.

    Args:
        plan: The plan.
        refs: The features asked for.
        entity_rows: The rows of the request.
        at_us: The time to answer for, in µs.

    Raises:
        LookupRequestError: A row leaves out a join key or gives one of a wrong type.
    """
    views = {view.name: view for view in plan.stored_views(refs)}
    rows, _ = entity_columns(entity_rows, views.values())
    dtypes = {ref.column: plan.dtype_of(ref) for ref in refs}
    computed = [view.name for view in plan.computed(refs)]
    topics = {name: plan.source_of(view).topic for name, view in views.items() if isinstance(view, View)}
    return answer_without_values(rows, dtypes, [*views, *computed], at_us, plan.hash, topics)


def answer_without_values(
    rows: EntityRows, dtypes: dict[str, DType], views: Sequence[str], at_us: int, plan_hash: str, topics: dict[str, str]
) -> OnlineFeatures:
    """An answer in which every feature is null and every status is `not_ready`.

    Args:
        rows: The rows of the request.
        dtypes: The types of the features asked for, by `view__feature`.
        views: Their views.
        at_us: The time to answer for, in µs.
        plan_hash: The plan.
        topics: The views' topics.
    """
    return OnlineFeatures(
        at_us=at_us,
        plan_hash=plan_hash,
        topics=topics,
        entity_rows=rows,
        dtypes=dtypes,
        values=dict.fromkeys(dtypes, Values(np.full(len(rows), None, object), np.zeros(len(rows), np.bool_))),
        views={name: _NotReady(len(rows)) for name in views},
    )
