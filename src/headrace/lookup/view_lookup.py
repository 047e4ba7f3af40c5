"""One view's part of a lookup: its records, and the features computed from them for all rows at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property

import numpy as np

from headrace.aggregates import Array, At, BoolArray, cells_of
from headrace.errors import LookupTimeError
from headrace.lookup.request_plan import Part, Stack, ViewPlan
from headrace.lookup.response import Block, ViewAnswer
from headrace.lookup.window_spans import WindowGroup, WindowSpans, merges_by_column
from headrace.plan import FeatureRef
from headrace.stores import FoundRecords
from headrace.times import iso_time
from headrace.windows import NEVER, Tiles, Window

__all__ = ["ViewLookup"]


class ViewLookup:
    """One view's part of a lookup: the features of each row of the request, from its records of all source partitions.

    Args:
        asked: The view's part of the request plan.
        entities: Each row's entity key.
        found: Their records.
        at_us: The time asked for, in µs.

    Raises:
        StoreDamagedError: A record is damaged.
    """

    def __init__(self, asked: ViewPlan, entities: list[bytes], found: FoundRecords, at_us: int) -> None:
        self._asked = asked
        self._at_us = at_us
        self._n = len(entities)
        self._sources = found.sources
        self._row = np.array(found.rows, np.int64)
        # One record per row, as with topics that are keyed by the entity.
        self._one_record_each = found.rows == list(range(self._n))
        owners = entities if self._one_record_each else [entities[row] for row in found.rows]
        self._stored = asked.reader.read(found.records, owners)
        self._spans = [WindowSpans(group, self._stored, at_us) for group in asked.groups]

    def values(self) -> list[Block]:
        """The features asked for."""
        with np.errstate(invalid="ignore", over="ignore"):
            merged = [spans.merged(self._row, self._n, one_record_each=self._one_record_each) for spans in self._spans]
        stacked = [_stacked(stack, merged, self._asked.groups) for stack in self._asked.stacks]
        found: list[Block] = []
        for one in self._asked.shared:
            state = tuple([stacked[number] for number in one.state])
            found.append(Block(one.columns, *cells_of(one.aggregate, state)))
        for part in self._asked.single:
            found += self._single(part, merged[part.group])
        return found

    def answer(self) -> ViewAnswer:
        """Status, freshness and evidence."""
        newest = self._stored.newest_ts_us
        if not self._one_record_each:
            of_row = [NEVER] * self._n
            for row, ts_us in zip(self._row.tolist(), newest, strict=True):
                of_row[row] = max(of_row[row], ts_us)
            newest = of_row
        counted = [
            (spans.is_counted, group.widest) for group, spans in zip(self._asked.groups, self._spans, strict=True)
        ]
        return ViewAnswer(newest, counted, self._row, self._sources, self._stored.applied)

    def _single(self, part: Part, merged: list[Array]) -> Iterator[Block]:
        """Features whose value depends on the time or the window, or whose columns merge only together."""
        group, spans = self._asked.groups[part.group], self._spans[part.group]
        family = group.families[0]
        aggregate, slots = family.accumulators[part.accumulator].aggregate, family.slots[part.accumulator]
        places = {column.slot: place for place, column in enumerate(group.columns)}
        t_us = np.full(self._n, self._at_us, np.int64)
        for window, names in zip(part.windows, part.columns, strict=True):
            if merges_by_column(family, part.accumulator):
                state = tuple(merged[places[slot]][window :: len(group.bounds)] for slot in slots)
            else:
                tiles = self._tiles_of(group.numbers[group.bounds[window].family])
                state = spans.together(tiles, part.accumulator, window, self._row, self._n)
            yield Block((names,), *cells_of(aggregate, state, At(t_us, group.windows[window].length_us)))

    @cached_property
    def _tiles_of(self) -> Callable[[int], Tiles]:
        """Decodes a family's tiles, once."""
        return cache(self._stored.tiles)

    def refuse_unanswerable(self) -> None:
        """Refuse a time if its tiles were pruned, or already contain events that were not known then.

        Raises:
            LookupTimeError: The time is refused; the message names the feature and the reason.
        """
        dropped = np.asarray(self._stored.dropped)
        for ref in self._asked.refs:
            place = self._asked.layout.places[ref.feature]
            if place.window.tiles is not None:
                oldest_needed = int(place.window.oldest(np.array([self._at_us]))[0])
                if (dropped[place.family] >= oldest_needed).any():
                    self._refuse(ref, "tiles that it would need have been pruned")
            tiles = self._tiles_of(place.family)
            unknown_then = self._unknown_then(tiles, place.window)
            if unknown_then.any():
                known = iso_time(int(tiles.known_us[unknown_then].max()))
                self._refuse(ref, f"its tiles also hold events that became known later (the newest at {known})")

    def _unknown_then(self, tiles: Tiles, window: Window) -> BoolArray:
        later: BoolArray = tiles.known_us > self._at_us
        return later & window.reaches(tiles.tile, np.array([self._at_us]))

    def _refuse(self, ref: FeatureRef, why: str) -> None:
        msg = f"{ref.view}:{ref.feature} cannot be looked up exactly at {iso_time(self._at_us)}: {why}."
        hint = "Look up at a later time, or ask the log: `headrace history` answers for any time."
        raise LookupTimeError(msg, hint=hint)


def _stacked(stack: Stack, merged: Sequence[list[Array]], groups: Sequence[WindowGroup]) -> Array:
    """The columns of a stack, window by window of one row after the other."""
    if len(stack) == 1 and stack[0][2] is None:
        return merged[stack[0][0]][stack[0][1]]
    columns = []
    for group, column, windows in stack:
        by_window = merged[group][column].reshape(-1, len(groups[group].bounds))
        columns.append(by_window if windows is None else by_window[:, windows])
    return np.concatenate(columns, axis=1).reshape(-1)
