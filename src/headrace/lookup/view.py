"""One view's part of a lookup: its records, and the features computed from them for all rows at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from headrace.aggregates import Aggregate, Array, At, BoolArray, IntArray
from headrace.errors import LookupTimeError
from headrace.events.columns import Values
from headrace.lookup.response import ViewAnswer
from headrace.lookup.spans import FamilyAsked, Spans, merges_alone
from headrace.online.codec import Records, decode_records
from headrace.online.one_record import decode_one
from headrace.plan import FeatureRef
from headrace.times import iso_time
from headrace.windows import NEVER, FeaturePlace, Tiles, ViewLayout, Window

__all__ = ["AskedView", "ViewLookup"]


class _Part(NamedTuple):
    """The windows over one family that some features of one accumulator are of.

    Attributes:
        family: Which family.
        accumulator: Which of its accumulators.
        windows: Which of the windows over the family, ascending.
        is_every: Whether those are all.
        columns: Per window the features' columns in the answer.
    """

    family: int
    accumulator: int
    windows: tuple[int, ...]
    is_every: bool
    columns: tuple[tuple[str, ...], ...]


_Stack = tuple[tuple[int, int, tuple[int, ...] | None], ...]
"""Columns of state that stand one after the other: of each its family, its slot there, and the windows (None: all)."""


class _Alike(NamedTuple):
    """Features of the same aggregate, whose values are computed in one call: they depend on the state alone.

    Attributes:
        aggregate: The aggregate.
        state: Per column of its state, which stack it is.
        columns: The features' columns in the answer, per window.
    """

    aggregate: Aggregate
    state: tuple[int, ...]
    columns: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class AskedView:
    """What a request asks of one view, worked out once.

    Attributes:
        layout: The view's layout.
        refs: The features asked for.
        families: What is asked of each family of tiles.
        stacks: The columns of state that features are computed from together.
        alike: Those features.
        alone: The others.
    """

    layout: ViewLayout
    refs: tuple[FeatureRef, ...]
    families: tuple[FamilyAsked, ...]
    stacks: tuple[_Stack, ...]
    alike: tuple[_Alike, ...]
    alone: tuple[_Part, ...]

    @classmethod
    def of(cls, layout: ViewLayout, refs: Sequence[FeatureRef]) -> AskedView:
        """Work out what features of a view share."""
        places = [layout.places[ref.feature] for ref in refs]
        families = tuple(
            FamilyAsked.of(family, [place for place in places if place.family == number], _telling(layout, number))
            for number, family in enumerate(layout.families)
        )
        columns: dict[tuple[int, int], dict[int, list[str]]] = {}
        for ref, place in zip(refs, places, strict=True):
            window = families[place.family].windows.index(place.window)
            columns.setdefault((place.family, place.accumulator), {}).setdefault(window, []).append(ref.column)
        alike: dict[tuple[object, ...], list[_Part]] = {}
        alone: list[_Part] = []
        for (number, accumulator), by_window in columns.items():
            windows = tuple(sorted(by_window))
            is_every = len(windows) == len(families[number].windows)
            part = _Part(number, accumulator, windows, is_every, tuple(tuple(by_window[one]) for one in windows))
            aggregate = layout.families[number].accumulators[accumulator].aggregate
            if merges_alone(layout.families[number], accumulator) and type(aggregate).value is Aggregate.value:
                alike.setdefault((type(aggregate), aggregate.dtype, aggregate.params), []).append(part)
            else:
                alone.append(part)
        stacks: dict[_Stack, int] = {}
        together = tuple(_alike(layout, parts, stacks) for parts in alike.values())
        return cls(layout, tuple(refs), families, tuple(stacks), together, tuple(alone))


def _alike(layout: ViewLayout, parts: Sequence[_Part], stacks: dict[_Stack, int]) -> _Alike:
    aggregate = layout.families[parts[0].family].accumulators[parts[0].accumulator].aggregate
    state: list[int] = []
    for place in range(len(aggregate.state)):
        slots = [layout.families[part.family].slots[part.accumulator][place] for part in parts]
        of_parts = zip(parts, slots, strict=True)
        stack = tuple((part.family, slot, None if part.is_every else part.windows) for part, slot in of_parts)
        state.append(stacks.setdefault(stack, len(stacks)))
    return _Alike(aggregate, tuple(state), tuple(names for part in parts for names in part.columns))


def _stacked(stack: _Stack, merged: Sequence[dict[int, Array]]) -> Array:
    """A stack's columns over all their windows and rows, one after the other."""
    found = [
        merged[family][slot] if windows is None else merged[family][slot][list(windows)]
        for family, slot, windows in stack
    ]
    return (found[0] if len(found) == 1 else np.concatenate(found)).reshape(-1)


def _telling(layout: ViewLayout, family: int) -> list[Window]:
    """Windows of which at least one counts an event wherever any over these tiles does: of those that end together, the longest."""
    longest: dict[int, Window] = {}
    for place in layout.places.values():
        if place.family == family:
            held = longest.get(place.window.lag)
            if held is None or (place.window.tiles or 0) > (held.tiles or 0):
                longest[place.window.lag] = place.window
    return list(longest.values())


class ViewLookup:
    """One view's part of a lookup: the features of each row of the request, from its records of all source partitions.

    Args:
        asked: What is asked of the view.
        entities: Each row's entity key.
        found: Each row's records, as (source partition, record).
        at_us: The time asked for, in µs.

    Raises:
        StoreDamagedError: A record is not what it should be.
    """

    def __init__(
        self, asked: AskedView, entities: list[bytes], found: list[list[tuple[int, bytes]]], at_us: int
    ) -> None:
        self._asked = asked
        self._at_us = at_us
        self._n = len(entities)
        encoded = [record for partials in found for _, record in partials]
        self._partition = [partition for partials in found for partition, _ in partials]
        held = list(map(len, found))
        # One record for each row, as topics that are keyed by the entity have it.
        self._is_plain = len(encoded) == self._n and (not held or max(held) == 1)
        if self._is_plain:
            self._row = np.arange(self._n)
            owners = entities
        else:
            self._row = np.repeat(np.arange(self._n), held)
            owners = [entities[row] for row in self._row.tolist()]
        alone = decode_one(asked.layout, encoded[0], owners[0]) if len(encoded) == 1 else None
        self._records: Records = alone or decode_records(asked.layout, encoded, owners)
        self._spans = [
            Spans(family, tiles, len(encoded), at_us)
            for family, tiles in zip(asked.families, self._records.tiles, strict=True)
        ]

    def values(self) -> dict[str, Values]:
        """The features asked for, by column, shape (rows,) each."""
        found: dict[str, Values] = {}
        with np.errstate(invalid="ignore", over="ignore"):
            merged = [spans.merged(self._row, self._n) for spans in self._spans]
        stacked = [_stacked(stack, merged) for stack in self._asked.stacks]
        for one in self._asked.alike:
            data, valid = one.aggregate.result(tuple(stacked[number] for number in one.state))
            end = 0
            for names in one.columns:
                start, end = end, end + self._n
                values = Values(data[start:end], valid[start:end])
                for name in names:
                    found[name] = values
        for part in self._asked.alone:
            found.update(self._alone(part, merged[part.family]))
        return found

    def _alone(self, part: _Part, merged: dict[int, Array]) -> Iterator[tuple[str, Values]]:
        """Features of an aggregate that asks for the time or the window, or whose columns merge together only."""
        family, asked = self._asked.layout.families[part.family], self._asked.families[part.family]
        aggregate, slots = family.accumulators[part.accumulator].aggregate, family.slots[part.accumulator]
        t_us = np.full(self._n, self._at_us, np.int64)
        for window, names in zip(part.windows, part.columns, strict=True):
            if merges_alone(family, part.accumulator):
                state = tuple(merged[slot][window] for slot in slots)
            else:
                state = self._spans[part.family].together(part.accumulator, window, self._row, self._n)
            values = aggregate.value(state, At(t_us, asked.windows[window].length_us))
            yield from ((name, values) for name in names)

    def answer(self) -> ViewAnswer:
        """What the view knew."""
        newest, is_present = self._records.newest_ts_us, np.zeros(self._n, np.bool_)
        if not self._is_plain:
            newest = np.full(self._n, NEVER, np.int64)
            np.maximum.at(newest, self._row, self._records.newest_ts_us)
        for family, spans in zip(self._asked.families, self._spans, strict=True):
            counted = spans.is_counted
            for window in family.telling:
                if self._is_plain:
                    is_present |= counted[window]
                else:
                    is_present[self._row[counted[window]]] = True
        return ViewAnswer(newest, is_present, self._row, self._partition, self._records.applied)

    def refuse_unanswerable(self) -> None:
        """Refuse a time whose tiles were pruned, or whose tiles already hold events that were not known then.

        Raises:
            LookupTimeError: It says which feature, and why.
        """
        for ref in self._asked.refs:
            place = self._asked.layout.places[ref.feature]
            self._refuse_pruned(ref, place)
            tiles = self._records.tiles[place.family]
            unknown_then = self._unknown_then(tiles, place.window)
            if unknown_then.any():
                known = iso_time(int(tiles.known_us[unknown_then].max()))
                self._refuse(ref, f"its tiles also hold events that became known later (the newest at {known})")

    def _unknown_then(self, tiles: Tiles, window: Window) -> BoolArray:
        later: BoolArray = tiles.known_us > self._at_us
        mask = _reached(window, tiles.tile, self._at_us)
        return later if mask is None else later & mask

    def _refuse_pruned(self, ref: FeatureRef, place: FeaturePlace) -> None:
        if place.window.tiles is None:
            return
        oldest_needed = int(place.window.oldest(np.array([self._at_us]))[0])
        if (self._records.dropped[place.family] >= oldest_needed).any():
            self._refuse(ref, "tiles that it would need have been pruned")

    def _refuse(self, ref: FeatureRef, why: str) -> None:
        msg = f"{ref.view}:{ref.feature} cannot be looked up exactly at {iso_time(self._at_us)}: {why}."
        cure = "Look up at a later time, or ask the log: `headrace history` answers for any time."
        raise LookupTimeError(msg, cure=cure)


def _reached(window: Window, tile: IntArray, at_us: int) -> BoolArray | None:
    """Which tiles a window counts at one time; None is all of them."""
    if window.tiles is None or window.slide_us is None:
        return None
    newest = at_us // window.slide_us - window.lag
    mask: BoolArray = (tile > newest - window.tiles) & (tile <= newest)
    return None if mask.all() else mask
