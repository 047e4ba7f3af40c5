"""Applying batches of events to the online store, exactly once.

For every view of a batch's source, `view_records` reads the records that the batch touches, skips the events at or
below each record's applied offset and merges the rest. The records are written with their new offsets, each only if
it is still the one that was read. So a replay changes nothing, and a worker that lost its partition is refused.

Where the store detects other writers (`OnlineStore.epoch`), the records of the served versions are kept decoded in
a cache. A cache that is ahead of the store, because a round made from it was not committed, is discarded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from headrace.config import Clock
from headrace.events.event_batch import EventBatch
from headrace.events.gc_pause import without_collector
from headrace.events.source_partition import SourcePartition
from headrace.plan import Plan, View
from headrace.records.view_records import ViewRecords
from headrace.stores.base import NOTHING, OnlineStore, Position, Write
from headrace.transforms import ColumnFailures

__all__ = ["Applier"]


class Applier:
    """Applies batches of a plan's sources to a store.

    It serves one version of each view. Versions that are being built can follow: they get the rounds of those source
    partitions that they have caught up with.

    Args:
        plan: The plan, with each view in the version that the store serves.
        store: The store.
        repo: The feature repo's folder, where the functions of transforms are found; None finds them on `sys.path`.
        cache_bytes: About how many bytes of decoded records to keep, of all views together.

    Raises:
        PlanError: A function of a transform is missing or has changed.
    """

    def __init__(
        self, plan: Plan, store: OnlineStore, repo: Path | None = None, *, cache_bytes: int = 192 << 20
    ) -> None:
        self._store = store
        self._clock = store.catalogue().clock
        self._repo = repo
        self._sources = plan.sources
        self._cache_bytes = cache_bytes
        self._cached_epoch: object | None = None
        """The epoch that the caches are of; None where they may be ahead of the store."""
        self._writes_epoch: object | None = None
        """The epoch that the last writes were made in, for `commit`; None where others write the same records."""
        self._versions = {view.hash: self._version(view, None) for view in plan.views.values()}

    @property
    def served(self) -> dict[str, View]:
        """The views that get all rounds, by name."""
        return {version.view.name: version.view for version in self._served()}

    @property
    def following(self) -> list[View]:
        """The versions that are being built: they get the rounds of some partitions, or of none yet."""
        return [version.view for version in self._versions.values() if version.partitions is not None]

    def failures(self) -> dict[str, dict[str, ColumnFailures]]:
        """By view served, the derived and udf columns and filters that failed on any event so far."""
        transformers = {version.view.name: version.transformer for version in self._served()}
        by_view = {name: one.failures.by_column() for name, one in transformers.items() if one is not None}
        return {name: columns for name, columns in by_view.items() if columns}

    def followed(self, view: View) -> frozenset[int]:
        """The source partitions whose rounds a version that is being built gets."""
        version = self._versions.get(view.hash)
        return frozenset() if version is None or version.partitions is None else frozenset(version.partitions)

    def prepare(self, view: View) -> None:
        """Prepare to build a version; it gets no rounds yet.

        Raises:
            PlanError: A function of its transforms is missing or has changed.
        """
        if view.hash not in self._versions:
            self._versions[view.hash] = self._version(view, set())

    def follow(self, view: View, partitions: Iterable[int]) -> None:
        """From the next round on, give a prepared version the rounds of these source partitions too."""
        followed = self._versions[view.hash].partitions
        if followed is not None:
            followed.update(partitions)

    def serve(self, view: View) -> None:
        """From the next round on, give a prepared version all rounds, and drop the other versions of its name."""
        self._versions[view.hash].partitions = None
        for version in [one.view for one in self._versions.values() if one.view.name == view.name]:
            if version.hash != view.hash:
                del self._versions[version.hash]

    def drop(self, view: View) -> None:
        """Stop building a version."""
        self._versions.pop(view.hash, None)

    def fill(self, view: View, batch: EventBatch) -> None:
        """Apply events from the log to one prepared version only; positions stay as they are.

        Args:
            view: The version.
            batch: Events of its source, those of each partition in offset order.

        Raises:
            StaleWriteError, StoreUnavailableError: As `apply`.
        """
        version = self._versions[view.hash]
        version.cache = None
        self._store.commit(version.writes(batch, None), {}, at_once=self._is_at_once)

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
        """What `apply` would write, from the records as they are now; `commit` these before asking for the next."""
        self._prepare_caches()
        with without_collector():  # a key and a write per record, none of which is in a cycle
            return [
                write
                for batch in batches
                if len(batch)
                for version in list(self._versions.values())
                if version.view.source == batch.source.name
                for write in version.writes(version.part_of_round(batch), now_us)
            ]

    def commit(
        self,
        writes: Sequence[Write],
        positions: Mapping[SourcePartition, Position],
        required: Mapping[SourcePartition, int] = NOTHING,
    ) -> None:
        """Write what `writes` gave; see `OnlineStore.commit`."""
        with without_collector():
            self._store.commit(writes, positions, required, self._writes_epoch, at_once=self._is_at_once)
        self._cached_epoch = self._writes_epoch

    @property
    def _is_at_once(self) -> bool:
        """Under the record clock, what is known at a time must become readable together."""
        return self._clock is not Clock.SYSTEM

    def _served(self) -> list[ViewRecords]:
        return [version for version in list(self._versions.values()) if version.partitions is None]

    def _version(self, view: View, partitions: set[int] | None) -> ViewRecords:
        may_expire = self._clock is Clock.SYSTEM and self._store.removes_expired
        return ViewRecords(view, self._sources[view.source], self._store, self._repo, partitions, may_expire=may_expire)

    def _prepare_caches(self) -> None:
        """Discard caches that differ from the store or are too large, and start those that may be used."""
        versions = list(self._versions.values())
        epoch = self._store.epoch()
        size = sum(version.cache.nbytes for version in versions if version.cache is not None)
        if epoch is None or epoch is not self._cached_epoch or size > self._cache_bytes:
            for version in versions:
                version.cache = None
        self._cached_epoch = None  # until the round is committed, caches may be ahead of the store
        # While a version is being built, `fill` writes its records beside the rounds.
        self._writes_epoch = epoch if all(version.partitions is None for version in versions) else None
        if self._writes_epoch is not None:
            for version in versions:
                version.start_cache()
