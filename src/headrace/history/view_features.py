"""The features of a view at the rows of a spine: shards are dealt to threads, and their answers put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.aggregates import Array, BoolArray, IntArray
from headrace.events.event_batch import of_integers
from headrace.history.cell_values import FeatureCells, sum_cells, time_cells
from headrace.history.column_cache import ColumnCache
from headrace.history.column_files import in_threads
from headrace.history.join_plan import JoinPlan
from headrace.history.limits import Limits
from headrace.history.log_events import Events
from headrace.history.shard_features import Answer, Shard
from headrace.history.shards import Asked, Deal, deals
from headrace.plan import DType, Feature

__all__ = ["compute_features"]


def compute_features(
    plan: JoinPlan, events: Events, asked: Asked, threads: int, limits: Limits
) -> dict[str, FeatureCells]:
    """The features that are read from states.

    Args:
        plan: The view's part of the join plan.
        events: Its events.
        asked: The rows.
        threads: How many shards to compute at a time.
        limits: How it works.

    Returns:
        By feature, its values in the rows' order.
    """
    if not plan.groups:
        return {}
    found, with_nulls = _computed(plan, ColumnCache(events, plan, trusting=True), asked, threads, limits)
    if with_nulls:
        again = plan.only(with_nulls)
        found |= _computed(again, ColumnCache(events, again), asked, threads, limits)[0]
    return found


def _computed(
    plan: JoinPlan, cache: ColumnCache, asked: Asked, threads: int, limits: Limits
) -> tuple[dict[str, FeatureCells], list[str]]:
    """The features; and the last values among them that must be computed again, as their column has nulls."""
    found = _blanks(plan, cache, len(asked.key_id))

    def compute(make: Callable[[], Deal]) -> None:
        deal = make()
        shards: dict[bool, Shard] = {}
        for group in plan.groups:
            # By evidence, windows and lifetimes need their events in different orders.
            windowed = asked.applied is None or group.window_us is not None
            if windowed not in shards:
                timeline = deal.timeline(
                    limits, windowed=windowed, in_order=plan.needs_order, settle_us=limits.settle_us
                )
                shards[windowed] = Shard(cache, timeline)
            answers = shards[windowed].answers(group)
            # Features that have one answer have one place for it.
            for name in {id(found[name]): name for name in answers}.values():
                _note(answers[name], found[name], deal.rows.spine_row)

    in_threads(threads, compute, deals(cache, asked, threads, limits))
    arrays = _arrays(plan, cache, found)
    open_ones = [
        feature.name
        for feature in plan.state_features
        if feature.column in cache.trusted
        and arrays[feature.name].array.null_count > np.count_nonzero(found[feature.name].data < 0)
    ]
    return arrays, open_ones


def _blanks(plan: JoinPlan, cache: ColumnCache, rows: int) -> dict[str, Answer]:
    """Empty arrays for all features' values; features with the same answer share one."""
    found: dict[str, Answer] = {}
    lasts: dict[Any, Answer] = {}
    for group in plan.groups:
        for feature in group.features:
            blank = _blank(plan, feature, rows)
            if feature.function == "last":
                blank = lasts.setdefault((group.number, cache.alike(feature)), blank)
            found[feature.name] = blank
    return found


def _blank(plan: JoinPlan, feature: Feature, rows: int) -> Answer:
    """Empty arrays for a feature's values."""
    doubles = feature.function == "mean" or (
        feature.function in ("sum", "min", "max") and plan.source.column(feature.column).dtype is DType.FLOAT64
    )
    return Answer(np.zeros(rows, np.float64 if doubles else np.int64), np.ones(rows, np.bool_))


def _note(answer: Answer, into: Answer, rows: IntArray) -> None:
    into.data[rows] = answer.data
    if answer.valid is not None and into.valid is not None:
        into.valid[rows] = answer.valid


def _arrays(plan: JoinPlan, cache: ColumnCache, found: Mapping[str, Answer]) -> dict[str, FeatureCells]:
    arrays = {
        feature.name: _array(feature, found[feature.name])
        for feature in plan.state_features
        if feature.function != "last"
    }
    for columns, numbers in _last_values(plan, found):
        values = cache.events.take(list(dict.fromkeys(columns.values())), numbers)
        for name, column in columns.items():
            arrays[name] = time_cells(values.column(column).combine_chunks(), plan.source.column(column).dtype)
    return arrays


def _last_values(plan: JoinPlan, found: Mapping[str, Answer]) -> list[tuple[dict[str, str], IntArray]]:
    """Features whose values are those of the same events, with their columns; and which events these are."""
    alike: dict[int, tuple[dict[str, str], IntArray]] = {}
    for feature in plan.state_features:
        if feature.function == "last":
            answer = found[feature.name]
            columns, _ = alike.setdefault(id(answer), ({}, answer.data))
            columns[feature.name] = feature.column
    return list(alike.values())


def _array(feature: Feature, answer: Answer) -> FeatureCells:
    valid = answer.valid
    missing: BoolArray | None = None if valid is None or valid.all() else ~valid
    data: Array = answer.data
    array = of_integers(pa.array(data, mask=missing), feature.dtype)
    return sum_cells(array, valid) if feature.function == "sum" else time_cells(array, feature.dtype)
