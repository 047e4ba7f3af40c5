"""The on-demand views of a lookup: computed from the answer's own features and from fields of the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from headrace.errors import PlanMismatchError
from headrace.events.columns import Values
from headrace.events.event_batch import column_values
from headrace.lookup.request import EntityRows
from headrace.lookup.response import Block, FeatureValues, Maker, OnlineFeatures, Status, ViewAnswer, maker
from headrace.ondemand import Computation, Inputs, field_of_rows
from headrace.ondemand.inputs import python_values
from headrace.plan import DType, FeatureRef, OnDemandView, Plan
from headrace.times import as_stored

__all__ = ["ComputedAnswer", "Computations", "OnDemandPlan"]

_WEAKEST_FIRST = (Status.NOT_READY, Status.UNKNOWN_KEY, Status.EXPIRED, Status.PRESENT)


class Computations:
    """The on-demand views of a project, each loaded when it is first asked for.

    Args:
        repo: The feature repo's folder; None finds functions on `sys.path`.
    """

    def __init__(self, repo: Path | None) -> None:
        self._repo = repo
        self._loaded: dict[str, Computation] = {}

    def of(self, view: OnDemandView) -> Computation:
        """The view with its function.

        Raises:
            PlanError: The function is missing, cannot be loaded, or has changed since it was applied.
        """
        known = self._loaded.get(view.hash)
        if known is None:
            known = self._loaded[view.hash] = Computation.of(view, self._repo)
        return known


class ComputedAnswer(ViewAnswer):
    """What is known about an on-demand view: what is known about the views that it reads.

    Its status is the weakest of theirs, its newest event the newest of theirs. It has no evidence of its own.

    Args:
        sources: The answers of the views that it reads.
        rows: How many rows there are.
    """

    def __init__(self, sources: Sequence[ViewAnswer], rows: int) -> None:
        super().__init__((), (), np.zeros(0, np.int64), (), ())
        self._read = sources
        self._rows = rows

    @cached_property
    def status(self) -> list[Status]:
        """The weakest status of the views that it reads; `present` if it reads only the request."""
        known = [one.status for one in self._read]
        return [
            min((statuses[row] for statuses in known), key=_WEAKEST_FIRST.index, default=Status.PRESENT)
            for row in range(self._rows)
        ]

    @cached_property
    def newest_event_us(self) -> list[int | None]:
        """The time of the newest event applied in the views that it reads, in µs."""
        known = [one.newest_event_us for one in self._read]
        return [
            max((times[row] for times in known if times[row] is not None), default=None)  # type: ignore[type-var]
            for row in range(self._rows)
        ]

    @cached_property
    def applied(self) -> list[dict[int, int]]:
        """Nothing: the evidence is that of the views that it reads."""
        return [{} for _ in range(self._rows)]


@dataclass(frozen=True)
class OnDemandPlan:
    """The on-demand part of a request.

    Attributes:
        computations: The views to compute, with the features asked for.
        dtypes: The types of all features asked for, by column, in the order asked for.
        makers: What makes Python values of each feature's; see `FeatureValues`.
    """

    computations: tuple[tuple[Computation, tuple[FeatureRef, ...]], ...]
    dtypes: Mapping[str, DType]
    makers: Mapping[str, Maker | None]

    @classmethod
    def of(cls, plan: Plan, refs: Sequence[FeatureRef], computations: Computations) -> OnDemandPlan | None:
        """The on-demand part of a request for some features; None if there is none.

        Args:
            plan: The plan, with each view in the version that is served.
            refs: The features asked for.
            computations: The functions.

        Raises:
            PlanMismatchError: A version that is served has a feature of another type than the function was tried with.
            PlanError: A function cannot be loaded, or has changed.
        """
        views = plan.computed(refs)
        if not views:
            return None
        for view in views:
            _refuse_other_types(plan, view)
        dtypes = {ref.column: plan.dtype_of(ref) for ref in refs}
        of_view = [(computations.of(view), tuple(ref for ref in refs if ref.view == view.name)) for view in views]
        return cls(tuple(of_view), dtypes, {column: maker(dtype) for column, dtype in dtypes.items()})

    def answered(self, answer: OnlineFeatures, values: FeatureValues, rows: EntityRows) -> OnlineFeatures:
        """The answer to the request.

        Args:
            answer: The answer with the features that are stored, those that are only inputs included.
            values: Its values.
            rows: The request's rows.

        Returns:
            The answer with what was asked for and nothing else.

        Raises:
            LookupRequestError: A row leaves out a field of the request, or gives one of a wrong type.
            OnDemandError: A function fails.
        """
        blocks = [_of_asked(block, self.dtypes) for block in values.blocks]
        views = dict(answer.views)
        lists = values.lists()
        for computation, refs in self.computations:
            view = computation.view
            read = {one.ref.column: lists[one.ref.column] for one in view.inputs}
            for field in view.request:
                read[field.name] = field_of_rows(view, field, rows.columns.get(field.name), rows.lacking(field.name))
            computed = computation.run(Inputs(computation.dtypes, len(rows), lists=read))
            for ref in refs:
                column = _values(computed.arrays[ref.feature], view.feature(ref.feature).dtype)
                blocks.append(Block(((ref.column,),), *column, computed.problems))
            sources = [answer.views[name] for name in view.source_views]
            views[view.name] = ComputedAnswer(sources, len(rows))
        found = FeatureValues(self.makers, blocks)
        return replace(answer, dtypes=dict(self.dtypes), values=found, views=views)


def _refuse_other_types(plan: Plan, view: OnDemandView) -> None:
    for one in view.inputs:
        served = plan.dtype_of(one.ref)
        if served is not one.dtype:
            what = f"The on-demand view {view.name!r} reads {one.ref.view}:{one.ref.feature} as {one.dtype}"
            msg = f"{what}, and the online store serves a version of the view that has it as {served}."
            raise PlanMismatchError(msg, hint=f"`headrace backfill {one.ref.view}` makes the declared version live.")


def _of_asked(block: Block, asked: Mapping[str, DType]) -> Block:
    """A block without the names of features that were not asked for."""
    return block._replace(names=tuple(tuple(name for name in names if name in asked) for names in block.names))


def _values(column: pa.ChunkedArray, dtype: DType) -> Values:
    """A computed column as aggregates give theirs."""
    if dtype.element is None:
        return column_values(column)
    data = np.empty(len(column), object)
    for row, values in enumerate(python_values(column, dtype)):
        data[row] = None if values is None else [as_stored(one) for one in values]
    return Values(data, np.asarray(column.is_valid()))
