"""The aggregates by the names that definitions use."""

from __future__ import annotations

from headrace.aggregates.base import Aggregate
from headrace.aggregates.count import Count
from headrace.aggregates.last import Last
from headrace.aggregates.max import Max
from headrace.aggregates.mean import Mean
from headrace.aggregates.min import Min
from headrace.aggregates.sum import Sum
from headrace.plan import DType, Feature, Source

__all__ = ["AGGREGATES", "ALIASES", "aggregate_of", "canonical_name"]

AGGREGATES: dict[str, type[Aggregate]] = {kind.name: kind for kind in (Count, Sum, Mean, Min, Max, Last)}
"""Every aggregate by its canonical name."""

ALIASES = {"avg": "mean"}
"""Other names that definitions may use."""


def canonical_name(function: str) -> str | None:
    """The canonical name of an aggregate; None where there is none of that name."""
    name = ALIASES.get(function, function)
    return name if name in AGGREGATES else None


def aggregate_of(feature: Feature, source: Source) -> Aggregate:
    """The aggregate that computes `feature` from events of `source`."""
    dtype: DType | None = None if feature.column == "*" else source.column(feature.column).dtype
    return AGGREGATES[feature.function](dtype)
