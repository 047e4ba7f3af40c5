"""A point-in-time join by brute force: for every row of the spine, a loop over every event.

Written from the definition of a feature, sharing nothing with the engine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.plan import Feature

__all__ = ["Event", "Row", "brute_force"]


@dataclass(frozen=True)
class Event:
    ts: int
    known_at: int
    partition: int
    offset: int
    values: dict[str, Any]


@dataclass(frozen=True)
class Row:
    t: int
    keys: dict[str, Any]
    applied: Mapping[int, int] = field(default_factory=dict)


def brute_force(feature: Feature, join_keys: Sequence[str], events: Sequence[Event], row: Row, as_of: str) -> Any:
    counted = [
        e for e in events if _of_entity(e, row, join_keys) and _known(e, row, as_of) and _in_window(e, row, feature)
    ]
    if feature.where is not None:
        counted = [e for e in counted if e.values[feature.where] is True]
    if feature.column == "*":
        return len(counted)
    seen = sorted(
        (e for e in counted if e.values[feature.column] is not None), key=lambda e: (e.ts, e.partition, e.offset)
    )
    values = [e.values[feature.column] for e in seen]
    if feature.function == "count":
        return len(values)
    if feature.function == "sum":
        return _total(values)
    if not values:
        return None
    if feature.function == "mean":
        return _total([float(value) for value in values]) / len(values)
    if feature.function == "last":
        return values[-1]
    in_order = sorted(
        values, key=lambda value: (isinstance(value, float) and math.isnan(value), value)
    )  # NaN is the greatest
    numbers = [value for value in in_order if value == value]
    if feature.function == "min":
        return min(numbers, default=math.nan)
    return max(numbers) if len(numbers) == len(values) else math.nan


def _of_entity(event: Event, row: Row, join_keys: Sequence[str]) -> bool:
    return all(event.values[key] is not None and event.values[key] == row.keys[key] for key in join_keys)


def _known(event: Event, row: Row, as_of: str) -> bool:
    if as_of == "evidence":
        return event.partition in row.applied and event.offset <= row.applied[event.partition]
    return (event.ts if as_of == "event" else event.known_at) <= row.t


def _in_window(event: Event, row: Row, feature: Feature) -> bool:
    if feature.window_us is None or feature.slide_us is None:
        return True
    n = feature.window_us // feature.slide_us
    tile, of_event = (row.t - feature.offset_us) // feature.slide_us, event.ts // feature.slide_us
    return tile - n < of_event <= tile


def _total(values: Sequence[Any]) -> Any:
    if not any(isinstance(value, float) for value in values):
        return sum(int(value) for value in values)
    if any(math.isnan(value) for value in values) or {math.inf, -math.inf} <= set(values):
        return math.nan
    infinite = [value for value in values if math.isinf(value)]
    return infinite[0] if infinite else math.fsum(values)
