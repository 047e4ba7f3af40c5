"""One view's part of a lookup: its records, and the features computed from them for all rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from headrace.aggregates import Array, At, BoolArray, IntArray, State
from headrace.errors import LookupTimeError
from headrace.events.columns import Values
from headrace.lookup.response import ViewAnswer
from headrace.online.codec import Records, decode_records
from headrace.plan import FeatureRef
from headrace.times import iso_time
from headrace.windows import NEVER, Family, FeaturePlace, Tiles, ViewLayout, Window

__all__ = ["AskedView", "ViewLookup"]


class _Span(NamedTuple):
    """A window over a family's tiles: what the features that share it also share the work of."""

    family: int
    window: Window


@dataclass(frozen=True)
class AskedView:
    """What a request asks of one view, worked out once.

    Attributes:
        layout: The view's layout.
        refs: The features asked for.
        spans: The features' columns and places, by the window that they share.
        telling: Windows of which at least one holds an event wherever any of the view's windows does.
    """

    layout: ViewLayout
    refs: tuple[FeatureRef, ...]
    spans: dict[_Span, tuple[tuple[str, FeaturePlace], ...]]
    telling: tuple[_Span, ...]

    @classmethod
    def of(cls, layout: ViewLayout, refs: Sequence[FeatureRef]) -> AskedView:
        """Work out what features of a view share."""
        spans: dict[_Span, list[tuple[str, FeaturePlace]]] = {}
        for ref in refs:
            place = layout.places[ref.feature]
            spans.setdefault(_Span(place.family, place.window), []).append((ref.column, place))
        return cls(layout, tuple(refs), {span: tuple(places) for span, places in spans.items()}, _telling(layout))


def _telling(layout: ViewLayout) -> tuple[_Span, ...]:
    """Of the windows over the same tiles that end together, the longest: it reaches whatever the others reach."""
    longest: dict[tuple[int, int], _Span] = {}
    for place in layout.places.values():
        ends = (place.family, place.window.lag)
        held = longest.get(ends)
        if held is None or (place.window.tiles or 0) > (held.window.tiles or 0):
            longest[ends] = _Span(place.family, place.window)
    return tuple(longest.values())


class _Counted(NamedTuple):
    """The tiles that a window counts.

    Attributes:
        mask: Which they are; None where it is all of them.
        row: The rows of the request that have any, ascending.
        starts: Where each of those rows' tiles start among the ones counted.
    """

    mask: BoolArray | None
    row: IntArray
    starts: IntArray


class _Merged:
    """The tiles that a window counts, merged by row as far as asked for; what accumulators share is merged once."""

    def __init__(self, family: Family, tiles: Tiles, counted: _Counted, rows: int) -> None:
        self._family = family
        self._counted = counted
        self._rows = rows
        self._tiles = tiles if counted.mask is None else tiles.where(counted.mask)
        self._columns: dict[int, Array] = {}

    def state(self, accumulator: int) -> State:
        """An accumulator's state for each row; of a row that no tile counts for, that of no events."""
        aggregate, row = self._family.accumulators[accumulator].aggregate, self._counted.row
        if not len(row):
            return aggregate.init(self._rows)
        merged = self._merged(accumulator)
        if len(row) == self._rows:
            return merged
        state = aggregate.init(self._rows)
        for whole, part in zip(state, merged, strict=True):
            whole[row] = part
        return state

    def _merged(self, accumulator: int) -> State:
        slots, described = self._family.slots[accumulator], self._family.columns
        missing = [slot for slot in slots if slot not in self._columns]
        if any(described[slot].merge is None for slot in missing):
            state = tuple(self._tiles.columns[slot] for slot in slots)
            whole = self._family.accumulators[accumulator].aggregate.merge(state, self._counted.starts)
            self._columns.update(zip(slots, whole, strict=True))
        else:
            with np.errstate(invalid="ignore", over="ignore"):
                for slot in missing:
                    pick = described[slot].merge
                    self._columns[slot] = pick.reduceat(self._tiles.columns[slot], self._counted.starts)  # type: ignore[union-attr]
        return tuple(self._columns[slot] for slot in slots)


class ViewLookup:
    """One view's part of a lookup: a group per row of the request, whose partials of all source partitions stand side by side.

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
        if len(encoded) == self._n and (not held or max(held) == 1):  # one record each, as keyed topics have it
            self._row = np.arange(self._n)
            owners = entities
        else:
            self._row = np.repeat(np.arange(self._n), held)
            owners = [entities[row] for row in self._row.tolist()]
        self._records: Records = decode_records(asked.layout, encoded, owners)
        self._groups: dict[int, IntArray] = {}
        self._counted: dict[_Span, _Counted] = {}

    def values(self) -> dict[str, Values]:
        """The features asked for, by column, shape (rows,) each."""
        t_us = np.full(self._n, self._at_us, np.int64)
        found: dict[str, Values] = {}
        for span, places in self._asked.spans.items():
            found.update(self._values(span, places, t_us))
        return found

    def answer(self) -> ViewAnswer:
        """What the view knew."""
        newest = np.full(self._n, NEVER, np.int64)
        np.maximum.at(newest, self._row, self._records.newest_ts_us)
        is_present = np.zeros(self._n, np.bool_)
        for span in self._asked.telling:
            is_present[self._count(span).row] = True
        return ViewAnswer(newest, is_present, self._row, self._partition, self._records.applied)

    def _values(self, span: _Span, places: tuple[tuple[str, FeaturePlace], ...], t_us: IntArray) -> dict[str, Values]:
        family = self._asked.layout.families[span.family]
        merged = _Merged(family, self._records.tiles[span.family], self._count(span), self._n)
        at = At(t_us, span.window.length_us)
        return {
            column: family.accumulators[place.accumulator].aggregate.value(merged.state(place.accumulator), at)
            for column, place in places
        }

    def _count(self, span: _Span) -> _Counted:
        if span not in self._counted:
            tiles = self._records.tiles[span.family]
            mask = _reached(span.window, tiles.tile, self._at_us)
            row = self._group(span.family)
            row = row if mask is None else row[mask]
            starts = np.flatnonzero(row[1:] != row[:-1]) + 1
            starts = np.concatenate(([0], starts)) if len(row) else starts
            self._counted[span] = _Counted(mask, row[starts], starts)
        return self._counted[span]

    def _group(self, family: int) -> IntArray:
        """The row of the request that each tile belongs to, ascending, for the records are in the order of the rows."""
        if family not in self._groups:
            self._groups[family] = self._row[self._records.tiles[family].group]
        return self._groups[family]

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
