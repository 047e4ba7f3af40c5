"""What a store says of itself: one typed catalogue, read in one call, and changes to it that are written at one moment.

A view whose definition changed is another version to the store, `name@hash`. The store serves one version of each
view (live), may keep the one before it (previous), and may hold one that is not complete yet (building).

    fact                    what it says
    format                  the format of the store's keys and values (`FORMAT`)
    clock                   the clock that the store was filled under
    generation              changes whenever another version goes live; `filling:…` while the log fills the store
    view:NAME               the hash of the live version
    previous:NAME           the hash of the version that was live before
    building:NAME           the hash of the version that is being built
    definition:HASH         a version's definition, as JSON
    since:HASH              when a version first went live, in µs; none where it was live from the store's beginning
    upto:HASH:PARTITION     the offset through which a version that is not live holds a source partition
    built:HASH:PARTITION    the version has caught up with this source partition and gets each of its rounds
    refused:HASH            why a worker cannot build this version
    topic:TOPIC             which topic of this name the source partitions and offsets are of (`TopicHistory.lineage`)
    history:TOPIC           a copy of the topic's history that is kept beside the log, as JSON (`TopicHistory`)
    log:TOPIC               the ids of the logs that the topic's records were made from, separated by commas
    filled                  when the store was empty and began to be filled, in µs by the wall clock
    transform_failures      JSON: what the transforms of the worker that wrote last failed on

Only this module knows the names. A store keeps facts as text by name (`OnlineStore.meta`, `OnlineStore.set_meta`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Self

from headrace.config import Clock
from headrace.errors import StoreFormatError, StoreNotReadyError
from headrace.plan import View

__all__ = [
    "GENERATION",
    "UNKNOWN_LOG",
    "Catalogue",
    "CatalogueChange",
    "KeptVersion",
    "Origin",
    "Readiness",
    "not_ready",
    "refuse_other_format",
]

GENERATION = "generation"
"""The fact that a lookup reads at the same moment as the records (`Moment.generation`)."""

FORMAT = "2"
"""The format of a store's keys and values. 1, which was not noted, had no topic in its records' keys."""

UNKNOWN_LOG = "unknown"
"""Stands for the id of a log that is not known."""

_FILLING = "filling:"
_FORMAT, _CLOCK, _FILLED, _FAILURES = "format", "clock", "filled", "transform_failures"
_LIVE, _PREVIOUS, _BUILDING = "view", "previous", "building"
_DEFINITION, _SINCE, _UPTO, _BUILT, _REFUSED = "definition", "since", "upto", "built", "refused"
_TOPIC, _HISTORY, _LOG = "topic", "history", "log"


class Readiness(StrEnum):
    """What a store as a whole can answer.

    `ready`: lookups. `filling`: nothing yet; a worker is filling it from the log. `empty`: nothing; no worker has begun
    to fill it.

    A worker writes `filling` before the first record and `ready` after the last one. So a worker that is killed in
    between leaves a store that is not ready, and the next worker completes it.
    """

    READY = "ready"
    FILLING = "filling"
    EMPTY = "empty"


class KeptVersion(NamedTuple):
    """A version of a view whose records the store keeps up to date, or can bring up to date.

    Attributes:
        view: Its definition.
        role: `live`; `before`: the one that was live before; `undone`: the one that was rolled back from; `building`.
        since_us: When it first went live, in µs; None where it was live from the store's beginning, or never yet.
    """

    view: View
    role: Literal["live", "before", "undone", "building"]
    since_us: int | None


@dataclass(frozen=True)
class Origin:
    """What the store's records were made from: an audit must know this of every answer.

    Attributes:
        filled_us: When the store began to be filled, in µs by the wall clock; None where that is not known.
        logs: By topic, the ids of the logs that its records were made from.
    """

    filled_us: int | None = None
    logs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: Mapping[str, str]) -> Origin:
        """The origin that a store's facts, or those of a recorded lookup (`to_json`), say."""
        filled = facts.get(_FILLED)
        logs = {topic: tuple(ids.split(",")) for topic, ids in _by_name(facts, _LOG).items()}
        return cls(None if filled is None else int(filled), logs)

    def to_json(self) -> str:
        """As answers and recorded lookups carry it."""
        facts = {} if self.filled_us is None else {_FILLED: str(self.filled_us)}
        facts |= {f"{_LOG}:{topic}": ",".join(ids) for topic, ids in self.logs.items()}
        return json.dumps(facts, sort_keys=True)


@dataclass(frozen=True)
class Catalogue:
    """What a store said of itself at one moment.

    Attributes:
        clock: The clock that it was filled under; None where nobody has begun to fill it.
        generation: Another value whenever another version went live.
        live: By view's name, the hash of the live version.
        previous: By view's name, the hash of the version that was live before.
        building: By view's name, the hash of the version that is being built.
        since_us: By hash, when a version first went live, in µs.
        upto: By hash and source partition, the offset through which a version that is not live holds the partition.
        built: By hash, the source partitions that a version has caught up with.
        refused: By hash, why a worker cannot build a version.
        lineages: By topic, which topic of that name the source partitions and offsets are of.
        histories: By topic, the copy of its history, as JSON.
        origin: What the records were made from.
        failures: What transforms failed on, by `view.column` (`headrace.transforms.failures_summary`).
        definitions_json: By hash, the definition of a version, as JSON.
    """

    clock: Clock | None
    generation: str
    live: Mapping[str, str]
    previous: Mapping[str, str]
    building: Mapping[str, str]
    since_us: Mapping[str, int]
    upto: Mapping[str, Mapping[int, int]]
    built: Mapping[str, frozenset[int]]
    refused: Mapping[str, str]
    lineages: Mapping[str, str]
    histories: Mapping[str, Any]
    origin: Origin
    failures: Mapping[str, Any]
    definitions_json: Mapping[str, str]

    @classmethod
    def of(cls, facts: Mapping[str, str]) -> Catalogue:
        """The catalogue that a store's facts make."""
        return cls(
            clock=Clock(facts[_CLOCK]) if _CLOCK in facts else None,
            generation=facts.get(GENERATION, ""),
            live=_by_name(facts, _LIVE),
            previous=_by_name(facts, _PREVIOUS),
            building=_by_name(facts, _BUILDING),
            since_us={version: int(us) for version, us in _by_name(facts, _SINCE).items()},
            upto={
                version: {number: int(offset) for number, offset in found.items()}
                for version, found in _by_partition(facts, _UPTO).items()
            },
            built={version: frozenset(found) for version, found in _by_partition(facts, _BUILT).items()},
            refused=_by_name(facts, _REFUSED),
            lineages=_by_name(facts, _TOPIC),
            histories={topic: json.loads(history) for topic, history in _by_name(facts, _HISTORY).items()},
            origin=Origin.of(facts),
            failures=json.loads(facts.get(_FAILURES, "{}")),
            definitions_json=_by_name(facts, _DEFINITION),
        )

    @property
    def readiness(self) -> Readiness:
        """What the store as a whole can answer."""
        if self.generation.startswith(_FILLING):
            return Readiness.FILLING
        # The clock and the views are written first, before the store is filled.
        return Readiness.READY if self.clock is not None or self.live else Readiness.EMPTY

    def definition(self, version: str | None) -> View | None:
        """The definition of a version, by its hash; None where the store does not know it."""
        found = None if version is None else self.definitions_json.get(version)
        return None if found is None else _definition(found)

    def definitions(self) -> dict[str, View]:
        """The versions whose definition is known, by hash."""
        return {version: _definition(text) for version, text in self.definitions_json.items()}

    def building_views(self) -> dict[str, View]:
        """The versions that are being built, by view's name."""
        found = {name: self.definition(version) for name, version in self.building.items()}
        return {name: view for name, view in found.items() if view is not None}

    def kept_versions(self, name: str) -> list[KeptVersion]:
        """The versions of a view that the store keeps, the live one first."""
        live, previous = self.live.get(name), self.previous.get(name)
        since = {one: self.since_us[one] for one in (live, previous) if one and one in self.since_us}
        is_undone = previous is not None and since.get(previous, 0) > since.get(live or "", 0)
        roles: list[tuple[str | None, Literal["live", "before", "undone", "building"]]] = [
            (live, "live"),
            (previous, "undone" if is_undone else "before"),
            (self.building.get(name), "building"),
        ]
        found = [(self.definition(version), role) for version, role in roles]
        return [KeptVersion(view, role, since.get(view.hash)) for view, role in found if view is not None]

    def applied(self, version: str, partition: int) -> int:
        """The offset through which a version that is not live holds a source partition; -1 is nothing."""
        return self.upto.get(version, {}).get(partition, -1)

    def built_share(self, version: str, ends: Mapping[int, int]) -> float:
        """How much of the log a version that is being built holds, 0 to 1.

        Args:
            version: The version's hash.
            ends: The log's last offset per source partition.
        """
        built = self.built.get(version, frozenset())
        wanted = sum(end + 1 for end in ends.values())
        done = sum(end + 1 if at in built else min(self.applied(version, at), end) + 1 for at, end in ends.items())
        return done / wanted if wanted else 1.0


class CatalogueChange:
    """Changes to a store's catalogue; `OnlineStore.change` writes them at one moment.

    Each method adds a change and gives the object back, so that calls can be chained.

    Attributes:
        facts: The facts to set, by name; None removes one.
    """

    def __init__(self) -> None:
        self.facts: dict[str, str | None] = {}

    @property
    def written(self) -> dict[str, str | None]:
        """What is written: the changes and the format; nothing where there is no change."""
        return {_FORMAT: FORMAT, **self.facts} if self.facts else {}

    def clock(self, clock: Clock) -> Self:
        """The clock that the store is filled under."""
        return self._set(_CLOCK, str(clock))

    def serve(self, views: Iterable[View], *, is_filling: bool = False) -> Self:
        """Make versions live.

        Args:
            views: The versions.
            is_filling: The store answers no lookup until `end_filling`; to be written before the first record.
        """
        for view in views:
            self.define(view)
            self._set(_LIVE, view.hash, view.name)
        self.new_generation()
        return self._set(GENERATION, f"{_FILLING}{self.facts[GENERATION]}") if is_filling else self

    def live(self, name: str, version: str) -> Self:
        """Note which version of a view is live, without its definition."""
        return self._set(_LIVE, version, name)

    def define(self, view: View) -> Self:
        """Keep a version's definition."""
        return self._set(_DEFINITION, view.model_dump_json(), view.hash)

    def new_generation(self) -> Self:
        """Have clients read the catalogue again; this also ends filling."""
        return self._set(GENERATION, str(time.time_ns()))

    def previous(self, name: str, version: str | None) -> Self:
        """The version of a view that was live before; None is none."""
        return self._set(_PREVIOUS, version, name)

    def building(self, name: str, view: View | None) -> Self:
        """The version of a view that is being built; None is none."""
        if view is not None:
            self.define(view)
        return self._set(_BUILDING, None if view is None else view.hash, name)

    def since(self, version: str, us: int | None) -> Self:
        """When a version first went live, in µs."""
        return self._set(_SINCE, None if us is None else str(us), version)

    def upto(self, version: str, partition: int, offset: int) -> Self:
        """The offset through which a version that is not live holds a source partition."""
        return self._set(_UPTO, str(offset), version, partition)

    def built(self, version: str, partitions: Iterable[int], *, is_built: bool = True) -> Self:
        """Whether a version has caught up with source partitions."""
        for partition in partitions:
            self._set(_BUILT, "yes" if is_built else None, version, partition)
        return self

    def refused(self, version: str, why: str | None) -> Self:
        """Why a worker cannot build a version; None where it can."""
        return self._set(_REFUSED, why, version)

    def forget_progress(self, version: str, catalogue: Catalogue) -> Self:
        """Remove what the catalogue says of how far a version is built."""
        for partition in catalogue.upto.get(version, {}):
            self._set(_UPTO, None, version, partition)
        return self.built(version, catalogue.built.get(version, ()), is_built=False)

    def forget(self, version: str, catalogue: Catalogue) -> Self:
        """Remove all that the catalogue says of a version that nothing needs any more."""
        self.forget_progress(version, catalogue).since(version, None)
        return self._set(_DEFINITION, None, version)

    def topic(self, topic: str, lineage: str, history: Any = None) -> Self:
        """Which topic the source partitions and offsets are of, and its history as JSON-ready values."""
        if history is not None:
            self._set(_HISTORY, json.dumps(history, separators=(",", ":")), topic)
        return self._set(_TOPIC, lineage, topic)

    def made_from(self, topic: str, logs: Sequence[str]) -> Self:
        """The ids of the logs that a topic's records were made from."""
        return self._set(_LOG, ",".join(logs), topic)

    def filled(self, us: int) -> Self:
        """When the store, which is empty, begins to be filled, in µs by the wall clock."""
        return self._set(_FILLED, str(us))

    def failures(self, failures: Mapping[str, Any]) -> Self:
        """What transforms failed on; empty where they did not."""
        return self._set(_FAILURES, json.dumps(failures) if failures else None)

    def _set(self, kind: str, value: str | None, *names: str | int) -> Self:
        self.facts[":".join(map(str, (kind, *names)))] = value
        return self


def refuse_other_format(facts: Mapping[str, str]) -> None:
    """Raise StoreFormatError where a store's facts say that its keys and values have another format."""
    found = facts.get(_FORMAT, "1")
    if facts and found != FORMAT:
        msg = f"The online store has format {found}, of another version of headrace; this one reads format {FORMAT}."
        hint = "`headrace stream --rebuild` refills the store from the log, and loses nothing."
        raise StoreFormatError(msg, hint=hint)


def not_ready(readiness: Readiness) -> StoreNotReadyError:
    """The error of a lookup in a store that is not ready."""
    if readiness is Readiness.FILLING:
        msg = "The online store is being filled from the log: it has no answers until that is done."
        return StoreNotReadyError(
            msg, hint="Try again soon; `headrace status` shows how far it is, and whether a worker runs."
        )
    why = "no worker has filled it yet, or it was emptied since (for example, a Redis without a file was restarted)"
    msg = f"The online store is empty: {why}."
    return StoreNotReadyError(
        msg, hint="Start a worker (`headrace stream`): it fills the store from the log before anything else."
    )


@lru_cache(maxsize=1 << 8)
def _definition(text: str) -> View:
    return View.model_validate_json(text)


def _by_name(facts: Mapping[str, str], kind: str) -> dict[str, str]:
    prefix = f"{kind}:"
    return {name.removeprefix(prefix): value for name, value in facts.items() if name.startswith(prefix)}


def _by_partition(facts: Mapping[str, str], kind: str) -> dict[str, dict[int, str]]:
    found: dict[str, dict[int, str]] = {}
    for name, value in _by_name(facts, kind).items():
        version, _, partition = name.rpartition(":")
        found.setdefault(version, {})[int(partition)] = value
    return found
