"""Trying a view's transforms on events made from the model.

A transform that fails on all of them would make only nulls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from headrace.declare.sample_events import sample_events
from headrace.declare.views import VIEW_CALLEES
from headrace.events.decode import EventDecoder
from headrace.events.model_schema import resolve_model
from headrace.events.raw_records import RawRecords
from headrace.plan import DType, Plan, Source, View
from headrace.times import CALENDAR_US
from headrace.transforms import ColumnFailures, Transformer

if TYPE_CHECKING:
    from feast import StreamFeatureView

    from headrace.declare.feature_repo import FeatureRepo
    from headrace.declare.problems import Problems

__all__ = ["try_transforms"]


def try_transforms(repo: FeatureRepo, plan: Plan, problems: Problems) -> list[str]:
    """Run the transforms of each view on events made from its source's model.

    Args:
        repo: The repo, still open.
        plan: What was compiled from it.
        problems: Where to note a transform that fails on every event.

    Returns:
        Warnings: transforms that could not be tried, and expressions that failed on all made texts.
    """
    warnings: list[str] = []
    tables: dict[str, pa.Table] = {}
    for written in repo.contents.stream_feature_views:
        view = plan.views.get(written.name)
        if view is None or not view.transforms:
            continue
        source = plan.source_of(view)
        if source.name not in tables:
            tables[source.name] = _events_of(source, repo)
        table = tables[source.name]
        if not table.num_rows:
            warnings.append(
                f"The transforms of {view.name} were not tried: no valid event could be made of {source.model}. "
                "Give its fields examples: Field(examples=[…])."
            )
            continue
        for name, failed in _failures(view, written, table).items():
            if failed.failed < failed.events:
                continue
            place = repo.locator.of(written, written.name, *VIEW_CALLEES)
            subject = f"view {view.name!r}: {failed.what} fails on all {failed.events} events made from {source.model}"
            if failed.is_function:
                problems.add(place, f"{subject}, so {name!r} would always be null: {failed.reason}", _FIX_FUNCTION)
            elif _reads_text(failed.what, view.sees(source)):
                warnings.append(f"{subject}: {failed.reason}. If real events have texts of another form, ignore this.")
            else:
                problems.add(
                    place, f"{subject}, so it would always be null: {failed.reason}", "Correct the expression."
                )
    return warnings


_FIX_FUNCTION = (
    "Correct the function. If it is right and needs texts of a certain form, give the model's fields examples: "
    "Field(examples=[…])."
)


def _events_of(source: Source, repo: FeatureRepo) -> pa.Table:
    model = resolve_model(source.model, repo.path)
    events = sample_events(model)
    # Later than every event, so that none is refused as too far in the future.
    timestamps = np.full(len(events), CALENDAR_US[1] // 1000, np.int64)
    keys: list[bytes | None] = [None] * len(events)
    records = RawRecords(np.zeros(len(events), np.int64), np.arange(len(events)), timestamps, keys, list(events))
    return EventDecoder(source, model).decode(records)[0].table


def _failures(view: View, written: StreamFeatureView, table: pa.Table) -> dict[str, ColumnFailures]:
    function: Any = written.udf or getattr(written.feature_transformation, "udf", None)
    transformer = Transformer(view, load=lambda _: function, warns=False)
    transformer.apply(table)
    return transformer.failures.by_column()


def _reads_text(expression: str, source: Source) -> bool:
    """Whether an expression names a column of texts."""
    return any(column.dtype is DType.STRING and column.name.lower() in expression.lower() for column in source.columns)
