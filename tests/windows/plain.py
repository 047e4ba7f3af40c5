"""Tiles merged and read in a plain way: concatenated, sorted, merged run by run. The engine is compared with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from headrace.aggregates import At, IntArray, Values
from headrace.plan import Column, DType, Source
from headrace.windows import Events, Family, FeaturePlace, Tiles, tile_batch


def source_of(dtypes: Mapping[str, DType]) -> Source:
    """A source with these columns."""
    columns = tuple(Column(name=name, dtype=dtype) for name, dtype in dtypes.items())
    return Source(name="s", topic="t", model="m:M", key=None, timestamp_field="at", columns=columns)


def tile_events(family: Family, events: Events) -> Tiles:
    """Events in the tiles of one family."""
    return tile_batch((family,), events)[0]


def merge_tiles(family: Family, parts: Sequence[Tiles]) -> Tiles:
    """Tiles of the same groups, merged; neither the order of the parts nor that of their rows matters."""
    group = np.concatenate([part.group for part in parts])
    tile = np.concatenate([part.tile for part in parts])
    known = np.concatenate([part.known_us for part in parts])
    columns = [np.concatenate(column) for column in zip(*(part.columns for part in parts), strict=True)]
    if not len(group):
        return parts[0]
    order = np.lexsort((tile, group))
    group, tile, known = group[order], tile[order], known[order]
    starts = np.flatnonzero(np.append(True, (group[1:] != group[:-1]) | (tile[1:] != tile[:-1])))
    merged = list(columns)
    for accumulator, slots in zip(family.accumulators, family.slots, strict=True):
        state = accumulator.aggregate.merge(tuple(columns[slot][order] for slot in slots), starts)
        for slot, column in zip(slots, state, strict=True):
            merged[slot] = column
    return Tiles.of(family, group[starts], tile[starts], np.maximum.reduceat(known, starts), merged)


def value_at(family: Family, place: FeaturePlace, tiles: Tiles, t_us: IntArray) -> Values:
    """A feature's value for each group at its time: the tiles that its window reaches, merged."""
    aggregate = family.accumulators[place.accumulator].aggregate
    counted = tiles.where(place.window.reaches(tiles.tile, t_us[tiles.group]))
    state = aggregate.init(len(t_us))
    if len(counted):
        starts = np.flatnonzero(np.append(True, counted.group[1:] != counted.group[:-1]))
        columns = tuple(counted.columns[slot] for slot in family.slots[place.accumulator])
        for whole, part in zip(state, aggregate.merge(columns, starts), strict=True):
            whole[counted.group[starts]] = part
    return aggregate.value(state, At(t_us, place.window.length_us))
