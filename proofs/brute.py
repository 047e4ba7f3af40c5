"""What a feature means, by brute force: plain loops over plain Python values.

Written from the definition alone and sharing nothing with headrace, not even its types: where both agree, they agree
about the meaning. Times are integers in µs. A null is None. NaN is a value, equal to itself and greater than all
others. Events are ordered by (ts, partition, offset).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

__all__ = ["AGGREGATES", "Event", "Meaning", "Sample", "Want", "expected"]


class Event(NamedTuple):
    """An event that the worker accepted.

    Attributes:
        ts: Its event time.
        known: When it was known.
        partition: Its partition.
        offset: Its offset there.
        values: Its fields, derived ones included.
    """

    ts: int
    known: int
    partition: int
    offset: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Meaning:
    """What a feature is declared to be; see `headrace.plan.Feature` for the fields."""

    name: str
    function: str
    column: str
    window: int | None
    slide: int | None
    params: tuple[int | float, ...] = ()
    where: str | None = None
    offset: int = 0


class Sample(NamedTuple):
    """What is aggregated.

    Attributes:
        values: The values that are not null, in the order of their events.
        times: The event time of each.
        positions: The source position of each: partition << 48 | offset.
        t: The time of the lookup.
        window: The window's length; None is a lifetime.
        params: The function's parameters.
    """

    values: list[Any]
    times: list[int]
    positions: list[int]
    t: int
    window: int | None
    params: tuple[int | float, ...]


class Want(NamedTuple):
    """The value that a feature must have.

    Attributes:
        value: The value.
        slack: How far doubles may be from it beside 1e-9 of it, where large numbers cancel.
    """

    value: Any
    slack: float = 0.0


def expected(meaning: Meaning, events: Sequence[Event], t: int, *, as_of_event: bool) -> Want:
    """The value of a feature for one entity at one time.

    Args:
        meaning: The feature.
        events: The entity's events, in the order of (ts, partition, offset).
        t: The time of the lookup.
        as_of_event: Whether events are known at their own time, rather than at `known`.
    """
    counted = [
        event for event in events if (event.ts if as_of_event else event.known) <= t and in_window(meaning, event.ts, t)
    ]
    if meaning.where is not None:
        counted = [event for event in counted if event.values[meaning.where] is True]
    if meaning.column != "*":
        counted = [event for event in counted if event.values[meaning.column] is not None]
    values = [1 if meaning.column == "*" else event.values[meaning.column] for event in counted]
    times, positions = [event.ts for event in counted], [event.partition << 48 | event.offset for event in counted]
    sample = Sample(values, times, positions, t, meaning.window, meaning.params)
    return AGGREGATES[meaning.function](sample)


def in_window(meaning: Meaning, ts: int, t: int) -> bool:
    """Whether an event's time lies in the window of a lookup at `t`."""
    if meaning.window is None or meaning.slide is None:
        return True
    tiles, back = meaning.window // meaning.slide, meaning.offset // meaning.slide
    newest = t // meaning.slide - back
    return newest - tiles < ts // meaning.slide <= newest


def _finite(values: Sequence[Any]) -> float | None:
    """What a total of values is that are not all finite; None where all are."""
    if any(math.isnan(value) for value in values) or (math.inf in values and -math.inf in values):
        return math.nan
    return next((value for value in values if math.isinf(value)), None)


def count(sample: Sample) -> Want:
    """How many."""
    return Want(len(sample.values))


def total(sample: Sample) -> Want:
    """Their sum; 0 of none."""
    if not any(isinstance(value, float) for value in sample.values):
        return Want(sum(int(value) for value in sample.values))
    special = _finite(sample.values)
    if special is not None:
        return Want(special)
    return Want(math.fsum(sample.values), 1e-13 * math.fsum(abs(value) for value in sample.values))


def mean(sample: Sample) -> Want:
    """Their arithmetic mean."""
    if not sample.values:
        return Want(None)
    summed, n = total(sample), len(sample.values)
    return Want(summed.value / n, summed.slack / n)


def least(sample: Sample) -> Want:
    """The least; NaN only where there is nothing else."""
    return Want(min(sample.values, key=_order, default=None))


def greatest(sample: Sample) -> Want:
    """The greatest; NaN where there is one."""
    return Want(max(sample.values, key=_order, default=None))


def _order(value: Any) -> tuple[bool, Any]:
    is_nan = isinstance(value, float) and math.isnan(value)
    return (is_nan, 0.0 if is_nan else value)


def first(sample: Sample) -> Want:
    """The earliest."""
    return Want(sample.values[0] if sample.values else None)


def last(sample: Sample) -> Want:
    """The latest."""
    return Want(sample.values[-1] if sample.values else None)


def first_n(sample: Sample) -> Want:
    """The k earliest, oldest first."""
    return Want(sample.values[: int(sample.params[0])])


def last_n(sample: Sample) -> Want:
    """The k latest, oldest first."""
    return Want(sample.values[-int(sample.params[0]) :])


def _same(value: Any) -> Any:
    """What equal values have in common: one NaN, one zero."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value + 0.0
    return value


def distinct_n(sample: Sample) -> Want:
    """The k most recent distinct values, most recent first."""
    seen: dict[Any, Any] = {}
    for value in reversed(sample.values):
        seen.setdefault(_same(value), value)
    return Want(list(seen.values())[: int(sample.params[0])])


def count_distinct(sample: Sample) -> Want:
    """How many distinct values. A sketch of so few estimates exactly, too."""
    return Want(len({_same(value) for value in sample.values}))


def _moments(values: Sequence[Any]) -> tuple[int, Fraction, Fraction]:
    """n, and the sums of the squares and cubes of the distances from the mean, exactly."""
    exact = [Fraction(value) for value in values]
    centre = sum(exact, Fraction()) / len(exact)
    return (
        len(exact),
        sum(((x - centre) ** 2 for x in exact), Fraction()),
        sum(((x - centre) ** 3 for x in exact), Fraction()),
    )


def _variance(sample: Sample, less: int) -> Want:
    if len(sample.values) <= less:
        return Want(None)
    if _finite([float(value) for value in sample.values]) is not None:
        return Want(math.nan)
    n, squares, _ = _moments(sample.values)
    return Want(float(squares / (n - less)), 1e-13 * max(float(value) ** 2 for value in sample.values))


def var_pop(sample: Sample) -> Want:
    """Variance of the population."""
    return _variance(sample, 0)


def var_samp(sample: Sample) -> Want:
    """Variance of a sample."""
    return _variance(sample, 1)


def _root(variance: Want) -> Want:
    return variance if variance.value is None else Want(math.sqrt(variance.value), math.sqrt(variance.slack))


def stddev_pop(sample: Sample) -> Want:
    """Standard deviation of the population."""
    return _root(var_pop(sample))


def stddev_samp(sample: Sample) -> Want:
    """Standard deviation of a sample."""
    return _root(var_samp(sample))


def skew(sample: Sample) -> Want:
    """Skewness of the population; null where all are equal."""
    if not sample.values:
        return Want(None)
    if _finite([float(value) for value in sample.values]) is not None:
        return Want(math.nan)
    n, squares, cubes = _moments(sample.values)
    if squares == 0:
        return Want(None)
    return Want(float(cubes / n) / float(squares / n) ** 1.5, 1e-9)


def _drawn(sample: Sample, size: int) -> list[Any]:
    """The values of the `size` events whose positions have the least hashes (SplitMix64); all, if there are fewer."""
    mask = 2**64 - 1

    def mixed(position: int) -> int:
        z = (position + 0x9E3779B97F4A7C15) & mask
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        return z ^ z >> 31

    by_hash = sorted(range(len(sample.values)), key=lambda number: mixed(sample.positions[number]))
    return [sample.values[number] for number in by_hash[:size]]


def percentile(sample: Sample) -> Want:
    """The p-quantile, interpolated between its neighbours."""
    return _quantile(sample, sample.params[0])


def median(sample: Sample) -> Want:
    """The middle, interpolated."""
    return _quantile(sample, 0.5)


def _quantile(sample: Sample, p: float) -> Want:
    if not sample.values:
        return Want(None)
    ordered = sorted((float(value) for value in _drawn(sample, int(sample.params[-1]))), key=_order)
    place = p * (len(ordered) - 1)
    below = math.floor(place)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    share = place - below
    if share == 0 or low == high:
        return Want(low)
    return Want(low * (1 - share) + high * share, 1e-13 * (abs(low) + abs(high)) if math.isfinite(low + high) else 0.0)


def _by_frequency(sample: Sample) -> list[tuple[Any, int]]:
    counts = {value: sample.values.count(value) for value in set(sample.values)}
    if len(counts) > sample.params[-1]:
        drawn, n = _drawn(sample, 1024), len(sample.values)
        counts = {value: round(Fraction(drawn.count(value) * n, len(drawn))) for value in set(drawn)}
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def top_k(sample: Sample) -> Want:
    """The k most frequent values, ties in ascending order."""
    return Want([value for value, _ in _by_frequency(sample)[: int(sample.params[0])]])


def value_counts(sample: Sample) -> Want:
    """Each value's count as a JSON object, most frequent first."""
    names = {True: "true", False: "false"}
    counts = {names[value] if isinstance(value, bool) else str(value): n for value, n in _by_frequency(sample)}
    return Want(json.dumps(counts, ensure_ascii=False, separators=(",", ":")))


def histogram(sample: Sample) -> Want:
    """Counts below the first edge, between the edges, and from the last edge on."""
    counts = [0] * (len(sample.params) + 1)
    for value in sample.values:
        counts[sum(not value < edge for edge in sample.params)] += 1
    return Want(counts)


def rate(sample: Sample) -> Want:
    """How many per second of the window."""
    return Want(len(sample.values) / ((sample.window or 0) / 1e6))


def time_since_last(sample: Sample) -> Want:
    """Seconds from the latest to the lookup."""
    return Want((sample.t - max(sample.times)) / 1e6 if sample.times else None)


def time_since_first(sample: Sample) -> Want:
    """Seconds from the earliest to the lookup."""
    return Want((sample.t - min(sample.times)) / 1e6 if sample.times else None)


def _weighed(sample: Sample, values: Sequence[float], t: int) -> Want:
    special = _finite(values)
    if special is not None:
        return Want(special)
    half_life = sample.params[0] * 1e6
    parts = [2.0 ** ((ts - t) / half_life) * value for ts, value in zip(sample.times, values, strict=True) if value]
    return Want(math.fsum(parts), 1e-12 * math.fsum(abs(part) for part in parts) + 1e-300)


def decayed_sum(sample: Sample) -> Want:
    """The sum, each value halved per half-life that has passed."""
    return _weighed(sample, [float(value) for value in sample.values], sample.t)


def decayed_count(sample: Sample) -> Want:
    """How many, each halved per half-life that has passed."""
    return _weighed(sample, [1.0] * len(sample.values), sample.t)


def decayed_mean(sample: Sample) -> Want:
    """The mean, weighed by how recent each value is."""
    if not sample.values:
        return Want(None)
    newest = max(sample.times)  # any other time gives the same, but for underflow
    summed = _weighed(sample, [float(value) for value in sample.values], newest)
    weight = _weighed(sample, [1.0] * len(sample.values), newest).value
    return Want(summed.value / weight, summed.slack / weight)


AGGREGATES: dict[str, Callable[[Sample], Want]] = {
    "count": count,
    "sum": total,
    "mean": mean,
    "min": least,
    "max": greatest,
    "first": first,
    "last": last,
    "first_n": first_n,
    "last_n": last_n,
    "distinct_n": distinct_n,
    "count_distinct": count_distinct,
    "approx_count_distinct": count_distinct,
    "var_pop": var_pop,
    "var_samp": var_samp,
    "stddev_pop": stddev_pop,
    "stddev_samp": stddev_samp,
    "skew": skew,
    "percentile": percentile,
    "median": median,
    "top_k": top_k,
    "value_counts": value_counts,
    "histogram": histogram,
    "rate": rate,
    "time_since_last": time_since_last,
    "time_since_first": time_since_first,
    "decayed_sum": decayed_sum,
    "decayed_count": decayed_count,
    "decayed_mean": decayed_mean,
}
"""Each aggregate by name."""
