"""The features of a view at the rows of a spine: entities are dealt to shards, and shards to threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from headrace.aggregates import Array, BoolArray, IntArray
from headrace.events.event_batch import of_integers
from headrace.history.cell_values import FeatureCells, sum_cells, time_cells
from headrace.history.column_cache import Held
from headrace.history.column_files import in_threads
from headrace.history.join_plan import ViewMatch
from headrace.history.log_events import Events
from headrace.history.shard_features import Answer, Shard
from headrace.history.timeline import Rows
from headrace.plan import DType, Feature

__all__ = ["Deal", "compute_features", "deals"]

_SHARD_EVENTS = 1_000_000
"""About how many events a shard has: they are sorted and summed in the processor's cache, or not far from it."""

_LEAST_SHARD = 50_000
_PACKED = 1 << 62


class Deal(NamedTuple):
    """A shard's events and rows.

    Attributes:
        number: Which events are of its entities; None is all.
        key: Their entities, from 0.
        rows: The rows.
    """

    number: IntArray | None
    key: IntArray
    rows: Rows


class _Cut(NamedTuple):
    """Entities dealt to shards, in runs.

    Attributes:
        shards: How many shards there are.
        of_key: By entity, its shard, shape (entities,).
        first_key: By shard, its first entity.
    """

    shards: int
    of_key: IntArray
    first_key: IntArray


def compute_features(
    match: ViewMatch, events: Events, key_id: IntArray, t_us: IntArray, entities: int, threads: int
) -> dict[str, FeatureCells]:
    """The features that are read off running totals and frames.

    Args:
        match: What is asked of the view.
        events: Its events.
        key_id: Each row's entity, shape (rows,).
        t_us: Each row's moment.
        entities: How many entities there are.
        threads: How many shards to compute at a time.

    Returns:
        By feature, its values in the rows' order.
    """
    if not match.queried:
        return {}
    found, lasting = _computed(match, events, Held(events, match, trusting=True), (key_id, t_us, entities), threads)
    if lasting:
        again = match.only(lasting)
        found |= _computed(again, events, Held(events, again), (key_id, t_us, entities), threads)[0]
    return found


def _computed(
    match: ViewMatch, events: Events, held: Held, asked: tuple[IntArray, IntArray, int], threads: int
) -> tuple[dict[str, FeatureCells], list[str]]:
    """The features, and those of last values among them that nulls leave open."""
    rows_in_all = len(asked[0])
    found = _blanks(match, held, rows_in_all)

    def compute(deal: Callable[[], Deal]) -> None:
        number, key, rows = deal()
        shard = Shard(held, match, number, key, rows)
        for group in match.groups:
            answers = shard.answers(group)
            # Features that have one answer have one place for it.
            for name in {id(found[name]): name for name in answers}.values():
                _note(answers[name], found[name], rows.spine_row)

    in_threads(threads, compute, deals(events, *asked, threads))
    arrays = _arrays(match, held, found)
    open_ones = [
        feature.name
        for feature in match.queried
        if feature.column in held.trusted
        and arrays[feature.name].array.null_count > np.count_nonzero(found[feature.name].data < 0)
    ]
    return arrays, open_ones


def deals(events: Events, key_id: IntArray, t_us: IntArray, entities: int, threads: int) -> list[Callable[[], Deal]]:
    """Deal entities to shards of about as much work each.

    Args:
        events: The events.
        key_id: Each row's entity, shape (rows,).
        t_us: Each row's moment.
        entities: How many entities there are.
        threads: How many shards there should be at least, where they are worth it.

    Returns:
        By shard, what makes it.
    """
    cut = _cut(events, key_id, t_us, entities, threads)
    events_of, rows_of = _dealt(cut, events.key_id), _dealt(cut, key_id)

    def deal(shard: int) -> Deal:
        number, mine, first = events_of[shard], rows_of[shard], cut.first_key[shard]
        rows = np.arange(len(key_id)) if mine is None else mine
        key = (events.key_id if number is None else events.key_id[number]) - first
        return Deal(number, key, Rows.sorted(key_id[rows] - first, t_us[rows], rows))

    return [partial(deal, shard) for shard in range(cut.shards)]


def _cut(events: Events, key_id: IntArray, t_us: IntArray, entities: int, threads: int) -> _Cut:
    """Shards of about as much work each, whose entities and times pack into 64 bits."""
    weights = np.bincount(events.key_id, minlength=entities) + np.bincount(key_id, minlength=entities)
    work = int(weights.sum())
    wanted = max(1, -(-work // _SHARD_EVENTS), min(threads, work // _LEAST_SHARD))
    of_key = np.minimum((np.cumsum(weights) - weights) * wanted // max(1, work), wanted - 1)
    most_keys = max(1, _PACKED // _span(events, t_us))
    if entities > most_keys:
        of_key = of_key * entities + np.arange(entities) // most_keys
    first_key = np.flatnonzero(np.append(True, of_key[1:] != of_key[:-1]))
    of_key = np.cumsum(np.append(False, of_key[1:] != of_key[:-1]))
    return _Cut(len(first_key), of_key, first_key)


def _span(events: Events, t_us: IntArray) -> int:
    times = [array for array in (events.ts_us, events.known_us, t_us) if len(array)]
    return max(int(array.max()) for array in times) - min(int(array.min()) for array in times) + 1


def _dealt(cut: _Cut, key_id: IntArray) -> list[IntArray | None]:
    """By shard, which of some events or rows are its entities'; None is all."""
    if cut.shards == 1:
        return [None]
    of_each = cut.of_key.astype(np.uint16 if cut.shards < 1 << 16 else np.int64)[key_id]
    order = np.argsort(of_each, kind="stable")
    ends = np.cumsum(np.bincount(of_each, minlength=cut.shards))
    return list(np.split(order, ends[:-1]))


def _blanks(match: ViewMatch, held: Held, rows: int) -> dict[str, Answer]:
    """Room for all features' values; one for those that have the same."""
    found: dict[str, Answer] = {}
    lasts: dict[Any, Answer] = {}
    for group in match.groups:
        for feature in group.features:
            blank = _blank(match, feature, rows)
            if feature.function == "last":
                blank = lasts.setdefault((group.number, held.alike(feature)), blank)
            found[feature.name] = blank
    return found


def _blank(match: ViewMatch, feature: Feature, rows: int) -> Answer:
    """Room for a feature's values."""
    doubles = feature.function == "mean" or (
        feature.function in ("sum", "min", "max") and match.source.column(feature.column).dtype is DType.FLOAT64
    )
    return Answer(np.zeros(rows, np.float64 if doubles else np.int64), np.ones(rows, np.bool_))


def _note(answer: Answer, into: Answer, rows: IntArray) -> None:
    into.data[rows] = answer.data
    if answer.valid is not None and into.valid is not None:
        into.valid[rows] = answer.valid


def _arrays(match: ViewMatch, held: Held, found: Mapping[str, Answer]) -> dict[str, FeatureCells]:
    arrays = {
        feature.name: _array(feature, found[feature.name]) for feature in match.queried if feature.function != "last"
    }
    for columns, numbers in _last_values(match, found):
        values = held.events.take(list(dict.fromkeys(columns.values())), numbers)
        for name, column in columns.items():
            arrays[name] = time_cells(values.column(column).combine_chunks(), match.source.column(column).dtype)
    return arrays


def _last_values(match: ViewMatch, found: Mapping[str, Answer]) -> list[tuple[dict[str, str], IntArray]]:
    """Features whose values are those of the same events, with their columns; and which events these are."""
    alike: dict[int, tuple[dict[str, str], IntArray]] = {}
    for feature in match.queried:
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
