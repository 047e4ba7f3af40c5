"""Applying a batch to the online store, exactly once.

For every view of the batch's source: read the records of the keys it touches, skip the events at or below each record's applied offset,
merge the rest into tiles, prune what no window can reach, and write records and offsets together, only if they are still the ones read. A
replay therefore changes nothing, and a worker that lost its partition is refused.

Where the store can tell that nobody else writes (`OnlineStore.epoch`), the records of the versions served are kept decoded (`hot`), and what is
kept is given up whenever a round made from it was not committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress, repeat
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.events.columns import BoolArray, IntArray, Values
from headrace.events.event_batch import EventBatch, column_values
from headrace.events.logged_columns import declared_column
from headrace.events.source_partition import SourcePartition
from headrace.plan import Column, DType, Plan, View
from headrace.records.entity_keys import entity_keys
from headrace.records.layout import Records, encode_records
from headrace.records.reader import RecordReader
from headrace.records.record_cache import HotRecords
from headrace.records.two_generation_cache import Recent
from headrace.stores.base import NOTHING, OnlineStore, Position, RecordKey, Write
from headrace.transforms import ColumnFailures, Transformer
from headrace.windows import Events, Tiles, ViewLayout, tile_batch, update_tiles
from headrace.windows.group_sort import stable_order

__all__ = ["Applier"]

_MOST_CODES = 1 << 40
_RECENT_KEYS = 1 << 17
"""How many records' keys a generation of the views' caches holds, all together."""
_HOT_BYTES = 192 << 20
"""How many bytes of hot records are kept, of all views together."""


@dataclass(frozen=True)
class _Grouping:
    """Which record each event belongs to.

    Attributes:
        names: Per record, the values of its entity and its partition; in the order of the records' numbers.
        group: Each event's record number; -1 where an entity key is null.
    """

    names: list[tuple[Any, ...]]
    group: IntArray


@dataclass
class _Version:
    """A version of a view, and what of its source it is given.

    Attributes:
        layout: How its records are laid out.
        reader: Reads its records.
        transformer: What makes its derived columns, if it has any.
        partitions: The source partitions whose rounds it gets; None is all of them.
        keys: Keys made of late, by the values of the entity and the partition.
        adapted: The columns that it reads in another way than the source declares them now.
        hot: What is known of its records; None where others may write them.
    """

    layout: ViewLayout
    reader: RecordReader
    transformer: Transformer | None
    partitions: set[int] | None
    keys: Recent[tuple[object, ...], RecordKey]
    adapted: tuple[Column, ...] = ()
    hot: HotRecords | None = None

    def given(self, batch: EventBatch) -> EventBatch:
        """What it gets of a round."""
        return batch if self.partitions is None else batch.of_partitions(self.partitions)

    def sees(self, batch: EventBatch) -> EventBatch:
        """The batch with numbers of the type that the view knows and the columns that its transforms make."""
        table = batch.table
        for column in self.adapted:
            values = declared_column(table, column, "the batch")
            held = table.drop_columns([column.name]) if column.name in table.column_names else table
            table = held.append_column(column.name, values)
        if self.transformer is not None:
            table = self.transformer.apply(table)
        return batch if table is batch.table else replace(batch, table=table, _values={})


class Applier:
    """Applies batches of a plan's sources to a store.

    It serves one version of each view. Others, which are being built, can follow: they get the rounds of the source partitions that they have
    caught up with.

    Args:
        plan: The plan, with each view in the version that the store serves.
        store: The store.
        repo: The feature repo's folder, where the functions of transforms are found; None finds them on `sys.path`.
    """

    def __init__(self, plan: Plan, store: OnlineStore, repo: Path | None = None) -> None:
        self._store = store
        self._repo = repo
        self._sources = plan.sources
        self._keys_each = _RECENT_KEYS // max(1, len(plan.views))
        self._kept: object | None = None
        self._vouched: object | None = None
        self._versions = {view.hash: self._version(view, None) for view in plan.views.values()}

    @property
    def served(self) -> dict[str, View]:
        """The views that get all rounds, by name."""
        return {one.layout.view.name: one.layout.view for one in self._versions.values() if one.partitions is None}

    @property
    def following(self) -> list[View]:
        """The versions that were prepared and get the rounds of some partitions, or of none yet."""
        return [one.layout.view for one in self._versions.values() if one.partitions is not None]

    def failures(self) -> dict[str, dict[str, ColumnFailures]]:
        """By view served, the derived and udf columns and filters that failed on any event so far."""
        transformers = {
            one.layout.view.name: one.transformer for one in list(self._versions.values()) if one.partitions is None
        }
        by_view = {name: one.failures.by_column() for name, one in transformers.items() if one is not None}
        return {name: columns for name, columns in by_view.items() if columns}

    def followed(self, view: View) -> frozenset[int]:
        """The source partitions whose rounds a version that is being built gets."""
        version = self._versions.get(view.hash)
        return frozenset() if version is None or version.partitions is None else frozenset(version.partitions)

    def prepare(self, view: View) -> None:
        """Make ready to build a version; it gets no rounds yet.

        Raises:
            PlanError: A function of its transforms is missing or has changed.
        """
        if view.hash not in self._versions:
            self._versions[view.hash] = self._version(view, set())

    def follow(self, view: View, partitions: Iterable[int]) -> None:
        """From the next round on, give a version that was prepared the rounds of some source partitions too."""
        followed = self._versions[view.hash].partitions
        if followed is not None:
            followed.update(partitions)

    def serve(self, view: View) -> None:
        """From the next round on, give a version that was prepared all rounds, and no other version of its name any."""
        self._versions[view.hash].partitions = None
        for held in [one for one, version in self._versions.items() if version.layout.view.name == view.name]:
            if held != view.hash:
                del self._versions[held]

    def drop(self, view: View) -> None:
        """Build a version no further."""
        self._versions.pop(view.hash, None)

    def fill(self, view: View, batch: EventBatch) -> None:
        """Apply events from the log to one version alone, which was prepared; positions stay as they are.

        Args:
            view: The version.
            batch: Events of its source, those of each partition in offset order.

        Raises:
            StaleWriteError, StoreUnavailableError: As `apply`.
        """
        version = self._versions[view.hash]
        version.hot = None
        self._store.commit(self._writes(version, batch, None), {})

    def _version(self, view: View, partitions: set[int] | None) -> _Version:
        layout = ViewLayout.of(view, self._sources[view.source])
        keys: Recent[tuple[object, ...], RecordKey] = Recent(self._keys_each)
        transformer = Transformer(view, self._repo) if view.transforms else None
        return _Version(layout, RecordReader(layout), transformer, partitions, keys, view.adapted(layout.source))

    def apply(
        self, batches: Sequence[EventBatch], positions: dict[SourcePartition, Position], now_us: int | None = None
    ) -> int:
        """Apply batches in one commit.

        Args:
            batches: At most one per source; the events of each source partition in offset order.
            positions: How far the partitions have been read with these batches (dead letters included).
            now_us: Now in µs, for pruning; None is each record's newest `known_at`, as under the record clock.

        Returns:
            How many records were written.

        Raises:
            StaleWriteError: Another worker has written these partitions since; see `OnlineStore.commit`.
            StoreUnavailableError: The store is away; applying again is safe.
        """
        writes = self.writes(batches, now_us)
        self.commit(writes, positions)
        return len(writes)

    def writes(self, batches: Sequence[EventBatch], now_us: int | None = None) -> list[Write]:
        """What `apply` would write, from the records as they are now; see there. `commit` writes it, before the next is asked for."""
        self._warm()
        return [
            write
            for batch in batches
            if len(batch)
            for version in list(self._versions.values())
            if version.layout.view.source == batch.source.name
            for write in self._writes(version, version.given(batch), now_us)
        ]

    def commit(
        self,
        writes: Sequence[Write],
        positions: Mapping[SourcePartition, Position],
        held: Mapping[SourcePartition, int] = NOTHING,
    ) -> None:
        """Write what `writes` gave; see `OnlineStore.commit`."""
        self._store.commit(writes, positions, held, self._vouched)
        self._kept = self._vouched

    def _warm(self) -> None:
        """See to it that what is hot is what the store holds, and not too much."""
        versions = list(self._versions.values())
        epoch = self._store.epoch()
        held = sum(version.hot.nbytes for version in versions if version.hot is not None)
        is_cold = epoch is None or epoch is not self._kept or held > _HOT_BYTES
        self._kept = None  # until what is made now is committed, what is hot may be ahead of the store
        # The records of a version that is being built may meanwhile be written by whoever fills it.
        self._vouched = epoch if all(version.partitions is None for version in versions) else None
        for version in versions:
            if is_cold:
                version.hot = None
            if version.hot is None and self._vouched is not None:
                version.hot = HotRecords(version.layout)

    def _writes(self, version: _Version, batch: EventBatch, now_us: int | None) -> list[Write]:
        layout = version.layout
        grouping = _group(layout, batch)
        if not grouping.names:
            return []
        hot, numbers = version.hot, np.zeros(0, np.int64)
        if hot is None:
            keys = _keys(layout.view.hash, grouping.names, version.keys)
            records = self._read(version.reader, keys)
        else:
            numbers = self._heated(version, hot, grouping.names)
            keys = [hot.keys[number] for number in numbers.tolist()]
            records = hot.take(numbers)
        fresh = (grouping.group >= 0) & (batch.offset > records.applied[grouping.group])
        if not fresh.any():
            return []
        merged = _merge(layout, records, version.sees(batch), grouping.group, fresh, now_us)
        if hot is not None:
            hot.put(numbers, merged)
        touched = np.bincount(grouping.group[fresh], minlength=len(keys)) > 0
        encoded = encode_records(layout, merged)
        expected: list[int | None] = records.applied.tolist()
        if -1 in expected:
            expected = [None if applied == -1 else applied for applied in expected]
        writes = map(Write._make, zip(keys, expected, encoded, strict=True))
        return list(writes) if touched.all() else list(compress(writes, touched.tolist()))

    def _read(self, reader: RecordReader, keys: Sequence[RecordKey]) -> Records:
        return reader.decode(self._store.read(keys), list(map(attrgetter("entity"), keys)))

    def _heated(self, version: _Version, hot: HotRecords, names: list[tuple[Any, ...]]) -> IntArray:
        """The numbers of records among the hot ones; those that were not there are read."""
        view = version.layout.view.hash
        numbers = hot.numbers(names)
        if None in numbers:
            cold = [at for at, number in enumerate(numbers) if number is None]
            missing_names = [names[at] for at in cold]
            missing = _new_keys(view, missing_names)
            first = len(hot)
            hot.add(missing_names, missing, self._read(version.reader, missing))
            for number, at in enumerate(cold, first):
                numbers[at] = number
        return np.array(numbers, np.int64)


def _group(layout: ViewLayout, batch: EventBatch) -> _Grouping:
    """Number the (entity, source partition) pairs of a batch by combining each column's own numbering."""
    code = batch.partition.astype(np.int64)
    known = np.ones(len(batch), np.bool_)
    columns: list[tuple[pa.Array, IntArray]] = []
    for entity in layout.view.entities:
        column = batch.table.column(entity.name).combine_chunks().dictionary_encode()
        indices = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        known &= indices >= 0
        columns.append((column.dictionary, indices))
        size = len(column.dictionary) + 1
        if len(code) and int(code.max()) >= _MOST_CODES // size:
            # Renumbering before the product keeps the combined code far below 2⁶³ whatever the number of columns.
            _, code = np.unique(code, return_inverse=True)
        code = code * size + indices + 1
    first, group = _numbered(code if known.all() else np.where(known, code + 1, 0))
    if not known.all():
        # Those of no entity come first: drop them from the records and shift the rest down to 0.
        first, group = first[1:], group - 1
    entities = [
        _python_values(entity, dictionary, indices[first])
        for entity, (dictionary, indices) in zip(layout.view.entities, columns, strict=True)
    ]
    return _Grouping(list(zip(*entities, batch.partition[first].tolist(), strict=True)), group)


def _numbered(code: IntArray) -> tuple[IntArray, IntArray]:
    """The first row of each code, ascending by code, and each row's number among the codes."""
    order = stable_order(code)
    ordered = code[order]
    is_first = np.append(True, ordered[1:] != ordered[:-1])[: len(code)]
    group = np.empty(len(code), np.int64)
    group[order] = np.cumsum(is_first) - 1
    return order[is_first], group


def _python_values(entity: Column, dictionary: pa.Array, indices: IntArray) -> list[object]:
    picked: list[object] = column_values(pa.chunked_array([dictionary.take(pa.array(indices))])).data.tolist()
    return [bool(value) for value in picked] if entity.dtype is DType.BOOL else picked


def _keys(view: str, names: list[tuple[Any, ...]], made: Recent[tuple[object, ...], RecordKey]) -> list[RecordKey]:
    """The key of each record, from its entity's values and its partition."""
    known = made.found(names)
    missing = [name for name, key in zip(names, known, strict=True) if key is None]
    if missing:
        new = dict(zip(missing, _new_keys(view, missing), strict=True))
        made.put(new, len(new))
        return [new[name] if key is None else key for name, key in zip(names, known, strict=True)]
    return known  # type: ignore[return-value]


def _new_keys(view: str, names: Sequence[tuple[Any, ...]]) -> list[RecordKey]:
    *columns, partitions = zip(*names, strict=True)
    return list(map(RecordKey._make, zip(repeat(view), entity_keys(columns), partitions)))


def _merge(
    layout: ViewLayout, records: Records, batch: EventBatch, group: IntArray, fresh: BoolArray, now_us: int | None
) -> Records:
    which: Any = slice(None) if fresh.all() else fresh
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


def _newest(held: IntArray, group: IntArray, values: IntArray) -> IntArray:
    """The greatest of what each record holds and what its events bring."""
    newest = held.copy()
    np.maximum.at(newest, group, values)
    return newest
