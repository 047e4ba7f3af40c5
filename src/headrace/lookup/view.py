"""One view's part of a lookup: its records, and the features computed from them for all rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headrace.aggregates import BoolArray, IntArray
from headrace.errors import LookupTimeError
from headrace.events.columns import Values
from headrace.lookup.response import ViewAnswer
from headrace.lookup.spans import FamilyAsked, Spans
from headrace.online.codec import Records, decode_records
from headrace.plan import FeatureRef
from headrace.times import iso_time
from headrace.windows import NEVER, FeaturePlace, Tiles, ViewLayout, Window

__all__ = ["AskedView", "ViewLookup"]


@dataclass(frozen=True)
class AskedView:
    """What a request asks of one view, worked out once.

    Attributes:
        layout: The view's layout.
        refs: The features asked for.
        families: What is asked of each family of tiles that is read.
    """

    layout: ViewLayout
    refs: tuple[FeatureRef, ...]
    families: tuple[FamilyAsked, ...]

    @classmethod
    def of(cls, layout: ViewLayout, refs: Sequence[FeatureRef]) -> AskedView:
        """Work out what features of a view share."""
        asked: dict[int, list[tuple[str, FeaturePlace]]] = {}
        for ref in refs:
            place = layout.places[ref.feature]
            asked.setdefault(place.family, []).append((ref.column, place))
        families = tuple(
            FamilyAsked.of(number, family, asked.get(number, ()), _telling(layout, number))
            for number, family in enumerate(layout.families)
        )
        return cls(layout, tuple(refs), families)


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
        if len(encoded) == self._n and (not held or max(held) == 1):  # one record each, as keyed topics have it
            self._row = np.arange(self._n)
            owners = entities
        else:
            self._row = np.repeat(np.arange(self._n), held)
            owners = [entities[row] for row in self._row.tolist()]
        self._records: Records = decode_records(asked.layout, encoded, owners)
        self._spans = [
            Spans(family, tiles, len(encoded), at_us)
            for family, tiles in zip(asked.families, self._records.tiles, strict=True)
        ]

    def values(self) -> dict[str, Values]:
        """The features asked for, by column, shape (rows,) each."""
        found: dict[str, Values] = {}
        for family, spans in zip(self._asked.families, self._spans, strict=True):
            if family.asked:
                found.update(spans.values(self._row, self._n, self._at_us))
        return found

    def answer(self) -> ViewAnswer:
        """What the view knew."""
        newest = np.full(self._n, NEVER, np.int64)
        np.maximum.at(newest, self._row, self._records.newest_ts_us)
        is_present = np.zeros(self._n, np.bool_)
        for family, spans in zip(self._asked.families, self._spans, strict=True):
            counted = spans.is_counted
            for window in family.telling:
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
