"""The records of one version of a view: from a batch of events to the writes that bring its records up to date.

The steps of `ViewRecords.writes`:

    group    which record each event belongs to                         `record_groups`
    read     from the cache, or from the store                          `record_cache`, `reader`
    skip     events at or below a record's applied offset
    merge    into tiles; drop tiles that no window can reach            `windows`
    encode   changed records, each expected at the offset just read     `layout`, `expiry`
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import compress, repeat
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from headrace.events.columns import BoolArray, IntArray, Values
from headrace.events.event_batch import EventBatch
from headrace.events.logged_columns import declared_column
from headrace.events.source_partition import SourcePartition
from headrace.plan import Source, View
from headrace.records.entity_keys import entity_keys
from headrace.records.expiry import KEPT_US, expires_us, reach_us
from headrace.records.layout import Records, encode_records
from headrace.records.reader import RecordReader
from headrace.records.record_cache import RecordCache
from headrace.records.record_groups import RecordGroups
from headrace.stores.base import OnlineStore, RecordKey, Write
from headrace.transforms import Transformer
from headrace.windows import Events, Tiles, ViewLayout, tile_batch, update_tiles

__all__ = ["ViewRecords"]


class ViewRecords:
    """The records of one version of a view, and the source partitions whose rounds it gets.

    Args:
        view: The version.
        source: Its source.
        store: Where its records are.
        repo: The feature repo's folder, where the functions of transforms are found; None finds them on `sys.path`.
        partitions: The source partitions whose rounds it gets; None is all of them.
        may_expire: Whether the store may remove records that no window reaches any more.

    Attributes:
        cache: Its records as they were last read or written; None where others may write them.

    Raises:
        PlanError: A function of its transforms is missing or has changed.
    """

    def __init__(
        self,
        view: View,
        source: Source,
        store: OnlineStore,
        repo: Path | None,
        partitions: set[int] | None,
        *,
        may_expire: bool = False,
    ) -> None:
        self.view = view
        self.partitions = partitions
        self.transformer = Transformer(view, repo) if view.transforms else None
        self.cache: RecordCache | None = None
        self._layout = ViewLayout.of(view, source)
        self._reader = RecordReader(self._layout)
        self._adapted = view.adapted(source)
        self._store = store
        self._topic = source.topic
        self._reach_us = reach_us(view) if may_expire else None

    def start_cache(self) -> None:
        """Keep records from now on, where none are kept yet."""
        self.cache = self.cache or RecordCache(self._layout)

    def part_of_round(self, batch: EventBatch) -> EventBatch:
        """The events of a round that it gets; what is replayed from the log it gets whole."""
        return batch if self.partitions is None else batch.of_partitions(self.partitions)

    def writes(self, batch: EventBatch, now_us: int | None) -> list[Write]:
        """What applying a batch would write; the cache then is as if it had been written.

        Args:
            batch: Events of its source, those of each partition in offset order.
            now_us: Now in µs, for pruning; None is each record's newest `known_at`.
        """
        groups = RecordGroups.of(self.view.entities, batch)
        if not len(groups):
            return []
        cache, numbers = self.cache, np.zeros(0, np.int64)
        if cache is None:
            keys = self._keys(groups)
            records = self._read(keys)
        else:
            numbers = self._cached(cache, groups)
            keys = [cache.keys[number] for number in numbers.tolist()]
            records = cache.take(numbers)
        is_new = (groups.group >= 0) & (batch.offset > records.applied[groups.group])
        if not is_new.any():
            return []
        merged = _merged(self._layout, records, self._with_columns(batch), groups.group, is_new, now_us)
        if cache is not None:
            cache.put(numbers, merged)
        expected = [None if applied == -1 else applied for applied in records.applied.tolist()]
        encoded, applied = encode_records(self._layout, merged), merged.applied.tolist()
        writes = map(Write._make, zip(keys, expected, applied, encoded, self._expires(merged), strict=False))
        has_changed = np.bincount(groups.group[is_new], minlength=len(keys)) > 0
        return list(writes) if has_changed.all() else list(compress(writes, has_changed.tolist()))

    def _with_columns(self, batch: EventBatch) -> EventBatch:
        """The batch with the types that the view was declared with, and the columns that its transforms make."""
        table = batch.table
        for column in self._adapted:
            values = declared_column(table, column, "the batch")
            others = table.drop_columns([column.name]) if column.name in table.column_names else table
            table = others.append_column(column.name, values)
        if self.transformer is not None:
            table = self.transformer.apply(table)
        return batch if table is batch.table else replace(batch, table=table, _values={})

    def _expires(self, records: Records) -> Iterable[int | None]:
        return repeat(None) if self._reach_us is None else expires_us(records.newest_ts_us, self._reach_us)

    def _keys(self, groups: RecordGroups) -> list[RecordKey]:
        sources = {number: SourcePartition(self._topic, number) for number in set(groups.partitions)}
        of_records = map(sources.__getitem__, groups.partitions)
        return list(map(RecordKey._make, zip(repeat(self.view.hash), entity_keys(groups.columns), of_records)))

    def _read(self, keys: list[RecordKey]) -> Records:
        found = self._store.read(keys, 0 if self._reach_us is None else KEPT_US)
        return self._reader.decode(found, list(map(attrgetter("entity"), keys)))

    def _cached(self, cache: RecordCache, groups: RecordGroups) -> IntArray:
        """The numbers of records in the cache; those that it lacks are read from the store."""
        names = list(zip(*groups.columns, groups.partitions, strict=True))
        numbers = cache.numbers(names)
        missing = [place for place, number in enumerate(numbers) if number is None]
        if missing:
            first, keys = len(cache), self._keys(groups.only(missing))
            cache.add([names[place] for place in missing], keys, self._read(keys))
            for number, place in enumerate(missing, first):
                numbers[place] = number
        return np.array(numbers, np.int64)


def _merged(
    layout: ViewLayout, records: Records, batch: EventBatch, group: IntArray, is_new: BoolArray, now_us: int | None
) -> Records:
    """Records with the new events of a batch merged into them."""
    which: Any = slice(None) if is_new.all() else is_new
    events = Events(
        group[which],
        batch.ts_us[which],
        batch.position[which],
        batch.known_us[which],
        {name: Values(*(array[which] for array in batch.values(name))) for name in layout.columns},
    )
    applied = _newest(records.applied, events.group, batch.offset[which])
    known = _newest(records.known_through_us, events.group, events.known_us)
    newest = _newest(records.newest_ts_us, events.group, events.ts_us)
    now = known if now_us is None else np.maximum(known, now_us)
    tiles: list[Tiles] = []
    dropped: list[IntArray] = []
    for number, (family, added) in enumerate(zip(layout.families, tile_batch(layout.families, events), strict=True)):
        updated, newly_dropped = update_tiles(family, records.tiles[number], added, now)
        tiles.append(updated)
        dropped.append(np.maximum(records.dropped[number], newly_dropped))
    return Records(records.entities, applied, known, newest, dropped, tiles)


def _newest(before: IntArray, group: IntArray, values: IntArray) -> IntArray:
    """For each record the greatest of its value before and those of its events."""
    newest = before.copy()
    np.maximum.at(newest, group, values)
    return newest
