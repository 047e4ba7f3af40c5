"""The aggregates by the names that definitions use."""

from __future__ import annotations

import re

from headrace.aggregates.approx_count_distinct import ApproxCountDistinct
from headrace.aggregates.base import Aggregate
from headrace.aggregates.count import Count
from headrace.aggregates.count_distinct import CountDistinct
from headrace.aggregates.decayed_count import DecayedCount
from headrace.aggregates.decayed_mean import DecayedMean
from headrace.aggregates.decayed_sum import DecayedSum
from headrace.aggregates.distinct_n import DistinctN
from headrace.aggregates.first import First
from headrace.aggregates.first_n import FirstN
from headrace.aggregates.histogram import Histogram
from headrace.aggregates.last import Last
from headrace.aggregates.last_n import LastN
from headrace.aggregates.max import Max
from headrace.aggregates.mean import Mean
from headrace.aggregates.median import Median
from headrace.aggregates.min import Min
from headrace.aggregates.percentile import Percentile
from headrace.aggregates.rate import Rate
from headrace.aggregates.skew import Skew
from headrace.aggregates.stddev_pop import StddevPop
from headrace.aggregates.stddev_samp import StddevSamp
from headrace.aggregates.sum import Sum
from headrace.aggregates.time_since_first import TimeSinceFirst
from headrace.aggregates.time_since_last import TimeSinceLast
from headrace.aggregates.top_k import TopK
from headrace.aggregates.value_counts import ValueCounts
from headrace.aggregates.var_pop import VarPop
from headrace.aggregates.var_samp import VarSamp
from headrace.plan import DType, Feature, Source

__all__ = ["AGGREGATES", "ALIASES", "aggregate_of", "canonical_name", "parse_function"]

AGGREGATES: dict[str, type[Aggregate]] = {
    kind.name: kind
    for kind in (
        Count,
        Sum,
        Mean,
        Min,
        Max,
        Last,
        First,
        VarPop,
        VarSamp,
        StddevPop,
        StddevSamp,
        Skew,
        FirstN,
        LastN,
        DistinctN,
        CountDistinct,
        ApproxCountDistinct,
        Percentile,
        Median,
        TopK,
        ValueCounts,
        Histogram,
        Rate,
        TimeSinceLast,
        TimeSinceFirst,
        DecayedSum,
        DecayedCount,
        DecayedMean,
    )
}
"""Every aggregate by its canonical name."""

ALIASES = {
    "avg": "mean",
    "var": "var_samp",
    "variance": "var_samp",
    "std": "stddev_samp",
    "stddev": "stddev_samp",
}
"""Other names that definitions may use."""


_CALL = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:\((.*)\))?\s*")


def canonical_name(function: str) -> str | None:
    """The canonical name of an aggregate, without its parameters; None if there is no such aggregate.

    >>> canonical_name("avg"), canonical_name("nonsense")
    ('mean', None)
    """
    call = _CALL.fullmatch(function)
    if call is None:
        return None
    name = ALIASES.get(call[1], call[1])
    return name if name in AGGREGATES else None


def parse_function(function: str) -> tuple[str, tuple[int | float, ...]]:
    """An aggregate's canonical name and its parameters, defaults filled in.

    Args:
        function: As a definition writes it: ``"count"``, ``"percentile(0.9)"``.

    Raises:
        ValueError: There is no such aggregate, or the parameters do not fit it; the message says what to write.
    """
    name = canonical_name(function)
    call = _CALL.fullmatch(function)
    if name is None or call is None:
        msg = f"the function {function!r} is unknown"
        raise ValueError(msg)
    given = (call[2] or "").strip()
    return name, AGGREGATES[name].parameters(tuple(_number(name, text) for text in given.split(",")) if given else ())


def _number(name: str, text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        msg = f"{name}: the parameter {text.strip()!r} is not a number"
        raise ValueError(msg) from None


def aggregate_of(feature: Feature, source: Source) -> Aggregate:
    """The aggregate that computes `feature` from events of `source`, as the feature's view sees it."""
    dtype: DType | None = None if feature.column == "*" else source.column(feature.column).dtype
    return AGGREGATES[feature.function](dtype, feature.params)
