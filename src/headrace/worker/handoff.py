"""Building a version of a view from the log while the stream runs, and serving it once it has caught up.

A version's records lie beside those of others, under its own hash, and a record skips what it has applied. So the log
can be applied to them in chunks while rounds go into the version that is served. This goes partition by partition. Once
at most one chunk is missing, the worker flushes, applies the rest between two rounds, and from the next round on gives
the version its rounds as well. No event is left out and none counts twice, whatever crashes when. Once this holds for
every partition of the source, the store serves the new version.

The store knows how far this is: `upto` is where building goes on after a crash, and `built` says that a partition has
caught up. The worker that gets a partition which is `built` gives the version its rounds from the first one on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from headrace.erasure import ErasureFilter
from headrace.errors import PlanError
from headrace.log import EventLog
from headrace.plan import Plan, View
from headrace.records.applier import Applier
from headrace.state import State
from headrace.stores import Catalogue, CatalogueChange, OnlineStore
from headrace.stores.served_plan import unreadable
from headrace.worker.handoff_requests import Request, read_requests, withdraw
from headrace.worker.replay import Chunk, chunks

__all__ = ["Handoff"]

logger = logging.getLogger(__name__)

Owns = Callable[[str, int], bool]

CHUNK_ROWS = 20_000
"""About that many events of the log are applied at a time, and no more between two rounds."""
_DELETED_AT_A_TIME = 1_000


class Handoff:
    """Builds the versions of views that are requested, and has the store serve them.

    `build` may run beside rounds. `join` and `settle` may not, and `join` only while the log has all that was applied.
    If there are several workers, each builds its own partitions; the one that reads partition 0 of a source takes
    requests and has the store serve the version.

    Args:
        plan: The plan; rounds are decoded by its sources.
        store: The store, open to write.
        applier: What applies rounds to the store.
        logs: The logs, by topic.
        requests: What the workers are asked to build (`Project.requests`).
        erased: What keeps the events of erased entities out.
        repo: The feature repo's folder, for the functions of transforms.
        partitions: How many partitions each topic has; None while no worker runs: then store and log have them all.
        objection_s: If several workers share the store, for how many seconds each may object that it does not follow a
            partition which is noted as caught up (it got it from another worker at that moment).
        chunk_rows: About how many events of the log are applied at a time, and at most between two rounds.
        monotonic: A clock in seconds.
    """

    def __init__(
        self,
        plan: Plan,
        store: OnlineStore,
        applier: Applier,
        logs: Mapping[str, EventLog],
        requests: State,
        erased: ErasureFilter,
        repo: Path | None = None,
        partitions: Mapping[str, int] | None = None,
        objection_s: float = 0.0,
        chunk_rows: int = CHUNK_ROWS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources = plan.sources
        self._declared = set(plan.views)
        self._store = store
        self._applier = applier
        # Building runs beside rounds, in another thread, so it has an applier of its own.
        self._filler = Applier(Plan(project=plan.project, sources=plan.sources, views={}), store, repo)
        self._logs = logs
        self._requests = requests
        self._erased = erased
        self._counts = partitions or {}
        self._objection_s = objection_s
        self._chunk_rows = chunk_rows
        self._monotonic = monotonic
        self._complete_since: dict[str, float] = {}
        self._reassigned = False
        self._refused: set[str] = set()
        self._scans: dict[tuple[str, int], Iterator[Chunk]] = {}
        self._reached: dict[tuple[str, int], int] = {}
        self._ready: dict[str, set[int]] = {}
        self.resume()

    @property
    def is_ready(self) -> bool:
        """Whether some partition waits for `join`."""
        return any(self._ready.values())

    def resume(self) -> None:
        """Go on with what the store says is served and being built.

        Called before the first round of assigned partitions.
        """
        self._reassigned = True
        catalogue = self._store.catalogue()
        # Another worker may have let a version go live. Only this worker can give it these rounds.
        self._serve_live(catalogue)
        for view in catalogue.building_views().values():
            if self._can_build(view):
                self._applier.follow(view, catalogue.built.get(view.hash, ()))

    def build(self, owns: Owns = lambda _topic, _partition: True) -> bool:
        """Take requests, and apply one chunk of the log to a version that is being built.

        Args:
            owns: Whether a partition of a topic is this worker's.

        Returns:
            Whether there is more to build now.

        Raises:
            StaleWriteError: Another worker builds the partition now.
            StoreUnavailableError, LogUnavailableError: Building again continues where this ended.
        """
        if self._reassigned:
            self._reassigned = False
            self._scans.clear()
            self._ready.clear()
        try:
            self._take_requests(owns)
            catalogue = self._store.catalogue()
            self._forget_given_up(catalogue, owns)
            building = catalogue.building_views().values()
            return any(self._build(view, catalogue, owns) for view in building if self._can_build(view))
        except BaseException:
            self._scans.clear()
            raise

    def join(self, owns: Owns = lambda _topic, _partition: True) -> None:
        """Apply the rest of the log, and from now on give versions that are being built the rounds of those partitions.

        Args:
            owns: Whether a partition of a topic is this worker's.

        Raises:
            StaleWriteError, StoreUnavailableError, LogUnavailableError: As `build`.
        """
        waiting, self._ready = self._ready, {}
        catalogue = self._store.catalogue()
        for view in catalogue.building_views().values():
            if not self._can_build(view):
                continue
            partitions = {one for one in waiting.get(view.hash, set()) if self._is_mine(view, one, owns)}
            for partition in sorted(partitions):
                for chunk in self._chunks(view, partition, catalogue.applied(view.hash, partition)):
                    self._filler.fill(view, chunk.batch)
            self._applier.follow(view, partitions)
            self._store.change(CatalogueChange().built(view.hash, partitions))

    def settle(self, owns: Owns = lambda _topic, _partition: True) -> list[View]:
        """Have the store serve versions that have caught up everywhere, and give all rounds to what it serves.

        Args:
            owns: Whether a partition of a topic is this worker's.

        Returns:
            The versions that this worker serves since.
        """
        catalogue = self._store.catalogue()
        for view in catalogue.building_views().values():
            if self._can_build(view) and owns(self._topic(view), 0) and self._has_caught_up(view, catalogue):
                self._go_live(view, catalogue)
        catalogue = self._store.catalogue()
        changed = self._serve_live(catalogue)
        building = {view.hash for view in catalogue.building_views().values()}
        for view in self._applier.following:
            if view.hash not in building:
                self._applier.drop(view)
        return changed

    def _serve_live(self, catalogue: Catalogue) -> list[View]:
        """Give all rounds to what the store serves; the versions that this worker serves since."""
        known = {view.hash: view for view in (*self._applier.served.values(), *self._applier.following)}
        names = self._declared | {view.name for view in known.values()}
        changed: list[View] = []
        for name, live in catalogue.live.items():
            served = self._applier.served.get(name)
            if name not in names or (served is not None and served.hash == live):
                continue
            version = known.get(live) or catalogue.definition(live)
            if version is not None and self._can_build(version):
                self._applier.serve(version)
                changed.append(version)
        return changed

    def _has_caught_up(self, view: View, catalogue: Catalogue) -> bool:
        built = catalogue.built.get(view.hash, frozenset())
        # Kafka's partitions are known. Only if all of them are built, the log is asked for more.
        if not (built.issuperset(range(self._counts.get(self._topic(view), 0))) and self._partitions(view) <= built):
            self._complete_since.pop(view.hash, None)
            return False
        now = self._monotonic()
        return now - self._complete_since.setdefault(view.hash, now) >= self._objection_s

    def _take_requests(self, owns: Owns) -> None:
        catalogue = self._store.catalogue()
        requests = read_requests(self._requests)
        for name, view in catalogue.building_views().items():
            if name not in requests and view.source in self._sources and owns(self._topic(view), 0):
                self._store.change(CatalogueChange().building(name, None))
        for name, request in requests.items():
            view = request.view
            building = catalogue.building.get(name)
            if catalogue.live.get(name) == view.hash and building is None:
                withdraw(self._requests, request)
            elif building != view.hash and self._can_meet(request) and owns(self._topic(view), 0):
                # After an earlier attempt was given up, its partitions got no rounds.
                unbuilt = CatalogueChange().built(view.hash, catalogue.built.get(view.hash, ()), is_built=False)
                self._store.change(unbuilt.building(name, view).refused(view.hash, None))
                logger.warning("Building %s from the log; what is served stays until then.", view.versioned_name)

    def _can_meet(self, request: Request) -> bool:
        own = self._sources.get(request.view.source)
        why = "it does not know its source" if own is None else unreadable(request.view, own)
        if why is not None:
            self._refuse(request.view, f"this worker started under an older plan ({why}). Restart it.")
        return why is None and self._can_build(request.view)

    def _can_build(self, view: View) -> bool:
        if view.source not in self._sources:
            return False
        try:
            self._applier.prepare(view)
            self._filler.prepare(view)
        except PlanError as error:
            self._refuse(view, str(error))
            return False
        return True

    def _refuse(self, view: View, why: str) -> None:
        if view.hash not in self._refused:
            self._refused.add(view.hash)
            self._store.change(CatalogueChange().refused(view.hash, why))
            logger.warning("%s is not built: %s", view.versioned_name, why)

    def _topic(self, view: View) -> str:
        return self._sources[view.source].topic

    def _partitions(self, view: View) -> set[int]:
        topic = self._topic(view)
        known = {at.partition for at in self._store.positions() if at.topic == topic} | set(
            self._logs[topic].last_offsets()
        )
        return known | set(range(self._counts.get(topic, 0)))

    def _is_mine(self, view: View, partition: int, owns: Owns) -> bool:
        """Whether this worker builds a partition. Imported ones, which Kafka does not have, go with partition 0."""
        topic = self._topic(view)
        return owns(topic, partition if partition < self._counts.get(topic, 0) else 0)

    def _build(self, view: View, catalogue: Catalogue, owns: Owns) -> bool:
        begun = next((at for at in self._scans if at[0] == view.hash), None)
        if begun is not None and catalogue.applied(*begun) < self._reached.get(begun, -1):
            self._scans.clear()  # the store has lost writes: continue from what it has
        elif begun is not None:
            self._apply_chunk(view, begun)
            return True
        topic = self._topic(view)
        waiting = self._ready.setdefault(view.hash, set())
        unfollowed = self._partitions(view) - self._applier.followed(view) - waiting
        for partition in sorted(one for one in unfollowed if self._is_mine(view, one, owns)):
            if partition in catalogue.built.get(view.hash, ()):
                # The worker that had it before noted this after this worker had looked. It is not true any more.
                self._store.change(CatalogueChange().built(view.hash, [partition], is_built=False))
            after = catalogue.applied(view.hash, partition)
            if self._logs[topic].last_offsets([partition]).get(partition, -1) - after <= self._chunk_rows:
                waiting.add(partition)  # it is applied between two rounds
                continue
            self._reached[view.hash, partition] = after
            self._scans[view.hash, partition] = self._chunks(view, partition, after)
            self._apply_chunk(view, (view.hash, partition))
            return True
        return False

    def _apply_chunk(self, view: View, at: tuple[str, int]) -> None:
        chunk = next(self._scans[at], None)
        if chunk is None:
            del self._scans[at]
        else:
            self._filler.fill(view, chunk.batch)
            self._store.change(CatalogueChange().upto(*at, chunk.reached.offset))
            self._reached[at] = chunk.reached.offset

    def _chunks(self, view: View, partition: int, after: int) -> Iterator[Chunk]:
        log = self._logs[self._topic(view)]
        return chunks(log, self._erased, {partition: after}, [partition], self._chunk_rows)

    def _go_live(self, view: View, catalogue: Catalogue) -> None:
        """Let the store serve a version, at one moment; the one before is kept, to roll back to."""
        before = catalogue.live.get(view.name)
        change = CatalogueChange().serve([view]).building(view.name, None).forget_progress(view.hash, catalogue)
        if before is not None and before != view.hash:
            # It has every round up to the store's positions. The log may have more: an import that no worker has
            # applied yet.
            topic = self._topic(view)
            ends = self._logs[topic].last_offsets()
            positions = {at.partition: one.offset for at, one in self._store.positions().items() if at.topic == topic}
            for partition in ends.keys() & positions.keys():
                change.upto(before, partition, min(ends[partition], positions[partition]))
            change.previous(view.name, before)
            later = _later_version(view, before, catalogue)
            if later is not None:
                change.since(later, time.time_ns() // 1000)
        self._store.change(change)
        logger.warning("%s is live.", view.versioned_name)

    def _forget_given_up(self, catalogue: Catalogue, owns: Owns) -> None:
        """Remove the records of versions that are neither served, nor being built, nor to roll back to."""
        needed = {*catalogue.live.values(), *catalogue.previous.values(), *catalogue.building.values()}
        for view_hash in catalogue.definitions_json.keys() - needed:
            view = catalogue.definition(view_hash)
            if view is not None and view.source in self._sources and owns(self._topic(view), 0):
                # The notes go first: notes without records would leave a gap; records without notes are ignored.
                self._store.change(CatalogueChange().forget(view_hash, catalogue))
                entities = self._store.entities(view_hash)
                for start in range(0, len(entities), _DELETED_AT_A_TIME):
                    self._store.delete(view_hash, entities[start : start + _DELETED_AT_A_TIME])
                logger.warning("Removed the records of %s, which is no longer needed.", view.versioned_name)


def _later_version(view: View, before: str, catalogue: Catalogue) -> str | None:
    """Which of two versions came later, where that is not noted yet: so rolling back twice does not roll forward."""
    later = before if catalogue.previous.get(view.name) == view.hash else view.hash
    return None if view.hash in catalogue.since_us or later in catalogue.since_us else later
